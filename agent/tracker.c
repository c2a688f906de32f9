// SPDX-License-Identifier: Apache-2.0
// The write path. A change goes through three gates, in this order, and is
// marked at the moment it passes the last one:
//
//   capture gate     blocks of the epoch being captured are read first
//   exclusive gate   it does not overlap a request that rewrites sectors
//   intent gate      its regions are in the write-intent log
//   mark             its blocks enter the open set, and it is in flight
//
// A request that has to wait at a gate goes through all of them again when it
// is woken: what it waited for may have been replaced by something else.
#include "engine.h"

#include "common/mutant.h"

#include <errno.h>
#include <stdlib.h>

struct in_flight_search {
	uint64_t cut;
	bool (*match)(const struct request *request, const struct in_flight_search *search);
};

static int visit_request(struct range *range, void *user)
{
	const struct in_flight_search *search = user;

	return search->match(container_of(range, struct request, range), search);
}

static struct request *find_request(struct volume *volume, uint64_t first, uint64_t count,
                                    struct in_flight_search *search)
{
	struct range *range = ranges_find(&volume->writes, first, count, visit_request, search);

	return range ? container_of(range, struct request, range) : NULL;
}

static bool before_cut(const struct request *request, const struct in_flight_search *search)
{
	return request->cut < search->cut;
}

static bool exclusive(const struct request *request, const struct in_flight_search *search)
{
	(void)search;
	return request->exclusive;
}

static bool writes_data(const struct request *request, const struct in_flight_search *search)
{
	(void)search;
	return request->op == REQUEST_WRITE || request->exclusive;
}

struct request *tracker_in_flight(struct volume *volume, uint64_t first, uint64_t count, uint64_t cut)
{
	struct in_flight_search search = {.cut = cut, .match = before_cut};

	return find_request(volume, first, count, &search);
}

// Granules that a request covers wholly; the volume's last one may be short.
static void whole_granules(const struct volume *volume, const struct request *request, uint64_t *first, uint64_t *end)
{
	uint64_t bytes = GRANULE_BLOCKS * BLOCK_SIZE;
	uint64_t stop = request->offset + request->length;

	*first = (request->offset + bytes - 1) / bytes;
	*end = stop == volume->bytes ? bitmap_words(volume->blocks) : stop / bytes;
}

static void mark_zero(struct volume *volume, struct bitmap *zero, const struct request *request)
{
	struct in_flight_search search = {.match = writes_data};
	uint64_t first, end;

	whole_granules(volume, request, &first, &end);
	// Data in flight on the same blocks may land after the zeroes.
	if (first < end && !request->exclusive &&
	    !find_request(volume, first * GRANULE_BLOCKS, (end - first) * GRANULE_BLOCKS, &search))
		bitmap_set(zero, first, end - first);
}

// A zero or trim failed: what its blocks hold is not known, in whatever set
// they are now. What was cut before it was marked is known, and writes have
// relied on that.
static void unmark_zero(struct source *source, const struct request *request)
{
	uint64_t first = request->range.first / GRANULE_BLOCKS;
	uint64_t last = (request->range.first + request->range.count - 1) / GRANULE_BLOCKS;

	for (unsigned i = 0; i < MAP_SETS; i++) {
		struct change_set *set = &source->map.sets[i];

		if (set->state != SET_FROZEN || !set->epoch || set->epoch > request->cut)
			bitmap_clear(&set->zero[request->volume], first, last - first + 1);
	}
}

// Of two changes under way on the same blocks either may be the last to land.
static int contend(struct range *range, void *user)
{
	struct request *request = user;

	container_of(range, struct request, range)->contended = request->contended = !MUTANT(RECENT_OF_OVERLAPPING);
	return 0;
}

static void mark(struct request *request)
{
	struct source *source = request->source;
	struct volume *volume = &source->volumes[request->volume];
	struct change_set *set = volume->open;
	const struct range *range = &request->range;

	request->cut = source->map.cut;
	request->marked = true;
	if (!(MUTANT(ZERO_NOT_MARKED) && request->op != REQUEST_WRITE))
		bitmap_set(&set->dirty[request->volume], range->first, range->count);
	if (request->op != REQUEST_WRITE)
		mark_zero(volume, &set->zero[request->volume], request);
	else if (set->zero[request->volume].count && !MUTANT(STALE_ZERO_GRANULE))
		bitmap_clear(&set->zero[request->volume], range->first / GRANULE_BLOCKS,
		             (range->first + range->count - 1) / GRANULE_BLOCKS - range->first / GRANULE_BLOCKS + 1);
	(void)ranges_find(&volume->writes, range->first, range->count, contend, request);
	ranges_add(&volume->writes, &request->range);
	if (!MUTANT(RECENT_NOT_DROPPED))
		recent_drop(source->recent, request->volume, range->first, range->count);
	intent_written(source->intent, request->volume, range->first, range->count);
	source->changed.total += range->count * BLOCK_SIZE;
	if (!set->opened) {
		set->opened = clock_now(source->clock);
		epoch_consider(source);
	}
}

// The set that a marked request is in now: what it was marked in may have
// rejoined the open set.
static struct change_set *set_of(struct request *request)
{
	struct source *source = request->source;
	struct change_set *best = NULL;

	for (unsigned i = 0; i < MAP_SETS; i++) {
		struct change_set *set = &source->map.sets[i];

		if (set->state == SET_FROZEN && set->epoch > request->cut && (!best || set->epoch < best->epoch))
			best = set;
	}
	return best ? best : source->open;
}

static void note_acknowledged(struct request *request)
{
	struct source *source = request->source;
	struct change_set *set = set_of(request);

	if (set->oldest)
		return;
	set->oldest = clock_wall(source->clock);
	map_save(&source->map);
}

// Short writes of whole blocks are kept for capture. What is long is read back in
// one piece soon enough, and memory that is only registered cannot be seen.
static void keep(struct request *request)
{
	struct source *source = request->source;
	const uint8_t *data = request->data;

	if (request->op != REQUEST_WRITE || request->registered || request->exclusive || request->contended ||
	    request->length > SOURCE_KEPT_BYTES || (request->offset | request->length) % BLOCK_SIZE ||
	    !uplink_ready(source) || source->paused || source->plan != PLAN_CHANGES)
		return;
	for (uint64_t i = 0; i < request->range.count; i++)
		recent_keep(source->recent, request->volume, request->range.first + i, request->cut + 1,
		            data + i * BLOCK_SIZE);
}

void tracker_done(struct request *request, int error)
{
	struct source *source = request->source;
	struct volume *volume = &source->volumes[request->volume];

	if (!error)
		keep(request);
	ranges_remove(&volume->writes, &request->range);
	TAILQ_REMOVE(&source->changes, request, changes);
	intent_written(source->intent, request->volume, request->range.first, request->range.count);
	if (error && request->op != REQUEST_WRITE) {
		unmark_zero(source, request);
		if (request->op == REQUEST_TRIM && error == -EOPNOTSUPP) {
			volume->no_unmap = true;
			error = 0;
		}
	}
	note_acknowledged(request);
	waiter_wake_all(&request->waiters);
	request_finish(request, error);
	handover_check(source);
}

static void change_done(struct disk_io *io, int error);

static void submit_change(struct request *request)
{
	request->io = (struct disk_io){
	        .op = request->op == REQUEST_WRITE ? DISK_WRITE : DISK_ZERO,
	        .flags = (request->flags & REQUEST_FUA ? DISK_FUA : 0) |
	                 (request->flags & REQUEST_FAST ? DISK_FAST : 0) |
	                 (request->op == REQUEST_TRIM ||
	                                  (request->op == REQUEST_ZERO && !(request->flags & REQUEST_NO_HOLE) &&
	                                   !request->source->volumes[request->volume].no_unmap)
	                          ? DISK_UNMAP
	                          : 0),
	        .offset = request->offset,
	        .length = request->length,
	        .data = request->data,
	        .registered = request->registered,
	        .done = change_done,
	};
	request_submit_io(request);
}

static void change_done(struct disk_io *io, int error)
{
	struct request *request = container_of(io, struct request, io);

	// Zeroes were asked for; whether they give space back was left to us.
	if (error == -EOPNOTSUPP && request->op == REQUEST_ZERO && io->flags & DISK_UNMAP &&
	    !MUTANT(UNMAP_REFUSAL_TOLD)) {
		request->source->volumes[request->volume].no_unmap = true;
		submit_change(request);
	} else {
		tracker_done(request, error);
	}
}

static void admit_again(struct waiter *waiter)
{
	tracker_admit(container_of(waiter, struct request, waiter));
}

// An exclusive request is in flight from here on, so that nothing new comes
// between; it waits only for what was there before it.
static void wait_alone(struct waiter *waiter)
{
	struct request *request = container_of(waiter, struct request, waiter);
	struct request *other;

	TAILQ_FOREACH(other, &request->source->changes, changes)
	{
		if (other == request)
			break;
		if (!other->marked || other->volume != request->volume ||
		    other->range.first >= request->range.first + request->range.count ||
		    request->range.first >= other->range.first + other->range.count || MUTANT(UNALIGNED_NOT_SERIALISED))
			continue;
		request->waiter.wake = wait_alone;
		waiter_add(&other->waiters, &request->waiter);
		return;
	}
	unaligned_change(request);
}

static void turn_away(struct request *request, int error)
{
	TAILQ_REMOVE(&request->source->changes, request, changes);
	free(request->bounce);
	request->bounce = NULL;
	request_finish_later(request, error);
}

void tracker_admit(struct request *request)
{
	struct source *source = request->source;
	struct volume *volume = &source->volumes[request->volume];
	struct in_flight_search search = {.match = exclusive};
	struct request *other;
	int error;

	if (!source->serving || source->stopping) {
		turn_away(request, -ESHUTDOWN);
		return;
	}
	request->waiter.wake = admit_again;
	error = handover_pass(source, request);
	if (error) {
		if (error != -EAGAIN)
			turn_away(request, error);
		return;
	}
	if (capture_gate(source, request))
		return;
	other = MUTANT(UNALIGNED_NOT_SERIALISED)
	                ? NULL
	                : find_request(volume, request->range.first, request->range.count, &search);
	if (other) {
		waiter_add(&other->waiters, &request->waiter);
		return;
	}
	error = regions_pass(source, request);
	if (error) {
		if (error != -EAGAIN)
			turn_away(request, error);
		return;
	}
	// Requests that were marked stand in the order of their marks.
	TAILQ_REMOVE(&source->changes, request, changes);
	TAILQ_INSERT_TAIL(&source->changes, request, changes);
	mark(request);
	if (request->exclusive)
		wait_alone(&request->waiter);
	else
		submit_change(request);
}
