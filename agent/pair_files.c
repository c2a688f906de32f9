// SPDX-License-Identifier: Apache-2.0
#include "pair_files.h"

#include "pair_mark.h"

#include "common/file_disk.h"
#include "common/log.h"
#include "common/pairs.h"
#include "common/room.h"
#include "common/slots.h"
#include "common/state_file.h"
#include "common/volume_guard.h"
#include "receiver/redo.h"
#include "source.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int open_map(const struct paths *paths, const struct id *boot, struct pair_files *files, struct error *err)
{
	const struct pair_state *state = &files->state;
	struct map_identity identity = {
	        .pair = state->pair,
	        .generation = state->lineage.generation,
	        .boot = *boot,
	        .volume_count = state->volume_count,
	};

	for (unsigned i = 0; i < state->volume_count; i++)
		identity.blocks[i] = bytes_to_blocks(state->volumes[i].bytes);
	return map_file_open(paths, files->config.name, &identity, &files->map, err);
}

// Allocated as a whole: it must be possible to write to it on a full disk.
static int open_intent(struct loop *loop, const struct paths *paths, struct pair_files *files, struct error *err)
{
	struct file_disk_options options = {.create = true, .preallocate = true, .resize = true};
	uint64_t bytes[VOLUMES_MAX];
	char path[PATHS_MAX];

	for (unsigned i = 0; i < files->state.volume_count; i++)
		bytes[i] = files->state.volumes[i].bytes;
	options.size = source_intent_bytes(files->state.volume_count, bytes, SOURCE_REGION_BLOCKS);
	files->intent =
	        file_disk_open(loop, path_pair_file(paths, files->config.name, FILE_INTENT, path), &options, err);
	return files->intent ? 0 : -errno;
}

int pair_files_reserve(const struct paths *paths, const char *pair, const struct pair_state *state, struct error *err)
{
	struct pair_files files = {.state = *state};
	int result;

	snprintf(files.config.name, sizeof(files.config.name), "%s", pair);
	result = open_intent(NULL, paths, &files, err);
	file_disk_close(files.intent);
	return result;
}

// What the promotion left. The log holds nothing from a promotion before, see
// pair_files_become().
static int open_redo(struct loop *loop, const struct paths *paths, struct pair_files *files, struct error *err)
{
	static const struct file_disk_options journal_options = {0};
	const struct file_disk_options redo_options = {.create = true,
	                                               .preallocate = true,
	                                               .resize = true,
	                                               .size = redo_log_bytes(&files->state, REDO_REGION_BLOCKS)};
	const char *pair = files->config.name;
	char path[PATHS_MAX];

	files->journal = file_disk_open(loop, path_pair_file(paths, pair, FILE_JOURNAL, path), &journal_options, err);
	if (!files->journal)
		return -errno;
	files->redo = file_disk_open(loop, path_pair_file(paths, pair, FILE_REDO, path), &redo_options, err);
	return files->redo ? sync_directory(path_pair(paths, pair, path), err) : -errno;
}

static int open_others(struct loop *loop, const struct paths *paths, struct pair_files *files, struct error *err)
{
	static const struct file_disk_options state_options = {0};
	const struct file_disk_options spill_options = {.create = true, .size = files->config.spill, .resize = true};
	const char *pair = files->config.name;
	char path[PATHS_MAX];
	int result;

	files->state_disk = file_disk_open(loop, path_pair_file(paths, pair, FILE_STATE, path), &state_options, err);
	if (!files->state_disk)
		return -errno;
	result = open_intent(loop, paths, files, err);
	if (result < 0)
		return result;
	if (files->state.redo) {
		result = open_redo(loop, paths, files, err);
		if (result < 0)
			return result;
	}
	if (files->config.spill) {
		files->spill = file_disk_open(loop, path_pair_file(paths, pair, FILE_SPILL, path), &spill_options, err);
		if (!files->spill)
			return -errno;
	}
	return 0;
}

int pair_files_open(struct loop *loop, const struct paths *paths, const char *pair, const struct id *boot, bool wholly,
                    struct pair_files *files, struct error *err)
{
	char path[PATHS_MAX];
	int result;

	memset(files, 0, sizeof(*files));
	files->lock = files->map.fd = -1;
	result = pair_open(paths, pair, ROLE_PRIMARY, &files->config, &files->state, err);
	if (result < 0)
		return result;
	files->lock = result;
	if (files->state.fenced && !files->state.redo && !wholly)
		return 0;
	result = pair_open_volumes(loop, paths, &files->config, &files->state, files->volumes, err);
	if (!result)
		result = volume_guard_open(paths, &files->config, &files->state, files->volumes, err);
	if (!result)
		result = open_map(paths, boot, files, err);
	if (!result)
		result = open_others(loop, paths, files, err);
	files->marked = pair_mark_found(paths, pair, &files->state.lineage.generation);
	if (files->marked)
		files->state.untouched = false;
	files->serve = !result && access(path_pair_file(paths, pair, FILE_SERVE, path), F_OK) == 0;
	if (result < 0)
		pair_files_close(files, paths, false);
	return result;
}

// What cannot be kept is there until the next boot, and after that the write-intent log.
static void keep_map(struct pair_files *files)
{
	struct error err;

	if (map_file_keep(&files->map, &err) < 0)
		log_event(LOG_LEVEL_WARNING, "map-not-kept", "pair=%s reason=%s", files->config.name, err.text);
}

void pair_files_release(struct pair_files *files, const struct paths *paths, bool clean)
{
	if (clean)
		volume_guard_close(paths, &files->config, &files->state, files->volumes);
	if (files->map.memory) {
		if (clean)
			keep_map(files);
		map_file_close(&files->map);
	}
	for (unsigned i = 0; i < VOLUMES_MAX; i++)
		file_disk_close(files->volumes[i]);
	file_disk_close(files->intent);
	file_disk_close(files->spill);
	file_disk_close(files->journal);
	file_disk_close(files->redo);
	file_disk_close(files->state_disk);
	files->intent = files->spill = files->journal = files->redo = files->state_disk = NULL;
	memset(files->volumes, 0, sizeof(files->volumes));
}

void pair_files_close(struct pair_files *files, const struct paths *paths, bool clean)
{
	pair_files_release(files, paths, clean);
	if (files->lock >= 0)
		close(files->lock);
	files->lock = -1;
}

static int remove_file(const struct paths *paths, const char *pair, const char *file, struct error *err)
{
	char path[PATHS_MAX];

	if (unlink(path_pair_file(paths, pair, file, path)) < 0 && errno != ENOENT)
		return fail(err, errno, "remove %s: %s", path, strerror(errno));
	return 0;
}

int pair_files_become(const struct pair_files *files, const struct paths *paths, const struct pair_state *state,
                      struct error *err)
{
	const char *pair = files->config.name;
	char path[PATHS_MAX];
	int result = remove_file(paths, pair, FILE_SERVE, err);

	if (!result && state->role == ROLE_STANDBY)
		result = room_renew(paths, pair, state, files->config.journal, err);
	if (!result)
		result = sync_directory(path_pair(paths, pair, path), err);
	if (!result)
		result = state_file_write(path_pair_file(paths, pair, FILE_STATE, path), state, err);
	return result;
}
