// SPDX-License-Identifier: Apache-2.0
// A primary and its standby under load: the real engines, on disks and a link
// of given speeds, in virtual time. Same load, same figures.
#ifndef STEAD_LOAD_WORLD_H
#define STEAD_LOAD_WORLD_H

#include "agent/source.h"
#include "common/status.h"
#include "receiver/sink.h"
#include "tests/sim/network.h"
#include "timed_disk.h"

#define WORLD_BYTES (UINT64_C(64) << 20) // of the volume
#define WORLD_WRITES 1024 // in flight

struct world_write {
	struct request request;
	struct world *world;
	struct world_write *next; // free
	uint8_t *data;
};

struct world_side {
	struct sim_clock clock;
	struct timed_disk volume;
	struct rpo_watch watch;
};

struct world {
	struct rng rng;
	struct scheduler scheduler;
	struct network network;
	struct pair_config config;
	struct pair_state state;
	struct world_side primary, standby;
	struct timed_disk intent, spill, slots, journal;
	void *map;
	struct source *source;
	struct sink *sink;
	bool saved, opened, serving, synced;

	struct world_write *writes, *idle;
	uint8_t *noise;
	uint64_t written, turned_away; // bytes; requests that found none idle
};

// What is not set here is set by world_new(): a primary disk of 200 MB/s, a
// standby's of 100 MB/s.
struct world_speeds {
	uint64_t link; // bytes a second
	uint64_t journal; // of the standby; 0: as its volume
	int64_t ahead; // ns, the standby's wall clock
	uint64_t rpo; // ns, for which the primary steers
};

// Both are replicating, and in step.
struct world *world_new(const struct world_speeds *speeds);
void world_free(struct world *world);

void world_run(struct world *world, uint64_t ns);

// Content that compresses to about a half; offset and length in sectors of 512
// bytes, at most 1 MiB.
void world_write(struct world *world, uint64_t offset, uint64_t length);

// What `stead status` says on either node; judged against rpo of the config.
void world_status(struct world *world, struct pair_status *primary, struct pair_status *standby);

#endif
