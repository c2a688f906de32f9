// SPDX-License-Identifier: Apache-2.0
#include "map_file.h"

#include "common/log.h"
#include "common/map_kept.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

// Pages of the file that could not be written back are not what was stored, once
// they are read again. Looks behind its end: there are no pages to wait for.
static bool written_back(const struct map_file *file)
{
	return !file->written || sync_file_range(file->fd, (off_t)file->bytes, 1, SYNC_FILE_RANGE_WAIT_BEFORE) == 0;
}

static void note_file_system(struct map_file *file)
{
	static bool told;
	struct statfs fs;

	file->written = fstatfs(file->fd, &fs) < 0 || (fs.f_type != TMPFS_MAGIC && fs.f_type != RAMFS_MAGIC);
	if (file->written && !told)
		log_event(LOG_LEVEL_INFO, "run-not-tmpfs", "path=%s advice=%s", file->path,
		          "have it on a tmpfs: writes wait for the disk that it is on, and errors of that one cost a "
		          "comparison");
	told |= file->written;
}

// The map of a process of this boot, however that ended.
static bool open_running(struct map_file *file, const struct map_identity *identity)
{
	uint64_t first[BLOCK_SIZE / sizeof(uint64_t)];
	struct stat st;

	file->fd = open(file->path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (file->fd < 0)
		return false;
	note_file_system(file);
	if (fstat(file->fd, &st) == 0 && (uint64_t)st.st_size == file->bytes && written_back(file) &&
	    pread(file->fd, first, sizeof(first), 0) == (ssize_t)sizeof(first) && map_running(first, identity))
		return true;
	close(file->fd);
	file->fd = -1;
	return false;
}

static int make_empty(struct map_file *file, struct error *err)
{
	if (file->fd >= 0)
		close(file->fd);
	file->fd = -1;
	if (unlink(file->path) < 0 && errno != ENOENT)
		return fail(err, errno, "remove %s: %s", file->path, strerror(errno));
	file->fd = open(file->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (file->fd < 0 || ftruncate(file->fd, (off_t)file->bytes) < 0)
		return fail(err, errno, "make %s: %s", file->path, strerror(errno));
	note_file_system(file);
	return 0;
}

struct copying {
	const struct map_file *file;
	const struct id *boot;
};

// The first page comes last, and is what makes it the map of this boot.
static int copy_page(void *user, uint64_t offset, const void *pages, size_t bytes)
{
	const struct copying *copying = user;
	uint64_t first[BLOCK_SIZE / sizeof(uint64_t)];
	ssize_t put;

	if (offset == 0) {
		memcpy(first, pages, sizeof(first));
		map_resume(first, copying->boot);
		pages = first;
	}
	put = pwrite(copying->file->fd, pages, bytes, (off_t)offset);
	return put == (ssize_t)bytes ? 0 : put < 0 ? -errno : -ENOSPC;
}

static int find(struct map_file *file, const struct map_identity *identity, struct error *err)
{
	struct copying copying = {file, &identity->boot};
	int result;

	if (open_running(file, identity))
		return 0;
	result = make_empty(file, err);
	if (result < 0)
		return result;
	result = map_kept_read(file->kept, identity, copy_page, &copying);
	if (result == 0)
		return 0;
	if (result != -ENOENT)
		log_event(LOG_LEVEL_WARNING, "map-not-kept", "path=%s reason=%s", file->kept,
		          result == -EINVAL ? "damaged, or of another generation" : strerror(-result));
	return result == -ENOENT ? 0 : make_empty(file, err);
}

static int map_memory(struct map_file *file, struct error *err)
{
	int result;

	file->memory = mmap(NULL, file->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file->fd, 0);
	if (file->memory == MAP_FAILED) {
		file->memory = NULL;
		return fail(err, errno, "map %s: %s", file->path, strerror(errno));
	}
	file->guard = calloc(1, sizeof(*file->guard));
	result = file->guard ? map_guard_begin(file->guard, file->memory, file->bytes, file->fd) : -ENOMEM;
	if (result < 0)
		return fail(err, -result, "guard %s: %s", file->path, strerror(-result));
	// What changes lies here and there: pages around it would be read for nothing.
	madvise(file->memory, file->bytes, MADV_RANDOM);
	return 0;
}

// Writes of the application go on; that another process finds nothing costs it as
// much as a power failure.
static int own_memory(struct map_file *file, const struct map_identity *identity, const struct error *why,
                      struct error *err)
{
	map_file_close(file);
	log_event(LOG_LEVEL_WARNING, "map-in-memory", "path=%s reason=%s", file->path, why->text);
	file->memory = map_kept_copy(file->kept, identity, &file->bytes);
	if (file->memory)
		return 0;
	file->memory =
	        mmap(NULL, file->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (file->memory != MAP_FAILED)
		return 0;
	file->memory = NULL;
	return fail(err, ENOMEM, "make a change map of %zu bytes: out of memory", file->bytes);
}

int map_file_open(const struct paths *paths, const char *pair, const struct map_identity *identity,
                  struct map_file *file, struct error *err)
{
	struct error why;
	int result;

	*file = (struct map_file){.fd = -1, .bytes = map_bytes(identity->volume_count, identity->blocks)};
	path_map(paths, pair, file->path);
	path_pair_file(paths, pair, FILE_MAP, file->kept);
	result = find(file, identity, &why);
	if (!result)
		result = map_memory(file, &why);
	if (result < 0)
		result = own_memory(file, identity, &why, err);
	// From the first change on it is not true any more, whatever is put back.
	if (!result)
		result = map_kept_remove(file->kept, err);
	if (result < 0)
		map_file_close(file);
	return result;
}

void map_file_close(struct map_file *file)
{
	if (file->guard)
		map_guard_end(file->guard);
	free(file->guard);
	if (file->memory)
		munmap(file->memory, file->bytes);
	if (file->fd >= 0)
		close(file->fd);
	file->guard = NULL;
	file->memory = NULL;
	file->fd = -1;
}

int map_file_keep(struct map_file *file, struct error *err)
{
	struct timespec now;
	int result;

	if (!map_file_check(file))
		return fail(err, EIO, "keep %s: it could not be written", file->path);
	clock_gettime(CLOCK_BOOTTIME, &now);
	result = map_kept_write(file->kept, file->fd, file->bytes, now.tv_sec * (int64_t)NSEC_PER_SEC + now.tv_nsec,
	                        err);
	if (!result)
		(void)unlink(file->path);
	return result;
}

bool map_file_check(struct map_file *file)
{
	if (!file->guard)
		return false;
	if (!file->guard->detached && !written_back(file))
		map_guard_detach(file->guard, true);
	if (file->guard->detached)
		(void)unlink(file->path);
	return !file->guard->detached;
}
