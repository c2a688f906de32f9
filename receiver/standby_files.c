// SPDX-License-Identifier: Apache-2.0
#include "standby_files.h"

#include "common/file_disk.h"
#include "common/log.h"
#include "common/map_kept.h"
#include "common/pairs.h"
#include "common/room.h"
#include "common/state_file.h"
#include "common/volume_guard.h"
#include "sink.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

_Static_assert(STATE_SLOT_KIND == STATE_SLOT_KIND_PAIR, "both daemons read one state file");

static bool is_full(int error)
{
	return error == ENOSPC || error == EDQUOT;
}

// As large as the configuration has it, if there is room; never smaller than it
// is, as it may hold epochs.
static struct disk *open_journal(struct loop *loop, const struct paths *paths, const struct pair_config *config,
                                 struct error *err)
{
	struct file_disk_options options = {.create = true, .size = config->journal, .preallocate = true, .grow = true};
	char path[PATHS_MAX];
	struct disk *disk =
	        file_disk_open(loop, path_pair_file(paths, config->name, FILE_JOURNAL, path), &options, err);
	uint64_t unused;
	struct error why = *err;

	if (!disk && is_full(errno) && room_journal(paths, config->journal, &options.size, &unused, err) == 0)
		disk = file_disk_open(loop, path, &options, err);
	if (!disk && is_full(errno)) { // what is there then
		options.size = ROOM_JOURNAL_LEAST;
		options.grow = false;
		disk = file_disk_open(loop, path, &options, err);
	}
	if (disk && disk->size < config->journal)
		log_event(LOG_LEVEL_WARNING, "journal-smaller", "pair=%s bytes=%" PRIu64 " reason=%s", config->name,
		          disk->size, why.text);
	return disk;
}

static int open_others(struct loop *loop, const struct paths *paths, struct standby_files *files, struct error *err)
{
	static const struct file_disk_options state_options = {0};
	const char *pair = files->config.name;
	char path[PATHS_MAX];

	files->state_disk = file_disk_open(loop, path_pair_file(paths, pair, FILE_STATE, path), &state_options, err);
	if (!files->state_disk)
		return -errno;
	files->journal = open_journal(loop, paths, &files->config, err);
	return files->journal ? 0 : -errno;
}

// What it holds beyond is read from it; where it cannot be, all is compared.
static void open_map(const struct paths *paths, struct standby_files *files)
{
	const struct pair_state *state = &files->state;
	struct map_identity identity = {
	        .pair = state->pair, .generation = state->lineage.generation, .volume_count = state->volume_count};
	char path[PATHS_MAX];

	for (unsigned i = 0; i < state->volume_count; i++)
		identity.blocks[i] = bytes_to_blocks(state->volumes[i].bytes);
	files->map =
	        map_kept_copy(path_pair_file(paths, files->config.name, FILE_MAP, path), &identity, &files->map_bytes);
}

int standby_files_open(struct loop *loop, const struct paths *paths, const char *pair, struct standby_files *files,
                       struct error *err)
{
	int result;

	memset(files, 0, sizeof(*files));
	files->lock = -1;
	result = pair_open(paths, pair, ROLE_STANDBY, &files->config, &files->state, err);
	if (result < 0)
		return result;
	files->lock = result;
	result = pair_open_volumes(loop, paths, &files->config, &files->state, files->volumes, err);
	if (!result)
		result = volume_guard_open(paths, &files->config, &files->state, files->volumes, err);
	if (!result)
		result = open_others(loop, paths, files, err);
	if (!result && files->state.returned)
		open_map(paths, files);
	if (result < 0)
		standby_files_close(files, paths, false);
	return result;
}

void standby_files_close(struct standby_files *files, const struct paths *paths, bool clean)
{
	if (clean)
		volume_guard_close(paths, &files->config, &files->state, files->volumes);
	for (unsigned i = 0; i < VOLUMES_MAX; i++)
		file_disk_close(files->volumes[i]);
	file_disk_close(files->journal);
	if (files->map)
		munmap(files->map, files->map_bytes);
	files->map = NULL;
	file_disk_close(files->state_disk);
	if (files->lock >= 0)
		close(files->lock);
	memset(files->volumes, 0, sizeof(files->volumes));
	files->journal = files->state_disk = NULL;
	files->lock = -1;
}
