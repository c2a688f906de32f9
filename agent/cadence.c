// SPDX-License-Identifier: Apache-2.0
#include "cadence.h"

#define NSEC 1e9
#define MSEC UINT64_C(1000000)
#define LARGE (UINT64_C(1) << 20) // an epoch that says how fast the wire is
#define RATE_UNKNOWN 10e6 // bytes a second: what is assumed of a wire that was never used
#define CHEAP_SHARE 20 // what takes a 20th of the time at most is shipped early,
#define CHEAP_BYTES (UINT64_C(1) << 20) // and where it is so little, whether it is overwritten or not
#define KNOWN_SHARE 16 // of what is more than that it shows in such a part of the target whether it is
#define STILL_SHARE 8 // a pause is the end when it is so large a part of the time since the first change
#define STILL_AGAIN 2 // or so many times as long as those that were not
#define SPREAD_MAX 3.0
#define SPREAD_FADES 32 // epochs
#define SOON_MIN (10 * MSEC)
#define SOON_MAX (100 * MSEC)

static uint64_t between(uint64_t low, uint64_t value, uint64_t high)
{
	return value < low ? low : value > high ? high : value;
}

// The newest of several measurements counts for a quarter.
static void blend(double *value, double measured)
{
	*value = *value > 0 ? *value + (measured - *value) / 4 : measured;
}

void cadence_init(struct cadence *cadence, uint64_t rpo, uint64_t limit)
{
	*cadence = (struct cadence){.rpo = rpo, .limit = limit, .ratio = 1};
}

// A limit that begins now counts before anything was shipped under it.
static double limited(const struct cadence *cadence, double rate)
{
	return cadence->limit && (double)cadence->limit < rate ? (double)cadence->limit : rate;
}

double cadence_rate(const struct cadence *cadence)
{
	return limited(cadence, cadence->rate);
}

static double rate_of(const struct cadence *cadence)
{
	return limited(cadence, cadence->rate > 0 ? cadence->rate : RATE_UNKNOWN);
}

// The slowest of late counts: a lag that is to be kept 99 times of 100 is not
// made of what they take in the mean.
static void note_spread(struct cadence *cadence, uint64_t content, uint64_t took)
{
	double over = (double)took / (double)cadence_estimate(cadence, content) - 1;

	cadence->spread -= cadence->spread / SPREAD_FADES;
	if (over > cadence->spread)
		cadence->spread = over < SPREAD_MAX ? over : SPREAD_MAX;
}

void cadence_shipped(struct cadence *cadence, uint64_t content, uint64_t wire, uint64_t took)
{
	double bytes;

	if (content >= LARGE && took) {
		if (cadence->rate > 0)
			note_spread(cadence, content, took);
		blend(&cadence->ratio, (double)wire / (double)content);
		blend(&cadence->rate, (double)wire * NSEC / (double)took);
	} else {
		bytes = (double)wire * NSEC / rate_of(cadence);
		blend(&cadence->fixed, (double)took > bytes ? (double)took - bytes : 1);
	}
}

static double sending_time(const struct cadence *cadence, uint64_t content)
{
	return (double)content * cadence->ratio * NSEC / rate_of(cadence);
}

uint64_t cadence_estimate(const struct cadence *cadence, uint64_t content)
{
	return (uint64_t)(cadence->fixed + sending_time(cadence, content));
}

// What is open has been written again and again: it will be after it was
// shipped, too.
static bool overwritten(const struct cadence_load *load)
{
	return load->open > CHEAP_BYTES && load->written > load->open + load->open / 2;
}

// The wire has nothing to do, this is next to nothing for it, and waiting would
// not make it much less.
static bool cheap(const struct cadence *cadence, uint64_t now, const struct cadence_load *load)
{
	bool known = load->open <= CHEAP_BYTES || now - load->opened >= cadence->rpo / 2 / KNOWN_SHARE;

	return known && !overwritten(load) &&
	       sending_time(cadence, load->open) * CHEAP_SHARE <= (double)(now - load->cut);
}

// How long nothing was written. Pauses from which writing comes back are
// remembered for about an RPO; what is as long as the target is none.
static uint64_t stillness(struct cadence *cadence, uint64_t now, const struct cadence_load *load)
{
	double since = (double)(now - cadence->still) / (double)cadence->rpo;

	if (load->changed == cadence->seen) {
		cadence->paused = now - cadence->still;
		return cadence->paused;
	}
	cadence->pause -= since < 1 ? cadence->pause * since : cadence->pause;
	if (cadence->paused < cadence->rpo / 2 && (double)cadence->paused > cadence->pause)
		cadence->pause = (double)cadence->paused;
	cadence->paused = 0;
	cadence->seen = load->changed;
	cadence->still = now;
	return 0;
}

// Nothing was written for a while, also by the age of the set: what is waited
// for does not come. What was overwritten would travel anew after a mere pause:
// there it takes more to believe it.
static bool still(struct cadence *cadence, uint64_t now, uint64_t soon, const struct cadence_load *load)
{
	uint64_t pause = stillness(cadence, now, load);

	if (overwritten(load))
		return pause * STILL_SHARE >= cadence->rpo / 2 && (double)pause >= cadence->pause * STILL_AGAIN;
	return pause >= soon && pause * STILL_SHARE >= now - load->opened;
}

bool cadence_due(struct cadence *cadence, uint64_t now, const struct cadence_load *load, uint64_t *again)
{
	uint64_t target = cadence->rpo / 2, look = between(SOON_MIN, target / 16, SOON_MAX);
	uint64_t soon = between(SOON_MIN, cadence->rpo / 50, SOON_MAX);
	double needed = (double)cadence_estimate(cadence, load->open) * (1 + cadence->spread) + (double)load->ahead;
	double latest = (double)load->opened + (double)target - (double)look - needed;
	bool quiet = still(cadence, now, soon, load);

	if ((double)now >= latest)
		return true;
	if (!load->busy && now - load->opened >= soon && (quiet || cheap(cadence, now, load)))
		return true;
	*again = now + look;
	if ((double)*again > latest)
		*again = (uint64_t)latest + 1;
	if (!load->busy && load->opened + soon > now && load->opened + soon < *again)
		*again = load->opened + soon;
	return false;
}
