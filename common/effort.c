// SPDX-License-Identifier: Apache-2.0
#include "effort.h"

// Waits of this length are worth one level: little for a short one, no overshoot.
#define RISE_NS 20e6

// The first fall, and each that follows it at once is twice as far: it takes six
// rounds to give up LZ4, and little is given up when the wire is just kept busy.
#define FALL_FIRST (1.0 / 64)

// When there is nothing to hurry for, one level comes back within this time.
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

// The same for a wire that is as fast as the limit: what was sent ahead is still
// on its way.
static bool limit_dry(struct effort *effort, const struct effort_round *round)
{
	double left = effort->ahead - (double)round->period;

	effort->ahead = left > 0 ? left : 0;
	if (!round->limit)
		return true;
	effort->ahead += (double)round->sent / (double)round->limit * 1e9;
	return left <= 0;
}

void effort_round(struct effort *effort, const struct effort_round *round)
{
	bool dry = limit_dry(effort, round) && round->dry;
	// Where the socket holds less than a batch, thread and wire wait for each other.
	bool falls = round->backlog && dry && 2 * round->waited < round->period;

	if (!falls)
		effort->step = 0;
	if (falls)
		fall(effort);
	else if (round->waited > 0)
		rise(effort, (double)round->waited / RISE_NS, effort->top);
	else if (!round->backlog)
		rise(effort, (double)round->period / REST_NS, round->limit ? effort->top : PACK_LZ4);
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
