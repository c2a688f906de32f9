// SPDX-License-Identifier: Apache-2.0
// The second half of a change of role: the pair has stopped, its state is
// written anew, and the daemon of its new role takes it up. Until the state is
// written the pair is what it was.
#include "turn_impl.h"

#include "salvage.h"

#include "common/daemon.h"
#include "common/log.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static void finish(struct turn *turn)
{
	struct agent *agent = turn->agent;

	if (turn->done)
		turn->done(turn->user, turn->result, &turn->reason, &turn->turned);
	free(turn);
	agent->busy--;
	agent_settle(agent);
}

static void receiver_told(void *user, int error, json_t *answer, const struct error *reason)
{
	struct turn *turn = user;

	(void)answer;
	(void)reason;
	if (error == -ENOTCONN)
		turn->turned.note =
		        "no stead-receiver runs on this node: start it, and the pair is taken up as its standby";
	else if (error < 0)
		turn->turned.note =
		        "stead-receiver did not answer: restart it, and the pair is taken up as its standby";
	finish(turn);
}

static void tell_receiver(struct turn *turn)
{
	struct agent *agent = turn->agent;

	log_event(LOG_LEVEL_WARNING, "demoted", "pair=%s epoch=%" PRIu64 " discarded=%" PRIu64 " salvage=%s",
	          turn->name, turn->cut, turn->turned.discarded,
	          turn->turned.salvage[0] ? turn->turned.salvage : "none");
	if (control_ask_on(agent->loop, agent->paths.receiver_socket, json_pack("{s:s}", "command", CONTROL_RELOAD),
	                   ASK_MS, turn, receiver_told) < 0)
		receiver_told(turn, -ENOMEM, NULL, NULL);
}

static void started(void *user, int error, const struct error *reason)
{
	struct turn *turn = user;

	turn->result = error;
	if (error < 0)
		turn->reason = *reason;
	finish(turn);
}

// Again as the primary: as what it was, or by force.
static void start_again(struct turn *turn)
{
	struct agent *agent = turn->agent;
	struct pair *pair = agent->stopping ? NULL : pair_start(agent, turn->name);

	if (!turn->result && pair) {
		pair_serve(pair);
		if (pair_await(pair, ASK_MS / 1000, turn, started) == 0)
			return;
	}
	finish(turn);
}

static void stopped(void *user)
{
	struct turn *turn = user;

	turn->pair = NULL;
	if (turn->result < 0)
		log_event(LOG_LEVEL_ERROR, "role-not-changed", "pair=%s reason=%s", turn->name, turn->reason.text);
	if (!turn->result && turn->kind != TURN_FORCE)
		tell_receiver(turn);
	else
		start_again(turn);
}

void turn_stop(struct turn *turn)
{
	clock_cancel(loop_clock(turn->agent->loop), &turn->timer);
	turn->agent->busy++;
	turn->going = true;
	pair_stop(turn->pair, stopped, turn);
}

void turn_abandon(struct pair *pair, int error, const struct error *reason)
{
	if (pair->turn && !pair->turn->going)
		turn_refuse(pair->turn, error, reason);
}

// -- between the engine's end and that of the files --

static void salvage_work(struct job *job)
{
	struct turn *turn = (struct turn *)((char *)job - offsetof(struct turn, job));
	struct pair_files *files = &turn->pair->files;
	uint64_t bytes;

	turn->result = salvage(&turn->agent->paths, &files->config, &files->state, turn->pair->source,
	                       turn->turned.salvage, &bytes, &turn->reason);
	if (turn->result < 0)
		turn->turned.salvage[0] = '\0';
}

static void salvage_done(struct job *job)
{
	struct turn *turn = (struct turn *)((char *)job - offsetof(struct turn, job));

	turn->salvaging = false;
	turn->salvaged = true;
	pair_shut(turn->pair);
}

bool turn_busy(struct pair *pair)
{
	struct turn *turn = pair->turn;
	struct source_status status;

	if (!turn || !turn->going || turn->salvaged)
		return false;
	if (turn->salvaging)
		return true;
	turn->salvaged = true;
	if (!pair->source) {
		turn->result =
		        fail(&turn->reason, EIO, "pair %s could not be opened: %s", pair->name, pair->reason.text);
		return false;
	}
	source_status(pair->source, &status);
	turn->wall = clock_wall(loop_clock(turn->agent->loop));
	// Also after a handover: a power failure may have taken what the peer has.
	turn->beyond = status.bytes_behind || !status.complete;
	turn->cut = turn->beyond          ? status.open - 1
	            : status.acknowledged ? status.acknowledged
	                                  : pair->files.state.promoted_epoch;
	turn->turned.discarded = status.bytes_behind;
	turn->since = status.oldest;
	if (turn->kind != TURN_RETURN || turn->tentative || !turn->salvage || status.handed || !status.bytes_behind)
		return false;
	turn->salvaged = false;
	turn->salvaging = true;
	turn->job.work = salvage_work;
	turn->job.done = salvage_done;
	if (job_start(turn->agent->loop, &turn->job) < 0) {
		turn->salvaging = false;
		turn->salvaged = true;
		turn->result = fail(&turn->reason, EAGAIN, "pair %s: no thread to keep what is discarded", pair->name);
		return false;
	}
	return true;
}

// Somebody has to decide: it is not looked at again.
static void stay_fenced(struct pair_state *state, struct turn *turn)
{
	state->local_bytes = turn->turned.discarded;
	state->local_since = turn->since;
	for (unsigned i = 0; !state->local_bytes && i < state->volume_count; i++)
		state->local_bytes += state->volumes[i].bytes; // all of it may differ
	turn->result = fail(&turn->reason, EPERM, "pair %s holds up to %" PRIu64 " bytes that its peer never had",
	                    turn->name, state->local_bytes);
}

static void become_primary(struct pair_state *state, const struct turn *turn)
{
	struct id alone = id_random(daemon_random, NULL), generation = id_random(daemon_random, NULL);

	// What it wrote alone is no epoch that its peer could hold.
	lineage_push(&state->lineage, &alone, turn->cut);
	lineage_push(&state->lineage, &generation, turn->cut + 1);
	state->fenced = state->split = state->untouched = state->handover = false;
	state->born = turn->wall;
	state->promoted_epoch = turn->cut + 1;
	state->promoted_point = state->born;
}

void turn_files(struct pair *pair)
{
	struct turn *turn = pair->turn;
	struct pair_state state = pair->files.state;

	pair_files_release(&pair->files, pair->clean);
	if (!turn->result && turn->tentative && turn->beyond) {
		struct error ignored;

		stay_fenced(&state, turn);
		(void)pair_files_become(&pair->files, &turn->agent->paths, &state, &ignored);
	}
	if (!turn->result) {
		if (turn->kind == TURN_FORCE)
			become_primary(&state, turn);
		else
			state_return(&state, turn->cut, turn->beyond, turn->yields, turn->wall);
		state.local_bytes = 0;
		state.local_since = 0;
		turn->result = pair_files_become(&pair->files, &turn->agent->paths, &state, &turn->reason);
	}
	pair_files_close(&pair->files, false);
}
