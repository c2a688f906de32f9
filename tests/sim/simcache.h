// SPDX-License-Identifier: Apache-2.0
// The page cache of a simulated block device, as the kernel's is: what is written
// past it is taken out of it when the write begins, but not when it ends. Others
// read through it at any moment, so a page that they read while a write is under
// way stays as it was. Who asks with DISK_STREAM sees it.
#ifndef STEAD_SIM_SIMCACHE_H
#define STEAD_SIM_SIMCACHE_H

#include "rng.h"

#include <stdint.h>

struct sim_disk;

struct sim_cache {
	struct rng rng; // its own: what others do changes nothing for who goes past it
	unsigned odds; // one in so many parts of writes is read beside; 0: a disk without such a cache
	unsigned page_count;
	uint8_t **pages; // NULL: not in it
};

void sim_cache_init(struct sim_cache *cache, uint64_t seed, unsigned odds, unsigned page_count);
void sim_cache_done(struct sim_cache *cache);

// Somebody may read these blocks now, as they are visible.
void sim_cache_beside(struct sim_cache *cache, const struct sim_disk *disk, uint64_t offset, uint64_t length);

void sim_cache_forget(struct sim_cache *cache, uint64_t offset, uint64_t length);
void sim_cache_clear(struct sim_cache *cache);

void sim_cache_read(struct sim_cache *cache, const struct sim_disk *disk, uint64_t offset, void *data, uint64_t length);

#endif
