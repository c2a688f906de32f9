// SPDX-License-Identifier: Apache-2.0
// Time as the engines see it: the loop gives them the machine's clocks, the
// simulator gives them its own.
#ifndef STEAD_CLOCK_H
#define STEAD_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

#define NSEC_PER_SEC UINT64_C(1000000000)
#define NSEC_PER_MSEC UINT64_C(1000000)

struct clock;

// A timer is owned by the caller, zeroed before its first use. fire() runs
// once for each clock_set(), never from within it; a timer that is set again
// before it fired only moves.
struct timer {
	void (*fire)(struct timer *timer);
	uint64_t deadline; // clock_now() at which it is due

	// for the implementation
	bool armed;
	unsigned slot;
};

struct clock_ops {
	uint64_t (*now)(struct clock *clock);
	int64_t (*wall)(struct clock *clock);
	void (*set)(struct clock *clock, struct timer *timer, uint64_t deadline);
	void (*cancel)(struct clock *clock, struct timer *timer);
};

struct clock {
	const struct clock_ops *ops;
};

// Nanoseconds since some moment in the past; never goes back; not comparable
// between machines or boots.
static inline uint64_t clock_now(struct clock *clock)
{
	return clock->ops->now(clock);
}

// Nanoseconds since 1970; may jump.
static inline int64_t clock_wall(struct clock *clock)
{
	return clock->ops->wall(clock);
}

static inline void clock_set(struct clock *clock, struct timer *timer, uint64_t deadline)
{
	clock->ops->set(clock, timer, deadline);
}

// Harmless on a timer that is not set.
static inline void clock_cancel(struct clock *clock, struct timer *timer)
{
	clock->ops->cancel(clock, timer);
}

#endif
