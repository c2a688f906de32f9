// SPDX-License-Identifier: Apache-2.0
// What is noted of volumes is read back as it was, damage is told, and a sample
// of their content finds what has changed.
#include "common/volume_record.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define VOLUME_BYTES (UINT64_C(1) << 20)

static char directory[] = "/tmp/stead-test-volume-XXXXXX";
static char path[64];

static int set_up(void **unused)
{
	(void)unused;
	if (!mkdtemp(directory))
		return -1;
	snprintf(path, sizeof(path), "%s/volumes", directory);
	return 0;
}

static int tear_down(void **unused)
{
	char image[80];

	(void)unused;
	snprintf(image, sizeof(image), "%s/image", directory);
	unlink(image);
	unlink(path);
	return rmdir(directory);
}

static int make_image(void)
{
	char image[80];
	uint8_t block[BLOCK_SIZE];
	int fd;

	snprintf(image, sizeof(image), "%s/image", directory);
	fd = open(image, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)VOLUME_BYTES), 0);
	for (unsigned i = 0; i < VOLUME_BYTES / BLOCK_SIZE; i++) {
		memset(block, (int)(i + 1), sizeof(block));
		assert_int_equal(pwrite(fd, block, sizeof(block), (off_t)(i * BLOCK_SIZE)), sizeof(block));
	}
	return fd;
}

static struct volume_records *some_records(void)
{
	struct volume_records *records = calloc(1, sizeof(*records));
	struct volume_record *record = volume_record_find(records, "data", true);

	facts_add(&record->identity, "inode", "12");
	facts_add(&record->identity, "wwid", " naa.5000 \n");
	record = volume_record_find(records, "log", true);
	record->stopped = true;
	record->stopped_at = 1700000000123456789;
	facts_add(&record->stillness, "last change", "yesterday");
	record->sample.count = SAMPLE_MAX;
	for (unsigned i = 0; i < SAMPLE_MAX; i++)
		record->sample.blocks[i] = i * 3;
	memset(record->sample.hashes, 0xab, sizeof(record->sample.hashes));
	return records;
}

static void test_round_trip(void **unused)
{
	struct volume_records *before = some_records(), *after = calloc(1, sizeof(*after));
	struct error err = {""};

	(void)unused;
	assert_int_equal(volume_records_write(path, before, &err), 0);
	assert_int_equal(volume_records_read(path, after, &err), 0);
	assert_int_equal(after->count, 2);
	assert_string_equal(facts_find(&after->list[0].identity, "wwid"), "naa.5000");
	assert_null(facts_find(&after->list[0].identity, "serial number"));
	assert_false(after->list[0].stopped);
	assert_true(after->list[1].stopped);
	assert_int_equal(after->list[1].stopped_at, before->list[1].stopped_at);
	assert_memory_equal(&after->list[1].sample, &before->list[1].sample, sizeof(struct sample));
	free(before);
	free(after);
}

// Each byte that is another one is told, or means the same.
static void test_damage(void **unused)
{
	struct volume_records *before = some_records(), *after = calloc(1, sizeof(*after));
	struct error err = {""};
	char byte, other;

	(void)unused;
	before->list[1].sample.count = 2;
	assert_int_equal(volume_records_write(path, before, &err), 0);
	for (off_t i = 0;; i++) {
		int fd = open(path, O_RDWR | O_CLOEXEC);
		bool end = pread(fd, &byte, 1, i) != 1;

		other = (char)(byte ^ 1);
		if (!end) {
			assert_int_equal(pwrite(fd, &other, 1, i), 1);
			if (volume_records_read(path, after, &err) < 0)
				assert_int_equal(after->count, 0);
			else
				assert_memory_equal(&after->list[1].sample.blocks, &before->list[1].sample.blocks, 16);
			assert_int_equal(pwrite(fd, &byte, 1, i), 1);
		}
		close(fd);
		if (end)
			break;
	}
	assert_int_equal(truncate(path, 100), 0);
	assert_int_equal(volume_records_read(path, after, &err), -EILSEQ);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(volume_records_read(path, after, &err), 0);
	assert_int_equal(after->count, 0);
	free(before);
	free(after);
}

static void test_contradiction(void **unused)
{
	struct facts then = {0}, now = {0};

	(void)unused;
	facts_add(&then, "inode", "12");
	facts_add(&then, "wwid", "a");
	facts_add(&now, "serial number", "new");
	facts_add(&now, "inode", "12");
	facts_add(&now, "inode", "13"); // the first one counts
	facts_add(&now, "dm uuid", ""); // is nothing
	assert_null(facts_contradiction(&then, &now));
	assert_int_equal(now.count, 2);
	facts_add(&now, "wwid", "b");
	assert_string_equal(facts_contradiction(&then, &now)->name, "wwid");
}

static void test_identity(void **unused)
{
	struct facts one, other;
	int fd = make_image(), second;
	char image[80];

	(void)unused;
	facts_identity(fd, &one);
	facts_identity(fd, &other);
	assert_null(facts_contradiction(&one, &other));
	snprintf(image, sizeof(image), "%s/image", directory);
	unlink(image);
	second = make_image();
	facts_identity(second, &other);
	if (facts_find(&one, "inode")) // not on every file system
		assert_non_null(facts_contradiction(&one, &other));
	close(fd);
	close(second);
}

static void test_sample(void **unused)
{
	int fd = make_image();
	struct sample_volume volume = {.fd = fd, .align = 1, .bytes = VOLUME_BYTES - 100, .beside = 1};
	struct sample *sample = calloc(1, sizeof(*sample));
	uint64_t first;

	(void)unused;
	assert_int_equal(sample_take(&volume, sample), 0);
	assert_in_range(sample->count, 100, VOLUME_BYTES / BLOCK_SIZE);
	assert_int_equal(sample_compare(&volume, sample, &first), 0);
	assert_int_equal(pwrite(fd, "x", 1, 3 * BLOCK_SIZE + 17), 1);
	assert_int_equal(sample_compare(&volume, sample, &first), 1);
	assert_int_equal(first, 3);
	assert_int_equal(pwrite(fd, "x", 1, 0), 1);
	assert_int_equal(sample_compare(&volume, sample, &first), 2);
	assert_int_equal(first, 0);
	// what lies beyond the end belongs to nobody
	assert_int_equal(sample_take(&volume, sample), 0);
	assert_int_equal(pwrite(fd, "x", 1, VOLUME_BYTES - 50), 1);
	assert_int_equal(sample_compare(&volume, sample, &first), 0);
	free(sample);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_round_trip), cmocka_unit_test(test_damage), cmocka_unit_test(test_contradiction),
	        cmocka_unit_test(test_identity),   cmocka_unit_test(test_sample),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
