// SPDX-License-Identifier: Apache-2.0
#include "standby_files.h"

#include "common/file_disk.h"
#include "common/pairs.h"
#include "common/state_file.h"
#include "sink.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

_Static_assert(STATE_SLOT_KIND == STATE_SLOT_KIND_PAIR, "both daemons read one state file");

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
