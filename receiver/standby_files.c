// SPDX-License-Identifier: Apache-2.0
#include "standby_files.h"

#include "common/file_disk.h"
#include "common/map.h"
#include "common/pairs.h"
#include "common/state_file.h"
#include "sink.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

_Static_assert(STATE_SLOT_KIND == STATE_SLOT_KIND_PAIR, "both daemons read one state file");

static size_t map_size(const struct pair_state *state)
{
	uint64_t blocks[VOLUMES_MAX];

	for (unsigned i = 0; i < state->volume_count; i++)
		blocks[i] = bytes_to_blocks(state->volumes[i].bytes);
	return map_bytes(state->volume_count, blocks);
}

// A journal is not made smaller: it may hold epochs.
static int open_others(struct loop *loop, const struct paths *paths, struct standby_files *files, struct error *err)
{
	static const struct file_disk_options state_options = {0};
	const struct file_disk_options journal_options = {
	        .create = true, .size = files->config.journal, .preallocate = true, .grow = true};
	const char *pair = files->config.name;
	char path[PATHS_MAX];

	files->state_disk = file_disk_open(loop, path_pair_file(paths, pair, FILE_STATE, path), &state_options, err);
	if (!files->state_disk)
		return -errno;
	files->journal = file_disk_open(loop, path_pair_file(paths, pair, FILE_JOURNAL, path), &journal_options, err);
	return files->journal ? 0 : -errno;
}

// What it holds beyond is read from it; where it cannot be, all is compared.
static void open_map(const struct paths *paths, struct standby_files *files)
{
	char path[PATHS_MAX];
	struct stat st;
	int fd = open(path_pair_file(paths, files->config.name, FILE_MAP, path), O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	if (fstat(fd, &st) == 0 && (uint64_t)st.st_size == map_size(&files->state)) {
		files->map_bytes = (size_t)st.st_size;
		files->map = mmap(NULL, files->map_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
		if (files->map == MAP_FAILED)
			files->map = NULL;
	}
	close(fd);
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
		result = open_others(loop, paths, files, err);
	if (!result && files->state.returned)
		open_map(paths, files);
	if (result < 0)
		standby_files_close(files);
	return result;
}

void standby_files_close(struct standby_files *files)
{
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
