// SPDX-License-Identifier: Apache-2.0
// A closed change map in a file of the state directory, where it outlives the
// boot: sparse, and with a digest of its pages. All functions block.
#ifndef STEAD_MAP_KEPT_H
#define STEAD_MAP_KEPT_H

#include "error.h"
#include "map.h"

// Takes pages at an offset of the map; 0 or -errno.
typedef int (*map_put)(void *user, uint64_t offset, const void *pages, size_t bytes);

// Hands over all pages that are not empty, the first one last, and that only when
// the others are complete. 0, -ENOENT, -EINVAL (another map, not closed, or not
// what was written), or the error of reading or of put().
int map_kept_read(const char *path, const struct map_identity *identity, map_put put, void *user);

// Writes the map that the file from holds, closed at clock_boot() now, durably
// under the path, or nothing. 0 or -errno with the reason.
int map_kept_write(const char *path, int from, size_t bytes, int64_t now, struct error *err);

// Durably. 0, also where there is none, or -errno with the reason.
int map_kept_remove(const char *path, struct error *err);

// A private copy in memory, to look at; NULL: there is none to be trusted.
void *map_kept_copy(const char *path, const struct map_identity *identity, size_t *bytes);

#endif
