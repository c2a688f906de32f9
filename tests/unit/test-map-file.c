// SPDX-License-Identifier: Apache-2.0
// Where the change map lies: what a process finds that comes after a crash, a
// clean stop, a reboot, and where files cannot be written.
#include "agent/map_file.h"
#include "common/map_kept.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

// cmocka.h needs these before it
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define SKIPPED 77
#define BLOCKS (UINT64_C(64) << 20) // 8 MiB of bits for each set

static char directory[] = "/tmp/stead-map.XXXXXX";
static struct paths paths;
static struct map_identity identity = {
        .pair = {{1}}, .generation = {{2}}, .boot = {{3}}, .volume_count = 1, .blocks = {BLOCKS}};
static struct map_file file;
static struct map map;
static char kept[PATHS_MAX], run[PATHS_MAX];
static struct error err;

static int prepare(void **state)
{
	char pair[PATHS_MAX];

	(void)state;
	strcpy(strrchr(directory, '.') + 1, "XXXXXX");
	identity.boot.bytes[0] = 3;
	if (!mkdtemp(directory) || paths_init(&paths, directory, &err) || paths_make(&paths, &err))
		return -1;
	path_map(&paths, "db", run);
	path_pair_file(&paths, "db", FILE_MAP, kept);
	return make_directories(path_pair(&paths, "db", pair), 0700, &err);
}

static int clear(void **state)
{
	char command[64];

	(void)state;
	snprintf(command, sizeof(command), "rm -r %s", directory);
	return system(command);
}

// What a process finds; suspect: nothing.
static bool start(void)
{
	unsigned damaged;
	bool trusted;

	if (map_file_open(&paths, "db", &identity, &file, &err) < 0)
		fail_msg("%s", err.text);
	trusted = map_trusted(file.memory, &identity);
	assert_int_equal(access(kept, F_OK), -1);
	assert_int_equal(map_open(&map, file.memory, &identity, 99, &damaged), 0);
	map.suspect = false;
	map_save(&map);
	assert_int_equal(damaged, 0);
	return trusted;
}

static void end(void)
{
	map_destroy(&map);
	map_file_close(&file);
}

static void mark(uint64_t block)
{
	map.sets[0].state = SET_OPEN;
	map_save(&map);
	bitmap_set(&map.sets[0].dirty[0], block, 1);
}

static void test_crash(void **state)
{
	(void)state;
	assert_false(start());
	mark(12345678);
	end();
	assert_true(start());
	assert_true(bitmap_test(&map.sets[0].dirty[0], 12345678));
	end();
	identity.boot.bytes[0]++; // a power failure
	assert_false(start());
	assert_int_equal(map.sets[0].dirty[0].count, 0);
	end();
}

static void test_clean_stop(void **state)
{
	struct stat st;

	(void)state;
	assert_false(start());
	mark(12345678);
	assert_int_equal(map_file_keep(&file, &err), 0);
	end();
	assert_int_equal(access(run, F_OK), -1);
	assert_int_equal(stat(kept, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_true(st.st_blocks * 512 < 1 << 20); // what did not change takes no room
	identity.boot.bytes[0]++;
	assert_true(start());
	assert_true(bitmap_test(&map.sets[0].dirty[0], 12345678));
	end();
}

// One that is put back, from a backup, is used only where nothing is newer, and
// never twice.
static void test_put_back(void **state)
{
	char command[2 * PATHS_MAX + 16];

	(void)state;
	assert_false(start());
	assert_int_equal(map_file_keep(&file, &err), 0);
	end();
	snprintf(command, sizeof(command), "cp %s %s.old", kept, kept);
	assert_int_equal(system(command), 0);
	assert_true(start());
	mark(5);
	end();
	snprintf(command, sizeof(command), "mv %s.old %s", kept, kept);
	assert_int_equal(system(command), 0);
	assert_true(start());
	assert_true(bitmap_test(&map.sets[0].dirty[0], 5));
	end();
}

static void damage(off_t offset)
{
	uint8_t byte;
	int fd = open(kept, O_RDWR);

	assert_int_equal(pread(fd, &byte, 1, offset), 1);
	byte ^= 1;
	assert_int_equal(pwrite(fd, &byte, 1, offset), 1);
	close(fd);
}

static void test_damaged(void **state)
{
	static const off_t where[] = {3, 330, 400, 4096 + 12345678 / 8, 4096 + 100};

	(void)state;
	for (unsigned i = 0; i < sizeof(where) / sizeof(where[0]); i++) {
		(void)unlink(run);
		(void)start();
		mark(12345678);
		assert_int_equal(map_file_keep(&file, &err), 0);
		end();
		damage(where[i]);
		// A record is there twice.
		assert_int_equal(start(), where[i] == 400 ? true : false);
		end();
	}
}

static void test_kept_nowhere(void **state)
{
	(void)state;
	assert_false(start());
	mark(7);
	strcpy(file.kept, "/nowhere/map");
	assert_int_equal(map_file_keep(&file, &err), -ENOENT);
	end();
	assert_true(start());
	assert_true(bitmap_test(&map.sets[0].dirty[0], 7));
	end();
}

static void test_no_run_directory(void **state)
{
	(void)state;
	assert_int_equal(rmdir(paths.maps), 0);
	assert_false(start());
	assert_false(map_file_check(&file));
	mark(7);
	assert_true(bitmap_test(&map.sets[0].dirty[0], 7));
	assert_true(map_file_keep(&file, &err) < 0);
	end();
}

// What was there is read, and what is stored does not get lost.
static void test_emptied_beneath(void **state)
{
	(void)state;
	assert_false(start());
	mark(7);
	assert_int_equal(truncate(run, 0), 0);
	mark(40000000);
	assert_true(bitmap_test(&map.sets[0].dirty[0], 40000000));
	assert_true(file.guard->lost);
	assert_false(map_file_check(&file));
	assert_int_equal(access(run, F_OK), -1);
	end();
	assert_false(start());
	end();
}

// A full file system, as a process sees it that may mount one.
static int on_full_tmpfs(void)
{
	char filler[PATHS_MAX + 64];

	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return SKIPPED;
	if (mount("none", paths.maps, "tmpfs", 0, "size=256k") < 0)
		return SKIPPED;
	if (start())
		return 1;
	if (file.written)
		return 2;
	mark(7);
	snprintf(filler, sizeof(filler), "dd if=/dev/zero of=%s/filler bs=4k 2>/dev/null", paths.maps);
	(void)system(filler);
	for (uint64_t block = 1000000; block < BLOCKS; block += 1000000)
		bitmap_set(&map.sets[0].dirty[0], block, 1);
	if (!file.guard->detached || file.guard->lost || map_file_check(&file))
		return 3;
	if (!bitmap_test(&map.sets[0].dirty[0], 7))
		return 4;
	for (uint64_t block = 1000000; block < BLOCKS; block += 1000000)
		if (!bitmap_test(&map.sets[0].dirty[0], block))
			return 5;
	end();
	return start() ? 6 : 0; // another process would find an incomplete one
}

static void test_full(void **state)
{
	int status;
	pid_t child;

	(void)state;
	fflush(NULL);
	child = fork();
	assert_true(child >= 0);
	if (child == 0)
		_exit(on_full_tmpfs());
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == SKIPPED)
		skip();
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void test_others_still_die(void **state)
{
	int status;
	pid_t child;

	(void)state;
	fflush(NULL);
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		volatile uint8_t *other;

		signal(SIGBUS, SIG_DFL);
		(void)start();
		other = mmap(NULL, 4096, PROT_READ, MAP_SHARED, file.fd, (off_t)file.bytes);
		_exit(*other); // behind the end of the file
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGBUS);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, prepare, clear)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(test_crash),           TEST(test_clean_stop),   TEST(test_put_back),
	        TEST(test_damaged),         TEST(test_kept_nowhere), TEST(test_no_run_directory),
	        TEST(test_emptied_beneath), TEST(test_full),         TEST(test_others_still_die),
	};

	return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
