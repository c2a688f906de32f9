// SPDX-License-Identifier: Apache-2.0
#include "turn_impl.h"

#include "common/daemon.h"
#include "common/log.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define DRAIN_NSEC (60 * NSEC_PER_SEC) // writers wait no longer than that
#define OUTCOME_NSEC (30 * NSEC_PER_SEC) // whoever ordered it waits no longer

static struct turn *turn_new(struct pair *pair, enum turn_kind kind, void *user, turn_done done)
{
	struct turn *turn = calloc(1, sizeof(*turn));
	struct error err;

	if (!turn) {
		if (done)
			done(user, fail(&err, ENOMEM, "pair %s: out of memory", pair->name), &err, NULL);
		return NULL;
	}
	turn->agent = pair->agent;
	turn->pair = pair;
	turn->kind = kind;
	turn->user = user;
	turn->done = done;
	snprintf(turn->name, sizeof(turn->name), "%s", pair->name);
	pair->turn = turn;
	return turn;
}

// Nothing was changed, or nothing more than was said before.
void turn_refuse(struct turn *turn, int error, const struct error *reason)
{
	struct pair *pair = turn->pair;

	clock_cancel(loop_clock(turn->agent->loop), &turn->timer);
	if (pair)
		pair->turn = NULL;
	log_event(LOG_LEVEL_WARNING, "role-not-changed", "pair=%s reason=%s", turn->name, reason->text);
	if (turn->done)
		turn->done(turn->user, error, reason, NULL);
	free(turn);
}

// Why the pair cannot change its role at all.
static int check_idle(const struct pair *pair, struct error *err)
{
	if (pair->turn)
		return fail(err, EBUSY, "pair %s: its role is just being changed", pair->name);
	if (pair->phase == PAIR_REFUSED)
		return fail(err, EINVAL, "pair %s cannot be used: %s", pair->name, pair->reason.text);
	if (pair->phase != PAIR_RUNNING && pair->phase != PAIR_FENCED)
		return fail(err, EAGAIN, "pair %s is starting or stopping; try again", pair->name);
	if (pair_redoes(pair))
		return fail(err, EAGAIN, "pair %s still brings its volumes up to date after the promotion; try again",
		            pair->name);
	return 0;
}

// -- draining --

static void drain_due(struct timer *timer)
{
	struct turn *turn = (struct turn *)((char *)timer - offsetof(struct turn, timer));
	struct source_status status;
	struct error err;

	source_status(turn->pair->source, &status);
	source_undrain(turn->pair->source);
	fail(&err, ETIMEDOUT,
	     "pair %s: %" PRIu64
	     " bytes are not on the standby after 60 s; nothing was changed, try again when the lag "
	     "is small",
	     turn->name, status.bytes_behind);
	turn_refuse(turn, -ETIMEDOUT, &err);
}

// The pair goes on by itself when it hears of its peer.
static void outcome_due(struct timer *timer)
{
	struct turn *turn = (struct turn *)((char *)timer - offsetof(struct turn, timer));
	struct error err;

	fail(&err, ETIMEDOUT,
	     "pair %s: the peer was told to take over and has not been heard of since; nothing is served here until it "
	     "is. To go on here: stead promote %s --force",
	     turn->name, turn->name);
	if (turn->done)
		turn->done(turn->user, -ETIMEDOUT, &err, NULL);
	turn->done = NULL;
}

static void handover_saved(void *user, int error)
{
	struct pair *pair = user;
	struct turn *turn = pair->turn;
	struct clock *clock = loop_clock(pair->agent->loop);
	struct error err;

	pair->saving--;
	if (pair->phase == PAIR_STOPPING) {
		pair_shut(pair);
		return;
	}
	if (!turn)
		return;
	if (error < 0) {
		pair->files.state.handover = false;
		source_undrain(pair->source);
		fail(&err, -error, "save the state of pair %s: %s", pair->name, strerror(-error));
		turn_refuse(turn, error, &err);
		return;
	}
	log_event(LOG_LEVEL_INFO, "handover", "pair=%s", pair->name);
	turn->timer.fire = outcome_due;
	clock_set(clock, &turn->timer, clock_now(clock) + OUTCOME_NSEC);
	source_take_over(pair->source);
}

static void drained(void *user, int error)
{
	struct turn *turn = user;
	struct pair *pair = turn->pair;
	struct error err;

	clock_cancel(loop_clock(turn->agent->loop), &turn->timer);
	if (error < 0) {
		fail(&err, -error,
		     "pair %s: the connection to the standby ended before it had everything; nothing was "
		     "changed",
		     turn->name);
		turn_refuse(turn, error, &err);
	} else if (turn->kind == TURN_SWITCHOVER) {
		pair->files.state.handover = true;
		pair_save(pair, pair, handover_saved);
	} else {
		turn_stop(turn);
	}
}

void turn_drain(struct pair *pair, enum turn_kind kind, void *user, turn_done done)
{
	struct clock *clock = loop_clock(pair->agent->loop);
	const char *verb = kind == TURN_SWITCHOVER ? "switch over" : "demote";
	struct error err, why;
	struct turn *turn;
	int result = check_idle(pair, &err);

	if (!result && pair->files.state.fenced)
		result = pair_fenced(pair, &err);
	if (result < 0) {
		done(user, result, &err, NULL);
		return;
	}
	turn = turn_new(pair, kind, user, done);
	if (!turn)
		return;
	turn->timer.fire = drain_due;
	clock_set(clock, &turn->timer, clock_now(clock) + DRAIN_NSEC);
	result = source_drain(pair->source, turn, drained, &why);
	if (result < 0) {
		fail(&err, -result, "%s pair %s: %s", verb, pair->name, why.text);
		turn_refuse(turn, result, &err);
	}
}

// -- switchover --

static void untaken_saved(void *user, int error)
{
	struct pair *pair = user;
	struct error err;

	pair->saving--;
	if (pair->phase == PAIR_STOPPING) {
		pair_shut(pair);
		return;
	}
	if (error < 0) { // asked again at the next contact
		pair->files.state.handover = true;
		log_event(LOG_LEVEL_ERROR, "state-not-kept", "pair=%s reason=%s", pair->name, strerror(-error));
		return;
	}
	log_event(LOG_LEVEL_WARNING, "not-taken-over", "pair=%s reason=%s", pair->name, pair->not_taken);
	source_undrain(pair->source);
	if (pair->turn) {
		fail(&err, ECANCELED, "pair %s stays the primary: %s", pair->name, pair->not_taken);
		turn_refuse(pair->turn, -ECANCELED, &err);
	}
}

void turn_not_taken(struct pair *pair, const char *why)
{
	if (!pair->files.state.handover)
		return; // it is being saved
	snprintf(pair->not_taken, sizeof(pair->not_taken), "%s", why);
	pair->files.state.handover = false;
	pair_save(pair, pair, untaken_saved);
}

// -- the peer was promoted --

static bool nothing_beyond(const struct pair *pair)
{
	struct source_status status;

	source_status(pair->source, &status);
	return (status.handed || (status.complete && !status.bytes_behind)) && !status.split;
}

void turn_fenced(struct pair *pair)
{
	struct turn *turn = pair->turn;
	struct error err;
	bool clean = nothing_beyond(pair);

	if (turn && (turn->kind != TURN_SWITCHOVER || !clean)) {
		fail(&err, EPERM, "pair %s: the peer was promoted meanwhile, by force", pair->name);
		turn_refuse(turn, -EPERM, &err);
		turn = NULL;
	}
	if (!turn && (clean || (pair->files.config.auto_resync && !pair->files.state.split)) && !pair_redoes(pair)) {
		turn = turn_new(pair, TURN_RETURN, NULL, NULL);
		if (turn)
			turn->salvage = true;
	}
	if (turn)
		turn_stop(turn);
}

// A pair that was found fenced has only its state open. With a turn all is.
static void open_wholly(struct pair *pair)
{
	pair_files_close(&pair->files, false);
	pair_reopen(pair);
}

// A node that was fenced, and stopped before it could follow its successor:
// without anything of its own it need not be told to.
bool turn_found_fenced(struct pair *pair)
{
	const struct pair_state *state = &pair->files.state;
	bool ordered = pair->files.config.auto_resync;
	struct turn *turn;

	if (state->split || state->redo || (!ordered && state->local_bytes))
		return false;
	turn = turn_new(pair, TURN_RETURN, NULL, NULL);
	if (!turn)
		return false;
	turn->salvage = true;
	turn->tentative = !ordered;
	open_wholly(pair);
	return true;
}

// -- resync, and going on by force --

static void stop_or_open(struct turn *turn)
{
	if (turn->pair->phase == PAIR_RUNNING)
		turn_stop(turn);
	else
		open_wholly(turn->pair);
}

static int check_resync(const struct pair *pair, bool discard, struct error *err)
{
	struct source_status status = {0};
	const struct pair_state *state = &pair->files.state;
	bool kept_apart = false;

	if (pair->source) {
		source_status(pair->source, &status);
		kept_apart = status.state == SOURCE_STATE_SPLIT_BRAIN || status.state == SOURCE_STATE_DIVERGED ||
		             status.state == SOURCE_STATE_REFUSED;
	}
	if (!state->fenced && !kept_apart)
		return fail(err, EPERM,
		            "pair %s: this node is the primary, and no newer one is known; resync is for the node that "
		            "is to be overwritten",
		            pair->name);
	if ((!state->fenced || state->split) && !discard)
		return fail(err, EPERM,
		            "pair %s: both nodes were written to; to give up what was written on this one (%" PRIu64
		            " bytes): stead resync %s --discard-local",
		            pair->name, pair->source ? status.bytes_behind : state->local_bytes, pair->name);
	return 0;
}

void turn_resync(struct pair *pair, bool discard, bool keep, void *user, turn_done done)
{
	struct error err;
	struct turn *turn;
	int result = check_idle(pair, &err);

	if (!result)
		result = check_resync(pair, discard, &err);
	if (result < 0) {
		done(user, result, &err, NULL);
		return;
	}
	turn = turn_new(pair, TURN_RETURN, user, done);
	if (!turn)
		return;
	turn->salvage = keep;
	turn->yields = discard;
	stop_or_open(turn);
}

static void served(void *user, int error)
{
	struct pair *pair = user;
	struct turn *turn = pair->turn;
	struct turned turned = {0};
	struct error err;

	pair->saving--;
	if (pair->phase == PAIR_STOPPING) {
		pair_shut(pair);
		return;
	}
	if (error < 0) {
		pair->files.state.handover = true;
		fail(&err, -error, "save the state of pair %s: %s", pair->name, strerror(-error));
		turn_refuse(turn, error, &err);
		return;
	}
	source_undrain(pair->source);
	source_serve(pair->source);
	pair->turn = NULL;
	turn->done(turn->user, 0, NULL, &turned);
	free(turn);
}

void turn_force(struct pair *pair, void *user, turn_done done)
{
	struct error err;
	struct turn *turn;
	int result;

	if (pair->turn && pair->files.state.handover && !pair->turn->done && !pair->turn->going) {
		free(pair->turn); // whoever ordered it has been told
		pair->turn = NULL;
	}
	result = check_idle(pair, &err);
	if (!result && !pair->files.state.fenced && pair->serving && !pair->files.state.handover)
		result = fail(&err, EPERM, "pair %s: this node is the primary already, and serves", pair->name);
	if (result < 0) {
		done(user, result, &err, NULL);
		return;
	}
	turn = turn_new(pair, TURN_FORCE, user, done);
	if (!turn)
		return;
	if (pair->files.state.fenced) {
		stop_or_open(turn);
		return;
	}
	pair->files.state.handover = false;
	pair_save(pair, pair, served);
}
