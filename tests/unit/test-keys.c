// SPDX-License-Identifier: Apache-2.0
#include "common/keys.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include <openssl/sha.h>

struct place {
	char base[64];
	char directory[128];
	char file[192];
};

static int set_up(void **state)
{
	struct place *place = calloc(1, sizeof(*place));

	strcpy(place->base, "/tmp/stead-keys-XXXXXX");
	if (!mkdtemp(place->base))
		return -1;
	snprintf(place->directory, sizeof(place->directory), "%s/var/lib/stead", place->base);
	snprintf(place->file, sizeof(place->file), "%s/identity.pem", place->directory);
	*state = place;
	return 0;
}

static int tear_down(void **state)
{
	struct place *place = *state;
	char command[128];

	snprintf(command, sizeof(command), "rm -rf %s", place->base);
	free(place);
	return system(command);
}

static size_t count_entries(const char *directory)
{
	DIR *dir = opendir(directory);
	size_t count = 0;
	struct dirent *entry;

	assert_non_null(dir);
	while ((entry = readdir(dir)))
		count += entry->d_name[0] != '.';
	closedir(dir);
	return count;
}

static size_t read_file(const char *path, char *buffer, size_t size)
{
	FILE *file = fopen(path, "r");
	size_t length;

	assert_non_null(file);
	length = fread(buffer, 1, size, file);
	fclose(file);
	return length;
}

static void write_file(const char *path, const char *bytes, size_t length)
{
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	assert_int_equal(fwrite(bytes, 1, length, file), length);
	fclose(file);
	assert_int_equal(chmod(path, 0600), 0);
}

static void assert_refused(const struct place *place, const char *word)
{
	struct error err = {""};

	assert_null(keys_load(place->directory, &err));
	if (!strstr(err.text, word) || !strstr(err.text, "identity.pem"))
		fail_msg("\"%s\" does not say \"%s\"", err.text, word);
	assert_null(strchr(err.text, '\n'));
}

static void make(const struct place *place)
{
	struct error err = {""};
	struct keys *keys = keys_load(place->directory, &err);

	if (!keys)
		fail_msg("%s", err.text);
	keys_free(keys);
}

static void test_made_once(void **state)
{
	struct place *place = *state;
	struct error err = {""};
	struct keys *first = keys_load(place->directory, &err), *second;
	uint8_t fingerprint[FINGERPRINT_BYTES];
	struct stat st;

	assert_non_null(first);
	second = keys_load(place->directory, &err);
	assert_non_null(second);
	assert_memory_equal(keys_fingerprint(first), keys_fingerprint(second), FINGERPRINT_BYTES);
	assert_int_equal(fingerprint_of(keys_certificate(first), fingerprint), 0);
	assert_memory_equal(keys_fingerprint(first), fingerprint, FINGERPRINT_BYTES);

	assert_int_equal(stat(place->file, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(stat(place->directory, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	assert_int_equal(count_entries(place->directory), 1);
	keys_free(first);
	keys_free(second);
}

// The fingerprint is what everybody can compute with OpenSSL's own tool.
static void test_fingerprint(void **state)
{
	struct place *place = *state;
	struct keys *keys = keys_load(place->directory, NULL);
	char command[512], text[FINGERPRINT_TEXT_MAX], other[FINGERPRINT_TEXT_MAX] = "";
	FILE *pipe;

	assert_non_null(keys);
	fingerprint_text(keys_fingerprint(keys), text);
	snprintf(command, sizeof(command),
	         "openssl x509 -in %s -pubkey -noout | openssl pkey -pubin -outform DER | openssl dgst -sha256 -r",
	         place->file);
	pipe = popen(command, "r");
	assert_non_null(pipe);
	assert_non_null(fgets(other, sizeof(other), pipe));
	while (fgetc(pipe) != EOF)
		;
	pclose(pipe);
	assert_string_equal(text, other);
	keys_free(keys);
}

static void test_made_by_many_at_once(void **state)
{
	struct place *place = *state;
	int ends[2];
	uint8_t first[FINGERPRINT_BYTES], next[FINGERPRINT_BYTES];
	enum {
		CHILDREN = 8
	};

	assert_int_equal(pipe(ends), 0);
	for (int i = 0; i < CHILDREN; i++) {
		pid_t pid = fork();

		assert_true(pid >= 0);
		if (pid == 0) {
			struct keys *keys = keys_load(place->directory, NULL);

			if (!keys || write(ends[1], keys_fingerprint(keys), FINGERPRINT_BYTES) != FINGERPRINT_BYTES)
				_exit(1);
			_exit(0);
		}
	}
	for (int i = 0; i < CHILDREN; i++) {
		int status;

		assert_true(wait(&status) > 0);
		assert_int_equal(status, 0);
		assert_int_equal(read(ends[0], i ? next : first, FINGERPRINT_BYTES), FINGERPRINT_BYTES);
		if (i)
			assert_memory_equal(first, next, FINGERPRINT_BYTES);
	}
	close(ends[0]);
	close(ends[1]);
	assert_int_equal(count_entries(place->directory), 1);
}

static void test_permissions(void **state)
{
	struct place *place = *state;

	make(place);
	for (int bit = 0; bit < 6; bit++) {
		assert_int_equal(chmod(place->file, (mode_t)(0600 | 1 << bit)), 0);
		assert_refused(place, "must be 0600");
	}
	assert_int_equal(chmod(place->file, 0400), 0);
	make(place);
	if (geteuid() == 0) {
		assert_int_equal(chown(place->file, 12345, 12345), 0);
		assert_refused(place, "user 12345");
	}
}

static void test_not_a_file(void **state)
{
	struct place *place = *state;
	char target[256];

	make(place);
	snprintf(target, sizeof(target), "%s/elsewhere.pem", place->directory);
	assert_int_equal(rename(place->file, target), 0);
	assert_int_equal(symlink(target, place->file), 0);
	assert_refused(place, "symbolic link");
	assert_int_equal(unlink(place->file), 0);
	assert_int_equal(mkfifo(place->file, 0600), 0);
	assert_refused(place, "not a regular file");
	assert_int_equal(unlink(place->file), 0);
	assert_int_equal(mkdir(place->file, 0700), 0);
	assert_refused(place, "not a regular file");
}

static void test_directory(void **state)
{
	struct place *place = *state;
	struct error err = {""};
	char path[256];

	snprintf(path, sizeof(path), "%s/file", place->base);
	write_file(path, "x", 1);
	assert_null(keys_load(path, &err));
	assert_non_null(strstr(err.text, path));
	strcat(path, "/below");
	assert_null(keys_load(path, &err));
	assert_non_null(strstr(err.text, path));
}

static void test_damage(void **state)
{
	struct place *place = *state;
	char good[16384], bad[16384];
	size_t length;

	make(place);
	length = read_file(place->file, good, sizeof(good));
	assert_true(length > 100);
	for (size_t i = 0; i < length; i++) {
		memcpy(bad, good, length);
		bad[i] = (char)(bad[i] ^ 1 << (i % 7));
		write_file(place->file, bad, length);
		assert_refused(place, "damaged");
	}
	for (size_t shorter = 0; shorter < length; shorter++) {
		write_file(place->file, good, shorter);
		assert_refused(place, "damaged");
	}
	memcpy(bad, good, length);
	bad[length] = '\n';
	write_file(place->file, bad, length + 1);
	assert_refused(place, "damaged");
	memset(bad, 'x', sizeof(bad));
	write_file(place->file, bad, sizeof(bad));
	assert_refused(place, "damaged");

	// What is damaged is never replaced, and what is restored is good again.
	write_file(place->file, good, length);
	make(place);
	assert_int_equal(read_file(place->file, bad, sizeof(bad)), length);
	assert_memory_equal(good, bad, length);
}

// A file that says what it is, with content that is no identity.
static void test_other_content(void **state)
{
	static const char *const bodies[] = {
	        "",
	        "nothing of use\n",
	        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
	};
	struct place *place = *state;

	make(place);
	for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
		uint8_t digest[SHA256_DIGEST_LENGTH];
		char text[512], hex[FINGERPRINT_TEXT_MAX];
		int length;

		SHA256((const uint8_t *)bodies[i], strlen(bodies[i]), digest);
		fingerprint_text(digest, hex);
		length = snprintf(text, sizeof(text), "stead identity 1 %s\n%s", hex, bodies[i]);
		write_file(place->file, text, (size_t)length);
		assert_refused(place, "damaged");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(test_made_once, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(test_fingerprint, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(test_made_by_many_at_once, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(test_permissions, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(test_not_a_file, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(test_directory, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(test_damage, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(test_other_content, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
