// SPDX-License-Identifier: Apache-2.0
// One pair in the role of its primary: files, engine, link and exports, from
// start to stop.
#ifndef STEAD_PAIR_H
#define STEAD_PAIR_H

#include "agent.h"

#include "common/status.h"

#include <stdbool.h>

struct pair *pair_find(struct agent *agent, const char *name);
struct pair *pair_next(struct pair *pair); // of agent->pairs; stopping ones too

// Opens the pair named; a pair that cannot start stays as refused. NULL without
// memory. A pair of which this node is no primary goes again by itself.
struct pair *pair_start(struct agent *agent, const char *name);

// Tells when the pair serves, or will not: at the latest after seconds. Never
// from within. error: 0 it serves, -EINPROGRESS it waits for its peer, else the
// reason why not; the pair may be gone then. -ENOMEM: it will not tell.
int pair_await(struct pair *pair, unsigned seconds, void *user,
               void (*done)(void *user, int error, const struct error *reason));

// Serves without having heard of the peer, now or once it is open.
void pair_serve(struct pair *pair);

// What a peer that was promoted said of itself.
struct pair_successor {
	bool forked; // promoted beside this node, not over it
	uint64_t epoch; // that it was promoted at
	bool untouched; // not written to since
	uint64_t bytes; // that were, and its standby does not have
	int64_t since, born; // wall clock of the oldest of them, of the promotion; ns; 0: none
};

// Serves no more, and never again by itself, also after a restart. Tells when
// that is durable.
void pair_fence(struct pair *pair, const struct pair_successor *successor, void *user,
                void (*done)(void *user, int error, const struct error *reason));

// Tells, from a job, whether none of its devices is open or mounted: -EBUSY with
// the reason. The pair may be gone then. -ENOMEM, -EAGAIN: it will not tell.
int pair_check_unused(const struct pair *pair, void *user,
                      void (*done)(void *user, int error, const struct error *reason));

// Stops and forgets it. gone() may be NULL, and is called when nothing of it is
// open any more. While a pair stops, it is found no more.
void pair_stop(struct pair *pair, void (*gone)(void *user), void *user);

// Makes pausing durable, then pauses or resumes.
void pair_pause(struct pair *pair, bool pause, void *user,
                void (*done)(void *user, int error, const struct error *reason));

// Applies what may change while it runs; opens it anew when it was refused.
void pair_reload(struct pair *pair);

const char *pair_name(const struct pair *pair);
void pair_status(struct pair *pair, struct pair_status *status);
const struct pair_config *pair_config(const struct pair *pair);
uint64_t pair_volume_bytes(const struct pair *pair, unsigned volume);
const char *pair_device(const struct pair *pair, unsigned volume, char *out); // PATHS_MAX; its stable name

#endif
