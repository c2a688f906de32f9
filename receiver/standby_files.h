// SPDX-License-Identifier: Apache-2.0
// What a pair has open on its standby.
#ifndef STEAD_STANDBY_FILES_H
#define STEAD_STANDBY_FILES_H

#include "common/config.h"
#include "common/disk.h"
#include "common/loop.h"
#include "common/paths.h"
#include "common/state.h"

struct standby_files {
	int lock; // -1: nothing is open
	struct pair_config config;
	struct pair_state state;
	struct disk *state_disk;
	struct disk *volumes[VOLUMES_MAX];
	struct disk *journal;
	void *map; // of one that was a primary, a private copy; NULL: none
	size_t map_bytes;
};

// Both block. open: 0, -EREMOTE when the state says that this node is not the
// standby, or -errno with the reason; then nothing is open, but config and
// state hold what could be read.
int standby_files_open(struct loop *loop, const struct paths *paths, const char *pair, struct standby_files *files,
                       struct error *err);
void standby_files_close(struct standby_files *files);

#endif
