// SPDX-License-Identifier: Apache-2.0
// What a promotion left in the journal, redone under a primary that serves
// already. Each volume is wrapped in a disk of its own: what a request touches
// that is still pending is redone before the request passes; everything else
// passes at once, and a walk in the background redoes the rest.
//
// The unit is a region. Redoing one twice does no harm until somebody writes to
// what was redone. So a write to such a block waits until its region is redone,
// the device flushed, and the region durably in the redo log (common/intent.h):
// whoever redoes later, after a crash, leaves it alone. docs/architecture.md.
//
// No system calls: it lives on disks and a clock, all of one thread.
#ifndef STEAD_REDO_H
#define STEAD_REDO_H

#include "common/clock.h"
#include "common/disk.h"
#include "common/error.h"
#include "common/state.h"

#include <stdbool.h>
#include <stdint.h>

#define REDO_REGION_BLOCKS 256 // 1 MiB

struct redo;

struct redo_events {
	// The answer to redo_start(): from now on the disks may be used. On an
	// error nothing may, and redo is to be freed when redo_stop() has ended.
	void (*opened)(void *user, int error, const struct error *err);
	// All is in the volumes, durably. Once that is durable in the pair's state,
	// redo_release() is due.
	void (*done)(void *user);
	// Something cannot be redone, and requests that need it fail: told once.
	void (*trouble)(void *user, const struct error *err);
};

struct redo_config {
	struct clock *clock;
	struct disk *journal;
	struct disk *log; // redo_log_bytes(), all zero after each promotion
	unsigned volume_count;
	struct disk *volumes[VOLUMES_MAX];
	const struct pair_state *state; // must outlive it; its generation is that of the log
	uint32_t region_blocks; // REDO_REGION_BLOCKS, in tests less
	const struct redo_events *events;
	void *user;
};

struct redo_status {
	uint64_t done, total; // bytes of regions
	const char *trouble; // NULL: none
};

uint64_t redo_log_bytes(const struct pair_state *state, uint32_t region_blocks);

// NULL without memory.
struct redo *redo_new(const struct redo_config *config);

// Reads the log and what the journal's frames touch.
void redo_start(struct redo *redo);

// The volume as it is once everything is redone. Good until redo_free().
struct disk *redo_disk(struct redo *redo, unsigned volume);

// The state says durably that nothing is to be redone: requests pass as if
// there were nothing in between.
void redo_release(struct redo *redo);

// Begins nothing more by itself, and calls stopped() when nothing is under way,
// that is, requests have ended too. Never from within.
void redo_stop(struct redo *redo, void (*stopped)(void *user), void *user);
void redo_free(struct redo *redo); // after stopped(), or to play a crash

void redo_status(const struct redo *redo, struct redo_status *status);

#endif
