// SPDX-License-Identifier: Apache-2.0
// What is kept ready for a change of role.
#include "common/pairs.h"
#include "common/room.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

// cmocka.h needs these before it
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define MIB (UINT64_C(1) << 20)

static struct paths paths;
static struct error err;
static struct pair_state state = {.volume_count = 2, .volumes = {{"data", 64 << 20}, {"wal", 4096}}};

static struct stat stat_of(const char *file)
{
	char path[PATHS_MAX];
	struct stat st;

	assert_int_equal(stat(path_pair_file(&paths, "db", file, path), &st), 0);
	return st;
}

static void fill(const char *file, uint64_t bytes)
{
	char path[PATHS_MAX], *noise = malloc(bytes);
	int fd = open(path_pair_file(&paths, "db", file, path), O_WRONLY);

	assert_true(fd >= 0 && noise);
	memset(noise, 0xee, bytes);
	assert_int_equal(pwrite(fd, noise, bytes, 0), bytes);
	close(fd);
	free(noise);
}

static bool is_zero(const char *file, uint64_t from, uint64_t to)
{
	char path[PATHS_MAX], byte;
	int fd = open(path_pair_file(&paths, "db", file, path), O_RDONLY);
	bool zero = true;

	for (uint64_t at = from; at < to; at += 512) {
		assert_int_equal(pread(fd, &byte, 1, (off_t)at), 1);
		zero = zero && byte == 0;
	}
	close(fd);
	return zero;
}

static void test_space_is_taken_beforehand(void **test)
{
	static const char *const files[] = {FILE_INTENT, FILE_REDO, FILE_JOURNAL};

	(void)test;
	assert_int_equal(room_reserve(&paths, "db", &state, 64 * MIB, &err), 0);
	for (unsigned i = 0; i < 3; i++) {
		struct stat st = stat_of(files[i]);

		assert_true(st.st_size > 0 && st.st_blocks * 512 >= st.st_size);
	}
	assert_int_equal(stat_of(FILE_JOURNAL).st_size, ROOM_JOURNAL_LEAST);
}

// A journal that is there may hold epochs.
static void test_what_is_there_stays(void **test)
{
	char path[PATHS_MAX];

	(void)test;
	assert_int_equal(truncate(path_pair_file(&paths, "db", FILE_JOURNAL, path), 20 * MIB), 0);
	fill(FILE_JOURNAL, 32768);
	fill(FILE_INTENT, 4096);
	assert_int_equal(room_reserve(&paths, "db", &state, 64 * MIB, &err), 0);
	assert_int_equal(stat_of(FILE_JOURNAL).st_size, 20 * MIB);
	assert_false(is_zero(FILE_JOURNAL, 0, 512));
	assert_false(is_zero(FILE_INTENT, 0, 512));
}

static void test_renewed_in_place(void **test)
{
	ino_t journal = stat_of(FILE_JOURNAL).st_ino, redo = stat_of(FILE_REDO).st_ino;

	(void)test;
	fill(FILE_REDO, (uint64_t)stat_of(FILE_REDO).st_size);
	assert_int_equal(room_renew(&paths, "db", &state, 18 * MIB, &err), 0);
	assert_true(is_zero(FILE_JOURNAL, 0, 8192));
	assert_true(is_zero(FILE_REDO, 0, (uint64_t)stat_of(FILE_REDO).st_size));
	assert_int_equal(stat_of(FILE_JOURNAL).st_size, 18 * MIB);
	assert_int_equal(stat_of(FILE_JOURNAL).st_ino, journal);
	assert_int_equal(stat_of(FILE_REDO).st_ino, redo);
	assert_false(is_zero(FILE_INTENT, 0, 512));
}

static void test_a_journal_by_the_room(void **test)
{
	uint64_t bytes, unused;

	(void)test;
	assert_int_equal(room_journal(&paths, 16 * MIB, &bytes, &unused, &err), 0);
	assert_int_equal(bytes, 16 * MIB);
	assert_int_equal(room_journal(&paths, UINT64_MAX, &bytes, &unused, &err), 0);
	assert_int_equal(bytes, unused / 4 / MIB * MIB);
}

static int setup(void **test)
{
	char root[] = "/tmp/stead-room.XXXXXX";

	(void)test;
	if (!mkdtemp(root) || paths_init(&paths, root, &err) < 0 || paths_make(&paths, &err) < 0)
		return -1;
	return pair_prepare(&paths, "db", &state, &err);
}

static int teardown(void **test)
{
	char command[PATHS_MAX + 16];

	(void)test;
	snprintf(command, sizeof(command), "rm -rf %s", paths.root);
	return system(command);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_space_is_taken_beforehand),
	        cmocka_unit_test(test_what_is_there_stays),
	        cmocka_unit_test(test_renewed_in_place),
	        cmocka_unit_test(test_a_journal_by_the_room),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
