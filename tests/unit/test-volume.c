// SPDX-License-Identifier: Apache-2.0
#include "common/volume.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char directory[] = "/tmp/test-volume-XXXXXX";
static char path[100], other[100];
static struct error err;
static uint64_t bytes;

static int setup(void **state)
{
	(void)state;
	snprintf(path, sizeof(path), "%s/volume", directory);
	snprintf(other, sizeof(other), "%s/other", directory);
	unlink(path);
	unlink(other);
	return 0;
}

static void make(const char *file, uint64_t size)
{
	int fd = open(file, O_CREAT | O_WRONLY, 0600);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	close(fd);
}

static int check(const char *file, uint64_t want)
{
	const struct volume_want volume = {.name = "data", .path = file, .bytes = want};

	memset(&err, 0, sizeof(err));
	bytes = 0;
	return volume_check(&volume, &bytes, &err);
}

static void test_good(void **state)
{
	(void)state;
	make(path, 1 << 20);
	assert_int_equal(check(path, 0), 0);
	assert_int_equal(bytes, 1 << 20);
	assert_int_equal(check(path, 1 << 20), 0);
}

static void test_bad_paths(void **state)
{
	const struct volume_want gone = {.name = "data", .path = path, .bytes = 4096, .in_use = true};

	(void)state;
	assert_int_equal(check(path, 4096), -ENOENT);
	assert_non_null(strstr(err.text, "truncate -s 4096 /tmp/"));
	assert_int_equal(check(path, 0), -ENOENT);
	assert_non_null(strstr(err.text, "truncate -s SIZE /tmp/"));
	assert_int_equal(volume_check(&gone, &bytes, &err), -ENOENT);
	assert_null(strstr(err.text, "truncate"));
	assert_int_equal(check(directory, 0), -EISDIR);
	assert_non_null(strstr(err.text, directory));
	assert_int_equal(check("/dev/null", 0), -EINVAL);
	assert_int_equal(check("volume", 0), -EINVAL);
	assert_non_null(strstr(err.text, "absolute"));
	assert_int_equal(check("", 0), -EINVAL);
}

static void test_sizes(void **state)
{
	(void)state;
	make(path, 0);
	assert_int_equal(check(path, 0), -EINVAL);
	assert_non_null(strstr(err.text, "empty"));
	make(path, 4096);
	assert_int_equal(check(path, 8192), -ENOSPC);
	assert_non_null(strstr(err.text, "4096"));
	assert_non_null(strstr(err.text, "8192"));
}

static void test_in_use(void **state)
{
	struct volume_user user = {"web", "root", other};
	struct volume_want want = {.name = "data", .path = path, .users = &user, .user_count = 1};
	int fd;

	(void)state;
	make(path, 4096);
	assert_int_equal(volume_check(&want, &bytes, &err), 0); // the other one is not there
	make(other, 4096);
	assert_int_equal(volume_check(&want, &bytes, &err), 0);
	unlink(other);
	assert_int_equal(link(path, other), 0);
	assert_int_equal(volume_check(&want, &bytes, &err), -EBUSY);
	assert_non_null(strstr(err.text, "volume root of pair web"));

	fd = open(path, O_RDWR);
	assert_int_equal(flock(fd, LOCK_EX), 0);
	assert_int_equal(check(path, 0), -EBUSY);
	assert_non_null(strstr(err.text, "another process"));
	close(fd);
	assert_int_equal(check(path, 0), 0);
}

static void test_permission(void **state)
{
	(void)state;
	if (geteuid() == 0) {
		// Root may open anything but an immutable or read-only file.
		assert_true(check("/proc/version", 0) < 0);
		return;
	}
	make(path, 4096);
	assert_int_equal(chmod(path, 0400), 0);
	assert_int_equal(check(path, 0), -EACCES);
}

static int output(const char *command, char *line, size_t size)
{
	FILE *stream = popen(command, "r");
	int ok = stream && fgets(line, (int)size, stream);

	if (stream)
		pclose(stream);
	if (ok)
		line[strcspn(line, "\n")] = 0;
	return ok;
}

// A mounted device, and the file behind a mounted loop device; where this
// machine lets us mount.
static void test_mounted(void **state)
{
	char command[400], device[64], place[120];
	bool mounted;

	(void)state;
	make(path, 8 << 20);
	snprintf(command, sizeof(command), "mkfs.ext2 -q %s 2>/dev/null && losetup --find --show %s 2>/dev/null", path,
	         path);
	if (!output(command, device, sizeof(device)))
		skip();
	snprintf(place, sizeof(place), "%s/a place", directory);
	mkdir(place, 0700);
	assert_int_equal(check(path, 0), 0); // attached is not mounted
	snprintf(command, sizeof(command), "mount -t ext2 %s '%s' 2>/dev/null", device, place);
	mounted = system(command) == 0;
	if (mounted) {
		int by_file = check(path, 0), by_device;
		char text[400];

		strcpy(text, err.text);
		by_device = check(device, 0);
		snprintf(command, sizeof(command), "umount '%s'", place);
		assert_int_equal(system(command), 0);
		assert_int_equal(by_file, -EBUSY);
		assert_non_null(strstr(text, place));
		assert_non_null(strstr(text, device));
		assert_int_equal(by_device, -EBUSY);
		assert_non_null(strstr(err.text, place));
	}
	assert_int_equal(check(device, 0), 0);
	assert_int_equal(bytes, 8 << 20);
	snprintf(command, sizeof(command), "losetup -d %s", device);
	assert_int_equal(system(command), 0);
	rmdir(place);
	if (!mounted)
		skip();
}

static int cleanup(void **state)
{
	setup(state);
	return rmdir(directory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup(test_good, setup),       cmocka_unit_test_setup(test_bad_paths, setup),
	        cmocka_unit_test_setup(test_sizes, setup),      cmocka_unit_test_setup(test_in_use, setup),
	        cmocka_unit_test_setup(test_permission, setup), cmocka_unit_test_setup(test_mounted, setup),
	};

	if (!mkdtemp(directory))
		return 1;
	return cmocka_run_group_tests(tests, NULL, cleanup) != 0;
}
