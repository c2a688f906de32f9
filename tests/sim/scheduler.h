// SPDX-License-Identifier: Apache-2.0
// Virtual time: everything that is pending is an event with the moment at which
// it happens, and time jumps to the next. Moments are drawn at random by who
// adds the event, ties are broken at random here, so completions are reordered.
#ifndef STEAD_SIM_SCHEDULER_H
#define STEAD_SIM_SCHEDULER_H

#include "common/clock.h"
#include "rng.h"

#include <stdbool.h>
#include <stdint.h>

#define USEC UINT64_C(1000)
#define MSEC UINT64_C(1000000)
#define SEC UINT64_C(1000000000)

// Embedded by its owner, zeroed before its first use.
struct event {
	void (*run)(struct event *event);
	uint64_t time;
	uint64_t tie;
	unsigned slot; // place in the heap, from 1; 0: not pending
};

struct scheduler {
	uint64_t now; // ns
	uint64_t steps;
	struct rng *rng;
	struct event **heap;
	unsigned count, capacity;
};

void scheduler_init(struct scheduler *scheduler, struct rng *rng);
void scheduler_done(struct scheduler *scheduler);
void scheduler_add(struct scheduler *scheduler, struct event *event, uint64_t delay);
void scheduler_remove(struct scheduler *scheduler, struct event *event); // harmless when not pending
bool scheduler_step(struct scheduler *scheduler); // false: nothing is pending

// The clock of one machine.
struct timer_event;

struct sim_clock {
	struct clock clock;
	struct scheduler *scheduler;
	uint64_t offset; // of clock_now() to the scheduler's time
	int64_t wall; // of clock_wall() to the scheduler's time
	uint64_t lateness; // timers fire at most this late
	struct timer_event **timers;
	unsigned count;
};

void sim_clock_init(struct sim_clock *clock, struct scheduler *scheduler);
void sim_clock_done(struct sim_clock *clock);
void sim_clock_crash(struct sim_clock *clock); // forgets all timers, whose owners are gone

#endif
