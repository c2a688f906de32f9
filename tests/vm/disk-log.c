// SPDX-License-Identifier: Apache-2.0
// disk-log: what a disk with a volatile cache holds after a power failure.
// Reads the log of a dm-log-writes device: every write in the order in which
// flushes made it durable, then those that no flush had reached.
//
//   disk-log find LOG MARK           exit 0 when the mark is in the log, 1 when not yet
//   disk-log fail LOG DISK LIVE MARK SEED
//                                    writes to DISK, which has what was there before the
//                                    log began, all that was durable at the mark, and of
//                                    the writes that were not some, some sectors of
//                                    others, and none of the rest; then LIVE, which was
//                                    written to while the log was, is made the same
//
// Exit 2 when something is wrong.
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define LOG_MAGIC UINT64_C(0x6a736677736872)
#define LOG_VERSION 1
#define SECTOR 512u
#define SECTOR_MAX 4096u
#define WRITE_MAX (UINT64_C(64) << 20)

enum entry_flags {
	ENTRY_FLUSH = 1,
	ENTRY_FUA = 2,
	ENTRY_DISCARD = 4,
	ENTRY_MARK = 8,
};

// As the kernel's drivers/md/dm-log-writes.c writes them, each in a sector of its own.
struct log_super {
	uint64_t magic, version, entries;
	uint32_t sector_size;
};

struct log_entry {
	uint64_t sector, sectors, flags, data_bytes;
};

_Static_assert(sizeof(struct log_entry) == 32, "struct log_entry");

struct log {
	int fd;
	uint64_t entries;
	uint32_t sector_size;
	uint64_t offset; // of the next entry
	uint8_t *data; // WRITE_MAX
};

struct tally {
	uint64_t durable, kept, torn, lost;
};

static int trouble(const char *what, const char *which)
{
	fprintf(stderr, "disk-log: %s: %s\n", which, what);
	return -1;
}

static int read_at(struct log *log, void *data, uint64_t bytes, uint64_t offset)
{
	uint64_t done = 0;

	while (done < bytes) {
		ssize_t got = pread(log->fd, (uint8_t *)data + done, bytes - done, (off_t)(offset + done));

		if (got <= 0)
			return trouble(got < 0 ? strerror(errno) : "ends too early", "log");
		done += (uint64_t)got;
	}
	return 0;
}

static int log_open(struct log *log, const char *path)
{
	struct log_super super;

	log->fd = open(path, O_RDONLY | O_CLOEXEC);
	// The page cache does not know what the kernel wrote below it.
	if (log->fd < 0 || ioctl(log->fd, BLKFLSBUF) < 0)
		return trouble(strerror(errno), path);
	log->data = malloc(WRITE_MAX);
	if (!log->data)
		return trouble("no memory", path);
	if (read_at(log, &super, sizeof(super), 0) < 0)
		return -1;
	log->entries = le64toh(super.entries);
	log->sector_size = le32toh(super.sector_size);
	if (le64toh(super.magic) != LOG_MAGIC || le64toh(super.version) != LOG_VERSION ||
	    (log->sector_size != SECTOR && log->sector_size != SECTOR_MAX))
		return trouble("not a log of dm-log-writes", path);
	log->offset = log->sector_size;
	return 0;
}

// The next entry with its data, or the name of a mark, in log->data.
static int log_next(struct log *log, struct log_entry *entry)
{
	uint64_t bytes = 0;

	if (read_at(log, log->data, log->sector_size, log->offset) < 0)
		return -1;
	memcpy(entry, log->data, sizeof(*entry));
	entry->sector = le64toh(entry->sector);
	entry->sectors = le64toh(entry->sectors);
	entry->flags = le64toh(entry->flags);
	entry->data_bytes = le64toh(entry->data_bytes);
	if (entry->data_bytes > log->sector_size - sizeof(*entry) - 1)
		return trouble("an entry is damaged", "log");
	if (entry->flags & ENTRY_MARK) {
		memmove(log->data, log->data + sizeof(*entry), entry->data_bytes);
		log->data[entry->data_bytes] = 0;
	} else if (!(entry->flags & ENTRY_DISCARD)) {
		bytes = entry->sectors * log->sector_size;
		if (entry->sectors > WRITE_MAX / log->sector_size)
			return trouble("an entry is too large", "log");
		if (bytes && read_at(log, log->data, bytes, log->offset + log->sector_size) < 0)
			return -1;
	}
	log->offset += log->sector_size + bytes;
	return 0;
}

static bool is_mark(const struct log *log, const struct log_entry *entry, const char *mark)
{
	return entry->flags & ENTRY_MARK && strcmp((const char *)log->data, mark) == 0;
}

static int write_at(int disk, const uint8_t *data, uint64_t bytes, uint64_t offset)
{
	while (bytes) {
		ssize_t put = pwrite(disk, data, bytes, (off_t)offset);

		if (put <= 0)
			return trouble(strerror(errno), "disk");
		data += put, offset += (uint64_t)put, bytes -= (uint64_t)put;
	}
	return 0;
}

static int apply_discard(const struct log *log, int disk, const struct log_entry *entry)
{
	uint64_t offset = entry->sector * log->sector_size, left = entry->sectors * log->sector_size;

	memset(log->data, 0, left < WRITE_MAX ? left : WRITE_MAX);
	while (left) {
		uint64_t bytes = left < WRITE_MAX ? left : WRITE_MAX;

		if (write_at(disk, log->data, bytes, offset) < 0)
			return -1;
		offset += bytes, left -= bytes;
	}
	return 0;
}

static int apply(const struct log *log, int disk, const struct log_entry *entry)
{
	if (entry->flags & ENTRY_MARK)
		return 0;
	if (entry->flags & ENTRY_DISCARD)
		return apply_discard(log, disk, entry);
	return write_at(disk, log->data, entry->sectors * log->sector_size, entry->sector * log->sector_size);
}

static int apply_torn(const struct log *log, int disk, const struct log_entry *entry)
{
	for (uint64_t i = 0; i < entry->sectors; i++) {
		if (random() % 2 && write_at(disk, log->data + i * log->sector_size, log->sector_size,
		                             (entry->sector + i) * log->sector_size) < 0)
			return -1;
	}
	return 0;
}

// The writes that no flush had reached are what the next flush brought.
static int apply_some(struct log *log, int disk, uint64_t left, struct tally *tally)
{
	struct log_entry entry;

	for (; left; left--) {
		if (log_next(log, &entry) < 0)
			return -1;
		if (entry.flags & (ENTRY_FLUSH | ENTRY_FUA))
			return 0;
		switch (entry.flags & (ENTRY_DISCARD | ENTRY_MARK) ? random() % 2 : random() % 3) {
		case 0:
			tally->lost++;
			break;
		case 1:
			tally->kept++;
			if (apply(log, disk, &entry) < 0)
				return -1;
			break;
		default:
			tally->torn++;
			if (apply_torn(log, disk, &entry) < 0)
				return -1;
		}
	}
	return 0;
}

static int find(struct log *log, const char *mark)
{
	struct log_entry entry;

	for (uint64_t i = 0; i < log->entries; i++) {
		if (log_next(log, &entry) < 0)
			return -1;
		if (is_mark(log, &entry, mark))
			return 0;
	}
	return 1;
}

static int power_failure(struct log *log, int disk, const char *mark)
{
	struct tally tally = {0};
	struct log_entry entry;

	for (uint64_t i = 0; i < log->entries; i++) {
		if (log_next(log, &entry) < 0)
			return -1;
		if (is_mark(log, &entry, mark)) {
			if (apply_some(log, disk, log->entries - i - 1, &tally) < 0)
				return -1;
			printf("%" PRIu64 " writes durable; not flushed: %" PRIu64 " there, %" PRIu64 " torn, %" PRIu64
			       " lost\n",
			       tally.durable, tally.kept, tally.torn, tally.lost);
			return 0;
		}
		tally.durable += !(entry.flags & ENTRY_MARK) && entry.sectors;
		if (apply(log, disk, &entry) < 0)
			return -1;
	}
	return trouble("not in the log", mark);
}

// Whatever the log has a write of is on the live disk as on the other one.
static int restore(struct log *log, int disk, int live)
{
	struct log_entry entry;

	log->offset = log->sector_size;
	for (uint64_t i = 0; i < log->entries; i++) {
		uint64_t offset, left, bytes;

		if (log_next(log, &entry) < 0)
			return -1;
		if (entry.flags & ENTRY_MARK)
			continue;
		offset = entry.sector * log->sector_size;
		for (left = entry.sectors * log->sector_size; left; left -= bytes, offset += bytes) {
			bytes = left < WRITE_MAX ? left : WRITE_MAX;
			if (pread(disk, log->data, bytes, (off_t)offset) != (ssize_t)bytes)
				return trouble("ends too early", "disk");
			if (write_at(live, log->data, bytes, offset) < 0)
				return -1;
		}
	}
	return 0;
}

static int fail_disks(struct log *log, char **arguments)
{
	int disk = open(arguments[0], O_RDWR | O_CLOEXEC);
	int live = open(arguments[1], O_WRONLY | O_CLOEXEC);

	if (disk < 0 || live < 0)
		return trouble(strerror(errno), arguments[disk < 0 ? 0 : 1]);
	srandom((unsigned)strtoul(arguments[3], NULL, 10));
	if (power_failure(log, disk, arguments[2]) < 0 || restore(log, disk, live) < 0)
		return -1;
	if (fsync(disk) < 0 || fsync(live) < 0)
		return trouble(strerror(errno), "disk");
	close(disk);
	close(live);
	return 0;
}

int main(int argc, char **argv)
{
	struct log log = {0};
	int result;

	if (argc == 4 && strcmp(argv[1], "find") == 0)
		result = log_open(&log, argv[2]) < 0 ? -1 : find(&log, argv[3]);
	else if (argc == 7 && strcmp(argv[1], "fail") == 0)
		result = log_open(&log, argv[2]) < 0 ? -1 : fail_disks(&log, argv + 3);
	else
		result = trouble("find LOG MARK | fail LOG DISK LIVE MARK SEED", "usage");
	return result < 0 ? 2 : result;
}
