// SPDX-License-Identifier: Apache-2.0
#include "common/slots.h"

#include "common/bytes.h"
#include "memdisk.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

// cmocka.h needs these before it
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define KIND 0x12345678
#define OFFSET 4096

struct loaded {
	unsigned calls;
	int error;
	char text[SLOT_PAYLOAD_MAX + 1];
	bool damaged;
};

struct saved {
	unsigned calls;
	int error;
};

static void on_loaded(void *user, int error, const void *payload, size_t length, bool damaged)
{
	struct loaded *loaded = user;

	loaded->calls++;
	loaded->error = error;
	loaded->damaged = damaged;
	if (!error) {
		memcpy(loaded->text, payload, length);
		loaded->text[length] = '\0';
	}
}

static void on_saved(void *user, int error)
{
	struct saved *saved = user;

	saved->calls++;
	saved->error = error;
}

static struct memdisk *new_disk(void)
{
	return memdisk_new(OFFSET + SLOTS_BYTES + 4096, 4096);
}

// Loads with a new struct slots, as a process that has just been started.
static struct loaded load(struct memdisk *disk)
{
	struct slots *slots = slots_new(&disk->disk, OFFSET, KIND);
	struct loaded loaded = {.error = 1};

	slots_load(slots, &loaded, on_loaded);
	assert_int_equal(loaded.calls, 0);
	memdisk_run(disk);
	assert_int_equal(loaded.calls, 1);
	slots_free(slots);
	return loaded;
}

static int save(struct memdisk *disk, struct slots *slots, const char *text)
{
	struct saved saved = {0};

	slots_save(slots, text, strlen(text), &saved, on_saved);
	assert_int_equal(saved.calls, 0);
	memdisk_run(disk);
	assert_int_equal(saved.calls, 1);
	return saved.error;
}

static void save_all(struct memdisk *disk, const char *first, const char *second)
{
	struct slots *slots = slots_new(&disk->disk, OFFSET, KIND);

	assert_int_equal(save(disk, slots, first), 0);
	if (second)
		assert_int_equal(save(disk, slots, second), 0);
	slots_free(slots);
}

static void expect(struct memdisk *disk, const char *text, bool damaged)
{
	struct loaded loaded = load(disk);

	assert_int_equal(loaded.error, 0);
	assert_string_equal(loaded.text, text);
	assert_int_equal(loaded.damaged, damaged);
}

static void expect_error(struct memdisk *disk, int error)
{
	assert_int_equal(load(disk).error, error);
}

static void test_never_written(void **state)
{
	struct memdisk *disk = new_disk();

	(void)state;
	expect_error(disk, -ENOENT);
	assert_int_equal(disk->writes, 0);
	memdisk_free(disk);
}

static void test_save_writes_flushes_and_mirrors(void **state)
{
	static const enum disk_op order[] = {DISK_WRITE, DISK_FLUSH, DISK_WRITE, DISK_FLUSH};
	struct memdisk *disk = new_disk();

	(void)state;
	save_all(disk, "one", NULL);
	assert_int_equal(disk->record_count, 4);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(disk->records[i].op, order[i]);
	assert_int_not_equal(disk->records[0].offset, disk->records[2].offset);
	assert_memory_equal(disk->bytes + OFFSET, disk->bytes + OFFSET + SLOT_BYTES, SLOT_BYTES);
	for (unsigned i = 0; i < OFFSET; i++)
		assert_int_equal(disk->bytes[i], 0);
	for (unsigned i = OFFSET + SLOTS_BYTES; i < disk->disk.size; i++)
		assert_int_equal(disk->bytes[i], 0);
	memdisk_free(disk);
}

static void test_newest_is_loaded_and_followed(void **state)
{
	struct memdisk *disk = new_disk();
	struct slots *slots;
	struct loaded loaded = {0};

	(void)state;
	save_all(disk, "one", "two");
	expect(disk, "two", false);
	slots = slots_new(&disk->disk, OFFSET, KIND);
	slots_load(slots, &loaded, on_loaded);
	memdisk_run(disk);
	assert_int_equal(save(disk, slots, "three"), 0);
	slots_free(slots);
	expect(disk, "three", false);
	memdisk_free(disk);
}

static void test_largest_and_empty_payload(void **state)
{
	struct memdisk *disk = new_disk();
	char large[SLOT_PAYLOAD_MAX + 1];

	(void)state;
	memset(large, 'x', sizeof(large));
	large[SLOT_PAYLOAD_MAX] = '\0';
	save_all(disk, "", large);
	expect(disk, large, false);
	save_all(disk, large, "");
	expect(disk, "", false);
	memdisk_free(disk);
}

static void test_every_single_byte_flipped(void **state)
{
	struct memdisk *disk = new_disk();

	(void)state;
	save_all(disk, "one", "two");
	for (unsigned i = 0; i < SLOTS_BYTES; i++) {
		const void *payload;
		size_t length;
		bool damaged;

		disk->bytes[OFFSET + i] ^= 1 + i % 255;
		assert_int_equal(slots_pick(disk->bytes + OFFSET, KIND, &payload, &length, &damaged), 0);
		assert_int_equal(length, 3);
		assert_memory_equal(payload, "two", 3);
		assert_true(damaged);
		if (i % 97 == 0) {
			expect(disk, "two", true);
			expect(disk, "two", false); // has been repaired
		} else {
			disk->bytes[OFFSET + i] ^= 1 + i % 255;
		}
	}
	memdisk_free(disk);
}

static void test_one_slot_wiped(void **state)
{
	struct memdisk *disk = new_disk();

	(void)state;
	save_all(disk, "one", "two");
	for (unsigned i = 0; i < 2; i++) {
		memset(disk->bytes + OFFSET + i * SLOT_BYTES, 0, SLOT_BYTES);
		expect(disk, "two", true);
		expect(disk, "two", false);
	}
	memdisk_free(disk);
}

static void test_both_damaged(void **state)
{
	struct memdisk *disk = new_disk();

	(void)state;
	save_all(disk, "one", "two");
	disk->bytes[OFFSET + 200] ^= 1;
	disk->bytes[OFFSET + SLOT_BYTES + 201] ^= 1;
	expect_error(disk, -EILSEQ);
	memset(disk->bytes + OFFSET, 0, SLOT_BYTES);
	expect_error(disk, -EILSEQ); // wiped is not the same as never written
	memdisk_free(disk);
}

static void test_other_kind(void **state)
{
	struct memdisk *disk = new_disk();
	const void *payload;
	size_t length;
	bool damaged;

	(void)state;
	save_all(disk, "one", NULL);
	assert_int_equal(slots_pick(disk->bytes + OFFSET, KIND + 1, &payload, &length, &damaged), -EILSEQ);
	memdisk_free(disk);
}

// A slot whose checksum is right but whose header no version of this writes.
static void corrupt_header(struct memdisk *disk, unsigned at, uint8_t value)
{
	for (unsigned i = 0; i < 2; i++) {
		uint8_t *slot = disk->bytes + OFFSET + i * SLOT_BYTES;

		slot[at] = value;
		put_u64(slot + 8, XXH3_64bits(slot + 16, SLOT_BYTES - 16));
	}
}

static void test_header_is_checked(void **state)
{
	static const struct {
		unsigned at;
		uint8_t value;
	} defects[] = {{0, 'X'}, {16, 2}, {20, 0}, {24, 0}, {31, 0x80}, {34, 1}, {36, 1}, {127, 1}};

	(void)state;
	for (size_t i = 0; i < sizeof(defects) / sizeof(defects[0]); i++) {
		struct memdisk *disk = new_disk();

		save_all(disk, "one", NULL);
		corrupt_header(disk, defects[i].at, defects[i].value);
		expect_error(disk, -EILSEQ);
		memdisk_free(disk);
	}
}

static void test_same_number_other_content(void **state)
{
	struct memdisk *disk = new_disk();
	uint8_t *slot = disk->bytes + OFFSET;

	(void)state;
	save_all(disk, "one", NULL);
	slot[128] = 'X';
	put_u64(slot + 8, XXH3_64bits(slot + 16, SLOT_BYTES - 16));
	expect_error(disk, -EILSEQ);
	memdisk_free(disk);
}

static void test_saves_follow_each_other(void **state)
{
	struct memdisk *disk = new_disk();
	struct slots *slots = slots_new(&disk->disk, OFFSET, KIND);
	struct saved one = {0}, two = {0}, three = {0};

	(void)state;
	slots_save(slots, "one", 3, &one, on_saved);
	slots_save(slots, "two", 3, &two, on_saved);
	slots_save(slots, "three", 5, &three, on_saved);
	while (!one.calls) {
		assert_int_equal(two.calls + three.calls, 0);
		assert_true(memdisk_step(disk));
	}
	assert_int_equal(two.calls, 0);
	memdisk_run(disk);
	assert_int_equal(two.calls, 1);
	assert_int_equal(three.calls, 1);
	assert_int_equal(disk->writes, 4); // two was left out: three is newer
	slots_free(slots);
	expect(disk, "three", false);
	memdisk_free(disk);
}

static void test_disk_errors(void **state)
{
	struct memdisk *disk = new_disk();
	struct slots *slots = slots_new(&disk->disk, OFFSET, KIND);

	(void)state;
	assert_int_equal(save(disk, slots, "one"), 0);
	memdisk_fail(disk, 1U << DISK_READ, 0, -EIO, false);
	expect_error(disk, -EIO);
	for (unsigned skip = 0; skip < 4; skip++) {
		struct loaded loaded;

		memdisk_fail(disk, 1U << DISK_WRITE | 1U << DISK_FLUSH, skip, -EIO, false);
		assert_int_equal(save(disk, slots, "two"), -EIO);
		// an error again, so that a good slot must not be the one that suffers
		memdisk_fail(disk, 1U << DISK_WRITE | 1U << DISK_FLUSH, 0, -ENOSPC, false);
		assert_int_equal(save(disk, slots, "two"), -ENOSPC);
		loaded = load(disk);
		assert_int_equal(loaded.error, 0);
		assert_true(strcmp(loaded.text, "one") == 0 || strcmp(loaded.text, "two") == 0);
		assert_int_equal(save(disk, slots, "one"), 0);
		expect(disk, "one", false);
	}
	slots_free(slots);
	memdisk_free(disk);
}

static void test_repair_that_cannot_be_made(void **state)
{
	struct memdisk *disk = new_disk();

	(void)state;
	save_all(disk, "one", "two");
	disk->bytes[OFFSET] ^= 1;
	memdisk_fail(disk, 1U << DISK_WRITE, 0, -EIO, false);
	expect_error(disk, -EIO);
	memdisk_fail(disk, 1U << DISK_FLUSH, 0, -EIO, false);
	expect_error(disk, -EIO);
	expect(disk, "two", true);
	memdisk_free(disk);
}

// Saves, crashes and power losses at every moment: what a save reported done
// is never lost, what a load returned never goes back, and nothing else ever
// comes up.
static void crash_round(unsigned seed)
{
	struct memdisk *disk = new_disk();
	unsigned known = 0, newest = 0; // numbers of the records

	for (unsigned life = 0; life < 8; life++) {
		struct slots *slots = slots_new(&disk->disk, OFFSET, KIND);
		struct loaded loaded = {0};
		struct saved saved[3] = {0};
		unsigned numbers[3];

		srandom(seed * 8 + life);

		unsigned steps = (unsigned)random() % 18, saves = 0;

		slots_load(slots, &loaded, on_loaded);
		for (unsigned i = 0; i < steps; i++) {
			memdisk_step(disk);
			if (loaded.calls && saves < 3 && random() % 3 == 0) {
				char text[600];

				memset(text, 'a' + (int)(newest % 26), sizeof(text) - 1);
				text[sizeof(text) - 1] = '\0';
				put_u32(text + 508, ++newest);
				put_u32(text + 4, newest);
				slots_save(slots, text, sizeof(text), &saved[saves], on_saved);
				numbers[saves++] = newest;
			}
		}
		if (loaded.calls && known > 0) {
			unsigned number = get_u32(loaded.text + 4);

			assert_int_equal(loaded.error, 0);
			assert_int_equal(get_u32(loaded.text + 508), number);
			assert_in_range(number, known, newest);
			known = number;
		} else if (loaded.calls && loaded.error == 0) {
			known = get_u32(loaded.text + 4);
		}
		for (unsigned i = 0; i < saves; i++) {
			if (saved[i].calls && numbers[i] > known) {
				assert_int_equal(saved[i].error, 0);
				known = numbers[i];
			}
		}
		if (random() % 2)
			memdisk_crash(disk, seed + life);
		else
			memdisk_power_loss(disk, seed + life);
		slots_free(slots);
	}
	memdisk_free(disk);
}

static void test_crash_at_any_moment(void **state)
{
	(void)state;
	for (unsigned seed = 0; seed < 3000; seed++)
		crash_round(seed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_never_written),
	        cmocka_unit_test(test_save_writes_flushes_and_mirrors),
	        cmocka_unit_test(test_newest_is_loaded_and_followed),
	        cmocka_unit_test(test_largest_and_empty_payload),
	        cmocka_unit_test(test_every_single_byte_flipped),
	        cmocka_unit_test(test_one_slot_wiped),
	        cmocka_unit_test(test_both_damaged),
	        cmocka_unit_test(test_other_kind),
	        cmocka_unit_test(test_header_is_checked),
	        cmocka_unit_test(test_same_number_other_content),
	        cmocka_unit_test(test_saves_follow_each_other),
	        cmocka_unit_test(test_disk_errors),
	        cmocka_unit_test(test_repair_that_cannot_be_made),
	        cmocka_unit_test(test_crash_at_any_moment),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
