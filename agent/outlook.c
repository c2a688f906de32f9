// SPDX-License-Identifier: Apache-2.0
// What is to be expected: how old the oldest write will be before it is durable
// on the standby, what that waits for, and when the standby is in step.
#include "engine.h"

#define LATE 50 // percent; three seconds of it
#define HELD 50 // percent of a second
#define ETA_MAX 1e8 // seconds: more than three years is never
#define PACE_SHARE 8 // of the RPO: from then on the pace of what is late counts, not what was expected of it

static bool ships(const struct source *source)
{
	return uplink_ready(source) && !source->paused && !source->stuck;
}

static uint64_t between(uint64_t low, double value, uint64_t high)
{
	return value < (double)low ? low : value > (double)high ? high : (uint64_t)value;
}

// What was cut and is not durable, epoch after epoch.
struct queue {
	uint64_t begun; // clock_now() since which it is shipped
	uint64_t expected; // ns that all looked at so far should take since then
	double bytes; // of the wire, likewise
	uint64_t over; // clock_now() when they will be durable
};

// When the epoch will be durable: as expected, and once that is over, at the
// pace that it had so far, or in as much time as it is late already.
static void pass_epoch(struct source *source, struct queue *queue, const struct epoch *epoch)
{
	uint64_t now = clock_now(source->clock), elapsed = now - queue->begun, left;
	double gone = (double)(source->shipped.total - source->measured);

	queue->expected += cadence_estimate(&source->cadence, epoch->content);
	queue->bytes += (double)epoch->content * source->cadence.ratio;
	left = elapsed < queue->expected ? queue->expected - elapsed : elapsed - queue->expected;
	if (elapsed >= queue->expected && elapsed >= source->config.rpo / PACE_SHARE && queue->bytes > gone)
		left = between(left, (queue->bytes - gone) / (gone + 1) * (double)elapsed, OUTLOOK_NEVER / 4);
	if (queue->over < now + left)
		queue->over = now + left;
}

// How old the oldest write of a set will have become by then.
static uint64_t age_at(struct source *source, const struct change_set *set, uint64_t then)
{
	uint64_t now = clock_now(source->clock), wait = then > now ? then - now : 0;
	int64_t age = clock_wall(source->clock) - set->oldest;

	return !set->oldest ? 0 : age > 0 ? (uint64_t)age + wait : wait;
}

// The content of the open set after some more time, if it grows as it did.
static uint64_t open_content(const struct source *source, uint64_t wait)
{
	uint64_t content = set_blocks(&source->map, source->open) << BLOCK_SHIFT, all = 0;
	uint64_t written = source->changed.total - source->changed_at_cut;
	double grows = (double)source->changed.rate * (double)wait / 1e9;

	for (unsigned i = 0; i < source->volume_count; i++)
		all += source->volumes[i].bytes;
	if (written > content)
		grows *= (double)content / (double)written;
	return between(content, (double)content + grows, all > content ? all : content);
}

uint64_t outlook_lag(struct source *source)
{
	uint64_t now = clock_now(source->clock), most = source_lag(source), age, cut;
	struct queue queue = {.begun = source->measured_at, .over = now};
	const struct epoch *first = source->sent_count ? &source->sent[0] : &source->capturing;
	bool capturing = source->capturing.number;

	if (!most)
		return 0;
	if (!ships(source) || source->plan != PLAN_CHANGES)
		return OUTLOOK_NEVER;
	if ((source->sent_count || capturing) && first->cut_at > queue.begun)
		queue.begun = first->cut_at;
	for (unsigned i = 0; i < source->sent_count + capturing; i++) {
		const struct epoch *epoch = i < source->sent_count ? &source->sent[i] : &source->capturing;

		pass_epoch(source, &queue, epoch);
		age = epoch->set ? age_at(source, epoch->set, queue.over) : 0;
		if (age > most)
			most = age;
	}
	// As long as an epoch is captured no other can be cut.
	cut = capturing && queue.over > now ? queue.over : now;
	if (source->not_before > cut)
		cut = source->not_before;
	age = age_at(source, source->open, cut + cadence_estimate(&source->cadence, open_content(source, cut - now)));
	if (age > most)
		most = age;
	return most < OUTLOOK_NEVER ? most : OUTLOOK_NEVER;
}

// What is late is held up by the standby if that takes nothing, or has all of
// it and does not answer.
static bool waits_for_standby(const struct source *source)
{
	bool here = source->capturing.number || source->parcel_count;

	return source->peer_held >= HELD || (!here && source->sent_count);
}

void outlook_tick(struct source *source)
{
	bool late = source->plan == PLAN_CHANGES && source_lag(source) > source->config.rpo / 2;

	if (!ships(source)) {
		source->late = source->late_there = 0;
		return;
	}
	source->late = (source->late * 3 + (late ? 100 : 0)) / 4;
	source->late_there = (source->late_there * 3 + (late && waits_for_standby(source) ? 100 : 0)) / 4;
}

enum trouble outlook_trouble(struct source *source)
{
	bool at_risk, there;

	if (source->verdict == SOURCE_STATE_REFUSED)
		return TROUBLE_PEER_REFUSED;
	if (source->verdict != SOURCE_STATE_REPLICATING)
		return TROUBLE_NONE;
	if (source->paused)
		return TROUBLE_PAUSED;
	if (!uplink_ready(source))
		return TROUBLE_LINK_DOWN;
	if (source->stuck || source_walks_changes(source))
		return TROUBLE_JOURNAL_FULL;
	at_risk = source->plan == PLAN_CHANGES && outlook_lag(source) > source->config.rpo;
	if (source->trouble || !source_lag(source) || (source->late < LATE && !at_risk))
		return source->trouble;
	there = source->late ? source->late_there > source->late / 2 : waits_for_standby(source);
	return there ? TROUBLE_STANDBY_SLOW : TROUBLE_LINK_SLOW;
}

int64_t outlook_eta(const struct source *source, const struct source_status *status)
{
	double ratio = source->cadence.ratio; // of wire to content
	double rate = cadence_rate(&source->cadence), spare;

	if (source->stuck)
		return -1;
	// A sync passes holes, and what the standby has already, at no cost: its
	// own pace says more than the wire.
	if (status->syncing && status->connected && !source->paused)
		return source->walked.rate && status->sync_done < status->sync_total
		               ? (int64_t)((double)(status->sync_total - status->sync_done) /
		                           (double)source->walked.rate * 1e9)
		               : -1;

	if (!status->bytes_behind && !status->lag)
		return 0;
	if (!status->connected || source->paused)
		return -1;
	// What the wire can do, not what it happens to be asked for.
	if (rate < (double)status->ship_rate)
		rate = (double)status->ship_rate;
	spare = rate - (double)status->change_rate * ratio;
	if (spare * ETA_MAX <= (double)status->bytes_behind * ratio)
		return -1;
	return (int64_t)((double)status->bytes_behind * ratio / spare * 1e9);
}
