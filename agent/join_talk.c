// SPDX-License-Identifier: Apache-2.0
// The conversation of a join: JOIN out, JOINED or REFUSE in.
#include "join_impl.h"

#include "common/link.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define ANSWER_SECONDS 30 // for the peer to answer a JOIN, its checks included

static void on_frame(void *user, const struct frame *frame)
{
	struct join *join = user;
	struct wire_joined joined;
	struct wire_refuse refuse;

	if (frame->type == FRAME_JOINED && wire_get_joined(frame, &joined) == 0) {
		clock_cancel(loop_clock(join->agent->loop), &join->timer);
		channel_close(join->channel);
		join->channel = NULL;
		if (token_proof_equal(joined.proof, join->expected)) {
			join_commit(join);
			return;
		}
		fail(&join->reason, EPERM, "join pair %s: %s does not know the token's secret; invite anew",
		     join->config.name, join->config.peer);
	} else if (frame->type == FRAME_REFUSE && wire_get_refuse(frame, &refuse) == 0) {
		fail(&join->reason, EREMOTEIO, "join pair %s: refused by %s: %s", join->config.name, join->config.peer,
		     refuse.reason);
	} else {
		fail(&join->reason, EPROTO, "join pair %s: %s answered with an unexpected frame of type %u",
		     join->config.name, join->config.peer, frame->type);
	}
	join_give_up(join);
}

static void on_closed(void *user, const char *why)
{
	struct join *join = user;

	join->channel = NULL;
	fail(&join->reason, ECONNRESET, "join pair %s: connection to %s: %s", join->config.name, join->config.peer,
	     why);
	join_give_up(join);
}

static void sent(struct message *message)
{
	(void)message; // part of the join, which outlives its link
}

static void late(struct timer *timer)
{
	struct join *join = (struct join *)((char *)timer - offsetof(struct join, timer));

	fail(&join->reason, ETIMEDOUT, "join pair %s: no answer from %s within %d s", join->config.name,
	     join->config.peer, ANSWER_SECONDS);
	join_give_up(join);
}

static int make_body(struct join *join)
{
	struct wire_join body = {.version_min = WIRE_VERSION,
	                         .version_max = WIRE_VERSION,
	                         .pair = join->state.pair,
	                         .generation = join->state.lineage.generation,
	                         .rpo = join->config.rpo,
	                         .rto = join->config.rto,
	                         .volume_count = join->state.volume_count};
	const uint8_t *own = tls_context_fingerprint(join->agent->tls), *exporter = link_exporter(join->channel);
	const char *pair = join->config.name;

	snprintf(body.pair_name, sizeof(body.pair_name), "%s", pair);
	snprintf(body.listen, sizeof(body.listen), "%s", join->config.listen);
	for (unsigned i = 0; i < body.volume_count; i++) {
		memcpy(body.volumes[i].name, join->state.volumes[i].name, sizeof(body.volumes[i].name));
		body.volumes[i].bytes = join->state.volumes[i].bytes;
	}
	if (token_proof(join->token.secret, TOKEN_PRIMARY, exporter, own, join->channel->peer_key, pair, body.proof) <
	            0 ||
	    token_proof(join->token.secret, TOKEN_STANDBY, exporter, own, join->channel->peer_key, pair,
	                join->expected) < 0)
		return fail(&join->reason, ENOMEM, "join pair %s: out of memory", pair);
	join->message = (struct message){.type = FRAME_JOIN, .body = join->body, .done = sent};
	join->message.body_length = wire_put_join(join->body, &body);
	return 0;
}

static void opened(void *user, struct channel *channel)
{
	static const struct channel_events events = {on_frame, on_closed};
	struct join *join = user;

	join->channel = channel;
	channel->events = &events;
	channel->user = join;
	if (make_body(join) < 0)
		join_give_up(join);
	else
		channel_send(channel, &join->message);
}

static void dial_failed(void *user, const char *why)
{
	struct join *join = user;

	fail(&join->reason, ECONNREFUSED, "join pair %s: %s: %s", join->config.name, join->config.peer, why);
	join_give_up(join);
}

void join_talk(struct join *join)
{
	struct clock *clock = loop_clock(join->agent->loop);
	struct net_address address;
	struct dialer *dialer;

	if (net_parse(join->config.peer, NET_PORT_DEFAULT, &address, &join->reason) == 0)
		join->links = link_thread_start(join->agent->loop, join->agent->tls, &address, join->token.fingerprint,
		                                &join->reason);
	if (!join->links) {
		join_give_up(join);
		return;
	}
	dialer = link_thread_dialer(join->links);
	dialer->opened = opened;
	dialer->failed = dial_failed;
	dialer->user = join;
	join->timer.fire = late;
	clock_set(clock, &join->timer, clock_now(clock) + ANSWER_SECONDS * NSEC_PER_SEC);
	dialer_dial(dialer);
}
