// SPDX-License-Identifier: Apache-2.0
// The pair's volumes on the standby, as something that BLOCKS frames are
// written to: a bounded number of frames at once, in such an order that where
// two overlap the later one wins.
#ifndef STEAD_VOLUMES_H
#define STEAD_VOLUMES_H

#include "common/disk.h"
#include "common/error.h"
#include "common/state.h"
#include "common/wire.h"

#include <stdbool.h>
#include <stdint.h>

struct volumes;

// depth: frames under way at most, each with a buffer of BLOCKS_RAW_MAX.
// progress() follows whenever an answer of the functions below may have
// changed. NULL without memory.
struct volumes *volumes_new(struct disk *const *disks, unsigned count, unsigned depth, void (*progress)(void *user),
                            void *user);

// Nothing may be under way, unless a crash is played.
void volumes_free(struct volumes *volumes);

// The table that blocks_fit() checked against; before the first put.
void volumes_describe(struct volumes *volumes, const struct state_volume *table);

// Whether volumes_put() would take a frame.
bool volumes_ready(const struct volumes *volumes);

// Unpacks a frame that blocks_fit() and begins to write it; flags of
// disk_flags for its content. 0, -EBADMSG (content does not unpack), -ENOMEM,
// or -EAGAIN when not ready.
int volumes_put(struct volumes *volumes, const struct wire_blocks *blocks, unsigned flags);

// Nothing is being written.
bool volumes_idle(const struct volumes *volumes);

// Whether a frame under way touches these blocks.
bool volumes_busy(const struct volumes *volumes, unsigned volume, uint64_t first, uint64_t count);

// The first error since volumes_forgive(), 0: none. What is put after an error
// is not written.
int volumes_error(const struct volumes *volumes, struct error *err);
void volumes_forgive(struct volumes *volumes); // while idle

// Makes all that was written before durable, also by an earlier process; done()
// gets the first error. One at a time.
void volumes_flush(struct volumes *volumes, void *user, void (*done)(void *user, int error, const struct error *err));

#endif
