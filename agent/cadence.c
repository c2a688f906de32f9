// SPDX-License-Identifier: Apache-2.0
#include "cadence.h"

#define NSEC 1e9
#define MSEC UINT64_C(1000000)
#define LARGE (UINT64_C(1) << 20) // an epoch that says how fast the wire is
#define RATE_UNKNOWN 10e6 // bytes a second: what is assumed of a wire that was never used
#define CHEAP_SHARE 20 // what takes a 20th of the time at most is shipped early,
#define CHEAP_BYTES (UINT64_C(1) << 20) // and where it is so little, whether it is overwritten or not
#define STILL_SHARE 8 // a pause is the end when it is so large a part of the time since the first change
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

void cadence_shipped(struct cadence *cadence, uint64_t content, uint64_t wire, uint64_t took)
{
	double bytes;

	if (content >= LARGE && took) {
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

// The wire has nothing to do, this is next to nothing for it, and waiting would
// not make it much less.
static bool cheap(const struct cadence *cadence, uint64_t now, const struct cadence_load *load)
{
	bool merges = load->open > CHEAP_BYTES && load->written > load->open + load->open / 2;

	return !merges && sending_time(cadence, load->open) * CHEAP_SHARE <= (double)(now - load->cut);
}

// Nothing was written for a while, also by the age of the set: what is waited
// for does not come.
static bool still(struct cadence *cadence, uint64_t now, uint64_t soon, const struct cadence_load *load)
{
	if (load->changed != cadence->seen) {
		cadence->seen = load->changed;
		cadence->still = now;
	}
	return now - cadence->still >= soon && (now - cadence->still) * STILL_SHARE >= now - load->opened;
}

bool cadence_due(struct cadence *cadence, uint64_t now, const struct cadence_load *load, uint64_t *again)
{
	uint64_t target = cadence->rpo / 2, look = between(SOON_MIN, target / 16, SOON_MAX);
	uint64_t soon = between(SOON_MIN, cadence->rpo / 50, SOON_MAX);
	double needed = (double)cadence_estimate(cadence, load->open);
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
