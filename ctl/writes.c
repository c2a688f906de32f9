// SPDX-License-Identifier: Apache-2.0
#include "writes.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#define TRACING "/sys/kernel/tracing"
#define EVENT "events/block/block_bio_queue"
#define SECTOR 512
#define EXTENTS 512 // asked for at once
#define LINE_MAX_BYTES 512
#define BUFFER_KB "8192"

struct mapped { // a file's extent on its device
	uint64_t physical, logical, length;
};

struct writes {
	dev_t device;
	bool file; // of that device, by its extents
	struct mapped *extents;
	size_t extent_count;
	char instance[160]; // of tracefs; empty: there is none
	int pipe;
	char line[LINE_MAX_BYTES];
	size_t length;
	uint64_t lost;
	uint64_t now; // of the newest event
	uint64_t sectors; // by the counters, at the last look
};

static uint64_t monotonic(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

// -- what is watched --

// Where a partition begins on its disk, which is how its events name places.
static uint64_t partition_start(dev_t device)
{
	char path[96];
	unsigned long long sectors = 0;
	FILE *stream;

	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/start", major(device), minor(device));
	stream = fopen(path, "re");
	if (!stream)
		return 0;
	if (fscanf(stream, "%llu", &sectors) != 1)
		sectors = 0;
	fclose(stream);
	return sectors * SECTOR;
}

static int add_extents(struct writes *writes, const struct fiemap *map, uint64_t start)
{
	struct mapped *extents =
	        realloc(writes->extents, (writes->extent_count + map->fm_mapped_extents) * sizeof(*extents));

	if (!extents)
		return -ENOMEM;
	writes->extents = extents;
	for (unsigned i = 0; i < map->fm_mapped_extents; i++)
		extents[writes->extent_count++] =
		        (struct mapped){start + map->fm_extents[i].fe_physical, map->fm_extents[i].fe_logical,
		                        map->fm_extents[i].fe_length};
	return 0;
}

static int by_physical(const void *a, const void *b)
{
	const struct mapped *one = a, *other = b;

	return one->physical < other->physical ? -1 : one->physical > other->physical;
}

static int map_file(struct writes *writes, int fd, const char *path, struct error *err)
{
	struct fiemap *map = calloc(1, sizeof(*map) + EXTENTS * sizeof(struct fiemap_extent));
	uint64_t start = partition_start(writes->device), from = 0;
	bool last = false;
	int result = 0;

	if (!map)
		return fail(err, ENOMEM, "out of memory");
	while (!result && !last) {
		*map = (struct fiemap){.fm_start = from,
		                       .fm_length = FIEMAP_MAX_OFFSET - from,
		                       .fm_flags = FIEMAP_FLAG_SYNC,
		                       .fm_extent_count = EXTENTS};
		if (ioctl(fd, FS_IOC_FIEMAP, map) < 0) {
			result = fail(err, errno,
			              "%s: its place on the disk cannot be asked for: %s; estimate its device", path,
			              strerror(errno));
			break;
		}
		if (add_extents(writes, map, start) < 0)
			result = fail(err, ENOMEM, "out of memory");
		last = !map->fm_mapped_extents;
		if (!last) {
			const struct fiemap_extent *end = &map->fm_extents[map->fm_mapped_extents - 1];

			last = end->fe_flags & FIEMAP_EXTENT_LAST;
			from = end->fe_logical + end->fe_length;
		}
	}
	if (!result && writes->extent_count)
		qsort(writes->extents, writes->extent_count, sizeof(*writes->extents), by_physical);
	free(map);
	return result;
}

static int look_at(struct writes *writes, const char *path, uint64_t *bytes, struct error *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), result = 0;
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0) {
		result = fail(err, errno, "open %s: %s", path, strerror(errno));
	} else if (S_ISBLK(st.st_mode)) {
		writes->device = st.st_rdev;
		if (ioctl(fd, BLKGETSIZE64, bytes) < 0)
			result = fail(err, errno, "size of %s: %s", path, strerror(errno));
	} else if (S_ISREG(st.st_mode)) {
		writes->device = st.st_dev;
		writes->file = true;
		*bytes = (uint64_t)st.st_size;
		result = map_file(writes, fd, path, err);
	} else {
		result = fail(err, EINVAL, "%s is neither a block device nor a file", path);
	}
	if (!result && !*bytes)
		result = fail(err, EINVAL, "%s is empty", path);
	if (fd >= 0)
		close(fd);
	return result;
}

// -- tracing: an instance of our own disturbs nobody else's --

static int put(const struct writes *writes, const char *file, const char *text)
{
	char path[256];
	int fd, result;

	snprintf(path, sizeof(path), "%s/%s", writes->instance, file);
	fd = open(path, O_WRONLY | O_CLOEXEC | O_TRUNC);
	if (fd < 0)
		return -errno;
	result = write(fd, text, strlen(text)) < 0 ? -errno : 0;
	close(fd);
	return result;
}

static void end_trace(struct writes *writes)
{
	if (writes->pipe >= 0)
		close(writes->pipe);
	writes->pipe = -1;
	if (!writes->instance[0])
		return;
	(void)put(writes, EVENT "/enable", "0");
	(void)rmdir(writes->instance);
	writes->instance[0] = '\0';
}

static bool begin_trace(struct writes *writes)
{
	char filter[128], path[256];

	snprintf(writes->instance, sizeof(writes->instance), TRACING "/instances/stead-estimate-%d", (int)getpid());
	if (mkdir(writes->instance, 0700) < 0) {
		writes->instance[0] = '\0';
		return false;
	}
	// The kernel's own dev_t, which is not that of the C library.
	snprintf(filter, sizeof(filter), "dev == %u && (rwbs ~ \"*W*\" || rwbs ~ \"*D*\")",
	         major(writes->device) << 20 | minor(writes->device));
	snprintf(path, sizeof(path), "%s/trace_pipe", writes->instance);
	if (!put(writes, "buffer_size_kb", BUFFER_KB) && !put(writes, "trace_clock", "mono") &&
	    !put(writes, EVENT "/filter", filter) && !put(writes, EVENT "/enable", "1"))
		writes->pipe = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (writes->pipe < 0)
		end_trace(writes);
	return writes->pipe >= 0;
}

// -- events --

struct taker {
	void *user;
	void (*took)(void *user, uint64_t now, uint64_t offset, uint64_t length);
	uint64_t now;
};

static void take_mapped(const struct writes *writes, const struct taker *taker, uint64_t offset, uint64_t length)
{
	size_t low = 0, high = writes->extent_count;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (writes->extents[middle].physical + writes->extents[middle].length <= offset)
			low = middle + 1;
		else
			high = middle;
	}
	for (; low < writes->extent_count && writes->extents[low].physical < offset + length; low++) {
		const struct mapped *extent = &writes->extents[low];
		uint64_t from = offset > extent->physical ? offset : extent->physical;
		uint64_t to = offset + length < extent->physical + extent->length ? offset + length
		                                                                  : extent->physical + extent->length;

		taker->took(taker->user, taker->now, extent->logical + (from - extent->physical), to - from);
	}
}

// When it happened: the kernel hands events on when it has a good many of them.
static uint64_t time_of(const char *line, const char *event)
{
	const char *at = event;
	unsigned long long seconds = 0, microseconds = 0;

	while (at > line && at[-1] == ' ')
		at--;
	while (at > line && at[-1] != ' ')
		at--;
	(void)sscanf(at, "%llu.%6llu", &seconds, &microseconds);
	return seconds * 1000000000 + microseconds * 1000;
}

// "… 15468.216492: block_bio_queue: 254,0 WS 12345 + 8 [name]", or a word on
// lost events.
static void take_line(struct writes *writes, struct taker *taker, const char *line)
{
	const char *event = strstr(line, "block_bio_queue: ");
	unsigned long long sector, count;
	uint64_t now;
	unsigned dropped;
	const char *lost = strstr(line, "[LOST ");

	if (lost && sscanf(lost, "[LOST %u EVENTS]", &dropped) == 1)
		writes->lost += dropped;
	if (!event || sscanf(event, "block_bio_queue: %*u,%*u %*s %llu + %llu", &sector, &count) != 2 || !count)
		return;
	now = time_of(line, event);
	taker->now = now > taker->now ? now : taker->now;
	if (writes->file)
		take_mapped(writes, taker, sector * SECTOR, count * SECTOR);
	else
		taker->took(taker->user, taker->now, sector * SECTOR, count * SECTOR);
}

static int take_text(struct writes *writes, struct taker *taker, struct error *err)
{
	for (;;) {
		ssize_t got =
		        read(writes->pipe, writes->line + writes->length, sizeof(writes->line) - 1 - writes->length);
		char *end;

		if (got < 0 && (errno == EAGAIN || errno == EINTR))
			return 0;
		if (got < 0)
			return fail(err, errno, "read the trace: %s", strerror(errno));
		if (got == 0)
			return 0;
		writes->length += (size_t)got;
		writes->line[writes->length] = '\0';
		while ((end = memchr(writes->line, '\n', writes->length))) {
			*end = '\0';
			take_line(writes, taker, writes->line);
			writes->length -= (size_t)(end + 1 - writes->line);
			memmove(writes->line, end + 1, writes->length + 1);
		}
		if (writes->length == sizeof(writes->line) - 1)
			writes->length = 0; // no line is so long
	}
}

// -- counters --

static int count_sectors(const struct writes *writes, uint64_t *sectors, struct error *err)
{
	char path[96];
	unsigned long long written;
	FILE *stream;
	int found;

	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/stat", major(writes->device), minor(writes->device));
	stream = fopen(path, "re");
	if (!stream)
		return fail(err, errno, "%s: %s", path, strerror(errno));
	found = fscanf(stream, "%*u %*u %*u %*u %*u %*u %llu", &written);
	fclose(stream);
	if (found != 1)
		return fail(err, EIO, "%s: it is not what was expected", path);
	*sectors = written;
	return 0;
}

static int take_count(struct writes *writes, struct taker *taker, struct error *err)
{
	uint64_t sectors = 0;
	int result = count_sectors(writes, &sectors, err);

	if (result < 0)
		return result;
	taker->now = monotonic();
	if (sectors > writes->sectors)
		taker->took(taker->user, taker->now, UINT64_MAX, (sectors - writes->sectors) * SECTOR);
	writes->sectors = sectors;
	return 0;
}

int writes_open(const char *path, struct writes **writes, uint64_t *bytes, bool *traced, struct error *err)
{
	struct writes *new = calloc(1, sizeof(*new));
	int result;

	if (!new)
		return fail(err, ENOMEM, "out of memory");
	new->pipe = -1;
	result = look_at(new, path, bytes, err);
	*traced = !result && begin_trace(new);
	if (!result && !*traced && new->file)
		result =
		        fail(err, EOPNOTSUPP,
		             "%s: a file can be watched with the block tracepoints only: mount -t tracefs none " TRACING
		             ", as root; or estimate its device",
		             path);
	if (!result && !*traced)
		result = count_sectors(new, &new->sectors, err);
	if (result < 0)
		writes_close(new);
	else
		*writes = new;
	return result;
}

void writes_close(struct writes *writes)
{
	end_trace(writes);
	free(writes->extents);
	free(writes);
}

int writes_take(struct writes *writes, uint64_t deadline, void *user,
                void (*took)(void *user, uint64_t now, uint64_t offset, uint64_t length), struct error *err)
{
	struct taker taker = {user, took, writes->now};
	struct pollfd poller = {.fd = writes->pipe, .events = POLLIN};

	for (;;) {
		uint64_t now = monotonic(), left = deadline > now ? deadline - now : 0;
		int result = poll(&poller, 1, left ? (int)(left / 1000000) + 1 : 0);

		if (result < 0 && errno == EINTR)
			return 0;
		if (result < 0)
			return fail(err, errno, "wait for writes: %s", strerror(errno));
		result = writes->pipe >= 0 ? take_text(writes, &taker, err) : 0;
		writes->now = taker.now;
		if (result < 0)
			return result;
		if (monotonic() >= deadline)
			return writes->pipe >= 0 ? 0 : take_count(writes, &taker, err);
	}
}

uint64_t writes_lost(const struct writes *writes)
{
	return writes->lost;
}
