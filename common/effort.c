// SPDX-License-Identifier: Apache-2.0
#include "effort.h"

// A wait of this length is worth one level, if nothing else was done.
#define RISE_NS 10e6

// The first fall, and each that follows it at once is twice as far: it takes six
// rounds to give up LZ4, and little is given up when the wire is just kept busy.
#define FALL_FIRST (1.0 / 64)

// When there is nothing to hurry for, LZ4 comes back within this time.
#define REST_NS 100e6

void effort_init(struct effort *effort)
{
	*effort = (struct effort){.level = PACK_LZ4, .top = PACK_LZ4};
}

void effort_allow(struct effort *effort, enum pack_level top)
{
	effort->top = top;
}

static void rise(struct effort *effort, double by, double to)
{
	if (effort->level < to)
		effort->level = effort->level + by < to ? effort->level + by : to;
}

static void fall(struct effort *effort)
{
	effort->step = effort->step > 0 ? 2 * effort->step : FALL_FIRST;
	effort->level = effort->level > effort->step ? effort->level - effort->step : 0;
}

void effort_round(struct effort *effort, const struct effort_round *round)
{
	double waited = (double)round->waited, whole = waited + (double)round->worked;
	bool falls = round->backlog && round->dry && round->waited == 0;

	if (!falls)
		effort->step = 0;
	if (falls)
		fall(effort);
	else if (round->waited > 0)
		// In proportion to the part of the time that was lost: no overshoot.
		rise(effort, waited / whole * (waited < RISE_NS ? waited / RISE_NS : 1), effort->top);
	else if (!round->backlog)
		rise(effort, (double)round->period / REST_NS, PACK_LZ4);
}

enum pack_level effort_next(struct effort *effort)
{
	enum pack_level level = (enum pack_level)effort->level;

	effort->share += effort->level - level;
	if (effort->share < 1)
		return level;
	effort->share -= 1;
	return level + 1;
}
