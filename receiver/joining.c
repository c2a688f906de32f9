// SPDX-License-Identifier: Apache-2.0
// The standby's half of pairing:
//
//   JOIN ─► proof, volumes, state and configuration written ─► open ─► invitation removed ─► JOINED
//
// A failure on the way undoes what was made, keeps the invitation, and tells
// the primary why.
#include "invitation.h"
#include "receiver.h"
#include "standby.h"

#include "common/fields.h"
#include "common/job.h"
#include "common/log.h"
#include "common/pairs.h"
#include "common/token.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <time.h>

#define MIB (UINT64_C(1) << 20)
#define JOURNAL_LEAST (16 * MIB)

struct joining {
	TAILQ_ENTRY(joining) entry;
	struct receiver *receiver;
	struct channel *channel; // NULL: the peer is gone
	struct wire_join join;
	uint8_t exporter[TOKEN_EXPORTER_BYTES], peer_key[32];
	struct invitation invitation;
	struct pair_config config;
	struct pair_state state;
	uint8_t answer[TOKEN_PROOF_BYTES];
	struct job job;
	bool aborted, made;
	int result;
	enum refusal code;
	struct error reason;
	struct message message;
	uint8_t body[WIRE_BODY_MAX];
};

static struct joining *of_job(struct job *job)
{
	return (struct joining *)((char *)job - offsetof(struct joining, job));
}

static void run(struct joining *joining, void (*work)(struct job *job), void (*done)(struct job *job))
{
	joining->job.work = work;
	joining->job.done = done;
	if (job_start(joining->receiver->loop, &joining->job) < 0) {
		work(&joining->job);
		done(&joining->job);
	}
}

static void finish(struct joining *joining)
{
	struct receiver *receiver = joining->receiver;

	TAILQ_REMOVE(&receiver->joinings, joining, entry);
	explicit_bzero(joining, sizeof(*joining));
	free(joining);
	receiver_settle(receiver);
}

// -- the bad end --

static void undo_work(struct job *job)
{
	struct joining *joining = of_job(job);

	if (joining->made)
		(void)pair_erase(&joining->receiver->paths, joining->join.pair_name, NULL);
}

static void undo_done(struct job *job)
{
	struct joining *joining = of_job(job);

	if (joining->channel)
		refuse_channel(joining->receiver, joining->channel, joining->code, joining->join.pair_name,
		               joining->reason.text);
	else
		log_event(LOG_LEVEL_WARNING, "join-failed", "pair=%s reason=%s", joining->join.pair_name,
		          joining->reason.text);
	finish(joining);
}

static void standby_gone(void *user)
{
	run(user, undo_work, undo_done);
}

// code and reason are set.
static void undo(struct joining *joining)
{
	struct standby *standby = joining->made ? standby_find(joining->receiver, joining->join.pair_name) : NULL;

	if (standby)
		standby_stop(standby, standby_gone, joining);
	else
		run(joining, undo_work, undo_done);
}

// -- the good end --

static void sent(struct message *message)
{
	struct joining *joining = (struct joining *)((char *)message - offsetof(struct joining, message));

	if (joining->channel)
		channel_close(joining->channel);
	finish(joining);
}

static void remove_work(struct job *job)
{
	struct joining *joining = of_job(job);

	joining->result = invitation_remove(&joining->receiver->paths, joining->join.pair_name, &joining->reason);
}

static void remove_done(struct job *job)
{
	struct joining *joining = of_job(job);
	struct wire_joined joined;

	if (joining->result < 0 || joining->aborted || !joining->channel) {
		if (!joining->result)
			fail(&joining->reason, ECONNRESET, "the connection ended before the answer; invite anew");
		joining->code = REFUSAL_INTERNAL;
		undo(joining);
		return;
	}
	log_event(LOG_LEVEL_INFO, "joined", "pair=%s peer=%s", joining->join.pair_name, joining->channel->peer);
	memcpy(joined.proof, joining->answer, sizeof(joined.proof));
	joining->message = (struct message){.type = FRAME_JOINED, .body = joining->body, .done = sent};
	joining->message.body_length = wire_put_joined(joining->body, &joined);
	channel_send(joining->channel, &joining->message);
}

static void opened(void *user, int error, const struct error *reason)
{
	struct joining *joining = user;

	if (error < 0 || joining->aborted || !joining->channel) {
		joining->code = REFUSAL_INTERNAL;
		fail(&joining->reason, EIO, "%s", error < 0 ? reason->text : "the connection ended before the answer");
		undo(joining);
		return;
	}
	run(joining, remove_work, remove_done);
}

// -- checks, and what is made --

static int refuse(struct joining *joining, enum refusal code, int result)
{
	joining->code = code;
	return result;
}

static int check_proof(struct joining *joining)
{
	const struct wire_join *join = &joining->join;
	const uint8_t *own = tls_context_fingerprint(joining->receiver->tls);
	uint8_t expected[TOKEN_PROOF_BYTES];
	int result =
	        invitation_load(&joining->receiver->paths, join->pair_name, &joining->invitation, &joining->reason);

	if (result == -ENOENT)
		return fail(
		        &joining->reason, ENOENT,
		        "there is no invitation for pair %s: the token was used, has expired, or is of another node; "
		        "invite anew",
		        join->pair_name);
	if (result < 0)
		return result;
	if (token_proof(joining->invitation.secret, TOKEN_PRIMARY, joining->exporter, joining->peer_key, own,
	                join->pair_name, expected) < 0 ||
	    token_proof(joining->invitation.secret, TOKEN_STANDBY, joining->exporter, joining->peer_key, own,
	                join->pair_name, joining->answer) < 0)
		return fail(&joining->reason, ENOMEM, "out of memory");
	if (!token_proof_equal(expected, join->proof))
		return fail(
		        &joining->reason, EPERM,
		        "the token is not the one of the open invitation for pair %s; use the newest, or invite anew",
		        join->pair_name);
	if (joining->invitation.expires < (int64_t)time(NULL))
		return fail(&joining->reason, EKEYEXPIRED, "the token for pair %s has expired; invite anew",
		            join->pair_name);
	return 0;
}

// The volumes of both sides in the primary's order.
static int match_volumes(struct joining *joining, uint64_t bytes[VOLUMES_MAX])
{
	const struct wire_join *join = &joining->join;
	const struct pair_config *invited = &joining->invitation.config;

	for (unsigned i = 0; i < join->volume_count; i++) {
		unsigned j = 0;

		while (j < invited->volume_count && strcmp(invited->volumes[j].name, join->volumes[i].name) != 0)
			j++;
		if (j == invited->volume_count)
			return fail(&joining->reason, EINVAL,
			            "volume %s was not invited; name the same volumes on both nodes",
			            join->volumes[i].name);
		joining->config.volumes[i] = invited->volumes[j];
		bytes[i] = join->volumes[i].bytes;
	}
	if (join->volume_count != invited->volume_count)
		return fail(&joining->reason, EINVAL,
		            "%u volumes were invited, but %u join; name the same volumes on both nodes",
		            invited->volume_count, join->volume_count);
	joining->config.volume_count = join->volume_count;
	return 0;
}

// The journal's space is allocated when it is made: a full disk is then known
// while pairing, not in the middle of an epoch. A small file system gets a
// smaller one than the default; the configuration says how large.
static int choose_journal(struct joining *joining)
{
	const char *path = joining->receiver->paths.states;
	struct statvfs fs;
	uint64_t quarter;

	if (statvfs(path, &fs) < 0)
		return fail(&joining->reason, errno, "free space under %s: %s", path, strerror(errno));
	quarter = (uint64_t)fs.f_bavail * fs.f_frsize / 4 & ~(MIB - 1);
	if (quarter < JOURNAL_LEAST)
		return fail(&joining->reason, ENOSPC,
		            "no space for a journal: the standby's file system under %s has %" PRIu64
		            " bytes free; it needs at least %" PRIu64,
		            path, (uint64_t)fs.f_bavail * fs.f_frsize, 4 * JOURNAL_LEAST);
	if (joining->config.journal > quarter)
		joining->config.journal = quarter;
	return 0;
}

static void describe(struct joining *joining)
{
	const struct wire_join *join = &joining->join;
	struct pair_config *config = &joining->config;
	struct pair_state *state = &joining->state;

	memcpy(config->name, join->pair_name, sizeof(config->name));
	snprintf(config->peer, sizeof(config->peer), "%s", join->listen);
	memcpy(config->listen, joining->invitation.config.listen, sizeof(config->listen));
	config->rpo = join->rpo;
	config->rto = join->rto;
	state->pair = join->pair;
	state->role = ROLE_STANDBY;
	state->lineage.generation = join->generation;
	memcpy(state->peer_key, joining->peer_key, sizeof(state->peer_key));
	state->volume_count = join->volume_count;
	for (unsigned i = 0; i < join->volume_count; i++) {
		memcpy(state->volumes[i].name, join->volumes[i].name, sizeof(state->volumes[i].name));
		state->volumes[i].bytes = join->volumes[i].bytes;
	}
}

static int make(struct joining *joining)
{
	const struct paths *paths = &joining->receiver->paths;
	const char *pair = joining->join.pair_name;
	uint64_t bytes[VOLUMES_MAX];
	int result = check_proof(joining);

	if (result < 0)
		return refuse(joining, REFUSAL_TOKEN, result);
	config_init(&joining->config);
	result = match_volumes(joining, bytes);
	if (!result)
		result = pair_check_volumes(paths, pair, joining->config.volumes, joining->config.volume_count, bytes,
		                            false, &joining->reason);
	if (result < 0)
		return refuse(joining, REFUSAL_VOLUMES, result);
	describe(joining);
	result = choose_journal(joining);
	if (!result)
		result = config_check(&joining->config, &joining->reason);
	if (!result)
		result = pair_prepare(paths, pair, &joining->state, &joining->reason);
	if (result == -EEXIST)
		return refuse(joining, REFUSAL_TOKEN, result);
	joining->made = true;
	if (!result)
		result = pair_commit(paths, &joining->config, &joining->reason);
	return refuse(joining, REFUSAL_INTERNAL, result);
}

static void make_work(struct job *job)
{
	struct joining *joining = of_job(job);

	joining->result = make(joining);
}

static void make_done(struct job *job)
{
	struct joining *joining = of_job(job);
	struct standby *standby;

	if (!joining->result && (joining->aborted || !joining->channel))
		joining->result = fail(&joining->reason, ECONNRESET, "the connection ended before the answer");
	if (joining->result < 0) {
		undo(joining);
		return;
	}
	link_trust(joining->channel);
	standby = standby_find(joining->receiver, joining->join.pair_name);
	if (!standby)
		standby = standby_start(joining->receiver, joining->join.pair_name);
	if (standby) {
		standby_await(standby, joining, opened);
	} else {
		fail(&joining->reason, ENOMEM, "out of memory");
		undo(joining);
	}
}

// -- the connection --

static void on_frame(void *user, const struct frame *frame)
{
	struct joining *joining = user;

	// Nothing may follow a JOIN; what is under way notices the end.
	(void)frame;
	channel_close(joining->channel);
	joining->channel = NULL;
}

static void on_closed(void *user, const char *why)
{
	struct joining *joining = user;

	(void)why;
	joining->channel = NULL;
}

void joining_start(struct receiver *receiver, struct channel *channel, const struct frame *frame)
{
	static const struct channel_events events = {on_frame, on_closed};
	struct joining *joining = calloc(1, sizeof(*joining)), *other;
	char reason[120];

	int error = joining ? wire_get_join(frame, &joining->join) : -ENOMEM;

	if (error < 0 && error != -EPROTONOSUPPORT) {
		refuse_channel(receiver, channel, joining ? REFUSAL_PROTOCOL : REFUSAL_INTERNAL, NULL,
		               joining ? "the JOIN is malformed" : "out of memory");
		free(joining);
		return;
	}
	if (error == -EPROTONOSUPPORT) {
		snprintf(reason, sizeof(reason),
		         "protocol versions %u to %u are not known here; this node speaks version %d",
		         joining->join.version_min, joining->join.version_max, WIRE_VERSION);
		refuse_channel(receiver, channel, REFUSAL_VERSION, NULL, reason);
		free(joining);
		return;
	}
	TAILQ_FOREACH(other, &receiver->joinings, entry)
	{
		if (!strcmp(other->join.pair_name, joining->join.pair_name)) {
			refuse_channel(receiver, channel, REFUSAL_BUSY, joining->join.pair_name,
			               "the pair is just being joined");
			free(joining);
			return;
		}
	}
	joining->receiver = receiver;
	joining->channel = channel;
	memcpy(joining->exporter, link_exporter(channel), sizeof(joining->exporter));
	memcpy(joining->peer_key, channel->peer_key, sizeof(joining->peer_key));
	channel->events = &events;
	channel->user = joining;
	TAILQ_INSERT_TAIL(&receiver->joinings, joining, entry);
	run(joining, make_work, make_done);
}

// Each ends by itself: its job, or its standby, is at an end soon.
void joinings_abort(struct receiver *receiver)
{
	struct joining *joining;

	TAILQ_FOREACH(joining, &receiver->joinings, entry)
	joining->aborted = true;
}
