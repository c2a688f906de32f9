// SPDX-License-Identifier: Apache-2.0
#include "common/pairs.h"
#include "common/state_file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cmocka.h>

static char directory[] = "/tmp/test-pairs-XXXXXX";
static struct paths paths;
static struct error err;

static void make_volume(const char *name, uint64_t size, char path[CONFIG_PATH_MAX])
{
	int fd;

	snprintf(path, CONFIG_PATH_MAX, "%s/%s", directory, name);
	fd = open(path, O_CREAT | O_WRONLY, 0600);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	close(fd);
}

static void describe(const char *pair, struct pair_config *config, struct pair_state *state)
{
	static const char *const names[] = {"data", "wal"};

	config_init(config);
	memset(state, 0, sizeof(*state));
	snprintf(config->name, sizeof(config->name), "%s", pair);
	config->volume_count = state->volume_count = 2;
	state->role = ROLE_PRIMARY;
	memset(&state->pair, 1, sizeof(state->pair));
	memset(&state->lineage.generation, 2, sizeof(state->lineage.generation));
	for (unsigned i = 0; i < 2; i++) {
		char name[64];

		snprintf(name, sizeof(name), "%s-%s", pair, names[i]);
		strcpy(config->volumes[i].name, names[i]);
		make_volume(name, 8192 * (i + 1), config->volumes[i].path);
		strcpy(state->volumes[i].name, names[i]);
		state->volumes[i].bytes = 8192 * (i + 1);
	}
}

static void make_pair(const char *pair, struct pair_config *config, struct pair_state *state)
{
	describe(pair, config, state);
	assert_int_equal(pair_prepare(&paths, pair, state, &err), 0);
	assert_false(pair_exists(&paths, pair));
	assert_int_equal(pair_commit(&paths, config, &err), 0);
	assert_true(pair_exists(&paths, pair));
}

static void test_made_loaded_erased(void **test)
{
	struct pair_config config, again;
	struct pair_state state, read;
	char path[PATHS_MAX], stray[PATHS_MAX];
	struct stat st;

	(void)test;
	make_pair("db", &config, &state);
	path_pair_file(&paths, "db", FILE_STATE, path);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(pair_load(&paths, "db", &again, &read, &err), 0);
	assert_string_equal(again.volumes[1].name, "wal");
	assert_true(id_equal(&read.pair, &state.pair));
	assert_int_equal(read.volumes[1].bytes, 16384);

	// A second pair of the name is refused; an erased one leaves nothing.
	assert_int_equal(pair_prepare(&paths, "db", &state, &err), -EEXIST);
	assert_non_null(strstr(err.text, "stead pair remove db"));
	close(open(path_pair_file(&paths, "db", FILE_JOURNAL, stray), O_CREAT | O_WRONLY, 0600));
	assert_int_equal(pair_erase(&paths, "db", &err), 0);
	assert_int_equal(access(path_pair(&paths, "db", path), F_OK), -1);
	assert_false(pair_exists(&paths, "db"));
	assert_int_equal(pair_erase(&paths, "db", &err), 0);
	assert_int_equal(pair_load(&paths, "db", &again, &read, &err), -ENOENT);
}

// What an earlier pair of the name left must not become part of a new one.
static void test_leftovers_are_cleared(void **test)
{
	struct pair_config config;
	struct pair_state state;
	char path[PATHS_MAX];

	(void)test;
	describe("old", &config, &state);
	assert_int_equal(pair_prepare(&paths, "old", &state, &err), 0);
	path_pair_file(&paths, "old", FILE_MAP, path);
	close(open(path, O_CREAT | O_WRONLY, 0600));
	assert_int_equal(pair_prepare(&paths, "old", &state, &err), 0);
	assert_int_equal(access(path, F_OK), -1);
	assert_int_equal(pair_erase(&paths, "old", &err), 0);
}

static void swap_volumes(struct pair_config *config)
{
	struct config_volume volume = config->volumes[0];

	config->volumes[0] = config->volumes[1];
	config->volumes[1] = volume;
}

static void test_volumes_follow_the_state(void **test)
{
	struct pair_config config, read;
	struct pair_state state, state_read;

	(void)test;
	make_pair("web", &config, &state);
	swap_volumes(&config);
	assert_int_equal(pair_commit(&paths, &config, &err), 0);
	assert_int_equal(pair_load(&paths, "web", &read, &state_read, &err), 0);
	assert_string_equal(read.volumes[0].name, "data");
	assert_string_equal(read.volumes[1].name, "wal");

	strcpy(config.volumes[0].name, "other");
	assert_int_equal(pair_commit(&paths, &config, &err), 0);
	assert_int_equal(pair_load(&paths, "web", &read, &state_read, &err), -EINVAL);
	assert_non_null(strstr(err.text, "volume wal"));
	strcpy(config.volumes[0].name, "wal");
	config.volumes[2] = config.volumes[0];
	strcpy(config.volumes[2].name, "more");
	make_volume("web-more", 4096, config.volumes[2].path);
	config.volume_count = 3;
	assert_int_equal(pair_commit(&paths, &config, &err), 0);
	assert_int_equal(pair_load(&paths, "web", &read, &state_read, &err), -EINVAL);
	assert_non_null(strstr(err.text, "volume more"));
	assert_int_equal(pair_erase(&paths, "web", &err), 0);
}

static void test_lock(void **test)
{
	struct pair_config config;
	struct pair_state state;
	int lock;

	(void)test;
	make_pair("db", &config, &state);
	lock = pair_lock(&paths, "db", &err);
	assert_true(lock >= 0);
	assert_int_equal(pair_lock(&paths, "db", &err), -EBUSY);
	assert_non_null(strstr(err.text, "pair db"));
	close(lock);
	lock = pair_lock(&paths, "db", &err);
	assert_true(lock >= 0);
	close(lock);
	assert_int_equal(pair_erase(&paths, "db", &err), 0);
}

static int open_as(enum role role)
{
	struct pair_config config;
	struct pair_state state = {0};
	int result = pair_open(&paths, "db", role, &config, &state, &err);

	assert_string_equal(config.name, "db");
	if (result >= 0)
		close(result);
	return result >= 0 ? 0 : result;
}

// Of the two daemons exactly one speaks of a pair, also when its state is bad.
static void test_opened_by_its_daemon(void **test)
{
	struct pair_config config;
	struct pair_state state;
	char path[PATHS_MAX];
	int lock;

	(void)test;
	make_pair("db", &config, &state);
	assert_int_equal(open_as(ROLE_PRIMARY), 0);
	assert_int_equal(open_as(ROLE_STANDBY), -EREMOTE);
	lock = pair_lock(&paths, "db", &err);
	assert_int_equal(open_as(ROLE_PRIMARY), -EBUSY);
	close(lock);

	assert_int_equal(truncate(path_pair_file(&paths, "db", FILE_STATE, path), 0), 0);
	assert_int_equal(open_as(ROLE_PRIMARY), -EREMOTE);
	assert_int_equal(open_as(ROLE_STANDBY), -EILSEQ);
	close(open(path_pair_file(&paths, "db", FILE_MAP, path), O_CREAT | O_WRONLY, 0600));
	assert_int_equal(open_as(ROLE_PRIMARY), -EILSEQ);
	assert_int_equal(open_as(ROLE_STANDBY), -EREMOTE);
	assert_int_equal(pair_erase(&paths, "db", &err), 0);
}

static void test_volumes_of_other_pairs(void **test)
{
	struct pair_config config, wanted;
	struct pair_state state;
	uint64_t bytes[VOLUMES_MAX] = {0};

	(void)test;
	make_pair("db", &config, &state);
	wanted = config;
	assert_int_equal(pair_check_volumes(&paths, "db", wanted.volumes, 2, bytes, false, &err), 0);
	assert_int_equal(bytes[1], 16384);
	assert_int_equal(pair_check_volumes(&paths, "new", wanted.volumes, 1, bytes, false, &err), -EBUSY);
	assert_non_null(strstr(err.text, "volume data of pair db"));
	wanted.volumes[1] = wanted.volumes[0];
	assert_int_equal(pair_check_volumes(&paths, "db", wanted.volumes, 2, bytes, false, &err), -EBUSY);
	assert_int_equal(pair_erase(&paths, "db", &err), 0);
}

// Any single byte of the state changed: the other copy is taken, and the state
// read is the one written. Both changed: damage, never something else.
static void test_state_survives_a_changed_byte(void **test)
{
	struct pair_config config;
	struct pair_state state, read;
	char path[PATHS_MAX];
	int fd;

	(void)test;
	make_pair("db", &config, &state);
	state.paused = true;
	path_pair_file(&paths, "db", FILE_STATE, path);
	assert_int_equal(state_file_write(path, &state, &err), 0);
	fd = open(path, O_RDWR);
	for (off_t at = 0; at < 16384; at += 37) {
		uint8_t byte, changed;

		assert_int_equal(pread(fd, &byte, 1, at), 1);
		changed = byte ^ 0x10;
		assert_int_equal(pwrite(fd, &changed, 1, at), 1);
		assert_int_equal(state_file_read(path, &read, &err), 0);
		assert_true(read.paused && id_equal(&read.pair, &state.pair));
		assert_int_equal(pwrite(fd, &byte, 1, at), 1);
	}
	assert_int_equal(pwrite(fd, "x", 1, 200), 1);
	assert_int_equal(pwrite(fd, "x", 1, 8192 + 200), 1);
	close(fd);
	assert_int_equal(state_file_read(path, &read, &err), -EILSEQ);
	assert_non_null(strstr(err.text, path));
	assert_int_equal(truncate(path, 100), 0);
	assert_int_equal(state_file_read(path, &read, &err), -EILSEQ);
	assert_int_equal(pair_erase(&paths, "db", &err), 0);
}

// What the page cache has of the file may be older than the file.
static void test_state_is_read_past_the_cache(void **test)
{
	struct pair_config config;
	struct pair_state state;
	unsigned char pages[4];
	char path[PATHS_MAX];
	struct statfs fs;
	void *map;
	int fd;

	(void)test;
	make_pair("db", &config, &state);
	path_pair_file(&paths, "db", FILE_STATE, path);
	assert_int_equal(state_file_write(path, &state, &err), 0);
	fd = open(path, O_RDONLY | O_DIRECT);
	if (fd < 0 || fstatfs(fd, &fs) < 0 || fs.f_type == TMPFS_MAGIC)
		skip();
	assert_int_equal(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
	assert_int_equal(state_file_read(path, &state, &err), 0);
	map = mmap(NULL, 16384, PROT_READ, MAP_SHARED, fd, 0);
	assert_true(map != MAP_FAILED);
	assert_int_equal(mincore(map, 16384, pages), 0);
	for (unsigned i = 0; i < 4; i++)
		assert_false(pages[i] & 1);
	munmap(map, 16384);
	close(fd);
	assert_int_equal(pair_erase(&paths, "db", &err), 0);
}

static int setup(void **test)
{
	(void)test;
	if (!mkdtemp(directory))
		return -1;
	return paths_init(&paths, directory, &err) || paths_make(&paths, &err);
}

static int teardown(void **test)
{
	char command[100];

	(void)test;
	snprintf(command, sizeof(command), "rm -r %s", directory);
	return system(command);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_made_loaded_erased),
	        cmocka_unit_test(test_leftovers_are_cleared),
	        cmocka_unit_test(test_volumes_follow_the_state),
	        cmocka_unit_test(test_lock),
	        cmocka_unit_test(test_opened_by_its_daemon),
	        cmocka_unit_test(test_volumes_of_other_pairs),
	        cmocka_unit_test(test_state_survives_a_changed_byte),
	        cmocka_unit_test(test_state_is_read_past_the_cache),
	};

	return cmocka_run_group_tests(tests, setup, teardown) != 0;
}
