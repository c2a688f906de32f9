// SPDX-License-Identifier: Apache-2.0
// One pair in the role of its standby: files and engine, from start to stop.
#ifndef STEAD_STANDBY_H
#define STEAD_STANDBY_H

#include "receiver.h"

#include "common/status.h"
#include "sink.h"

#include <stdbool.h>

struct standby *standby_find(struct receiver *receiver, const char *name);
struct standby *standby_find_id(struct receiver *receiver, const struct id *pair);
struct standby *standby_next(struct standby *standby); // of receiver->standbys; stopping ones too

// Opens the pair named; one that cannot start stays as refused. NULL without
// memory. A pair of which this node is the primary goes again by itself.
struct standby *standby_start(struct receiver *receiver, const char *name);

// Tells once, when the pair was opened (error 0) or was not; never from within.
void standby_await(struct standby *standby, void *user,
                   void (*done)(void *user, int error, const struct error *reason));

// Stops and forgets it, as pair_stop() of the agent.
void standby_stop(struct standby *standby, void (*gone)(void *user), void *user);

// Opens it anew when it was refused, else tells what needs a restart.
void standby_reload(struct standby *standby);

// The peer's first frame, its key proved and compared.
void standby_attach(struct standby *standby, struct channel *channel, const struct wire_hello *hello);

// sink_promote(), where the pair is open. 0, or -EAGAIN with the reason and
// done() is not called.
int standby_promote(struct standby *standby, bool force, void *user,
                    void (*done)(void *user, int error, const struct error *reason), struct error *err);

// The primary that waits for this node to take over is told that it will not.
void standby_decline(struct standby *standby, const char *why);

// Tells hooks that the promotion is durable; state is that of afterwards.
void standby_notify_promoted(struct standby *standby, const struct pair_state *state);

const char *standby_name(const struct standby *standby);
const struct pair_config *standby_config(const struct standby *standby);
const struct pair_state *standby_state(const struct standby *standby); // as at its start
bool standby_sink(struct standby *standby, struct sink_status *status); // false: not open
void standby_status(struct standby *standby, struct pair_status *status);

#endif
