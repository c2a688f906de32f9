// SPDX-License-Identifier: Apache-2.0
#include "receiver/invitation.h"

#include "common/request.h"

#include <errno.h>
#include <fcntl.h>
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

static char directory[] = "/tmp/test-invitation-XXXXXX";
static struct paths paths;
static struct error err;

static struct invitation example(void)
{
	struct invitation invitation = {.expires = 4102444800};

	config_init(&invitation.config);
	strcpy(invitation.config.name, "db");
	strcpy(invitation.config.listen, "node2:7420");
	invitation.config.volume_count = 2;
	strcpy(invitation.config.volumes[0].name, "data");
	strcpy(invitation.config.volumes[0].path, "/dev/vg/data");
	strcpy(invitation.config.volumes[1].name, "wal");
	strcpy(invitation.config.volumes[1].path, "/with a \"quote\"");
	for (unsigned i = 0; i < sizeof(invitation.secret); i++)
		invitation.secret[i] = (uint8_t)(i * 37 + 200);
	return invitation;
}

static void file(char path[PATHS_MAX + 64])
{
	snprintf(path, PATHS_MAX + 64, "%s/invitations/db.json", paths.state);
}

static void test_saved_and_loaded(void **state)
{
	struct invitation invitation = example(), loaded;
	char path[PATHS_MAX + 64];
	struct stat st;

	(void)state;
	assert_int_equal(invitation_load(&paths, "db", &loaded, &err), -ENOENT);
	assert_int_equal(invitation_save(&paths, &invitation, &err), 0);
	file(path);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(invitation_load(&paths, "db", &loaded, &err), 0);
	assert_memory_equal(loaded.secret, invitation.secret, sizeof(loaded.secret));
	assert_true(loaded.expires == invitation.expires);
	assert_string_equal(loaded.config.name, "db");
	assert_string_equal(loaded.config.listen, "node2:7420");
	assert_int_equal(loaded.config.volume_count, 2);
	assert_string_equal(loaded.config.volumes[1].path, "/with a \"quote\"");

	// A newer one takes its place; a removed one is gone, twice is no error.
	invitation.secret[0] ^= 1;
	assert_int_equal(invitation_save(&paths, &invitation, &err), 0);
	assert_int_equal(invitation_load(&paths, "db", &loaded, &err), 0);
	assert_memory_equal(loaded.secret, invitation.secret, sizeof(loaded.secret));
	assert_int_equal(invitation_remove(&paths, "db", &err), 0);
	assert_int_equal(invitation_remove(&paths, "db", &err), 0);
	assert_int_equal(invitation_load(&paths, "db", &loaded, &err), -ENOENT);
}

// Another pair's file under this name is not taken.
static void test_of_another_pair(void **state)
{
	struct invitation invitation = example(), loaded;
	char path[PATHS_MAX + 64], other[PATHS_MAX + 64];

	(void)state;
	assert_int_equal(invitation_save(&paths, &invitation, &err), 0);
	file(path);
	snprintf(other, sizeof(other), "%s/invitations/web.json", paths.state);
	assert_int_equal(rename(path, other), 0);
	assert_int_equal(invitation_load(&paths, "web", &loaded, &err), -EILSEQ);
	assert_non_null(strstr(err.text, "web.json"));
	assert_int_equal(invitation_remove(&paths, "web", &err), 0);
}

// Cut short anywhere it is damage; with a byte changed it is damage or still
// an invitation, never a crash.
static void test_damage(void **state)
{
	struct invitation invitation = example(), loaded;
	char path[PATHS_MAX + 64], text[4096];
	ssize_t length;
	int fd;

	(void)state;
	assert_int_equal(invitation_save(&paths, &invitation, &err), 0);
	file(path);
	fd = open(path, O_RDWR);
	assert_true(fd >= 0);
	length = read(fd, text, sizeof(text));
	assert_true(length > 0 && length < (ssize_t)sizeof(text));
	for (ssize_t cut = 0; cut < length - 1; cut++) {
		assert_int_equal(ftruncate(fd, cut), 0);
		assert_int_equal(invitation_load(&paths, "db", &loaded, &err), -EILSEQ);
		assert_int_equal(pwrite(fd, text, (size_t)length, 0), length);
	}
	for (ssize_t at = 0; at < length; at++) {
		for (unsigned bit = 0; bit < 8; bit++) {
			char byte = (char)(text[at] ^ (1 << bit));
			int result;

			assert_int_equal(pwrite(fd, &byte, 1, at), 1);
			result = invitation_load(&paths, "db", &loaded, &err);
			assert_true(result == 0 || result == -EILSEQ || result == -EINVAL);
		}
		assert_int_equal(pwrite(fd, &text[at], 1, at), 1);
	}
	close(fd);
	assert_int_equal(invitation_remove(&paths, "db", &err), 0);
}

static void check_volumes(const char *text, int want, const char *said)
{
	struct pair_config config;
	json_t *request = json_loads(text, 0, NULL);

	assert_non_null(request);
	config_init(&config);
	assert_int_equal(request_volumes(request, &config, &err), want);
	if (said)
		assert_non_null(strstr(err.text, said));
	json_decref(request);
}

static void test_volumes_of_a_request(void **state)
{
	(void)state;
	check_volumes("{\"volumes\":[{\"name\":\"a\",\"path\":\"/a\"},{\"name\":\"b\",\"path\":\"/b\"}]}", 0, NULL);
	check_volumes("{}", -EINVAL, "--volume");
	check_volumes("{\"volumes\":[]}", -EINVAL, "--volume");
	check_volumes("{\"volumes\":{}}", -EINVAL, "--volume");
	check_volumes("{\"volumes\":[1]}", -EINVAL, NULL);
	check_volumes("{\"volumes\":[{\"name\":\"a\"}]}", -EINVAL, "path");
	check_volumes("{\"volumes\":[{\"name\":\"a/b\",\"path\":\"/a\"}]}", -EINVAL, "a/b");
	check_volumes("{\"volumes\":[{\"name\":\"a\",\"path\":\"/a\"},{\"name\":\"a\",\"path\":\"/b\"}]}", -EINVAL,
	              "twice");
}

static void test_durations_of_a_request(void **state)
{
	json_t *request = json_pack("{s:i,s:i,s:s}", "good", 5, "zero", 0, "text", "5s");
	uint64_t ns = 7;

	(void)state;
	assert_int_equal(request_duration(request, "missing", &ns, &err), 0);
	assert_int_equal(ns, 7);
	assert_int_equal(request_duration(request, "good", &ns, &err), 0);
	assert_int_equal(ns, 5);
	assert_int_equal(request_duration(request, "zero", &ns, &err), -EINVAL);
	assert_int_equal(request_duration(request, "text", &ns, &err), -EINVAL);
	json_decref(request);
}

static int setup(void **state)
{
	(void)state;
	if (!mkdtemp(directory))
		return -1;
	return paths_init(&paths, directory, &err) || paths_make(&paths, &err);
}

static int teardown(void **state)
{
	char command[100];

	(void)state;
	snprintf(command, sizeof(command), "rm -r %s", directory);
	return system(command);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_saved_and_loaded),
	        cmocka_unit_test(test_of_another_pair),
	        cmocka_unit_test(test_damage),
	        cmocka_unit_test(test_volumes_of_a_request),
	        cmocka_unit_test(test_durations_of_a_request),
	};

	return cmocka_run_group_tests(tests, setup, teardown) != 0;
}
