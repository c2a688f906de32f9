// SPDX-License-Identifier: Apache-2.0
#include "stamp.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#define MAGIC "STAMPLOG"
#define BLOCK_MAGIC UINT64_C(0x504d415453444153)
#define REPORTED_MAX 10
#define NEVER UINT64_MAX // acknowledgement that never came

// What a stamped block begins with; the rest is filler that follows from it.
struct stamp_header {
	uint64_t magic;
	uint64_t checksum; // of all that follows
	uint64_t id;
	uint64_t block;
	uint16_t volume;
	uint16_t connection;
	uint32_t reserved;
};

_Static_assert(sizeof(struct stamp_log) == 4096, "records begin at a page");

size_t stamp_log_bytes(uint64_t capacity)
{
	return sizeof(struct stamp_log) + capacity * sizeof(struct stamp_record);
}

void stamp_log_format(struct stamp_log *log, uint64_t capacity)
{
	memset(log, 0, sizeof(*log));
	log->capacity = capacity;
	atomic_store(&log->sequence, 1);
	memcpy(log->magic, MAGIC, sizeof(log->magic));
}

static bool log_valid(const struct stamp_log *log, off_t bytes)
{
	return !memcmp(log->magic, MAGIC, sizeof(log->magic)) && (uint64_t)bytes == stamp_log_bytes(log->capacity);
}

static void *map_log(int fd, int protection, off_t *bytes)
{
	struct stat st;
	void *log;

	if (fstat(fd, &st) < 0)
		return NULL;
	if (st.st_size < (off_t)sizeof(struct stamp_log)) {
		errno = EINVAL;
		return NULL;
	}
	log = mmap(NULL, (size_t)st.st_size, protection, MAP_SHARED, fd, 0);
	*bytes = st.st_size;
	return log == MAP_FAILED ? NULL : log;
}

struct stamp_log *stamp_log_open(const char *path, uint64_t capacity)
{
	struct stamp_log *log = NULL;
	struct stat st;
	off_t bytes;
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	if (fd < 0)
		return NULL;
	if (fstat(fd, &st) < 0)
		goto out;
	if (st.st_size == 0 && ftruncate(fd, (off_t)stamp_log_bytes(capacity)) < 0)
		goto out;
	log = map_log(fd, PROT_READ | PROT_WRITE, &bytes);
	if (!log)
		goto out;
	if (st.st_size == 0)
		stamp_log_format(log, capacity);
	if (!log_valid(log, bytes)) {
		munmap(log, (size_t)bytes);
		log = NULL;
		errno = EINVAL;
	}
out:
	close(fd);
	return log;
}

const struct stamp_log *stamp_log_read(const char *path)
{
	struct stamp_log *log;
	off_t bytes;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return NULL;
	log = map_log(fd, PROT_READ, &bytes);
	close(fd);
	if (log && !log_valid(log, bytes)) {
		munmap(log, (size_t)bytes);
		errno = EINVAL;
		return NULL;
	}
	return log;
}

uint64_t stamp_submit(struct stamp_log *log, unsigned volume, unsigned connection, uint64_t block, uint32_t count,
                      bool zero)
{
	uint64_t index = atomic_fetch_add(&log->used, 1);
	struct stamp_record *record = &log->records[index];

	if (index >= log->capacity) {
		atomic_fetch_sub(&log->used, 1);
		return 0;
	}
	record->volume = (uint16_t)volume;
	record->connection = (uint16_t)connection;
	record->block = block;
	record->count = count;
	record->zero = zero;
	atomic_store(&record->submit, atomic_fetch_add(&log->sequence, 1));
	return index + 1;
}

void stamp_ack(struct stamp_log *log, uint64_t id)
{
	atomic_store(&log->records[id - 1].ack, atomic_fetch_add(&log->sequence, 1));
}

void stamp_fill(uint8_t *block, const struct stamp *stamp)
{
	struct stamp_header header = {
	        .magic = BLOCK_MAGIC,
	        .id = stamp->id,
	        .block = stamp->block,
	        .volume = stamp->volume,
	        .connection = stamp->connection,
	};
	uint64_t random = stamp->id * UINT64_C(0x9e3779b97f4a7c15) ^ stamp->block;
	size_t at = sizeof(header);

	// Half noise, half repetition: compresses about as well as real data.
	for (; at < STAMP_BLOCK / 2; at += sizeof(random)) {
		random ^= random << 13;
		random ^= random >> 7;
		random ^= random << 17;
		memcpy(block + at, &random, sizeof(random));
	}
	for (; at < STAMP_BLOCK; at += sizeof(random))
		memcpy(block + at, &random, sizeof(random));
	memcpy(block, &header, sizeof(header));
	header.checksum = XXH3_64bits(block + 16, STAMP_BLOCK - 16);
	memcpy(block, &header, sizeof(header));
}

enum stamp_kind stamp_read(const uint8_t *block, struct stamp *stamp)
{
	struct stamp_header header;

	if (block[0] == 0 && !memcmp(block, block + 1, STAMP_BLOCK - 1))
		return STAMP_ZERO;
	memcpy(&header, block, sizeof(header));
	if (header.magic != BLOCK_MAGIC || header.checksum != XXH3_64bits(block + 16, STAMP_BLOCK - 16))
		return STAMP_BROKEN;
	*stamp = (struct stamp){
	        .id = header.id, .block = header.block, .volume = header.volume, .connection = header.connection};
	return STAMP_WHOLE;
}

// One check under way.
struct check {
	const struct stamp_log *log;
	const struct stamp_image *images;
	unsigned image_count;
	uint64_t used;
	FILE *out;
	struct stamp_verdict *verdict;
	uint64_t *visible[STAMP_VOLUMES_MAX]; // id in each block, 0: zero
	uint64_t *zeroed[STAMP_VOLUMES_MAX]; // latest acknowledgement of a zero write to each block
};

static uint64_t ack_of(const struct stamp_record *record)
{
	uint64_t ack = atomic_load_explicit(&((struct stamp_record *)(uintptr_t)record)->ack, memory_order_relaxed);

	return ack ? ack : NEVER;
}

static uint64_t submit_of(const struct stamp_record *record)
{
	return atomic_load_explicit(&((struct stamp_record *)(uintptr_t)record)->submit, memory_order_relaxed);
}

__attribute__((format(printf, 4, 5))) static void violation(struct check *check, unsigned volume, uint64_t block,
                                                            const char *format, ...)
{
	va_list args;

	if (check->verdict->violations++ >= REPORTED_MAX || !check->out)
		return;
	fprintf(check->out, "volume %u block %" PRIu64 ": ", volume, block);
	va_start(args, format);
	vfprintf(check->out, format, args);
	va_end(args);
	fputc('\n', check->out);
}

// A whole stamp must be one that was submitted for just this place.
static bool stamp_known(struct check *check, unsigned volume, uint64_t block, const struct stamp *stamp)
{
	const struct stamp_record *record;

	if (stamp->id == 0 || stamp->id > check->used || submit_of(&check->log->records[stamp->id - 1]) == 0) {
		violation(check, volume, block, "write %" PRIu64 " was never submitted", stamp->id);
		return false;
	}
	record = &check->log->records[stamp->id - 1];
	if (stamp->volume != volume || stamp->block != block || record->volume != volume || record->zero ||
	    block < record->block || block - record->block >= record->count) {
		violation(check, volume, block, "holds write %" PRIu64 " of volume %u block %" PRIu64, stamp->id,
		          stamp->volume, stamp->block);
		return false;
	}
	return true;
}

static void read_image(struct check *check, unsigned volume)
{
	const struct stamp_image *image = &check->images[volume];
	struct stamp_verdict *verdict = check->verdict;

	for (uint64_t block = 0; block < image->blocks; block++) {
		struct stamp stamp;

		switch (stamp_read(image->data + block * STAMP_BLOCK, &stamp)) {
		case STAMP_ZERO:
			break;
		case STAMP_BROKEN:
			violation(check, volume, block, "holds no whole write");
			break;
		case STAMP_WHOLE:
			if (!stamp_known(check, volume, block, &stamp))
				break;
			check->visible[volume][block] = stamp.id;
			verdict->visible++;
			if (submit_of(&check->log->records[stamp.id - 1]) > verdict->cut)
				verdict->cut = submit_of(&check->log->records[stamp.id - 1]);
			break;
		}
	}
}

// Whether a record names blocks that the images have.
static bool record_fits(const struct check *check, const struct stamp_record *record)
{
	const struct stamp_image *image = &check->images[record->volume];

	return record->volume < check->image_count && record->block < image->blocks &&
	       record->count <= image->blocks - record->block;
}

static void note_zeroes(struct check *check)
{
	for (uint64_t i = 0; i < check->used; i++) {
		const struct stamp_record *record = &check->log->records[i];

		if (!record->zero || submit_of(record) == 0 || !record_fits(check, record))
			continue;
		for (uint64_t block = record->block; block < record->block + record->count; block++) {
			uint64_t *latest = &check->zeroed[record->volume][block];

			if (ack_of(record) > *latest)
				*latest = ack_of(record);
		}
	}
}

// Whether a block holds a write, or something that is not certainly older.
static bool holds(const struct check *check, uint64_t id, uint64_t block)
{
	const struct stamp_record *record = &check->log->records[id - 1];
	uint64_t seen = check->visible[record->volume][block];

	if (seen == 0)
		return check->zeroed[record->volume][block] >= submit_of(record);
	return seen == id || ack_of(&check->log->records[seen - 1]) >= submit_of(record);
}

static void expect_record(struct check *check, uint64_t id, bool in_cut)
{
	const struct stamp_record *record = &check->log->records[id - 1];
	bool lost = false;

	for (uint64_t block = record->block; block < record->block + record->count; block++) {
		if (holds(check, id, block))
			continue;
		lost = true;
		if (in_cut)
			violation(check, record->volume, block,
			          "holds write %" PRIu64 " (0: none), not write %" PRIu64
			          ", which was acknowledged (%" PRIu64
			          ") before a visible write was submitted (%" PRIu64 ")",
			          check->visible[record->volume][block], id, ack_of(record), check->verdict->cut);
	}
	check->verdict->lost += lost;
}

static void expect_records(struct check *check, bool complete)
{
	for (uint64_t id = 1; id <= check->used; id++) {
		const struct stamp_record *record = &check->log->records[id - 1];
		uint64_t ack = ack_of(record);

		if (submit_of(record) == 0 || ack == NEVER)
			continue;
		if (record_fits(check, record))
			expect_record(check, id, complete || ack < check->verdict->cut);
		else
			violation(check, record->volume, record->block, "write %" PRIu64 " lies outside the images",
			          id);
	}
}

int stamp_check(const struct stamp_log *log, const struct stamp_image *images, unsigned image_count, bool complete,
                FILE *out, struct stamp_verdict *verdict)
{
	struct check check = {
	        .log = log,
	        .images = images,
	        .image_count = image_count,
	        .used = atomic_load(&((struct stamp_log *)(uintptr_t)log)->used),
	        .out = out,
	        .verdict = verdict,
	};
	int rc = 0;

	*verdict = (struct stamp_verdict){0};
	if (check.used > log->capacity)
		check.used = log->capacity;
	for (unsigned volume = 0; volume < image_count; volume++) {
		check.visible[volume] = calloc(images[volume].blocks + 1, sizeof(uint64_t));
		check.zeroed[volume] = calloc(images[volume].blocks + 1, sizeof(uint64_t));
		if (!check.visible[volume] || !check.zeroed[volume]) {
			rc = -ENOMEM;
			goto out;
		}
	}
	for (unsigned volume = 0; volume < image_count; volume++)
		read_image(&check, volume);
	note_zeroes(&check);
	expect_records(&check, complete);
out:
	for (unsigned volume = 0; volume < image_count; volume++) {
		free(check.visible[volume]);
		free(check.zeroed[volume]);
	}
	return rc;
}
