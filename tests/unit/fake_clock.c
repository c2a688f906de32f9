// SPDX-License-Identifier: Apache-2.0
#include "fake_clock.h"

// cmocka.h needs these before it
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static uint64_t fake_now(struct clock *clock)
{
	return ((struct fake_clock *)clock)->now;
}

static int64_t fake_wall(struct clock *clock)
{
	return FAKE_WALL + (int64_t)((struct fake_clock *)clock)->now;
}

static void fake_cancel(struct clock *clock, struct timer *timer)
{
	struct fake_clock *fake = (struct fake_clock *)clock;

	for (unsigned i = 0; i < FAKE_TIMERS; i++) {
		if (fake->armed[i] == timer)
			fake->armed[i] = NULL;
	}
}

static void fake_set(struct clock *clock, struct timer *timer, uint64_t deadline)
{
	struct fake_clock *fake = (struct fake_clock *)clock;
	unsigned i = 0;

	fake_cancel(clock, timer);
	timer->deadline = deadline;
	while (fake->armed[i])
		assert_true(++i < FAKE_TIMERS);
	fake->armed[i] = timer;
}

static const struct clock_ops clock_ops = {fake_now, fake_wall, fake_set, fake_cancel};

bool fake_clock_fire(struct fake_clock *fake)
{
	for (unsigned i = 0; i < FAKE_TIMERS; i++) {
		struct timer *timer = fake->armed[i];

		if (!timer || timer->deadline > fake->now)
			continue;
		fake->armed[i] = NULL;
		timer->fire(timer);
		return true;
	}
	return false;
}

void fake_clock_init(struct fake_clock *fake)
{
	*fake = (struct fake_clock){.clock = {&clock_ops}, .now = 1000};
}
