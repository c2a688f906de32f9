// SPDX-License-Identifier: Apache-2.0
// What a pair has open on its primary.
#ifndef STEAD_PAIR_FILES_H
#define STEAD_PAIR_FILES_H

#include "common/config.h"
#include "common/disk.h"
#include "common/loop.h"
#include "common/paths.h"
#include "common/state.h"

#include <stdbool.h>

struct pair_files {
	int lock; // -1: nothing is open
	struct pair_config config;
	struct pair_state state;
	struct disk *state_disk;
	struct disk *volumes[VOLUMES_MAX];
	struct disk *intent;
	struct disk *spill; // NULL: none
	struct disk *journal, *redo; // NULL: nothing is to be redone
	void *map;
	size_t map_bytes;
	int map_fd;
	bool serve; // the order to serve was left by a promotion
};

// Blocks. 0 (a fenced pair that has nothing to redo has only its lock open,
// unless wholly), -EREMOTE when the state says that this node is not the primary, or -errno with the reason; then nothing is
// open, but config and state hold what could be read.
int pair_files_open(struct loop *loop, const struct paths *paths, const char *pair, const struct id *boot, bool wholly,
                    struct pair_files *files, struct error *err);

// Between source_new() and source_start(): the map says durably that it is in
// use. 0 or -errno with the reason.
int pair_files_opened(const struct pair_files *files, struct error *err);

// Takes the space that a pair with this state needs, while it is being made: a
// full disk is then known before its peer is. Blocks.
int pair_files_reserve(const struct paths *paths, const char *pair, const struct pair_state *state, struct error *err);

// Blocks. clean: the map is complete. What stays is the lock.
void pair_files_release(struct pair_files *files, bool clean);
void pair_files_close(struct pair_files *files, bool clean); // the lock too

// Released, and still locked: makes the pair what state says, whatever it was,
// or leaves it as it is. A standby begins with an empty journal. Blocks.
int pair_files_become(const struct pair_files *files, const struct paths *paths, const struct pair_state *state,
                      struct error *err);

#endif
