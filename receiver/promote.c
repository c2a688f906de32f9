// SPDX-License-Identifier: Apache-2.0
// The standby becomes the primary: a new generation is made, durably. What is
// durable and not applied yet stays in the journal, for the primary to redo
// while it serves.
#include "sink_impl.h"

#include "common/mutant.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define ALIVE_WITHIN (5 * NSEC_PER_SEC)

// All orders that wait get the same end.
static void finish(struct sink *sink, int error, const struct error *err)
{
	for (struct promotion *promotion = sink->promotions; promotion; promotion = promotion->next) {
		if (promotion->over)
			continue;
		promotion->over = true;
		promotion->error = error;
		if (err)
			promotion->reason = *err;
	}
	sink->promoting = false;
	if (error)
		apply_hold(sink->apply, false);
	sink_soon(sink);
}

void promote_report(struct sink *sink)
{
	struct promotion **link = &sink->promotions, *over = NULL, **last = &over, *next;

	while (*link) {
		struct promotion *promotion = *link;

		if (!promotion->over) {
			link = &promotion->next;
			continue;
		}
		*link = promotion->next;
		promotion->next = NULL;
		*last = promotion;
		last = &promotion->next;
	}
	for (; over; over = next) {
		next = over->next;
		over->done(over->user, over->error, &over->reason);
		free(over);
	}
}

void promote_free(struct sink *sink)
{
	while (sink->promotions) {
		struct promotion *promotion = sink->promotions;

		sink->promotions = promotion->next;
		free(promotion);
	}
}

void promote_cancel(struct sink *sink, const char *why)
{
	struct error err;

	if (!sink->promoting || sink->saving)
		return;
	fail(&err, EIO, "promote: %s", why);
	finish(sink, -EIO, &err);
}

static int may_promote(struct sink *sink, bool force, struct error *err)
{
	const struct session *session = &sink->session;
	struct sink_status status;

	if (sink->failed)
		return fail(err, EIO, "standby cannot be used: %s", sink->failed_text.text);
	if (sink->stopping)
		return fail(err, EPERM, "the receiver stops");
	if (sink->state.role == ROLE_PRIMARY)
		return fail(err, EPERM, "this node is the primary already");
	if (sink->fenced && !force)
		return fail(
		        err, EPERM,
		        "this node was the primary until its peer was promoted over it; promote there, or use --force to "
		        "go on with what this node holds");
	if (!sink->consistent) {
		sink_status(sink, &status);
		return fail(err, EPERM,
		            "the standby is not consistent: %" PRIu64 " of %" PRIu64
		            " bytes of the %s are done, and it must be complete",
		            status.sync_done, status.sync_total,
		            sink->state.partial ? "resync with changes that the journal could not hold" : "full sync");
	}
	if (!force && session->stage == SESSION_OPEN &&
	    (session->held || clock_now(sink->clock) - sink->heard < ALIVE_WITHIN))
		return fail(err, EPERM, "a primary at %s is alive and connected; stop it first or use --force",
		            session->channel->peer);
	return 0;
}

static void promoted(struct sink *sink, int error)
{
	struct error err;

	if (error) {
		// nobody knows which role the state has now, until it is read again
		fail(&err, -error, "write pair state: %s; restart the receiver to find the pair's role",
		     strerror(-error));
		finish(sink, error, &err);
		sink_fail(sink, &err);
		return;
	}
	roles_opened(sink);
	finish(sink, 0, NULL);
}

static bool ready(struct sink *sink)
{
	if (sink->saving || !journal_settled(sink->journal) || !direct_idle(sink) || !compare_idle(sink))
		return false;
	if (MUTANT(PROMOTED_BEFORE_APPLIED))
		return true;
	// A journal that cannot be written is no reason not to serve, but its
	// superblock may not say how far it reaches.
	if (apply_hold(sink->apply, !journal_trouble(sink->journal)))
		sink->again = true;
	if (journal_trouble(sink->journal))
		return apply_done(sink->apply);
	if (!apply_idle(sink->apply))
		return false;
	return journal_next(sink->journal) ? journal_saved(sink->journal) : journal_drained(sink->journal);
}

void promote_advance(struct sink *sink)
{
	struct id generation, alone;
	struct error err;

	if (!sink->promoting || sink->state.role == ROLE_PRIMARY)
		return;
	if (apply_trouble(sink->apply)) {
		promote_cancel(sink, apply_trouble(sink->apply));
		return;
	}
	if (!ready(sink))
		return;
	if (may_promote(sink, true, &err)) { // a full sync may have begun meanwhile
		finish(sink, -EPERM, &err);
		return;
	}
	generation = id_random(sink->config.random, sink->config.user);
	sink->next = sink->state;
	sink->next.role = ROLE_PRIMARY;
	sink->next.consistent = true;
	sink->next.partial = false;
	sink->next.lineage = sink->lineage;
	sink->next.born = clock_wall(sink->clock);
	sink->next.untouched = true;
	sink->next.fenced = sink->next.split = sink->next.returned = sink->next.yields = false;
	sink->next.base_epoch = 0;
	sink->next.redo = journal_next(sink->journal) && !MUTANT(PROMOTED_BEFORE_APPLIED);
	// What it wrote alone is no epoch that its peer could hold.
	if (roles_beyond(sink)) {
		alone = id_random(sink->config.random, sink->config.user);
		lineage_push(&sink->next.lineage, &alone, journal_durable(sink->journal) - 1);
	}
	lineage_push(&sink->next.lineage, &generation, journal_durable(sink->journal));
	sink->next.promoted_epoch = journal_durable(sink->journal);
	sink->next.promoted_point = sink->recovery_point;
	sink_save(sink, promoted);
}

void sink_promote(struct sink *sink, bool force, void *user,
                  void (*done)(void *user, int error, const struct error *reason))
{
	struct promotion *promotion = calloc(1, sizeof(*promotion));
	struct error err;
	int error;

	if (!promotion) {
		fail(&err, ENOMEM, "no memory to promote");
		done(user, -ENOMEM, &err); // the one answer that comes from within
		return;
	}
	promotion->user = user;
	promotion->done = done;
	promotion->next = sink->promotions;
	sink->promotions = promotion;
	error = may_promote(sink, force, &promotion->reason);
	if (error) {
		promotion->over = true;
		promotion->error = error;
	} else {
		sink->promoting = true;
		session_end(sink, "the standby is being promoted");
	}
	sink_soon(sink);
}
