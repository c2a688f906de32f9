// SPDX-License-Identifier: Apache-2.0
// Changes that are held back: the first one of a generation, until the state
// says that it has begun; and all of them while the role is handed over.
#include "engine.h"

#include "common/mutant.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

int handover_pass(struct source *source, struct request *request)
{
	if (source->drain >= DRAIN_HOLDING && !MUTANT(DRAINED_NOT_HELD)) {
		waiter_add(&source->held, &request->waiter);
		return -EAGAIN;
	}
	if (!source->untouched)
		return 0;
	if (source->touch_error)
		return source->touch_error;
	waiter_add(&source->held, &request->waiter);
	if (!source->touching) {
		source->touching = true;
		source_tell(source, SOURCE_TOUCHED, 0, NULL);
	}
	return -EAGAIN;
}

void source_touched(struct source *source, int error)
{
	source->untouched = error != 0;
	source->touching = false;
	source->touch_error = error; // of those that wait now; the next one tries again
	waiter_wake_all(&source->held);
	source->touch_error = 0;
}

void handover_end(struct source *source)
{
	source->drain = DRAIN_NONE;
	source->drained = NULL;
	clock_cancel(source->clock, &source->drain_timer);
	waiter_wake_all(&source->held);
}

// Never from within a call of the one who waits.
static void tell_drained(struct timer *timer)
{
	struct source *source = container_of(timer, struct source, drain_timer);
	void (*drained)(void *user, int error) = source->drained;
	int error = source->drain == DRAIN_DRY ? 0 : -ENOTCONN;

	if (source->handover) {
		handover_contact(source, "the standby is not in step any more");
		return;
	}
	source->drained = NULL;
	if (error)
		handover_end(source);
	if (drained)
		drained(source->drain_user, error);
}

void handover_init(struct source *source)
{
	source->drain_timer.fire = tell_drained;
	source->untouched = source->state.untouched;
	source->handover = source->state.handover && !MUTANT(HANDOVER_FORGOTTEN);
}

static bool nothing_left(const struct source *source)
{
	const struct request *request;

	TAILQ_FOREACH(request, &source->changes, changes)
	if (request->marked)
		return false;
	for (unsigned i = 0; i < MAP_SETS; i++)
		if (!set_empty(&source->map, &source->map.sets[i]) &&
		    !(MUTANT(DRAINED_TOO_EARLY) && source->map.sets[i].state == SET_FROZEN))
			return false;
	return !source->capturing.number && (!source->sent_count || MUTANT(DRAINED_TOO_EARLY)) && !source->adopting &&
	       source->plan == PLAN_CHANGES;
}

void handover_check(struct source *source)
{
	if (source->drain == DRAIN_SHIPPING &&
	    (source->settled >= source->drain_epoch || set_empty(&source->map, source->open)))
		source->drain = DRAIN_HOLDING;
	if (source->drain != DRAIN_HOLDING || source->stopping)
		return;
	if (!nothing_left(source)) {
		epoch_consider(source);
		return;
	}
	source->drain = DRAIN_DRY;
	source->drain_epoch = source->settled;
	clock_set(source->clock, &source->drain_timer, 0);
}

void handover_lost(struct source *source)
{
	if (source->drain == DRAIN_NONE || source->handover)
		return;
	// Also where it was dry: whoever was told will learn that it cannot go on.
	if (source->drained) {
		source->drain = DRAIN_HOLDING;
		clock_set(source->clock, &source->drain_timer, 0);
	}
}

int source_drain(struct source *source, void *user, void (*done)(void *user, int error), struct error *err)
{
	if (source->drain != DRAIN_NONE || source->handover)
		return fail(err, EPERM, "it is just being handed over");
	if (source->fenced || source->stopping)
		return fail(err, EPERM, "this node does not serve the pair");
	if (!uplink_ready(source))
		return fail(err, EPERM, "the standby is not connected, and %llu bytes may not be there",
		            (unsigned long long)source_behind(source));
	if (source->paused)
		return fail(err, EPERM, "replication is paused; resume it first");
	if (source->stuck)
		return fail(err, EPERM, "%llu bytes have changed, more than the standby's journal can hold",
		            (unsigned long long)source_behind(source));
	if (source->plan != PLAN_CHANGES || source->adopting)
		return fail(err, EPERM, "the standby is not in step yet: wait until the sync is complete");
	source->drain = DRAIN_SHIPPING;
	source->drain_user = user;
	source->drained = done;
	source->drain_epoch = source->map.cut + 1;
	handover_check(source);
	return 0;
}

void source_undrain(struct source *source)
{
	source->handover = false;
	handover_end(source);
	if (uplink_ready(source))
		source_serve(source);
}

void source_take_over(struct source *source)
{
	struct wire_epoch last = {.epoch = source->drain_epoch, .wall = clock_wall(source->clock)};
	uint8_t body[WIRE_BODY_MAX];

	source->handover = true;
	if (!uplink_ready(source))
		return; // the next handshake says that nobody took over
	// It may have been taken back to an older state meanwhile.
	if (source->settled == source->drain_epoch && nothing_left(source))
		uplink_send(source, FRAME_TAKEOVER, body, wire_put_epoch(body, &last));
	else
		clock_set(source->clock, &source->drain_timer, 0);
}

void handover_contact(struct source *source, const char *why)
{
	if (source->handover)
		source_tell(source, SOURCE_NOT_TAKEN, 0, why);
}

void source_decline(struct source *source, const char *why)
{
	struct wire_decline decline;
	uint8_t body[WIRE_BODY_MAX];

	snprintf(decline.reason, sizeof(decline.reason), "%.*s", REASON_MAX, why);
	if (uplink_ready(source))
		uplink_send(source, FRAME_DECLINE, body, wire_put_decline(body, &decline));
}
