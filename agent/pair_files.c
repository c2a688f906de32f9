// SPDX-License-Identifier: Apache-2.0
#include "pair_files.h"

#include "common/file_disk.h"
#include "common/pairs.h"
#include "common/slots.h"
#include "common/state_file.h"
#include "receiver/redo.h"
#include "source.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

// Allocated as a whole: a write to a mapped page for which the disk has no
// space would be a signal and not an error.
static int map_file(struct pair_files *files, const char *path, struct error *err)
{
	int result = posix_fallocate(files->map_fd, 0, (off_t)files->map_bytes);

	if (result || (fsync(files->map_fd) < 0 && (result = errno)))
		return fail(err, result, "allocate %zu bytes for %s: %s", files->map_bytes, path, strerror(result));
	files->map = mmap(NULL, files->map_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, files->map_fd, 0);
	if (files->map == MAP_FAILED) {
		files->map = NULL;
		return fail(err, errno, "map %s: %s", path, strerror(errno));
	}
	return 0;
}

// A map that cannot be trusted, as after a power failure, begins anew as zeroes
// that take no memory.
static int open_map(const struct paths *paths, const struct id *boot, struct pair_files *files, struct error *err)
{
	struct source_config config = {
	        .volume_count = files->state.volume_count, .state = &files->state, .boot = *boot};
	uint64_t bytes[VOLUMES_MAX];
	char path[PATHS_MAX];
	struct stat st;
	int result;

	for (unsigned i = 0; i < config.volume_count; i++) {
		bytes[i] = files->state.volumes[i].bytes;
		config.volumes[i] = (struct source_volume){files->volumes[i], bytes[i]};
	}
	files->map_bytes = source_map_bytes(config.volume_count, bytes);
	path_pair_file(paths, files->config.name, FILE_MAP, path);
	files->map_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (files->map_fd < 0 || fstat(files->map_fd, &st) < 0)
		return fail(err, errno, "open %s: %s", path, strerror(errno));
	if ((uint64_t)st.st_size != files->map_bytes && st.st_size != 0 && ftruncate(files->map_fd, 0) < 0)
		return fail(err, errno, "truncate %s: %s", path, strerror(errno));
	result = map_file(files, path, err);
	config.map = files->map;
	if (result < 0 || source_map_trusted(&config))
		return result;
	munmap(files->map, files->map_bytes);
	files->map = NULL;
	if (ftruncate(files->map_fd, 0) < 0)
		return fail(err, errno, "truncate %s: %s", path, strerror(errno));
	return map_file(files, path, err);
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
	uint64_t bytes[VOLUMES_MAX];
	char path[PATHS_MAX];
	int result;

	for (unsigned i = 0; i < state->volume_count; i++)
		bytes[i] = state->volumes[i].bytes;
	snprintf(files.config.name, sizeof(files.config.name), "%s", pair);
	files.map_bytes = source_map_bytes(state->volume_count, bytes);
	path_pair_file(paths, pair, FILE_MAP, path);
	files.map_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (files.map_fd < 0)
		return fail(err, errno, "open %s: %s", path, strerror(errno));
	result = map_file(&files, path, err);
	if (files.map)
		munmap(files.map, files.map_bytes);
	close(files.map_fd);
	if (!result)
		result = open_intent(NULL, paths, &files, err);
	file_disk_close(files.intent);
	return result;
}

// What the promotion left. The log is made with the first start after it: there
// is none from a promotion before, see pair_files_become().
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
	files->lock = files->map_fd = -1;
	result = pair_open(paths, pair, ROLE_PRIMARY, &files->config, &files->state, err);
	if (result < 0)
		return result;
	files->lock = result;
	if (files->state.fenced && !files->state.redo && !wholly)
		return 0;
	result = pair_open_volumes(loop, paths, &files->config, &files->state, files->volumes, err);
	if (!result)
		result = open_map(paths, boot, files, err);
	if (!result)
		result = open_others(loop, paths, files, err);
	files->serve = !result && access(path_pair_file(paths, pair, FILE_SERVE, path), F_OK) == 0;
	if (result < 0)
		pair_files_close(files, false);
	return result;
}

int pair_files_opened(const struct pair_files *files, struct error *err)
{
	// It was read from one end to the other. From now on what changes lies here
	// and there, and the pages around it would be brought in for nothing.
	madvise(files->map, files->map_bytes, MADV_RANDOM);
	if (msync(files->map, BLOCK_SIZE, MS_SYNC) == 0)
		return 0;
	return fail(err, errno, "sync the change map of pair %s: %s", files->config.name, strerror(errno));
}

void pair_files_release(struct pair_files *files, bool clean)
{
	if (files->map) {
		if (clean && msync(files->map, files->map_bytes, MS_SYNC) == 0) {
			source_map_close(files->map);
			(void)msync(files->map, files->map_bytes, MS_SYNC);
		}
		munmap(files->map, files->map_bytes);
	}
	if (files->map_fd >= 0)
		close(files->map_fd);
	for (unsigned i = 0; i < VOLUMES_MAX; i++)
		file_disk_close(files->volumes[i]);
	file_disk_close(files->intent);
	file_disk_close(files->spill);
	file_disk_close(files->journal);
	file_disk_close(files->redo);
	file_disk_close(files->state_disk);
	files->map = NULL;
	files->intent = files->spill = files->journal = files->redo = files->state_disk = NULL;
	memset(files->volumes, 0, sizeof(files->volumes));
	files->map_fd = -1;
}

void pair_files_close(struct pair_files *files, bool clean)
{
	pair_files_release(files, clean);
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
		result = remove_file(paths, pair, FILE_JOURNAL, err);
	if (!result)
		result = remove_file(paths, pair, FILE_REDO, err);
	if (!result)
		result = sync_directory(path_pair(paths, pair, path), err);
	if (!result)
		result = state_file_write(path_pair_file(paths, pair, FILE_STATE, path), state, err);
	return result;
}
