// SPDX-License-Identifier: Apache-2.0
// A clock that is set by hand.
#ifndef STEAD_TEST_FAKE_CLOCK_H
#define STEAD_TEST_FAKE_CLOCK_H

#include "common/clock.h"

#define FAKE_TIMERS 16
#define FAKE_WALL INT64_C(1700000000000000000) // its wall clock at 0

struct fake_clock {
	struct clock clock;
	uint64_t now;
	struct timer *armed[FAKE_TIMERS];
};

void fake_clock_init(struct fake_clock *fake);
bool fake_clock_fire(struct fake_clock *fake); // one timer that is due

#endif
