// SPDX-License-Identifier: Apache-2.0
#include "scheduler.h"

#include "memory.h"

#include <stdlib.h>
#include <string.h>

struct timer_event {
	struct event event;
	struct sim_clock *clock;
	struct timer *timer; // NULL: free to use
};

static bool before(const struct event *a, const struct event *b)
{
	return a->time != b->time ? a->time < b->time : a->tie < b->tie;
}

static void put(struct scheduler *scheduler, unsigned slot, struct event *event)
{
	scheduler->heap[slot - 1] = event;
	event->slot = slot;
}

static void rise(struct scheduler *scheduler, unsigned slot, struct event *event)
{
	while (slot > 1 && before(event, scheduler->heap[slot / 2 - 1])) {
		put(scheduler, slot, scheduler->heap[slot / 2 - 1]);
		slot /= 2;
	}
	put(scheduler, slot, event);
}

static void sink(struct scheduler *scheduler, unsigned slot, struct event *event)
{
	for (;;) {
		unsigned child = slot * 2;

		if (child > scheduler->count)
			break;
		if (child < scheduler->count && before(scheduler->heap[child], scheduler->heap[child - 1]))
			child++;
		if (!before(scheduler->heap[child - 1], event))
			break;
		put(scheduler, slot, scheduler->heap[child - 1]);
		slot = child;
	}
	put(scheduler, slot, event);
}

void scheduler_init(struct scheduler *scheduler, struct rng *rng)
{
	memset(scheduler, 0, sizeof(*scheduler));
	scheduler->rng = rng;
}

void scheduler_done(struct scheduler *scheduler)
{
	free(scheduler->heap);
	memset(scheduler, 0, sizeof(*scheduler));
}

void scheduler_add(struct scheduler *scheduler, struct event *event, uint64_t delay)
{
	if (event->slot)
		scheduler_remove(scheduler, event);
	if (scheduler->count == scheduler->capacity) {
		scheduler->capacity = scheduler->capacity ? scheduler->capacity * 2 : 64;
		scheduler->heap = resize(scheduler->heap, scheduler->capacity * sizeof(*scheduler->heap));
	}
	event->time = scheduler->now + delay;
	event->tie = rng_next(scheduler->rng);
	scheduler->count++;
	rise(scheduler, scheduler->count, event);
}

void scheduler_remove(struct scheduler *scheduler, struct event *event)
{
	unsigned slot = event->slot;
	struct event *last;

	if (!slot)
		return;
	event->slot = 0;
	last = scheduler->heap[--scheduler->count];
	if (last == event)
		return;
	if (slot > 1 && before(last, scheduler->heap[slot / 2 - 1]))
		rise(scheduler, slot, last);
	else
		sink(scheduler, slot, last);
}

bool scheduler_step(struct scheduler *scheduler)
{
	struct event *event;

	if (!scheduler->count)
		return false;
	event = scheduler->heap[0];
	scheduler_remove(scheduler, event);
	scheduler->now = event->time;
	scheduler->steps++;
	event->run(event);
	return true;
}

static struct sim_clock *to_sim(struct clock *clock)
{
	return (struct sim_clock *)clock;
}

static uint64_t now(struct clock *clock)
{
	return to_sim(clock)->scheduler->now + to_sim(clock)->offset;
}

static int64_t wall(struct clock *clock)
{
	return (int64_t)to_sim(clock)->scheduler->now + to_sim(clock)->wall;
}

static void fire(struct event *event)
{
	struct timer_event *pending = (struct timer_event *)event;
	struct timer *timer = pending->timer;

	pending->timer = NULL;
	timer->armed = false;
	timer->fire(timer);
}

static struct timer_event *timer_slot(struct sim_clock *sim, struct timer *timer)
{
	unsigned i;

	for (i = 0; i < sim->count; i++)
		if (!sim->timers[i]->timer)
			break;
	if (i == sim->count) {
		sim->timers = resize(sim->timers, (sim->count + 1) * sizeof(*sim->timers));
		sim->timers[i] = allocate(sizeof(**sim->timers));
		sim->timers[i]->event.run = fire;
		sim->timers[i]->clock = sim;
		sim->count++;
	}
	timer->slot = i;
	return sim->timers[i];
}

static void set(struct clock *clock, struct timer *timer, uint64_t deadline)
{
	struct sim_clock *sim = to_sim(clock);
	struct timer_event *pending = timer->armed ? sim->timers[timer->slot] : timer_slot(sim, timer);
	uint64_t at = deadline > now(clock) ? deadline - now(clock) : 0;

	pending->timer = timer;
	timer->armed = true;
	timer->deadline = deadline;
	scheduler_add(sim->scheduler, &pending->event, at + rng_below(sim->scheduler->rng, sim->lateness + 1));
}

static void cancel(struct clock *clock, struct timer *timer)
{
	struct sim_clock *sim = to_sim(clock);

	if (!timer->armed || timer->slot >= sim->count || sim->timers[timer->slot]->timer != timer)
		return;
	scheduler_remove(sim->scheduler, &sim->timers[timer->slot]->event);
	sim->timers[timer->slot]->timer = NULL;
	timer->armed = false;
}

static const struct clock_ops ops = {now, wall, set, cancel};

void sim_clock_init(struct sim_clock *clock, struct scheduler *scheduler)
{
	memset(clock, 0, sizeof(*clock));
	clock->clock.ops = &ops;
	clock->scheduler = scheduler;
}

void sim_clock_crash(struct sim_clock *clock)
{
	for (unsigned i = 0; i < clock->count; i++) {
		scheduler_remove(clock->scheduler, &clock->timers[i]->event);
		clock->timers[i]->timer = NULL;
	}
}

void sim_clock_done(struct sim_clock *clock)
{
	sim_clock_crash(clock);
	for (unsigned i = 0; i < clock->count; i++)
		free(clock->timers[i]);
	free(clock->timers);
	clock->timers = NULL;
	clock->count = 0;
}
