// SPDX-License-Identifier: Apache-2.0
#include "simdisk.h"

#include "memory.h"

#include <errno.h>
#include <string.h>
#include <xxhash.h>

#define PARTS_MAX 3
#define TRANSFER_MAX ((UINT64_C(32) << 20) + 8192)

struct page {
	unsigned references;
	uint8_t bytes[PAGE];
};

// What one part of a write made visible. live has a byte for each sector: 0
// when the sector is not of this part, or was overwritten by what is durable.
struct unflushed {
	struct unflushed *next;
	uint64_t first, count; // sectors
	uint64_t completed; // number of the completion; 0: still in flight
	bool unmap;
	uint8_t *data; // NULL: zeroes
	uint8_t live[];
};

struct sim_io {
	struct event event; // the next part, or the completion
	struct sim_disk *disk;
	struct disk_io *io;
	struct sim_io *next;
	uint64_t flush_from; // FLUSH: covers what completed before this
	uint64_t checksum;
	int error;
	unsigned parts, part;
	uint64_t gaps[PARTS_MAX + 1]; // delays before each part and the completion
	unsigned order; // how sectors are dealt to parts
	uint64_t salt;
	struct unflushed *entries[PARTS_MAX];
	unsigned entry_count;
};

static struct page *page_own(struct page **slot, bool whole)
{
	struct page *page = *slot;

	if (page && page->references == 1)
		return page;
	*slot = resize(NULL, sizeof(**slot));
	(*slot)->references = 1;
	if (page) {
		memcpy((*slot)->bytes, page->bytes, PAGE);
		page->references--;
	} else if (!whole) {
		memset((*slot)->bytes, 0, PAGE);
	}
	return *slot;
}

static void page_drop(struct page **slot)
{
	if (*slot && --(*slot)->references == 0)
		free(*slot);
	*slot = NULL;
}

static void page_share(struct page **to, struct page *from)
{
	if (*to == from)
		return;
	page_drop(to);
	*to = from;
	if (from)
		from->references++;
}

// data NULL: zeroes.
static void put(struct page **pages, uint64_t offset, const uint8_t *data, uint64_t length, bool unmap)
{
	while (length) {
		uint64_t within = offset % PAGE;
		uint64_t part = PAGE - within < length ? PAGE - within : length;
		struct page **slot = &pages[offset / PAGE];

		if (!data && part == PAGE && unmap)
			page_drop(slot);
		else if (data)
			memcpy(page_own(slot, part == PAGE)->bytes + within, data, part);
		else if (*slot || !unmap)
			memset(page_own(slot, part == PAGE)->bytes + within, 0, part);
		offset += part;
		length -= part;
		if (data)
			data += part;
	}
}

static void put_live(struct page **pages, const struct unflushed *entry, const uint8_t *live)
{
	uint64_t i = 0;

	while (i < entry->count) {
		uint64_t run = 0;

		while (i + run < entry->count && live[i + run])
			run++;
		if (run)
			put(pages, (entry->first + i) * SECTOR, entry->data ? entry->data + i * SECTOR : NULL,
			    run * SECTOR, entry->unmap);
		i += run ? run : 1;
	}
}

static void unflushed_free(struct unflushed *entry)
{
	free(entry->data);
	free(entry);
}

static void unflushed_clear(struct sim_disk *disk)
{
	while (disk->oldest) {
		struct unflushed *entry = disk->oldest;

		disk->oldest = entry->next;
		unflushed_free(entry);
	}
	disk->newest = NULL;
}

// Takes the sectors of entry out of everything that became visible before it.
static void overwrite(struct sim_disk *disk, const struct unflushed *entry)
{
	for (struct unflushed *older = disk->oldest; older != entry; older = older->next) {
		uint64_t from = older->first > entry->first ? older->first : entry->first;
		uint64_t end = older->first + older->count;

		if (end > entry->first + entry->count)
			end = entry->first + entry->count;
		for (uint64_t sector = from; sector < end; sector++)
			if (entry->live[sector - entry->first])
				older->live[sector - older->first] = 0;
	}
}

static bool is_of(const struct unflushed *entry, struct unflushed *const *entries, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		if (entries[i] == entry)
			return true;
	return false;
}

// Makes durable what completed up to that completion, or the given entries.
static void persist(struct sim_disk *disk, uint64_t completed, struct unflushed *const *entries, unsigned count)
{
	struct unflushed **link = &disk->oldest;
	struct unflushed *last = NULL;

	while (*link) {
		struct unflushed *entry = *link;

		if ((entry->completed && entry->completed <= completed) || is_of(entry, entries, count)) {
			overwrite(disk, entry);
			put_live(disk->durable, entry, entry->live);
			*link = entry->next;
			unflushed_free(entry);
		} else {
			last = entry;
			link = &entry->next;
		}
	}
	disk->newest = last;
}

static uint64_t sector_end(const struct disk_io *io)
{
	return (io->offset + io->length + SECTOR - 1) / SECTOR;
}

static unsigned part_of(const struct sim_io *pending, uint64_t sector, uint64_t first, uint64_t count)
{
	if (pending->parts == 1)
		return 0;
	if (pending->order == 0)
		return (unsigned)((sector - first) * pending->parts / count);
	if (pending->order == 1)
		return pending->parts - 1 - (unsigned)((sector - first) * pending->parts / count);
	return (unsigned)(rng_mix(sector ^ pending->salt) % pending->parts);
}

// Makes one part of a write visible.
static void write_part(struct sim_io *pending, unsigned part)
{
	struct sim_disk *disk = pending->disk;
	const struct disk_io *io = pending->io;
	uint64_t first = io->offset / SECTOR;
	uint64_t count = sector_end(io) - first;
	struct unflushed *entry = allocate(sizeof(*entry) + count);
	bool any = false;

	entry->first = first;
	entry->count = count;
	entry->unmap = io->op == DISK_ZERO && (io->flags & DISK_UNMAP) && disk->has_unmap;
	for (uint64_t i = 0; i < count; i++)
		any |= entry->live[i] = part_of(pending, first + i, first, count) == part;
	if (!any) {
		free(entry);
		return;
	}
	if (io->op == DISK_WRITE) {
		entry->data = resize(NULL, count * SECTOR);
		if (disk->disk.align < SECTOR) // the whole sectors, of which the write may be a piece
			sim_disk_read(disk, first * SECTOR, entry->data, count * SECTOR);
		memcpy(entry->data + io->offset % SECTOR, io->data, io->length);
	} else if (io->offset % SECTOR || io->length % SECTOR) {
		entry->data = resize(NULL, count * SECTOR);
		sim_disk_read(disk, first * SECTOR, entry->data, count * SECTOR);
		memset(entry->data + io->offset % SECTOR, 0, io->length);
	}
	if (disk->newest)
		disk->newest->next = entry;
	else
		disk->oldest = entry;
	disk->newest = entry;
	pending->entries[pending->entry_count++] = entry;
	put_live(disk->current, entry, entry->live);
}

static void see(struct sim_io *pending, uint64_t offset, void *data, uint64_t length)
{
	struct sim_disk *disk = pending->disk;

	if (pending->io->flags & DISK_STREAM)
		sim_cache_read(&disk->cache, disk, offset, data, length);
	else
		sim_disk_read(disk, offset, data, length);
}

static void read_part(struct sim_io *pending, unsigned part)
{
	const struct disk_io *io = pending->io;
	uint64_t first = io->offset / SECTOR;
	uint64_t count = sector_end(io) - first;
	uint64_t end = io->offset + io->length;

	if (pending->parts == 1) {
		see(pending, io->offset, io->data, io->length);
		return;
	}
	for (uint64_t sector = first; sector < first + count; sector++) {
		uint64_t from = sector * SECTOR > io->offset ? sector * SECTOR : io->offset;
		uint64_t to = (sector + 1) * SECTOR < end ? (sector + 1) * SECTOR : end;

		if (part_of(pending, sector, first, count) == part)
			see(pending, from, (uint8_t *)io->data + (from - io->offset), to - from);
	}
}

static bool writes(const struct disk_io *io)
{
	return io->op == DISK_WRITE || io->op == DISK_ZERO;
}

static uint64_t content(const struct disk_io *io)
{
	return io->op == DISK_WRITE ? XXH3_64bits(io->data, io->length) : 0;
}

static void unlink_io(struct sim_io *pending)
{
	struct sim_io **link = &pending->disk->inflight;

	while (*link != pending)
		link = &(*link)->next;
	*link = pending->next;
}

static void tell(const struct sim_io *pending, const char *what)
{
	if (pending->disk->watch)
		pending->disk->watch(pending->disk, pending->io, what, pending->error);
}

static void finish(struct sim_io *pending)
{
	struct sim_disk *disk = pending->disk;
	struct disk_io *io = pending->io;
	int error = pending->error;

	if (pending->checksum != content(io))
		disk->misused = "data of a write changed before its completion";
	disk->completions++;
	for (unsigned i = 0; i < pending->entry_count; i++)
		pending->entries[i]->completed = disk->completions;
	if (!error && io->op == DISK_FLUSH)
		persist(disk, pending->flush_from, NULL, 0);
	else if (!error && writes(io) && (io->flags & DISK_FUA))
		persist(disk, 0, pending->entries, pending->entry_count);
	disk->reads += io->op == DISK_READ;
	disk->writes += writes(io);
	disk->flushes += io->op == DISK_FLUSH;
	unlink_io(pending);
	tell(pending, "ends");
	free(pending);
	io->done(io, error);
}

static void advance(struct event *event)
{
	struct sim_io *pending = (struct sim_io *)event;
	struct sim_disk *disk = pending->disk;

	if (pending->part == pending->parts) {
		finish(pending);
		return;
	}
	if (pending->io->op == DISK_READ) {
		if (!pending->error)
			read_part(pending, pending->part);
	} else if (!pending->error || (pending->error == -EIO && rng_chance(disk->rng, 1, 2))) {
		sim_cache_beside(&disk->cache, disk, pending->io->offset, pending->io->length);
		write_part(pending, pending->part);
		if (pending->io->flags & DISK_STREAM)
			sim_cache_forget(&disk->cache, pending->io->offset, pending->io->length);
	}
	tell(pending, "happens");
	pending->part++;
	scheduler_add(disk->scheduler, event, pending->gaps[pending->part]);
}

// The rules of disk.h.
static const char *misuse(const struct sim_disk *disk, const struct disk_io *io)
{
	uint64_t mask = disk->disk.align - 1;

	for (const struct sim_io *pending = disk->inflight; pending; pending = pending->next)
		if (pending->io == io)
			return "submitted twice";
	if (io->op == DISK_FLUSH)
		return NULL;
	if (!io->length || io->offset > disk->disk.size || io->length > disk->disk.size - io->offset)
		return "out of the disk's bounds";
	if (io->op == DISK_ZERO)
		return NULL;
	if ((io->offset & mask) || (io->length & mask) || ((uintptr_t)io->data & mask))
		return "not aligned";
	if (io->length > TRANSFER_MAX)
		return "too long";
	return NULL;
}

static int refusal(const struct sim_disk *disk, const struct disk_io *io)
{
	if (io->op == DISK_ZERO && (io->flags & DISK_FAST) && !disk->has_zero)
		return -EOPNOTSUPP;
	if (io->op == DISK_ZERO && (io->flags & DISK_UNMAP) && disk->refuses_unmap)
		return -EOPNOTSUPP;
	if (writes(io) && disk->full)
		return -ENOSPC;
	return 0;
}

static void submit(struct disk *base, struct disk_io *io)
{
	struct sim_disk *disk = (struct sim_disk *)base;
	const char *wrong = misuse(disk, io);
	unsigned odds = io->op == DISK_READ ? disk->read_errors : disk->write_errors;
	struct sim_io *pending;
	uint64_t latency;

	if (disk->dead)
		return;
	pending = allocate(sizeof(*pending));
	latency = rng_range(disk->rng, disk->latency_min, disk->latency_max);
	pending->event.run = advance;
	pending->disk = disk;
	pending->io = io;
	pending->checksum = wrong ? 0 : content(io);
	pending->flush_from = disk->completions;
	pending->next = disk->inflight;
	disk->inflight = pending;
	pending->error = wrong ? -EINVAL : refusal(disk, io);
	if (!pending->error && odds && rng_chance(disk->rng, 1, odds)) {
		pending->error = -EIO;
		disk->errors++;
	}
	if (wrong) {
		disk->misused = wrong;
		pending->checksum = content(io);
	}
	if (disk->stall && rng_chance(disk->rng, 1, disk->stall))
		latency *= 100;
	if (io->op != DISK_FLUSH && !pending->error)
		pending->parts = rng_chance(disk->rng, 1, 4) ? (unsigned)rng_range(disk->rng, 2, PARTS_MAX) : 1;
	else if (writes(io) && pending->error == -EIO)
		pending->parts = 2;
	pending->order = (unsigned)rng_below(disk->rng, 3);
	pending->salt = rng_next(disk->rng);
	for (unsigned i = 0; i < pending->parts; i++) {
		pending->gaps[i] = rng_below(disk->rng, latency + 1);
		latency -= pending->gaps[i];
	}
	pending->gaps[pending->parts] = latency;
	if (writes(io) && !wrong)
		sim_cache_forget(&disk->cache, io->offset, io->length);
	tell(pending, "begins");
	scheduler_add(disk->scheduler, &pending->event, pending->gaps[0]);
}

static bool hole(struct disk *base, uint64_t offset, uint64_t *length)
{
	struct sim_disk *disk = (struct sim_disk *)base;
	uint64_t page = offset / PAGE;
	bool empty;
	uint64_t end;

	if (!disk->tells_holes || offset >= disk->disk.size)
		return false;
	empty = !disk->current[page];
	while (page < disk->page_count && !disk->current[page] == empty && page * PAGE < offset + *length)
		page++;
	end = page * PAGE < disk->disk.size ? page * PAGE : disk->disk.size;
	if (end - offset < *length)
		*length = end - offset;
	return empty;
}

static const struct disk_ops ops = {submit, hole};

void sim_disk_init(struct sim_disk *disk, struct scheduler *scheduler, struct rng *rng, uint64_t size, uint32_t align)
{
	memset(disk, 0, sizeof(*disk));
	disk->disk.ops = &ops;
	disk->disk.size = size;
	disk->disk.align = align;
	disk->scheduler = scheduler;
	disk->rng = rng;
	disk->page_count = (unsigned)((size + PAGE - 1) / PAGE);
	disk->current = allocate(disk->page_count * sizeof(*disk->current));
	disk->durable = allocate(disk->page_count * sizeof(*disk->durable));
}

void sim_disk_cached(struct sim_disk *disk, uint64_t seed, unsigned odds)
{
	sim_cache_init(&disk->cache, seed, odds, disk->page_count);
}

void sim_disk_done(struct sim_disk *disk)
{
	while (disk->inflight) {
		struct sim_io *pending = disk->inflight;

		disk->inflight = pending->next;
		scheduler_remove(disk->scheduler, &pending->event);
		free(pending);
	}
	unflushed_clear(disk);
	sim_cache_done(&disk->cache);
	for (unsigned i = 0; i < disk->page_count; i++) {
		page_drop(&disk->current[i]);
		page_drop(&disk->durable[i]);
	}
	free(disk->current);
	free(disk->durable);
	memset(disk, 0, sizeof(*disk));
}

// One power failure is all or nothing for the whole cache as often as it is
// any mixture.
static unsigned draw_keep(struct rng *rng)
{
	static const unsigned keep[] = {0, 0, 1, 8, 15, 16};

	return keep[rng_below(rng, sizeof(keep) / sizeof(keep[0]))];
}

// Puts the sectors of entry that a failure keeps. keep is in sixteenths.
static void keep_some(struct page **pages, const struct unflushed *entry, unsigned keep, struct rng *rng)
{
	uint8_t *live;

	if (!keep)
		return;
	if (keep == 16 || rng_chance(rng, 1, 3)) {
		if (rng_chance(rng, keep, 16))
			put_live(pages, entry, entry->live);
		return;
	}
	live = resize(NULL, entry->count);
	for (uint64_t i = 0; i < entry->count; i++)
		live[i] = entry->live[i] && rng_chance(rng, keep, 16);
	put_live(pages, entry, live);
	free(live);
}

// The parts of a write that are not visible yet, put where a crash may leave them.
static void keep_inflight(const struct sim_io *pending, struct page **pages, unsigned keep, struct rng *rng)
{
	const struct disk_io *io = pending->io;
	uint64_t first = io->offset / SECTOR;
	uint64_t end = io->offset + io->length;
	bool unmap = io->op == DISK_ZERO && (io->flags & DISK_UNMAP) && pending->disk->has_unmap;

	if (!writes(io) || (pending->error && pending->error != -EIO))
		return;
	for (uint64_t sector = first; sector < sector_end(io); sector++) {
		uint64_t from = sector * SECTOR > io->offset ? sector * SECTOR : io->offset;
		uint64_t to = (sector + 1) * SECTOR < end ? (sector + 1) * SECTOR : end;

		if (part_of(pending, sector, first, sector_end(io) - first) < pending->part)
			continue;
		if (rng_chance(rng, keep, 16))
			put(pages, from, io->op == DISK_WRITE ? (uint8_t *)io->data + (from - io->offset) : NULL,
			    to - from, unmap);
	}
}

void sim_disk_crash(struct sim_disk *disk, enum sim_loss loss)
{
	unsigned keep = draw_keep(disk->rng);

	while (disk->inflight) {
		struct sim_io *pending = disk->inflight;

		disk->completions++;
		if (loss == LOSS_PROCESS && writes(pending->io)) {
			unsigned parts = pending->parts;

			for (unsigned part = pending->part; part < parts; part++)
				if (!pending->error && rng_chance(disk->rng, keep, 16))
					write_part(pending, part);
		} else if (loss == LOSS_POWER) {
			keep_inflight(pending, disk->durable, keep, disk->rng);
		}
		for (unsigned i = 0; i < pending->entry_count; i++)
			pending->entries[i]->completed = disk->completions;
		scheduler_remove(disk->scheduler, &pending->event);
		disk->inflight = pending->next;
		free(pending);
	}
	if (loss == LOSS_PROCESS)
		return;
	for (struct unflushed *entry = disk->oldest; entry; entry = entry->next)
		keep_some(disk->durable, entry, keep, disk->rng);
	unflushed_clear(disk);
	sim_cache_clear(&disk->cache);
	for (unsigned i = 0; i < disk->page_count; i++)
		page_share(&disk->current[i], disk->durable[i]);
}

void sim_disk_clone(struct sim_disk *disk, enum sim_loss loss, struct sim_disk *copy, struct rng *rng)
{
	unsigned keep = draw_keep(rng);

	for (unsigned i = 0; i < disk->page_count; i++)
		page_share(&copy->current[i], loss == LOSS_POWER ? disk->durable[i] : disk->current[i]);
	if (loss == LOSS_POWER)
		for (struct unflushed *entry = disk->oldest; entry; entry = entry->next)
			keep_some(copy->current, entry, keep, rng);
	for (const struct sim_io *pending = disk->inflight; pending; pending = pending->next)
		keep_inflight(pending, copy->current, keep, rng);
	for (unsigned i = 0; i < disk->page_count; i++)
		page_share(&copy->durable[i], copy->current[i]);
	copy->has_zero = disk->has_zero;
	copy->has_unmap = disk->has_unmap;
	copy->tells_holes = disk->tells_holes;
}

void sim_disk_restore(struct sim_disk *disk, const struct sim_disk *copy)
{
	unflushed_clear(disk);
	sim_cache_clear(&disk->cache);
	for (unsigned i = 0; i < disk->page_count; i++) {
		page_share(&disk->current[i], copy->current[i]);
		page_share(&disk->durable[i], copy->current[i]);
	}
}

const uint8_t *sim_disk_page(const struct sim_disk *disk, unsigned page)
{
	return page < disk->page_count && disk->current[page] ? disk->current[page]->bytes : NULL;
}

void sim_disk_read(const struct sim_disk *disk, uint64_t offset, void *data, uint64_t length)
{
	uint8_t *out = data;

	while (length) {
		uint64_t within = offset % PAGE;
		uint64_t part = PAGE - within < length ? PAGE - within : length;
		const uint8_t *page = sim_disk_page(disk, (unsigned)(offset / PAGE));

		if (page)
			memcpy(out, page + within, part);
		else
			memset(out, 0, part);
		offset += part;
		length -= part;
		out += part;
	}
}

void sim_disk_preset(struct sim_disk *disk, uint64_t offset, const void *data, uint64_t length)
{
	put(disk->current, offset, data, length, false);
	put(disk->durable, offset, data, length, false);
}

bool sim_disk_idle(const struct sim_disk *disk)
{
	return !disk->inflight;
}
