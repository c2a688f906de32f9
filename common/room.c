// SPDX-License-Identifier: Apache-2.0
#include "room.h"

#include "file_disk.h"
#include "intent.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define MIB (UINT64_C(1) << 20)
#define REGION_BLOCKS 256 // of both logs
#define SUPERBLOCKS 8192 // bytes of a journal, without which it holds nothing

static uint64_t log_bytes(const struct pair_state *state)
{
	uint64_t blocks[VOLUMES_MAX];

	for (unsigned i = 0; i < state->volume_count; i++)
		blocks[i] = bytes_to_blocks(state->volumes[i].bytes);
	return intent_bytes(state->volume_count, blocks, REGION_BLOCKS);
}

// A file that is there may be larger, unless it is to have just this size.
static int reserve(const struct paths *paths, const char *pair, const char *file, uint64_t size, bool resize,
                   struct error *err)
{
	const struct file_disk_options options = {
	        .create = true, .preallocate = true, .size = size, .resize = resize, .grow = !resize};
	char path[PATHS_MAX];
	struct error why;
	struct disk *disk = file_disk_open(NULL, path_pair_file(paths, pair, file, path), &options, &why);
	int result = disk ? 0 : -errno;

	file_disk_close(disk);
	if (result == -ENOSPC || result == -EDQUOT)
		return fail(err, -result,
		            "no space for what a change of role needs: %s; free at least %" PRIu64 " bytes under %s",
		            why.text, size, paths->states);
	if (result < 0)
		*err = why;
	return result;
}

int room_reserve(const struct paths *paths, const char *pair, const struct pair_state *state, uint64_t journal,
                 struct error *err)
{
	uint64_t log = log_bytes(state);
	int result = reserve(paths, pair, FILE_INTENT, log, true, err);

	if (!result)
		result = reserve(paths, pair, FILE_REDO, log, true, err);
	if (!result)
		result = reserve(paths, pair, FILE_JOURNAL, journal < ROOM_JOURNAL_LEAST ? journal : ROOM_JOURNAL_LEAST,
		                 false, err);
	return result;
}

int room_journal(const struct paths *paths, uint64_t limit, uint64_t *bytes, uint64_t *unused, struct error *err)
{
	struct statvfs fs;

	if (statvfs(paths->states, &fs) < 0)
		return fail(err, errno, "free space under %s: %s", paths->states, strerror(errno));
	*unused = (uint64_t)fs.f_bavail * fs.f_frsize;
	*bytes = *unused / 4 & ~(MIB - 1);
	if (*bytes < ROOM_JOURNAL_LEAST)
		return fail(err, ENOSPC,
		            "no space for a journal: the file system under %s has %" PRIu64
		            " bytes free; it needs at least %" PRIu64,
		            paths->states, *unused, 4 * ROOM_JOURNAL_LEAST);
	if (*bytes > limit)
		*bytes = limit;
	return 0;
}

// Zeroes, durably, from the beginning on; limit: no more than that stays.
static int renew(const struct paths *paths, const char *pair, const char *file, uint64_t zeroes, uint64_t limit,
                 struct error *err)
{
	static const char nothing[64 << 10];
	char path[PATHS_MAX];
	int fd = open(path_pair_file(paths, pair, file, path), O_WRONLY | O_CLOEXEC), result = 0;
	struct stat st;

	if (fd < 0)
		return fail(err, errno, "open %s: %s", path, strerror(errno));
	if (fstat(fd, &st) < 0 || ((uint64_t)st.st_size > limit && ftruncate(fd, (off_t)limit) < 0))
		result = -errno;
	for (uint64_t at = 0; !result && at < zeroes;) {
		size_t length = zeroes - at < sizeof(nothing) ? (size_t)(zeroes - at) : sizeof(nothing);
		ssize_t wrote = pwrite(fd, nothing, length, (off_t)at);

		if (wrote <= 0)
			result = wrote < 0 ? -errno : -EIO;
		else
			at += (uint64_t)wrote;
	}
	if (!result && fsync(fd) < 0)
		result = -errno;
	close(fd);
	return result < 0 ? fail(err, -result, "write %s: %s", path, strerror(-result)) : 0;
}

int room_renew(const struct paths *paths, const char *pair, const struct pair_state *state, uint64_t journal,
               struct error *err)
{
	int result = room_reserve(paths, pair, state, journal, err);

	// Records that it held are of another journal than the one that begins here.
	if (!result)
		result = renew(paths, pair, FILE_JOURNAL, SUPERBLOCKS, journal, err);
	if (!result)
		result = renew(paths, pair, FILE_REDO, log_bytes(state), UINT64_MAX, err);
	return result;
}
