// SPDX-License-Identifier: Apache-2.0
#include "map_kept.h"

#include "block.h"
#include "paths.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHUNK (256 * BLOCK_SIZE)

// 0; -EIO also where the file ends early.
static int read_all(int fd, uint8_t *data, size_t length, uint64_t offset)
{
	while (length) {
		ssize_t got = pread(fd, data, length, (off_t)offset);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return got < 0 ? -errno : -EIO;
		data += got;
		offset += (uint64_t)got;
		length -= (size_t)got;
	}
	return 0;
}

static int write_all(int fd, const uint8_t *data, size_t length, uint64_t offset)
{
	while (length) {
		ssize_t put = pwrite(fd, data, length, (off_t)offset);

		if (put < 0 && errno == EINTR)
			continue;
		if (put <= 0)
			return put < 0 ? -errno : -EIO;
		data += put;
		offset += (uint64_t)put;
		length -= (size_t)put;
	}
	return 0;
}

// The next range at or after *at that may hold something. False: none does.
static bool next_data(int fd, size_t bytes, uint64_t *at, uint64_t *end)
{
	off_t data = lseek(fd, (off_t)*at, SEEK_DATA), hole;

	*end = bytes;
	if (data < 0)
		return errno != ENXIO && *at < bytes; // where that is not known, all of it may
	*at = (uint64_t)data / BLOCK_SIZE * BLOCK_SIZE;
	hole = lseek(fd, data, SEEK_HOLE);
	if (hole > data && (uint64_t)hole < bytes)
		*end = ((uint64_t)hole + BLOCK_SIZE - 1) / BLOCK_SIZE * BLOCK_SIZE;
	return *at < bytes;
}

// All but the first page of the file.
static int each_page(int fd, size_t bytes, uint64_t *digest, map_put put, void *user)
{
	uint8_t *chunk = malloc(CHUNK);
	uint64_t at = BLOCK_SIZE, end;
	int result = chunk ? 0 : -ENOMEM;

	*digest = 0;
	while (!result && next_data(fd, bytes, &at, &end)) {
		for (; !result && at < end; at += CHUNK) {
			size_t length = end - at < CHUNK ? end - at : CHUNK;

			result = read_all(fd, chunk, length, at);
			for (size_t i = 0; !result && i < length; i += BLOCK_SIZE) {
				uint64_t former = *digest;

				*digest = map_digest(former, (at + i) / BLOCK_SIZE, chunk + i);
				if (*digest != former)
					result = put(user, at + i, chunk + i, BLOCK_SIZE);
			}
		}
		at = end;
	}
	free(chunk);
	return result;
}

int map_kept_read(const char *path, const struct map_identity *identity, map_put put, void *user)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW), result;
	size_t bytes = map_bytes(identity->volume_count, identity->blocks);
	uint64_t first[BLOCK_SIZE / sizeof(uint64_t)], digest;
	struct stat st;

	if (fd < 0)
		return -errno;
	result = fstat(fd, &st) < 0 ? -errno : (uint64_t)st.st_size != bytes ? -EINVAL : 0;
	if (!result)
		result = read_all(fd, (uint8_t *)first, sizeof(first), 0);
	if (!result && !map_closed(first, identity))
		result = -EINVAL;
	if (!result)
		result = each_page(fd, bytes, &digest, put, user);
	if (!result && digest != map_content(first))
		result = -EINVAL;
	if (!result)
		result = put(user, 0, first, sizeof(first));
	close(fd);
	return result;
}

static int put_file(void *user, uint64_t offset, const void *pages, size_t bytes)
{
	return write_all(*(const int *)user, pages, bytes, offset);
}

static int write_pages(int to, int from, size_t bytes, int64_t now)
{
	uint64_t first[BLOCK_SIZE / sizeof(uint64_t)], digest;
	int result = ftruncate(to, (off_t)bytes) < 0 ? -errno : 0;

	if (!result)
		result = each_page(from, bytes, &digest, put_file, &to);
	if (!result)
		result = read_all(from, (uint8_t *)first, sizeof(first), 0);
	if (result)
		return result;
	map_close(first, now, digest);
	result = write_all(to, (const uint8_t *)first, sizeof(first), 0);
	return result ? result : fsync(to) < 0 ? -errno : 0;
}

static int sync_parent(const char *path, struct error *err)
{
	char directory[PATHS_MAX];
	const char *end = strrchr(path, '/');

	snprintf(directory, sizeof(directory), "%.*s", end ? (int)(end - path) : 1, end ? path : ".");
	return sync_directory(directory, err);
}

int map_kept_write(const char *path, int from, size_t bytes, int64_t now, struct error *err)
{
	char unfinished[PATHS_MAX + 4];
	int to, result;

	snprintf(unfinished, sizeof(unfinished), "%s.new", path);
	to = open(unfinished, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (to < 0)
		return fail(err, errno, "make %s: %s", unfinished, strerror(errno));
	result = write_pages(to, from, bytes, now);
	if (close(to) < 0 && !result)
		result = -errno;
	if (!result && rename(unfinished, path) < 0)
		result = -errno;
	if (result) {
		(void)unlink(unfinished);
		return fail(err, -result, "write %s: %s", path, strerror(-result));
	}
	return sync_parent(path, err);
}

int map_kept_remove(const char *path, struct error *err)
{
	if (unlink(path) < 0)
		return errno == ENOENT ? 0 : fail(err, errno, "remove %s: %s", path, strerror(errno));
	return sync_parent(path, err);
}

static int put_memory(void *user, uint64_t offset, const void *pages, size_t bytes)
{
	memcpy((uint8_t *)user + offset, pages, bytes);
	return 0;
}

void *map_kept_copy(const char *path, const struct map_identity *identity, size_t *bytes)
{
	void *memory;

	*bytes = map_bytes(identity->volume_count, identity->blocks);
	memory = mmap(NULL, *bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (memory == MAP_FAILED)
		return NULL;
	if (map_kept_read(path, identity, put_memory, memory) == 0)
		return memory;
	munmap(memory, *bytes);
	return NULL;
}
