// SPDX-License-Identifier: Apache-2.0
#include "memory_guard.h"

#include "common/log.h"

#include <errno.h>
#include <limits.h>
#include <malloc.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>

static int flusher_error; // why PR_SET_IO_FLUSHER failed; 0: it did not
static bool guarded;

void memory_guard_early(void)
{
	flusher_error = prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0) < 0 ? errno : 0;
}

void memory_guard(void)
{
	if (guarded)
		return;
	guarded = true;
	// What was freed is kept for the next time: a write that needs memory, for
	// what it is about to overwrite, finds it in place and waits for no page.
	(void)mallopt(M_TRIM_THRESHOLD, INT_MAX);
	(void)mallopt(M_MMAP_THRESHOLD, 32 << 20);
	if (flusher_error)
		log_event(
		        LOG_LEVEL_WARNING, "io-flusher", "reason=%s advice=%s", strerror(flusher_error),
		        "give the agent CAP_SYS_RESOURCE; without it the machine may hang when it is short of memory");
	// Only what was touched: the change map of a large volume is large.
	if (mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) < 0)
		log_event(LOG_LEVEL_WARNING, "memory-not-locked", "reason=%s advice=%s", strerror(errno),
		          "raise LimitMEMLOCK; without it the machine may hang when it is short of memory");
}
