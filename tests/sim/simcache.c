// SPDX-License-Identifier: Apache-2.0
#include "simcache.h"

#include "memory.h"
#include "simdisk.h"

#include <string.h>

void sim_cache_init(struct sim_cache *cache, uint64_t seed, unsigned odds, unsigned page_count)
{
	rng_seed(&cache->rng, seed);
	cache->odds = odds;
	cache->page_count = odds ? page_count : 0;
	cache->pages = allocate(cache->page_count * sizeof(*cache->pages));
}

void sim_cache_clear(struct sim_cache *cache)
{
	for (unsigned i = 0; i < cache->page_count; i++) {
		free(cache->pages[i]);
		cache->pages[i] = NULL;
	}
}

void sim_cache_done(struct sim_cache *cache)
{
	sim_cache_clear(cache);
	free(cache->pages);
}

static unsigned page_end(const struct sim_cache *cache, uint64_t offset, uint64_t length)
{
	uint64_t end = (offset + length + PAGE - 1) / PAGE;

	return end < cache->page_count ? (unsigned)end : cache->page_count;
}

static void read_in(struct sim_cache *cache, const struct sim_disk *disk, unsigned page)
{
	const uint8_t *bytes = sim_disk_page(disk, page);

	if (cache->pages[page])
		return;
	cache->pages[page] = allocate(PAGE);
	if (bytes)
		memcpy(cache->pages[page], bytes, PAGE);
}

void sim_cache_beside(struct sim_cache *cache, const struct sim_disk *disk, uint64_t offset, uint64_t length)
{
	if (!cache->odds || !rng_chance(&cache->rng, 1, cache->odds))
		return;
	for (unsigned page = (unsigned)(offset / PAGE); page < page_end(cache, offset, length); page++)
		read_in(cache, disk, page);
}

void sim_cache_forget(struct sim_cache *cache, uint64_t offset, uint64_t length)
{
	for (unsigned page = (unsigned)(offset / PAGE); page < page_end(cache, offset, length); page++) {
		free(cache->pages[page]);
		cache->pages[page] = NULL;
	}
}

void sim_cache_read(struct sim_cache *cache, const struct sim_disk *disk, uint64_t offset, void *data, uint64_t length)
{
	uint8_t *out = data;

	if (!cache->odds) {
		sim_disk_read(disk, offset, data, length);
		return;
	}
	while (length) {
		uint64_t within = offset % PAGE;
		uint64_t part = PAGE - within < length ? PAGE - within : length;
		unsigned page = (unsigned)(offset / PAGE);

		read_in(cache, disk, page);
		memcpy(out, cache->pages[page] + within, part);
		offset += part;
		length -= part;
		out += part;
	}
}
