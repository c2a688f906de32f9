// SPDX-License-Identifier: Apache-2.0
#include "file_open.h"

#include "lock.h"
#include "paths.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#define ALIGN_MAX 4096

// A file of size bytes whose space is certain, whatever is written to it.
static int allocate(int fd, uint64_t size)
{
	if (fallocate(fd, 0, 0, (off_t)size) == 0)
		return 0;
	if (errno != EOPNOTSUPP && errno != ENOSYS)
		return -errno;
	return -posix_fallocate(fd, 0, (off_t)size); // by writing, where the file system cannot
}

static int size_file(const char *path, const struct file_disk_options *options, struct opened_file *file,
                     struct error *err)
{
	uint64_t before = file->size;
	int result = 0;

	if (options->resize || file->size == 0 || (options->grow && file->size < options->size)) {
		if (ftruncate(file->fd, (off_t)options->size) < 0)
			result = -errno;
		else
			file->size = options->size;
	}
	if (!result && options->preallocate)
		result = allocate(file->fd, file->size);
	if (!result && fsync(file->fd) < 0)
		result = -errno;
	if (result < 0 && options->grow && ftruncate(file->fd, (off_t)before) < 0)
		result = -errno;
	if (result < 0)
		return fail(err, -result, "make %s of %" PRIu64 " bytes: %s", path, options->size, strerror(-result));
	return 0;
}

// The name of a new file must survive a power failure as its content does.
static int sync_parent(const char *path, struct error *err)
{
	char parent[PATHS_MAX];
	const char *slash = strrchr(path, '/');
	size_t length = slash ? (size_t)(slash - path) : 0;

	if (!slash)
		return sync_directory(".", err);
	if (length >= sizeof(parent))
		return fail(err, ENAMETOOLONG, "open %s: path is longer than %d bytes", path, PATHS_MAX - 1);
	memcpy(parent, path, length);
	parent[length] = 0;
	return sync_directory(length ? parent : "/", err);
}

static int open_it(const char *path, const struct file_disk_options *options, bool *made, struct error *err)
{
	int flags = O_RDWR | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, fd;
	struct stat st;

	if (options->exclusive && stat(path, &st) == 0 && S_ISBLK(st.st_mode))
		flags |= O_EXCL;
	fd = open(path, flags);
	if (fd < 0 && errno == ENOENT && options->create) {
		fd = open(path, flags | O_CREAT | O_EXCL, 0600);
		*made = fd >= 0;
	}
	if (fd >= 0)
		return fd;
	if (errno == EBUSY)
		return fail(err, EBUSY, "open %s: in use by the system: mounted, swap, or part of another device",
		            path);
	return fail(err, errno, "open %s: %s", path, strerror(errno));
}

// Whether aligned reads of align bytes work past the page cache.
static bool probe(int fd, uint8_t *buffer, uint32_t align)
{
	// Memory and offset aligned to align and to no more.
	return pread(fd, buffer + align, align, (off_t)align) >= 0;
}

// What O_DIRECT needs of this file; 0: it does not work there.
static uint32_t direct_align(int fd, bool device)
{
	uint32_t align = 0;
	void *buffer;
	int block;

#ifdef STATX_DIOALIGN
	struct statx stx;

	if (!device && statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &stx) == 0 && (stx.stx_mask & STATX_DIOALIGN)) {
		align = stx.stx_dio_offset_align;
		if (align && stx.stx_dio_mem_align > align)
			align = stx.stx_dio_mem_align;
		return align <= ALIGN_MAX ? align : 0;
	}
#endif
	if (device && ioctl(fd, BLKSSZGET, &block) == 0)
		return block > 0 && block <= ALIGN_MAX ? (uint32_t)block : 0;
	if (posix_memalign(&buffer, 2 * ALIGN_MAX, 2 * ALIGN_MAX))
		return 0;
	if (probe(fd, buffer, 512))
		align = 512;
	else if (probe(fd, buffer, 4096))
		align = 4096;
	free(buffer);
	return align;
}

// The same file once more, without the flags that this one was opened with; -1.
static int open_cached(int fd)
{
	char path[40];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, O_RDWR | O_CLOEXEC);
}

// File systems that take what a direct write changes out of the page cache when
// it ends, as tests/e2e/page-cache.sh sees on each of them. Elsewhere, and on
// block devices, a page that anybody reads meanwhile may stay there as it was.
static bool cache_in_step(const struct opened_file *file)
{
	struct statfs fs;

	return !file->device && fstatfs(file->fd, &fs) == 0 &&
	       (fs.f_type == EXT4_SUPER_MAGIC || fs.f_type == XFS_SUPER_MAGIC);
}

// Who reads the device through the page cache, now or later, does not find what
// was there before, also where somebody else has it open all the time. What is
// dirty, others wrote: it is on its way to the disk then. Does not wait.
static void drop_stale(const struct opened_file *file)
{
	if (file->device)
		(void)posix_fadvise(file->fd, 0, 0, POSIX_FADV_DONTNEED);
}

static int choose_align(const char *path, struct opened_file *file, bool buffered, struct error *err)
{
	int flags = fcntl(file->fd, F_GETFL) & ~O_NONBLOCK;

	file->align = 1;
	file->stream_fd = file->fd;
	if (!buffered && fcntl(file->fd, F_SETFL, flags | O_DIRECT) == 0) {
		uint32_t align = direct_align(file->fd, file->device);

		if (align && (align & (align - 1)) == 0 && file->size % align == 0) {
			file->align = align;
			if (cache_in_step(file))
				file->stream_fd = open_cached(file->fd);
			if (file->stream_fd < 0)
				file->stream_fd = file->fd;
			return 0;
		}
	}
	if (file->device)
		return fail(err, EOPNOTSUPP,
		            "open %s: it cannot be read and written past the page cache in units of %d bytes or less",
		            path, ALIGN_MAX);
	(void)fcntl(file->fd, F_SETFL, flags & ~O_DIRECT);
	return 0;
}

// Whether the device takes WRITE ZEROES itself: a partition asks its disk.
static bool device_zeroes(dev_t device)
{
	static const char *const places[] = {"queue", "../queue"};
	unsigned long long bytes = 0;

	for (unsigned i = 0; i < 2 && !bytes; i++) {
		char path[100];
		FILE *stream;

		snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/%s/write_zeroes_max_bytes", major(device),
		         minor(device), places[i]);
		stream = fopen(path, "re");
		if (!stream)
			continue;
		if (fscanf(stream, "%llu", &bytes) != 1)
			bytes = 0;
		fclose(stream);
	}
	return bytes > 0;
}

static int examine(const char *path, struct opened_file *file, struct error *err)
{
	struct stat st;

	if (fstat(file->fd, &st) < 0)
		return fail(err, errno, "stat %s: %s", path, strerror(errno));
	if (S_ISBLK(st.st_mode)) {
		file->device = true;
		if (ioctl(file->fd, BLKGETSIZE64, &file->size) < 0)
			return fail(err, errno, "size of %s: %s", path, strerror(errno));
		file->fast_zero = device_zeroes(st.st_rdev);
		return 0;
	}
	if (!S_ISREG(st.st_mode))
		return fail(err, EINVAL, "open %s: neither a regular file nor a block device", path);
	file->size = (uint64_t)st.st_size;
	return 0;
}

int file_open(const char *path, const struct file_disk_options *options, struct opened_file *file, struct error *err)
{
	bool made = false;
	int result;

	*file = (struct opened_file){.fd = open_it(path, options, &made, err)};
	if (file->fd < 0)
		return file->fd;
	result = examine(path, file, err);
	if (!result && options->lock) {
		result = lock_file(file->fd);
		if (result < 0)
			fail(err, -result, "lock %s: %s", path,
			     result == -EWOULDBLOCK ? "another process has it open" : strerror(-result));
	}
	if (!result && options->create && !file->device)
		result = size_file(path, options, file, err);
	if (!result && made)
		result = sync_parent(path, err);
	if (!result)
		result = choose_align(path, file, options->buffered, err);
	if (!result)
		drop_stale(file);
	if (result < 0) {
		if (made)
			unlink(path);
		close(file->fd);
		file->fd = -1;
	}
	return result;
}

void file_close(struct opened_file *file)
{
	drop_stale(file);
	if (file->stream_fd != file->fd)
		close(file->stream_fd);
	close(file->fd);
}
