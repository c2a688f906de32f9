// SPDX-License-Identifier: Apache-2.0
#include "common/paths.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char directory[] = "/tmp/test-paths-XXXXXX";
static struct error err;

static void test_names(void **state)
{
	struct paths paths;
	char out[PATHS_MAX], want[PATHS_MAX];

	(void)state;
	assert_int_equal(paths_init(&paths, directory, &err), 0);
	snprintf(want, sizeof(want), "%s/etc/stead/pairs/db.conf", directory);
	assert_string_equal(path_config(&paths, "db", out), want);
	snprintf(want, sizeof(want), "%s/var/lib/stead/pairs/db/state.slots", directory);
	assert_string_equal(path_pair_file(&paths, "db", FILE_STATE, out), want);
	snprintf(want, sizeof(want), "%s/run/stead/db-data.sock", directory);
	assert_string_equal(path_export(&paths, "db", "data", out), want);
	snprintf(want, sizeof(want), "%s/run/stead/db-data", directory);
	assert_string_equal(path_device(&paths, "db", "data", out), want);

	assert_int_equal(paths_init(&paths, "/", &err), 0);
	assert_string_equal(path_pair(&paths, "db", out), "/var/lib/stead/pairs/db");
	assert_string_equal(paths.agent_socket, "/run/stead/agent.sock");
}

static void test_make(void **state)
{
	struct paths paths;
	struct stat st;
	char command[200];

	(void)state;
	assert_int_equal(paths_init(&paths, directory, &err), 0);
	assert_int_equal(paths_make(&paths, &err), 0);
	assert_int_equal(stat(paths.state, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0700);
	assert_int_equal(stat(paths.run, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0700);

	// Closed again, and harmless when all of it is there.
	assert_int_equal(chmod(paths.state, 0755), 0);
	assert_int_equal(paths_make(&paths, &err), 0);
	assert_int_equal(stat(paths.state, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0700);
	assert_int_equal(sync_directory(paths.state, &err), 0);

	// A file in the way.
	assert_int_equal(rmdir(paths.run), 0);
	fclose(fopen(paths.run, "w"));
	assert_int_equal(paths_make(&paths, &err), -ENOTDIR);
	assert_non_null(strstr(err.text, "run/stead"));
	snprintf(command, sizeof(command), "rm -r %s", directory);
	assert_int_equal(system(command), 0);
}

static void test_bad_roots(void **state)
{
	struct paths paths;

	(void)state;
	assert_int_equal(paths_init(&paths, "/nonexistent", &err), -ENOENT);
	assert_non_null(strstr(err.text, "/nonexistent"));
	assert_int_equal(paths_init(&paths, "/dev/null", &err), -ENOTDIR);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_names),
	        cmocka_unit_test(test_make),
	        cmocka_unit_test(test_bad_roots),
	};

	if (!mkdtemp(directory))
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
