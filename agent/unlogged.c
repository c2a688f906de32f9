// SPDX-License-Identifier: Apache-2.0
// Writes that the write-intent log cannot name: its disk is full, read-only or
// broken, and the application goes on. A power failure now would leave a log that
// says nothing of them. So it is told before the first of them passes, to whom it
// can be told: the caller, who keeps a mark elsewhere, and the standby, who keeps
// it in its state. Who starts and finds either compares everything.
#include "engine.h"

#include "common/mutant.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static void begin(struct source *source, int error)
{
	char why[120];

	source->unlogged = true;
	source->marking_unlogged = true;
	snprintf(why, sizeof(why), "the write-intent log cannot be written: %s", strerror(-error));
	unlogged_tell(source);
	source_tell(source, SOURCE_UNLOGGED, 0, why);
}

int unlogged_pass(struct source *source, struct request *request, int error)
{
	if (!source->unlogged)
		begin(source, error);
	if (!source->marking_unlogged)
		return 0;
	waiter_add(&source->unmarked, &request->waiter);
	return -EAGAIN;
}

void source_unlogged(struct source *source)
{
	source->marking_unlogged = false;
	waiter_wake_all(&source->unmarked);
	shipper_pump(source);
}

// What was forgotten, if anything was, is known again, and durably so.
static bool all_known(const struct source *source)
{
	return !source->map.suspect && !intent_noted_suspect(source->intent) &&
	       intent_noted_cut(source->intent) >= source->map.cut;
}

// To the standby of this connection, before any epoch that the log does not know.
void unlogged_tell(struct source *source)
{
	uint8_t body[WIRE_BODY_MAX];

	if (!uplink_ready(source) || source->told_unlogged == source->unlogged)
		return;
	if (!source->unlogged && (source->plan != PLAN_CHANGES || !all_known(source)))
		return;
	source->told_unlogged = source->unlogged;
	if (!MUTANT(UNLOGGED_NOT_TOLD))
		uplink_send(source, FRAME_UNLOGGED, body, wire_put_unlogged(body, &source->unlogged));
}

bool unlogged_told(const struct source *source)
{
	return source->unlogged && source->told_unlogged && !source->marking_unlogged;
}

void unlogged_tick(struct source *source)
{
	int error = intent_error(source->intent);

	if (error && !source->unlogged) {
		begin(source, error);
	} else if (source->unlogged && !source->marking_unlogged && intent_whole(source->intent) && all_known(source)) {
		source->unlogged = false;
		source_tell(source, SOURCE_LOGGED, 0, NULL);
	}
	unlogged_tell(source);
}
