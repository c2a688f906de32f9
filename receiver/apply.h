// SPDX-License-Identifier: Apache-2.0
// From the journal to the volumes: durable epochs, one after another, each
// flushed before the journal may forget it.
#ifndef STEAD_APPLY_H
#define STEAD_APPLY_H

#include "common/clock.h"
#include "common/error.h"
#include "common/state.h"
#include "journal.h"
#include "volumes.h"

#include <stdbool.h>

struct apply;

struct apply_events {
	// The epoch is in the volumes, durably; the journal forgets it when this
	// is true. Else it is asked again by the next apply_advance().
	bool (*settle)(void *user, const struct commit *commit);
	void (*applied)(void *user, uint64_t epoch);
	// A record that was durable cannot be read as it was written.
	void (*damaged)(void *user, const struct error *err);
	void (*progress)(void *user);
};

// NULL without memory.
struct apply *apply_new(struct clock *clock, struct journal *journal, struct volumes *volumes,
                        const struct state_volume *table, unsigned volume_count, const struct apply_events *events,
                        void *user);
void apply_free(struct apply *apply);

// Does what can be done now; called whenever anything has changed.
void apply_advance(struct apply *apply);

// Every durable epoch is applied, flushed and forgotten.
bool apply_done(const struct apply *apply);

// Held, it leaves an epoch that it is writing, to begin it anew when it is
// released. What was flushed is settled first.
bool apply_hold(struct apply *apply, bool hold); // whether it is new to it

// Takes no more up. Idle: nothing of it is under way.
void apply_stop(struct apply *apply);
bool apply_idle(const struct apply *apply);

// Why it stands still (it tries again each second); NULL: it does not.
const char *apply_trouble(const struct apply *apply);

#endif
