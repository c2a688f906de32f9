// SPDX-License-Identifier: Apache-2.0
// A disk with a volatile cache. A write becomes visible sector by sector at
// moments between its submit and its completion, and becomes durable with a
// flush that was submitted after its completion, with FUA, or by chance: a
// power failure keeps any subset of the sectors that were not flushed. All of
// it lives outside the engines, so an engine that crashes leaves it as it is.
#ifndef STEAD_SIM_SIMDISK_H
#define STEAD_SIM_SIMDISK_H

#include "common/disk.h"
#include "scheduler.h"
#include "simcache.h"

#include <stdbool.h>
#include <stdint.h>

#define SECTOR 512
#define PAGE 4096

struct page; // 4 KiB of content, shared between copies of a disk

struct sim_disk {
	struct disk disk;
	struct scheduler *scheduler;
	struct rng *rng;

	// as the seed chose
	uint64_t latency_min, latency_max; // ns
	unsigned stall; // one in so many operations takes a hundred times as long; 0: none
	bool has_zero; // knows DISK_ZERO without writing
	bool has_unmap;
	bool tells_holes;
	bool refuses_unmap; // ZERO with DISK_UNMAP is -EOPNOTSUPP
	struct sim_cache cache; // of a block device; see sim_disk_cached()

	// faults, switched on and off
	unsigned read_errors, write_errors; // one in so many; 0: none
	bool full; // writes fail with -ENOSPC
	bool dead; // who submits has died already, and does not know yet

	uint64_t errors; // injected so far

	// Told of each operation's submit, parts and completion; may be NULL.
	void (*watch)(const struct sim_disk *disk, const struct disk_io *io, const char *what, int error);
	const void *watcher;
	const char *name;

	// what the caller did against the rules; NULL: nothing
	const char *misused;

	unsigned page_count;
	struct page **current; // what a read sees
	struct page **durable; // what a power failure leaves at least
	struct unflushed *oldest, *newest; // visible, not yet known to be durable
	struct sim_io *inflight;
	uint64_t completions;
	uint64_t reads, writes, flushes; // finished
};

enum sim_loss {
	LOSS_PROCESS, // operations under way happen in part; what is visible stays
	LOSS_POWER, // what was not flushed is there in part
};

void sim_disk_init(struct sim_disk *disk, struct scheduler *scheduler, struct rng *rng, uint64_t size, uint32_t align);
void sim_disk_done(struct sim_disk *disk);

// From now on the disk is a block device whose page cache others read through,
// beside one in so many parts of writes.
void sim_disk_cached(struct sim_disk *disk, uint64_t seed, unsigned odds);

// The operations under way will not complete; their owner is gone, and must
// still be there during this call.
void sim_disk_crash(struct sim_disk *disk, enum sim_loss loss);

// Makes copy, which is initialised, what this disk would be after such a
// crash, without touching it.
void sim_disk_clone(struct sim_disk *disk, enum sim_loss loss, struct sim_disk *copy, struct rng *rng);

// Makes this disk, on which nothing is under way, what such a copy is.
void sim_disk_restore(struct sim_disk *disk, const struct sim_disk *copy);

// Content as it is visible; NULL: zeroes.
const uint8_t *sim_disk_page(const struct sim_disk *disk, unsigned page);

void sim_disk_read(const struct sim_disk *disk, uint64_t offset, void *data, uint64_t length);

// Durable at once, for what is there before the run begins.
void sim_disk_preset(struct sim_disk *disk, uint64_t offset, const void *data, uint64_t length);

bool sim_disk_idle(const struct sim_disk *disk);

#endif
