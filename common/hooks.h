// SPDX-License-Identifier: Apache-2.0
// Runs the executables that a configuration names for events: for each pair
// one at a time and in order, with a time limit, their output in the log. The
// loop waits for none of it, not even for the start of one: it may lie on a
// volume that this very process serves.
#ifndef STEAD_HOOKS_H
#define STEAD_HOOKS_H

#include "loop.h"

#include <stdbool.h>

#define HOOK_NSEC (30 * NSEC_PER_SEC) // then it is killed, with what it has started in its process group
#define HOOKS_WAITING_MAX 256 // further ones are dropped, and that is logged

struct hooks;

// limit: HOOK_NSEC, in tests less. idle() is called after the last one has
// ended. NULL without memory.
struct hooks *hooks_new(struct loop *loop, uint64_t limit, void (*idle)(void *user), void *user);

// path is run with no arguments and the environment, NULL at its end, which it
// takes over with its texts. event must outlive it.
void hooks_run(struct hooks *hooks, const char *pair, const char *event, const char *path, char **environment);

// Kills what runs, drops what waits, and takes nothing more: that a daemon
// stops is no event.
void hooks_stop(struct hooks *hooks);
bool hooks_idle(const struct hooks *hooks);
void hooks_free(struct hooks *hooks); // idle; NULL: does nothing

void environment_free(char **environment);

#endif
