// SPDX-License-Identifier: Apache-2.0
// The pairs of this node: what both daemons tell of theirs, and those that are
// configured and that neither runs.
#ifndef STEAD_CTL_FOUND_H
#define STEAD_CTL_FOUND_H

#include "daemon.h"

struct found {
	json_t *pairs; // array
	bool running[2]; // enum daemon_role
	size_t orphans; // configured, not running
};

// All pairs, by name, or the one of the name. A daemon has timeout ms to
// answer. Exit codes, everything said; the caller lets go of found->pairs in
// any case.
int found_find(struct context *context, const char *name, int timeout, struct found *found);

#endif
