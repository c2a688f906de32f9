// SPDX-License-Identifier: Apache-2.0
// What the standby is to its peer: its generation, which a durable epoch may
// have changed before the state says so; a switchover; and giving way.
#include "sink_impl.h"

#include "common/mutant.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

uint64_t roles_left_at(const struct sink *sink)
{
	const struct ancestor *left = lineage_find(&sink->session.hello.lineage, &sink->lineage.generation);

	return left ? left->epoch : 0;
}

struct standing roles_standing(const struct sink *sink)
{
	bool standby = sink->state.role == ROLE_STANDBY;

	return (struct standing){
	        .role = sink->state.role,
	        .lineage = sink->lineage,
	        .born = sink->born,
	        .epoch = standby ? journal_durable(sink->journal) : sink->state.promoted_epoch,
	        .consistent = sink->consistent,
	        .returned = sink->returned,
	        .mapped = sink->beyond && beyond_covers(sink->beyond, roles_left_at(sink)),
	        .yields = sink->yields,
	};
}

bool roles_beyond(const struct sink *sink)
{
	return sink->returned && (!sink->beyond || journal_durable(sink->journal) > beyond_cut(sink->beyond));
}

static void follow(struct sink *sink, const struct lineage *lineage, int64_t born)
{
	sink->lineage = *lineage;
	sink->born = born;
	sink->returned = false;
	sink->fenced = false;
	sink->yields = false;
	beyond_free(sink->beyond);
	sink->beyond = NULL;
}

void roles_opened(struct sink *sink)
{
	const struct pair_state *state = &sink->state;
	const struct commit *adoption = state->role == ROLE_STANDBY ? journal_adoption(sink->journal) : NULL;

	sink->lineage = state->lineage;
	sink->born = state->born;
	sink->returned = state->returned;
	sink->fenced = state->fenced;
	sink->yields = state->yields;
	if (adoption)
		follow(sink, &adoption->lineage, adoption->born);
	else if (sink->returned)
		sink->beyond = beyond_open(sink->config.map, state);
	if (sink->returned && !sink->recovery_point)
		sink->recovery_point = state->promoted_point;
}

void roles_adopt(struct sink *sink, const struct commit *commit)
{
	follow(sink, &commit->lineage, commit->born);
	sink_event(sink, SINK_ADOPTED, commit->epoch, NULL);
}

bool roles_saved(const struct sink *sink)
{
	const struct pair_state *state = &sink->state;

	return id_equal(&state->lineage.generation, &sink->lineage.generation) && state->returned == sink->returned &&
	       state->yields == sink->yields && state->fenced == sink->fenced;
}

void roles_next(struct sink *sink)
{
	sink->next.lineage = sink->lineage;
	sink->next.born = sink->born;
	sink->next.returned = sink->returned;
	sink->next.fenced = sink->fenced;
	sink->next.yields = sink->yields;
	if (!sink->returned)
		sink->next.base_epoch = 0;
}

// Switchover.

void sink_decline(struct sink *sink, const char *why)
{
	struct wire_decline decline;
	uint8_t body[WIRE_BODY_MAX];

	if (sink->session.stage != SESSION_OPEN || !sink->session.takeover)
		return;
	sink->session.takeover = false;
	snprintf(decline.reason, sizeof(decline.reason), "%.*s", REASON_MAX, why);
	session_send(sink, FRAME_DECLINE, body, wire_put_decline(body, &decline));
}

void roles_takeover(struct sink *sink, uint64_t epoch)
{
	const struct session *session = &sink->session;
	char why[120];

	sink->session.takeover = true;
	if (!session->takes_epochs || session->adopting || !sink->consistent ||
	    epoch != journal_durable(sink->journal) || session->received != epoch) {
		snprintf(why, sizeof(why), "the standby stands at epoch %" PRIu64 ", not at %" PRIu64,
		         journal_durable(sink->journal), epoch);
		sink_decline(sink, why);
		return;
	}
	sink_event(sink, SINK_TAKEOVER, epoch, NULL);
}

bool sink_asked(const struct sink *sink)
{
	return (sink->session.stage == SESSION_OPEN && sink->session.takeover) || MUTANT(TAKEOVER_TOO_LATE);
}

int sink_ask_switchover(struct sink *sink, struct error *err)
{
	if (sink->failed)
		return fail(err, EPERM, "standby cannot be used: %s", sink->failed_text.text);
	if (sink->session.stage != SESSION_OPEN || !sink->session.takes_epochs)
		return fail(err, EPERM, "the primary is not connected; if it is lost: stead promote --force");
	if (!sink->consistent || sink->session.adopting)
		return fail(err, EPERM, "the standby is not in step yet: wait until the sync is complete");
	session_send(sink, FRAME_SWITCHOVER, NULL, 0);
	return 0;
}

// Giving way.

static void yield_saved(struct sink *sink, int error)
{
	sink->yield_over = true;
	sink->yield_error = error;
	if (!error) {
		sink->yields = true;
		session_end(sink, "what this standby holds may be overwritten now");
	}
	sink_soon(sink);
}

void roles_advance(struct sink *sink)
{
	if (!sink->yielded || sink->yield_over || sink->saving)
		return;
	sink->next = sink->state;
	sink->next.yields = true;
	sink_save(sink, yield_saved);
}

void roles_report(struct sink *sink)
{
	void (*yielded)(void *user, int error, const struct error *reason) = sink->yielded;
	struct error err = {""};

	if (!yielded || !sink->yield_over)
		return;
	if (sink->yield_error)
		fail(&err, -sink->yield_error, "write pair state: %s", strerror(-sink->yield_error));
	sink->yielded = NULL;
	yielded(sink->yield_user, sink->yield_error, &err);
}

void sink_yield(struct sink *sink, void *user, void (*done)(void *user, int error, const struct error *reason))
{
	sink->yielded = done;
	sink->yield_user = user;
	sink->yield_over = false;
	sink_soon(sink);
}
