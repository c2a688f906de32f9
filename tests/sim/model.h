// SPDX-License-Identifier: Apache-2.0
// What the application wrote to one primary, when each write was submitted and
// when it was acknowledged: all that it takes to say which contents of the
// volumes are right at a cut, for a read, or after a power failure. Moments are
// numbers of one sequence.
#ifndef STEAD_SIM_MODEL_H
#define STEAD_SIM_MODEL_H

#include "simdisk.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MODEL_VOLUMES 3
#define NEVER UINT64_MAX

enum write_kind {
	WRITE_DATA,
	WRITE_ZERO,
	WRITE_TRIM, // zeroes, or nothing
	WRITE_BASE, // not a write: what a disk was found to hold
};

enum write_fate {
	FATE_INFLIGHT,
	FATE_ACKED,
	FATE_FAILED, // happened, or did not, in part
};

struct write {
	enum write_kind kind;
	enum write_fate fate;
	unsigned volume;
	uint64_t first, count; // grains
	uint64_t submitted, completed; // moments
	uint64_t acked; // scheduler's time of the acknowledgement, ns
	bool fua;
	bool flushed; // durable by its own FUA or an acknowledged flush
};

// One write as one grain saw it.
struct grain_write {
	uint32_t write; // index
	uint32_t value; // what it leaves (stamp.h)
};

struct grain {
	struct grain_write *writes; // in the order of their submission
	unsigned count, capacity;
};

struct cut {
	uint64_t epoch;
	uint64_t moment;
	uint64_t time; // ns
};

struct model {
	unsigned grain_bytes;
	unsigned volume_count;
	uint64_t grain_count[MODEL_VOLUMES];
	struct grain *grains[MODEL_VOLUMES];
	struct write *writes;
	uint32_t first, write_count, capacity; // numbers begin at first
	struct cut *cuts;
	unsigned cut_count, cut_capacity;
	bool any_cut; // an epoch's number may have been used again: any of its cuts is right
	uint64_t *sequence; // the last moment
	uint32_t unflushed; // no earlier write can change by a flush
	uint32_t lag_from; // index of the first write whose age a power failure has not made unknowable
};

// Write numbers begin at first, at least 1, so that two models can tell theirs apart.
void model_init(struct model *model, unsigned grain_bytes, unsigned volume_count, const uint64_t *volume_bytes,
                uint64_t *sequence, uint32_t first);
void model_done(struct model *model);

// Returns the number to stamp the content with.
uint32_t model_submit(struct model *model, enum write_kind kind, unsigned volume, uint64_t first, uint64_t count,
                      bool fua);
void model_complete(struct model *model, uint32_t number, bool acked, uint64_t now);
uint64_t model_moment(struct model *model); // the next one

// An acknowledged flush of a volume that was submitted at a moment.
void model_flushed(struct model *model, unsigned volume, uint64_t submitted);

// From now on that is the truth, whatever was written before; for a model that
// begins and after a power failure, which fails what is in flight.
void model_rebase(struct model *model, struct sim_disk *const *disks);

void model_cut(struct model *model, uint64_t epoch, uint64_t now);
const struct cut *model_find_cut(const struct model *model, uint64_t epoch); // the latest; NULL: never cut

// Each returns true when the content is right; else says in why what is wrong.
bool model_check_cut(const struct model *model, struct sim_disk *const *disks, uint64_t epoch, char *why, size_t size);
bool model_check_now(const struct model *model, struct sim_disk *const *disks, char *why, size_t size);
bool model_check_at(const struct model *model, struct sim_disk *const *disks, uint64_t moment, char *why, size_t size);
bool model_check_read(const struct model *model, unsigned volume, uint64_t first, uint64_t count, const uint8_t *data,
                      uint64_t submitted, char *why, size_t size);
bool model_check_power_loss(const struct model *model, struct sim_disk *const *disks, char *why, size_t size);

// Whether a change was acknowledged that was submitted after a moment.
bool model_acked_after(const struct model *model, uint64_t moment);

// Whether any change of these grains was under way after a moment.
bool model_changed(const struct model *model, unsigned volume, uint64_t first, uint64_t count, uint64_t moment);

// Scheduler's time of the oldest acknowledgement that no epoch up to this one
// can contain; NEVER: there is none.
uint64_t model_oldest_behind(const struct model *model, uint64_t durable_epoch);

#endif
