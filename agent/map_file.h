// SPDX-License-Identifier: Apache-2.0
// The memory of a pair's change map. While the pair is open it is a file of the
// run directory, in memory: a process may die, a power failure takes it with it,
// and no page of it is written anywhere. Between a clean stop and the next start
// it is a file of the state directory, and no such file is used twice.
#ifndef STEAD_MAP_FILE_H
#define STEAD_MAP_FILE_H

#include "common/clock.h"
#include "common/map.h"
#include "common/paths.h"
#include "map_guard.h"

struct map_file {
	struct map_guard *guard; // NULL: there is no file
	void *memory;
	size_t bytes;
	int fd;
	bool written; // its file system writes pages back
	char path[PATHS_MAX]; // in the run directory
	char kept[PATHS_MAX]; // in the state directory
};

// All of these block. open: under the pair's lock; memory is a map that can be
// trusted (map.h), or all zero. Where the run directory can hold no file it is
// this process's own. 0 or -errno with the reason; then nothing is open.
int map_file_open(const struct paths *paths, const char *pair, const struct map_identity *identity,
                  struct map_file *file, struct error *err);
void map_file_close(struct map_file *file);

// Nothing changes the map any more: keeps it across a reboot. When that fails it
// stays in the run directory. 0 or -errno with the reason.
int map_file_keep(struct map_file *file, struct error *err);

// Whether the memory is still that of the file: it may have been full, or could not
// be written. Does not block.
bool map_file_check(struct map_file *file);

#endif
