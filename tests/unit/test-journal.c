// SPDX-License-Identifier: Apache-2.0
#include "sink_fixture.h"

#include "common/bytes.h"
#include "receiver/journal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// cmocka.h needs these before it
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define DISK_BYTES (8192 + (68 << 10))
#define FRAME_MAX 9000
#define HEAD 40 // bytes of a frame

static const struct id generation = {{1, 2, 3}};

// A journal with its disk and what it says.
struct bench {
	struct fake_clock clock;
	struct memdisk *disk;
	struct journal *journal;
	uint64_t random;
	bool opened;
	int error;
	struct error reason;
	bool repaired;
	uint64_t durable; // as told
	uint64_t rejected;
	bool loaded;
	int load_error;
};

static uint64_t count_up(void *user)
{
	struct bench *bench = user;

	return bench->random++ * UINT64_C(0x9e3779b97f4a7c15);
}

static void on_opened(void *user, int error, const struct error *err, const char *repaired)
{
	struct bench *bench = user;

	bench->opened = true;
	bench->error = error;
	if (error)
		bench->reason = *err;
	bench->repaired = repaired != NULL;
}

static void on_durable(void *user, const struct commit *commit)
{
	struct bench *bench = user;

	assert_true(commit->epoch > bench->durable);
	bench->durable = commit->epoch;
}

static void on_rejected(void *user, uint64_t epoch, int error, const struct error *err)
{
	struct bench *bench = user;

	assert_true(error < 0);
	assert_true(strlen(err->text) > 0);
	bench->rejected = epoch;
}

static void on_progress(void *user)
{
	(void)user;
}

static const struct journal_events events = {on_opened, on_durable, on_rejected, on_progress};

static void make(struct bench *bench)
{
	bench->opened = false;
	bench->repaired = false;
	bench->journal = journal_new(&(struct journal_config){
	        .disk = &bench->disk->disk,
	        .clock = &bench->clock.clock,
	        .memory = 1 << 20,
	        .random = count_up,
	        .random_user = bench,
	        .events = &events,
	        .user = bench,
	});
	assert_non_null(bench->journal);
}

static int reopen_as(struct bench *bench, const struct id *id, bool fresh)
{
	journal_free(bench->journal);
	make(bench);
	assert_int_equal(journal_open(bench->journal, id, fresh, 0, &bench->reason), 0);
	memdisk_run(bench->disk);
	assert_true(bench->opened);
	return bench->error;
}

static int reopen(struct bench *bench)
{
	return reopen_as(bench, &generation, false);
}

static void set_up(struct bench *bench)
{
	*bench = (struct bench){.random = 1};
	fake_clock_init(&bench->clock);
	bench->disk = memdisk_new(DISK_BYTES, 4096);
	assert_int_equal(reopen_as(bench, &generation, true), 0);
}

static void tear_down(struct bench *bench)
{
	journal_free(bench->journal);
	memdisk_free(bench->disk);
}

// A frame of an epoch, always the same for the same numbers.
static uint32_t make_frame(uint64_t epoch, unsigned index, uint8_t *bytes, struct frame *frame)
{
	uint32_t length = 100 + (uint32_t)(epoch * 977 + index * 3331) % 8000;

	for (uint32_t i = 0; i < length; i++)
		bytes[FRAME_HEADER_BYTES + i] = (uint8_t)(epoch * 31 + index * 7 + i * i);
	frame_put_header(bytes, FRAME_BLOCKS, index, length);
	assert_int_equal(frame_check(bytes, FRAME_HEADER_BYTES + length, frame), 0);
	return FRAME_HEADER_BYTES + length;
}

static int append_frames(struct bench *bench, uint64_t epoch, unsigned frames, struct commit *commit)
{
	static uint8_t bytes[FRAME_MAX];
	struct frame frame;

	*commit = (struct commit){.epoch = epoch, .base = epoch - 1, .cut_wall = (int64_t)epoch, .frames = frames};
	for (unsigned i = 0; i < frames; i++) {
		int error;

		make_frame(epoch, i, bytes, &frame);
		error = journal_append(bench->journal, &frame, HEAD, &bench->reason);
		if (error)
			return error;
		commit->digest = epoch_digest(commit->digest, frame_checksum(&frame));
	}
	return 0;
}

static int write_epoch(struct bench *bench, uint64_t epoch, unsigned frames)
{
	struct commit commit;
	int error = journal_begin(bench->journal, epoch);

	if (!error)
		error = append_frames(bench, epoch, frames, &commit);
	if (!error)
		error = journal_commit(bench->journal, &commit, &bench->reason);
	memdisk_run(bench->disk);
	return error;
}

static void on_loaded(void *user, int error, const struct error *err)
{
	struct bench *bench = user;

	(void)err;
	bench->loaded = true;
	bench->load_error = error;
}

// The next epoch is this one, whole. False: a record could not be read.
static bool check_epoch(struct bench *bench, uint64_t epoch, unsigned frames)
{
	static uint8_t expected[FRAME_MAX];
	const struct commit *commit = journal_next(bench->journal);
	struct journal_record *record = NULL;
	unsigned index = 0;

	assert_non_null(commit);
	assert_int_equal(commit->epoch, epoch);
	assert_int_equal(commit->cut_wall, epoch);
	while ((record = journal_record(bench->journal, record))) {
		uint32_t length = 0, offset = 0;
		const uint8_t *at = journal_frames(record, &length);

		if (!at) {
			bench->loaded = false;
			assert_int_equal(journal_load(bench->journal, record, bench, on_loaded), 0);
			memdisk_run(bench->disk);
			assert_true(bench->loaded);
			if (bench->load_error)
				return false;
			at = journal_frames(record, &length);
			assert_non_null(at);
		}
		for (; offset < length; index++) {
			struct frame frame;
			uint32_t size = make_frame(epoch, index, expected, &frame);

			assert_true(size <= length - offset);
			assert_memory_equal(at + offset, expected, size);
			offset += size;
		}
		journal_release(bench->journal, record);
	}
	assert_int_equal(index, frames);
	return true;
}

static void take_epoch(struct bench *bench, uint64_t epoch, unsigned frames)
{
	assert_true(check_epoch(bench, epoch, frames));
	journal_applied(bench->journal);
	memdisk_run(bench->disk);
}

static void formats_know_their_damage(void **state)
{
	uint8_t bytes[SUPERBLOCK_BYTES], payload[COMMIT_BYTES];
	struct superblock superblock = {.sequence = 1,
	                                .journal = {{1}},
	                                .generation = {{2}},
	                                .ring_bytes = 65536,
	                                .tail = 4096,
	                                .tail_sequence = 3,
	                                .tail_chain = 4,
	                                .applied = 5,
	                                .durable = 6,
	                                .durable_wall = 7,
	                                .durable_sequence = 8,
	                                .durable_position = 12288},
	                  read;
	struct record_header header = {.type = RECORD_DATA,
	                               .payload = 77,
	                               .journal = {{3}},
	                               .sequence = 9,
	                               .chain = 10,
	                               .epoch = 11,
	                               .checksum = 12,
	                               .heads = 13,
	                               .before = {2, 1, 255}},
	                     got;
	struct commit commit = {.epoch = 3, .base = 2, .cut_wall = 5, .completes = true, .frames = 9}, back;
	uint64_t chain, again;

	(void)state;
	superblock_put(bytes, &superblock);
	assert_int_equal(superblock_get(bytes, &read), 0);
	assert_memory_equal(&superblock, &read, sizeof(read));
	for (unsigned i = 0; i < SUPERBLOCK_BYTES; i++) {
		bytes[i] ^= 0x10;
		assert_int_equal(superblock_get(bytes, &read), -EILSEQ);
		bytes[i] ^= 0x10;
	}
	chain = record_put(bytes, &header);
	assert_int_equal(record_get(bytes, &got, &again), 0);
	assert_true(chain == again && got.type == RECORD_DATA && got.payload == 77 && got.epoch == 11 &&
	            got.checksum == 12 && got.heads == 13 && got.before[0] == 2 && got.before[2] == 255 &&
	            got.before[3] == 0);
	for (unsigned i = 0; i < RECORD_HEADER_BYTES; i++) {
		bytes[i] ^= 0x10;
		assert_int_equal(record_get(bytes, &got, &again), -EILSEQ);
		bytes[i] ^= 0x10;
	}
	commit_put(payload, &commit);
	assert_int_equal(commit_get(payload, COMMIT_BYTES, &back), 0);
	assert_true(back.completes && back.frames == 9 && back.base == 2);
	assert_int_equal(commit_get(payload, COMMIT_BYTES - 1, &back), -EILSEQ);
}

static void keeps_epochs(void **state)
{
	struct bench bench;

	(void)state;
	set_up(&bench);
	assert_null(journal_next(bench.journal));
	assert_int_equal(write_epoch(&bench, 1, 3), 0);
	assert_int_equal(bench.durable, 1);
	assert_int_equal(write_epoch(&bench, 2, 0), 0);
	assert_int_equal(write_epoch(&bench, 3, 1), 0);
	assert_int_equal(reopen(&bench), 0);
	assert_int_equal(journal_durable(bench.journal), 3);
	assert_int_equal(journal_applied_epoch(bench.journal), 0);
	take_epoch(&bench, 1, 3);
	assert_int_equal(reopen(&bench), 0);
	assert_int_equal(journal_applied_epoch(bench.journal), 1);
	take_epoch(&bench, 2, 0);
	take_epoch(&bench, 3, 1);
	assert_int_equal(reopen(&bench), 0);
	assert_null(journal_next(bench.journal));
	assert_int_equal(journal_durable(bench.journal), 3);
	assert_int_equal(journal_durable_wall(bench.journal), 3);
	tear_down(&bench);
}

// Whoever reads nothing but heads can tell whether they are what was written.
static void headers_know_the_heads(void **state)
{
	static uint8_t expected[FRAME_MAX];
	unsigned index = 0;
	struct bench bench;
	uint64_t at = RING_OFFSET;

	(void)state;
	set_up(&bench);
	assert_int_equal(write_epoch(&bench, 1, 9), 0);
	for (;;) {
		uint64_t chain, heads = 0;
		struct record_header header;
		uint32_t offset = 0;

		assert_int_equal(record_get(bench.disk->bytes + at, &header, &chain), 0);
		if (header.type != RECORD_DATA)
			break;
		for (; offset < header.payload; index++) {
			struct frame frame;
			uint64_t before = heads;

			offset += make_frame(1, index, expected, &frame);
			heads = record_heads(heads, expected, HEAD);
			expected[HEAD - 1] ^= 1;
			assert_true(record_heads(before, expected, HEAD) != heads);
		}
		assert_true(header.heads == heads && heads != 0);
		at += record_bytes(header.payload);
	}
	assert_int_equal(index, 9);
	assert_true(at > RING_OFFSET + 2 * RECORD_ALIGN); // in more than one record
	tear_down(&bench);
}

static void wraps(void **state)
{
	struct bench bench;

	(void)state;
	set_up(&bench);
	for (uint64_t epoch = 1; epoch < 200; epoch++) {
		unsigned frames = (unsigned)(epoch * 7 % 5), before = (unsigned)((epoch - 1) * 7 % 5);

		assert_int_equal(write_epoch(&bench, epoch, frames), 0);
		assert_int_equal(bench.durable, epoch);
		if (epoch % 3 == 0)
			assert_int_equal(reopen(&bench), 0);
		if (epoch > 1) // one epoch always stays behind
			take_epoch(&bench, epoch - 1, before);
	}
	tear_down(&bench);
}

static void full_ring_waits_or_says_never(void **state)
{
	struct bench bench;
	struct commit commit;

	(void)state;
	set_up(&bench);
	assert_int_equal(write_epoch(&bench, 1, 8), 0);
	assert_int_equal(journal_begin(bench.journal, 2), 0);
	assert_int_equal(append_frames(&bench, 2, 12, &commit), -EAGAIN);
	journal_drop(bench.journal);
	memdisk_run(bench.disk);
	take_epoch(&bench, 1, 8);
	assert_int_equal(journal_begin(bench.journal, 2), 0);
	assert_int_equal(append_frames(&bench, 2, 40, &commit), -EAGAIN); // one superblock still needs epoch 1
	memdisk_run(bench.disk);
	journal_drop(bench.journal);
	assert_int_equal(journal_begin(bench.journal, 2), 0);
	assert_int_equal(append_frames(&bench, 2, 40, &commit), -ENOSPC);
	assert_non_null(strstr(bench.reason.text, "does not fit"));
	journal_drop(bench.journal);
	memdisk_run(bench.disk);
	assert_int_equal(write_epoch(&bench, 2, 8), 0);
	take_epoch(&bench, 2, 8);
	tear_down(&bench);
}

static void dropped_records_stay_dropped(void **state)
{
	struct bench bench;
	struct commit commit;

	(void)state;
	set_up(&bench);
	assert_int_equal(write_epoch(&bench, 1, 2), 0);
	assert_int_equal(journal_begin(bench.journal, 2), 0);
	assert_int_equal(append_frames(&bench, 2, 6, &commit), 0);
	memdisk_run(bench.disk);
	assert_int_equal(reopen(&bench), 0); // in the middle of 2
	assert_int_equal(journal_durable(bench.journal), 1);
	assert_int_equal(write_epoch(&bench, 2, 1), 0);
	assert_int_equal(reopen(&bench), 0);
	assert_int_equal(journal_durable(bench.journal), 2);
	take_epoch(&bench, 1, 2);
	take_epoch(&bench, 2, 1);
	assert_null(journal_next(bench.journal));
	tear_down(&bench);
}

static void errors_reject(void **state)
{
	(void)state;
	for (unsigned skip = 0; skip < 3; skip++) {
		struct bench bench;

		set_up(&bench);
		assert_int_equal(write_epoch(&bench, 1, 2), 0);
		memdisk_fail(bench.disk, 1 << DISK_WRITE | 1 << DISK_FLUSH, skip, -EIO, false);
		assert_int_equal(write_epoch(&bench, 2, 2), 0);
		assert_int_equal(bench.rejected, 2);
		assert_int_equal(bench.durable, 1);
		assert_int_equal(write_epoch(&bench, 2, 2), 0);
		assert_int_equal(bench.durable, 2);
		assert_int_equal(reopen(&bench), 0);
		take_epoch(&bench, 1, 2);
		take_epoch(&bench, 2, 2);
		tear_down(&bench);
	}
}

static void lost_journal_is_noticed(void **state)
{
	struct bench bench;
	struct memdisk *empty = memdisk_new(DISK_BYTES, 4096), *full;

	(void)state;
	set_up(&bench);
	assert_int_equal(write_epoch(&bench, 1, 2), 0);
	full = bench.disk;
	bench.disk = empty;
	assert_int_equal(reopen(&bench), -EILSEQ);
	assert_non_null(strstr(bench.reason.text, "is empty"));
	memdisk_free(empty);
	bench.disk = full;
	bench.disk->disk.size -= 4096;
	assert_int_equal(reopen(&bench), -EILSEQ);
	assert_non_null(strstr(bench.reason.text, "cut short"));
	bench.disk->disk.size = 8192;
	journal_free(bench.journal);
	make(&bench);
	assert_int_equal(journal_open(bench.journal, &generation, true, 0, &bench.reason), -EINVAL);
	bench.disk->disk.size = DISK_BYTES;
	tear_down(&bench);
}

static void another_generation_starts_anew(void **state)
{
	static const struct id other = {{9}};
	struct bench bench;

	(void)state;
	set_up(&bench);
	assert_int_equal(write_epoch(&bench, 1, 2), 0);
	assert_int_equal(reopen_as(&bench, &other, false), -EILSEQ);
	assert_non_null(strstr(bench.reason.text, "another generation"));
	assert_int_equal(reopen(&bench), 0);
	take_epoch(&bench, 1, 2);
	assert_int_equal(reopen_as(&bench, &other, false), 0);
	assert_int_equal(journal_durable(bench.journal), 0);
	bench.durable = 0;
	assert_int_equal(write_epoch(&bench, 1, 1), 0);
	assert_int_equal(reopen_as(&bench, &other, false), 0);
	take_epoch(&bench, 1, 1);
	tear_down(&bench);
}

static void grows_when_empty(void **state)
{
	struct bench bench;
	struct memdisk *larger;

	(void)state;
	set_up(&bench);
	assert_int_equal(write_epoch(&bench, 1, 2), 0);
	larger = memdisk_new(DISK_BYTES * 4, 4096);
	memcpy(larger->bytes, bench.disk->bytes, DISK_BYTES);
	memdisk_free(bench.disk);
	bench.disk = larger;
	assert_int_equal(reopen(&bench), 0);
	take_epoch(&bench, 1, 2);
	assert_int_equal(reopen(&bench), 0);
	assert_int_equal(write_epoch(&bench, 2, 24), 0); // more than there was
	assert_int_equal(reopen(&bench), 0);
	take_epoch(&bench, 2, 24);
	tear_down(&bench);
}

// Three durable epochs; whatever byte is wrong, the journal says so or gives
// all of them.
static void any_wrong_byte(void **state)
{
	static uint8_t copy[DISK_BYTES];
	unsigned failures = 0, repairs = 0;
	struct bench bench;

	(void)state;
	set_up(&bench);
	assert_int_equal(write_epoch(&bench, 1, 1), 0);
	take_epoch(&bench, 1, 1);
	assert_int_equal(write_epoch(&bench, 2, 1), 0);
	assert_int_equal(write_epoch(&bench, 3, 0), 0);
	assert_int_equal(write_epoch(&bench, 4, 1), 0);
	memcpy(copy, bench.disk->bytes, DISK_BYTES);
	for (uint64_t at = 0; at < 8192 + 10 * 4096; at++) {
		// the middle of a payload is like the rest of it
		if (at > 8192 && at % 4096 > 512 && at % 13 != 0)
			continue;
		memcpy(bench.disk->bytes, copy, DISK_BYTES);
		bench.disk->bytes[at] ^= (uint8_t)(1 << at % 8);
		if (reopen(&bench)) {
			failures++;
			assert_non_null(strstr(bench.reason.text, "journal is damaged"));
			continue;
		}
		repairs += bench.repaired;
		assert_int_equal(journal_durable(bench.journal), 4);
		if (journal_next(bench.journal)->epoch == 1)
			take_epoch(&bench, 1, 1);
		take_epoch(&bench, 2, 1);
		take_epoch(&bench, 3, 0);
		take_epoch(&bench, 4, 1);
		assert_null(journal_next(bench.journal));
	}
	assert_int_equal(repairs, 8192);
	assert_true(failures > 1000);
	tear_down(&bench);
}

// Garbage of any kind, also with checksums that are right.
static void any_garbage(void **state)
{
	static uint8_t copy[DISK_BYTES];
	struct bench bench;

	(void)state;
	set_up(&bench);
	assert_int_equal(write_epoch(&bench, 1, 3), 0);
	assert_int_equal(write_epoch(&bench, 2, 2), 0);
	memcpy(copy, bench.disk->bytes, DISK_BYTES);
	srandom(1);
	for (unsigned round = 0; round < 3000; round++) {
		uint64_t block = (uint64_t)random() % (DISK_BYTES / 4096) * 4096;
		unsigned count = 1 + (unsigned)random() % 8;
		struct superblock superblock;
		struct record_header header;
		uint64_t chain;

		memcpy(bench.disk->bytes, copy, DISK_BYTES);
		for (unsigned i = 0; i < count; i++)
			bench.disk->bytes[block + 16 + (uint64_t)random() % 100] = (uint8_t)random();
		// so that what is behind the checksums is reached
		if (block < 8192) {
			if (superblock_get(copy + block, &superblock) == 0) {
				uint64_t *fields[] = {&superblock.ring_bytes,    &superblock.tail,
				                      &superblock.tail_sequence, &superblock.applied,
				                      &superblock.durable,       &superblock.durable_sequence};

				*fields[random() % 6] = (uint64_t)random() % 64 * (random() % 2 ? 4096 : 1);
				superblock.sequence += 2;
				superblock_put(bench.disk->bytes + block, &superblock);
			}
		} else if (record_get(copy + block, &header, &chain) == 0) {
			header.payload = (uint32_t)random() >> (random() % 32);
			header.type = 1 + (unsigned)random() % 3;
			record_put(bench.disk->bytes + block, &header);
		}
		if (reopen(&bench) == 0)
			assert_true(journal_durable(bench.journal) <= INT64_MAX);
	}
	tear_down(&bench);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(formats_know_their_damage),
	        cmocka_unit_test(keeps_epochs),
	        cmocka_unit_test(headers_know_the_heads),
	        cmocka_unit_test(wraps),
	        cmocka_unit_test(full_ring_waits_or_says_never),
	        cmocka_unit_test(dropped_records_stay_dropped),
	        cmocka_unit_test(errors_reject),
	        cmocka_unit_test(lost_journal_is_noticed),
	        cmocka_unit_test(another_generation_starts_anew),
	        cmocka_unit_test(grows_when_empty),
	        cmocka_unit_test(any_wrong_byte),
	        cmocka_unit_test(any_garbage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
