// SPDX-License-Identifier: Apache-2.0
#include "salvage.h"

#include "common/file_open.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define PIECE (UINT64_C(1) << 20)
#define ALIGN 4096 // of memory, for any volume

struct copy {
	const char *from; // path of the volume
	struct opened_file volume; // past the page cache where that can be: what is there may be older than the disk
	char image[PATHS_MAX + NAME_MAX_LENGTH + 8], list[PATHS_MAX + NAME_MAX_LENGTH + 16];
	int to;
	FILE *extents;
	uint8_t *buffer;
};

static int copy_run(struct copy *copy, uint64_t offset, uint64_t length, struct error *err)
{
	uint64_t align = copy->volume.align;

	// Offsets are those of blocks; only the last one may end within a sector.
	while (length) {
		size_t piece = length < PIECE ? (size_t)length : PIECE;
		ssize_t got = pread(copy->volume.fd, copy->buffer, (piece + align - 1) / align * align, (off_t)offset);

		if (got <= 0)
			return fail(err, got < 0 ? errno : EIO, "salvage: read %s at %" PRIu64 ": %s", copy->from,
			            offset, got < 0 ? strerror(errno) : "it ends there");
		if ((size_t)got > piece)
			got = (ssize_t)piece;
		if (pwrite(copy->to, copy->buffer, (size_t)got, (off_t)offset) != got)
			return fail(err, errno ? errno : ENOSPC, "salvage: write %s: %s", copy->image,
			            strerror(errno ? errno : ENOSPC));
		offset += (uint64_t)got;
		length -= (uint64_t)got;
	}
	return 0;
}

static int copy_runs(struct copy *copy, struct source *source, unsigned index, uint64_t size, uint64_t *bytes,
                     struct error *err)
{
	uint64_t block = 0, count, length;
	int result = 0;

	for (; !result && source_dirty(source, index, &block, &count); block += count) {
		length = count * BLOCK_SIZE;
		if (length > size - block * BLOCK_SIZE)
			length = size - block * BLOCK_SIZE;
		fprintf(copy->extents, "%" PRIu64 " %" PRIu64 "\n", block * BLOCK_SIZE, length);
		result = copy_run(copy, block * BLOCK_SIZE, length, err);
		*bytes += length;
	}
	if (!result && (fflush(copy->extents) || fsync(fileno(copy->extents)) || fsync(copy->to)))
		result = fail(err, errno, "salvage: sync %s: %s", copy->image, strerror(errno));
	return result;
}

static int open_copy(struct copy *copy, const char *directory, const struct config_volume *volume, uint64_t size,
                     struct error *err)
{
	static const struct file_disk_options as_it_is = {0};
	int result;

	copy->from = volume->path;
	snprintf(copy->image, sizeof(copy->image), "%s/%s.img", directory, volume->name);
	snprintf(copy->list, sizeof(copy->list), "%s/%s.extents", directory, volume->name);
	result = file_open(volume->path, &as_it_is, &copy->volume, err);
	if (result < 0)
		return result;
	copy->to = open(copy->image, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (copy->to < 0 || ftruncate(copy->to, (off_t)size) < 0)
		return fail(err, errno, "salvage: make %s: %s", copy->image, strerror(errno));
	copy->extents = fopen(copy->list, "wxe");
	if (!copy->extents)
		return fail(err, errno, "salvage: make %s: %s", copy->list, strerror(errno));
	fputs("# offset and length in bytes of what the image holds\n", copy->extents);
	return 0;
}

static void close_copy(struct copy *copy, bool keep)
{
	if (copy->extents)
		fclose(copy->extents);
	if (copy->to >= 0)
		close(copy->to);
	if (copy->volume.fd >= 0)
		file_close(&copy->volume);
	if (!keep) {
		(void)unlink(copy->image);
		(void)unlink(copy->list);
	}
}

// Named for the time, and numbered where one is there already.
static int make_directory(const struct paths *paths, const char *pair, char directory[PATHS_MAX], struct error *err)
{
	char stamp[40];
	time_t now = time(NULL);
	struct tm tm;
	size_t length;
	int result;

	gmtime_r(&now, &tm);
	length = strftime(stamp, sizeof(stamp), "%Y%m%dT%H%M%SZ", &tm);
	path_salvage(paths, pair, stamp, directory);
	for (unsigned number = 2; access(directory, F_OK) == 0; number++) {
		snprintf(stamp + length, sizeof(stamp) - length, "-%u", number);
		path_salvage(paths, pair, stamp, directory);
	}
	result = make_directories(directory, 0700, err);
	if (!result)
		result = sync_directory(paths->state, err);
	return result;
}

int salvage(const struct paths *paths, const struct pair_config *config, const struct pair_state *state,
            struct source *source, char directory[PATHS_MAX], uint64_t *bytes, struct error *err)
{
	struct copy copies[VOLUMES_MAX] = {0};
	uint8_t *buffer = aligned_alloc(ALIGN, PIECE);
	unsigned count = 0;
	int result = buffer ? make_directory(paths, config->name, directory, err) : fail(err, ENOMEM, "out of memory");

	*bytes = 0;
	while (!result && count < state->volume_count) {
		struct copy *copy = &copies[count];

		*copy = (struct copy){.volume = {.fd = -1}, .to = -1, .buffer = buffer};
		result = open_copy(copy, directory, &config->volumes[count], state->volumes[count].bytes, err);
		if (!result)
			result = copy_runs(copy, source, count, state->volumes[count].bytes, bytes, err);
		count++;
	}
	for (unsigned i = 0; i < count; i++)
		close_copy(&copies[i], !result);
	free(buffer);
	if (!result)
		result = sync_directory(directory, err);
	if (result < 0)
		(void)rmdir(directory);
	return result;
}
