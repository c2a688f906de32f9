// SPDX-License-Identifier: Apache-2.0
#include "reason.h"

#include <stddef.h>
#include <string.h>

static const struct {
	const char *reason, *meaning;
} reasons[] = {
        {"link-down", "the peer cannot be reached"},
        {"link-slow", "what there is to send waits for the link"},
        {"standby-slow", "what was sent waits for the standby"},
        {"journal-full", "more has changed than the standby's journal can hold"},
        {"standby-disk-full", "the disk under the standby's journal is full"},
        {"spill-full", "capture memory and spill file were full, an epoch was widened"},
        {"read-error", "a changed block could not be read, an epoch was given up; see the log"},
        {"no-memory", "an epoch was given up for want of memory"},
        {"peer-refused", "the peer refuses this node; its log says why"},
        {"standby-failed", "the standby cannot use its disks; its log says why"},
        {"paused", "by stead pause"},
        {"opening", "the node reads its state and its journal"},
        {"redoing", "what had come before the promotion is still brought into the volumes"},
        {"redo-failed", "some of what had come before the promotion cannot be read or written; see the log"},
        {"not-exported",
         "a volume cannot be used here: its device was not to be had, or somebody ended it; see the log"},
        {"standby-error", "the standby could not store an epoch; its log says why"},
        {"peer-rolled-back", "the standby holds an epoch that its primary never cut"},
        {"promoted-over", "the peer was promoted"},
        {"daemon-down", "the daemon that has the pair does not run"},
        {"not-loaded", "configured, but no daemon runs it; see its log"},
        {"config-invalid", "the configuration is wrong; see stead config check"},
};

const char *reason_meaning(const char *reason)
{
	for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++)
		if (!strcmp(reasons[i].reason, reason))
			return reasons[i].meaning;
	return NULL;
}
