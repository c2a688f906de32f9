// SPDX-License-Identifier: Apache-2.0
// The receiver: the pairs that this node is the standby of, the port that
// their primaries connect to, and what they share. One thread.
#ifndef STEAD_RECEIVER_H
#define STEAD_RECEIVER_H

#include "common/channel.h"
#include "common/control.h"
#include "common/hooks.h"
#include "common/link.h"
#include "common/loop.h"
#include "common/net.h"
#include "common/paths.h"
#include "common/tls.h"
#include "common/wire.h"

#include <jansson.h>
#include <sys/queue.h>

struct daemon;
struct standby;
struct joining;
struct fence;
struct listener;

struct receiver {
	struct daemon *daemon;
	struct loop *loop;
	struct paths paths;
	struct tls_context *tls;
	struct links *links;
	struct hooks *hooks;
	struct net_address listen; // where it listens, the port a real one
	struct listener *listener;
	bool stopping, links_stopping;
	unsigned busy; // work under way that no pair or joining stands for
	TAILQ_HEAD(, standby) standbys;
	TAILQ_HEAD(, joining) joinings; // under way
	TAILQ_HEAD(, fence) fences; // under way
};

// control.c: a new array of status_json(), of all pairs or those of the name.
json_t *receiver_status(struct receiver *receiver, const char *name);

// control.c: every command of the control socket.
void receiver_control(void *user, struct control_call *call, const char *command, json_t *request);

// A pair, a joining, or the listener is gone, or other work is done.
void receiver_settle(struct receiver *receiver);

// listener.c: takes connections and hands each to whom its first frame names.
// 0 or -errno with the reason.
int listener_open(struct receiver *receiver, const char *address, struct error *err);
void listener_stop(struct listener *listener); // receiver->listener is NULL once it is gone

// Answers with REFUSE, logs it, and closes. pair may be NULL.
void refuse_channel(struct receiver *receiver, struct channel *channel, enum refusal code, const char *pair,
                    const char *reason);

// invite.c: pair-invite.
void invite(struct receiver *receiver, struct control_call *call, json_t *request);

// fence.c: the pair, of which this node is the primary in its state, was
// promoted on its peer, which said hello.
void fence_pair(struct receiver *receiver, const char *name, const struct pair_state *state,
                const struct wire_hello *hello);

// promotion.c: the call, NULL when the primary asked for it, is answered when
// the agent serves, or with the reason.
void promote(struct receiver *receiver, struct standby *standby, struct control_call *call, bool force);

// orders.c: switchover, and resync of a standby that follows nobody.
void order_switchover(struct receiver *receiver, struct standby *standby, struct control_call *call);
void order_resync(struct receiver *receiver, struct standby *standby, struct control_call *call, bool discard);

// joining.c: takes over a connection whose first frame is a JOIN.
void joining_start(struct receiver *receiver, struct channel *channel, const struct frame *frame);
void joinings_abort(struct receiver *receiver);

#endif
