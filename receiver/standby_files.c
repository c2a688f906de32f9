// SPDX-License-Identifier: Apache-2.0
#include "standby_files.h"

#include "common/file_disk.h"
#include "common/pairs.h"
#include "common/state_file.h"
#include "sink.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

_Static_assert(STATE_SLOT_KIND == STATE_SLOT_KIND_PAIR, "both daemons read one state file");

static int open_volumes(struct loop *loop, const struct paths *paths, struct standby_files *files, struct error *err)
{
	static const struct file_disk_options options = {.exclusive = true, .lock = true};
	uint64_t bytes[VOLUMES_MAX];
	int result;

	for (unsigned i = 0; i < files->state.volume_count; i++)
		bytes[i] = files->state.volumes[i].bytes;
	result = pair_check_volumes(paths, files->config.name, files->config.volumes, files->state.volume_count, bytes,
	                            true, err);
	for (unsigned i = 0; !result && i < files->state.volume_count; i++) {
		files->volumes[i] = file_disk_open(loop, files->config.volumes[i].path, &options, err);
		if (!files->volumes[i])
			result = -errno;
	}
	return result;
}

// A journal keeps the size it was made with: it may hold epochs.
static int open_others(struct loop *loop, const struct paths *paths, struct standby_files *files, struct error *err)
{
	static const struct file_disk_options state_options = {0};
	const struct file_disk_options journal_options = {
	        .create = true, .size = files->config.journal, .preallocate = true};
	const char *pair = files->config.name;
	char path[PATHS_MAX];

	files->state_disk = file_disk_open(loop, path_pair_file(paths, pair, FILE_STATE, path), &state_options, err);
	if (!files->state_disk)
		return -errno;
	files->journal = file_disk_open(loop, path_pair_file(paths, pair, FILE_JOURNAL, path), &journal_options, err);
	return files->journal ? 0 : -errno;
}

int standby_files_open(struct loop *loop, const struct paths *paths, const char *pair, struct standby_files *files,
                       struct error *err)
{
	char path[PATHS_MAX];
	int result;

	memset(files, 0, sizeof(*files));
	files->lock = -1;
	config_init(&files->config);
	snprintf(files->config.name, sizeof(files->config.name), "%s", pair);

	// Whose pair it is can be known even when its configuration is bad; and
	// when the state is bad, one of the two daemons must speak of it.
	result = state_file_read(path_pair_file(paths, pair, FILE_STATE, path), &files->state, NULL);
	if (!result ? files->state.role != ROLE_STANDBY
	            : access(path_pair_file(paths, pair, FILE_MAP, path), F_OK) == 0)
		return -EREMOTE;
	result = pair_load(paths, pair, &files->config, &files->state, err);
	if (result < 0)
		return result;
	files->lock = pair_lock(paths, pair, err);
	if (files->lock < 0)
		return files->lock;
	result = open_volumes(loop, paths, files, err);
	if (!result)
		result = open_others(loop, paths, files, err);
	if (result < 0)
		standby_files_close(files);
	return result;
}

void standby_files_close(struct standby_files *files)
{
	for (unsigned i = 0; i < VOLUMES_MAX; i++)
		file_disk_close(files->volumes[i]);
	file_disk_close(files->journal);
	file_disk_close(files->state_disk);
	if (files->lock >= 0)
		close(files->lock);
	memset(files->volumes, 0, sizeof(files->volumes));
	files->journal = files->state_disk = NULL;
	files->lock = -1;
}
