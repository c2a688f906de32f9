// SPDX-License-Identifier: Apache-2.0
// The last hour of each pair, in steps: what the web page draws. The memory is
// bounded, whatever pairs come and go.
#ifndef STEAD_HISTORY_H
#define STEAD_HISTORY_H

#include "clock.h"
#include "config.h"

#include <stdbool.h>
#include <stdint.h>

#define HISTORY_STEP (5 * NSEC_PER_SEC)
#define HISTORY_POINTS 720 // an hour
#define HISTORY_PAIRS 256

enum history_state {
	HISTORY_UNKNOWN, // the worse, the greater
	HISTORY_OK,
	HISTORY_AT_RISK,
	HISTORY_BREACHED,
};

// One step, or what is known at one moment of it. Negative: not known.
struct history_point {
	float lag; // seconds; of a step the greatest
	float change, ship; // bytes a second; of a step the mean
	enum history_state state; // of a step the worst
};

// Of one pair. The newest point is that of step `newest`, points[newest %
// HISTORY_POINTS]; none is older than step `first`.
struct history_series {
	char pair[NAME_MAX_LENGTH + 1];
	uint64_t first, newest;
	unsigned changes, ships; // known moments in the newest step
	struct history_point points[HISTORY_POINTS];
};

struct history;

struct history *history_new(void); // NULL without memory
void history_free(struct history *history); // NULL: does nothing

// Takes a moment into the step that it falls into; now is clock_now(), and
// never goes back. What is NULL is not kept: there are HISTORY_PAIRS others, of
// which none was gone for an hour.
const struct history_series *history_add(struct history *history, const char *pair, uint64_t now,
                                         const struct history_point *moment);

// The index-th of them, NULL: there are no more.
const struct history_series *history_series(const struct history *history, unsigned index);

#endif
