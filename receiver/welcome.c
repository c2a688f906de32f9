// SPDX-License-Identifier: Apache-2.0
// The answer to a HELLO: WELCOME, or REFUSE.
#include "sink_impl.h"

#include "common/mutant.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static bool volume_blank(const struct sink *sink, unsigned index)
{
	uint64_t bytes = sink->state.volumes[index].bytes, length = bytes;

	return disk_hole(sink->config.volumes[index], 0, &length) && length >= bytes;
}

static void describe_ourselves(struct sink *sink, struct wire_welcome *welcome)
{
	const struct pair_state *state = &sink->state;
	struct standing standing = roles_standing(sink);
	bool never_synced = !sink->consistent && id_is_none(&state->sync);
	struct id key = id_random(sink->config.random, sink->config.user);

	*welcome = (struct wire_welcome){
	        .hello =
	                {
	                        .version_min = WIRE_VERSION,
	                        .version_max = WIRE_VERSION,
	                        .features = sink->session.hello.features & WIRE_FEATURES,
	                        .pair = state->pair,
	                        .role = state->role,
	                        .lineage = sink->lineage,
	                        .born = sink->born,
	                        .epoch = standing.epoch,
	                        .returned = standing.returned,
	                        .mapped = standing.mapped,
	                        .yields = standing.yields,
	                        .untouched = state->untouched,
	                        .volume_count = state->volume_count,
	                },
	        .consistent = sink->consistent,
	        .journal_bytes = journal_largest(sink->journal),
	};
	memcpy(welcome->hash_key, key.bytes, sizeof(welcome->hash_key));
	if (!sink->consistent) {
		welcome->hello.sync = state->sync;
		welcome->sync_volume = state->sync_volume;
		welcome->sync_block = state->sync_block;
	}
	for (unsigned i = 0; i < state->volume_count; i++) {
		memcpy(welcome->hello.volumes[i].name, state->volumes[i].name, sizeof(state->volumes[i].name));
		welcome->hello.volumes[i].bytes = state->volumes[i].bytes;
		welcome->hello.volumes[i].blank = never_synced && volume_blank(sink, i);
	}
}

static void send_refusal(struct sink *sink, const struct wire_refuse *refusal)
{
	uint8_t body[WIRE_BODY_MAX];

	sink->session.stage = SESSION_REFUSED;
	session_send(sink, FRAME_REFUSE, body, wire_put_refuse(body, refusal));
	sink_event(sink, SINK_REFUSED, 0, refusal->reason);
}

// What we are to each other. False: nothing at all, and refused.
static bool judge(struct sink *sink)
{
	struct session *session = &sink->session;
	struct standing mine = roles_standing(sink), peers = wire_standing(&session->hello, true);
	enum verdict verdict = lineage_judge(&mine, &peers);
	struct wire_refuse refusal = {.code = REFUSAL_LINEAGE};

	sink->verdict = verdict;
	sink->met = true;
	if (verdict == VERDICT_NO_PRIMARY || verdict == VERDICT_UNRELATED) {
		snprintf(refusal.reason, sizeof(refusal.reason), "%s",
		         verdict == VERDICT_NO_PRIMARY ? "both nodes are standby; one must be promoted"
		                                       : "the nodes have no generation in common; pair anew");
		send_refusal(sink, &refusal);
		return false;
	}
	if (verdict == VERDICT_CONTINUE)
		sink->yields = false; // it was for another time
	session->adopting = verdict == VERDICT_RESYNC || verdict == VERDICT_COMPARE;
	session->takes_epochs = verdict == VERDICT_CONTINUE || session->adopting;
	if (MUTANT(FENCE_IGNORED))
		session->takes_epochs = mine.role == ROLE_STANDBY;
	session->tells_beyond = verdict == VERDICT_RESYNC && mine.returned;
	if (session->tells_beyond)
		beyond_rewind(sink->beyond, roles_left_at(sink));
	return true;
}

void welcome_send(struct sink *sink)
{
	struct session *session = &sink->session;
	struct wire_welcome welcome;
	uint8_t body[WIRE_BODY_MAX];

	if (!judge(sink))
		return;
	describe_ourselves(sink, &welcome);
	session->hash = blockhash_new(welcome.hash_key);
	if (!session->hash) {
		session_end(sink, "no memory for a connection");
		return;
	}
	session->stage = SESSION_OPEN;
	session->received = welcome.hello.epoch;
	session_send(sink, FRAME_WELCOME, body, wire_put_welcome(body, &welcome));
	sink->again = true;
	if (session->stage == SESSION_OPEN)
		sink_event(sink, SINK_CONNECTED, 0, NULL);
}

static int refuse(struct wire_refuse *refusal, enum refusal code, const char *reason)
{
	refusal->code = code;
	snprintf(refusal->reason, sizeof(refusal->reason), "%.*s", REASON_MAX, reason);
	return -EPERM;
}

static int check_volumes(const struct sink *sink, const struct wire_hello *hello, struct wire_refuse *refusal)
{
	char text[REASON_MAX + 1];

	if (hello->volume_count != sink->state.volume_count) {
		snprintf(text, sizeof(text), "primary has %u volumes, standby has %u", hello->volume_count,
		         sink->state.volume_count);
		return refuse(refusal, REFUSAL_VOLUMES, text);
	}
	for (unsigned i = 0; i < hello->volume_count; i++) {
		const struct wire_volume *theirs = &hello->volumes[i];
		const struct state_volume *ours = &sink->state.volumes[i];

		if (strcmp(theirs->name, ours->name) == 0 && theirs->bytes == ours->bytes)
			continue;
		snprintf(text, sizeof(text), "volume %u is %s of %llu bytes on the primary, %s of %llu on the standby",
		         i, theirs->name, (unsigned long long)theirs->bytes, ours->name,
		         (unsigned long long)ours->bytes);
		return refuse(refusal, REFUSAL_VOLUMES, text);
	}
	return 0;
}

static int check_hello(struct sink *sink, const struct wire_hello *hello, struct wire_refuse *refusal)
{
	const struct pair_state *state = &sink->state;

	if (sink->failed)
		return refuse(refusal, REFUSAL_INTERNAL, sink->failed_text.text);
	if (sink->promoting)
		return refuse(refusal, REFUSAL_BUSY, "standby is being promoted");
	if (sink->stopping)
		return refuse(refusal, REFUSAL_BUSY, "standby stops");
	if (hello->version_min > WIRE_VERSION || hello->version_max < WIRE_VERSION)
		return refuse(refusal, REFUSAL_VERSION, "standby speaks version 1 of the protocol only");
	if (!id_equal(&hello->pair, &state->pair))
		return refuse(refusal, REFUSAL_UNKNOWN_PAIR, "connection is for another pair");
	return check_volumes(sink, hello, refusal);
}

bool welcome_due(struct sink *sink)
{
	struct wire_refuse refusal = {0};

	if (!check_hello(sink, &sink->session.hello, &refusal))
		return true;
	send_refusal(sink, &refusal);
	return false;
}
