// SPDX-License-Identifier: Apache-2.0
#include "invitation.h"

#include "common/request.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void directory_of(const struct paths *paths, char *out)
{
	snprintf(out, PATHS_MAX, "%.*s/invitations", PATHS_MAX - 20, paths->state);
}

static void file_of(const struct paths *paths, const char *pair, const char *end, char out[PATHS_MAX + 64])
{
	char directory[PATHS_MAX];

	directory_of(paths, directory);
	snprintf(out, PATHS_MAX + 64, "%s/%.31s.json%s", directory, pair, end);
}

static void to_text(const uint8_t secret[32], char text[65])
{
	for (unsigned i = 0; i < 32; i++)
		snprintf(text + (size_t)i * 2, 3, "%02x", secret[i]);
}

static int from_text(const char *text, uint8_t secret[32])
{
	if (!text || strlen(text) != 64 || strspn(text, "0123456789abcdef") != 64)
		return -EINVAL;
	for (unsigned i = 0; i < 32; i++) {
		unsigned byte;

		sscanf(text + (size_t)i * 2, "%2x", &byte);
		secret[i] = (uint8_t)byte;
	}
	return 0;
}

static char *encode(const struct invitation *invitation)
{
	json_t *volumes = json_array(), *object;
	char secret[65], *text;

	for (unsigned i = 0; i < invitation->config.volume_count; i++)
		json_array_append_new(volumes, json_pack("{s:s,s:s}", "name", invitation->config.volumes[i].name,
		                                         "path", invitation->config.volumes[i].path));
	to_text(invitation->secret, secret);
	object = json_pack("{s:i,s:s,s:s,s:I,s:o}", "version", 1, "pair", invitation->config.name, "secret", secret,
	                   "expires", (json_int_t)invitation->expires, "volumes", volumes);
	explicit_bzero(secret, sizeof(secret));
	if (object && invitation->config.listen[0])
		json_object_set_new(object, "listen", json_string(invitation->config.listen));
	text = object ? json_dumps(object, JSON_INDENT(1)) : NULL;
	json_decref(object);
	return text;
}

static int write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600), result = 0;
	size_t length = strlen(text);

	if (fd < 0)
		return -errno;
	if (write(fd, text, length) != (ssize_t)length)
		result = errno ? -errno : -ENOSPC;
	if (!result && fsync(fd) < 0)
		result = -errno;
	close(fd);
	return result;
}

int invitation_save(const struct paths *paths, const struct invitation *invitation, struct error *err)
{
	char directory[PATHS_MAX], temporary[PATHS_MAX + 64], path[PATHS_MAX + 64];
	char *text = encode(invitation);
	int result;

	if (!text)
		return fail(err, ENOMEM, "save the invitation: out of memory or a path that is no UTF-8");
	directory_of(paths, directory);
	file_of(paths, invitation->config.name, ".new", temporary);
	file_of(paths, invitation->config.name, "", path);
	result = make_directories(directory, 0700, err);
	if (!result) {
		result = write_file(temporary, text);
		if (!result && rename(temporary, path) < 0)
			result = -errno;
		if (result < 0) {
			(void)unlink(temporary);
			fail(err, -result, "write %s: %s", path, strerror(-result));
		}
	}
	explicit_bzero(text, strlen(text));
	free(text);
	return result ? result : sync_directory(directory, err);
}

static int decode(json_t *object, const char *pair, struct invitation *invitation, struct error *err)
{
	int result = from_text(json_string_value(json_object_get(object, "secret")), invitation->secret);
	const char *name = json_string_value(json_object_get(object, "pair"));

	if (result < 0 || json_integer_value(json_object_get(object, "version")) != 1 || !name ||
	    strcmp(name, pair) != 0 || !json_is_integer(json_object_get(object, "expires")))
		return fail(err, EILSEQ, "it is not an invitation for the pair");
	invitation->expires = json_integer_value(json_object_get(object, "expires"));
	config_init(&invitation->config);
	snprintf(invitation->config.name, sizeof(invitation->config.name), "%s", pair);
	result = request_volumes(object, &invitation->config, err);
	return result ? result : request_listen(object, &invitation->config, err);
}

int invitation_load(const struct paths *paths, const char *pair, struct invitation *invitation, struct error *err)
{
	char path[PATHS_MAX + 64];
	struct error reason;
	json_error_t why;
	json_t *object;
	FILE *stream;
	int result;

	file_of(paths, pair, "", path);
	stream = fopen(path, "re");
	if (!stream)
		return errno == ENOENT ? -ENOENT : fail(err, errno, "open %s: %s", path, strerror(errno));
	object = json_loadf(stream, JSON_REJECT_DUPLICATES, &why);
	fclose(stream);
	if (!object)
		return fail(err, EILSEQ, "%s is damaged: %s; invite anew", path, why.text);
	result = decode(object, pair, invitation, &reason);
	json_decref(object);
	if (result < 0)
		return fail(err, -result, "%s is damaged: %s; invite anew", path, reason.text);
	return 0;
}

int invitation_remove(const struct paths *paths, const char *pair, struct error *err)
{
	char path[PATHS_MAX + 64], directory[PATHS_MAX];

	file_of(paths, pair, "", path);
	if (unlink(path) < 0)
		return errno == ENOENT ? 0 : fail(err, errno, "remove %s: %s", path, strerror(errno));
	directory_of(paths, directory);
	return sync_directory(directory, err);
}
