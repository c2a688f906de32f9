// SPDX-License-Identifier: Apache-2.0
#include "pair_mark.h"

#include "common/status.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

bool pair_mark_found(const struct paths *paths, const char *pair, const struct id *generation)
{
	char path[PATHS_MAX], expected[ID_TEXT_MAX], text[ID_TEXT_MAX] = "";
	int fd = open(path_unlogged(paths, pair, path), O_RDONLY | O_CLOEXEC);
	ssize_t got;

	if (fd < 0)
		return false;
	got = read(fd, text, sizeof(text) - 1);
	close(fd);
	id_text(generation, expected);
	return got < 0 || !strcmp(text, expected); // what cannot be read may be ours
}

int pair_mark_make(const struct paths *paths, const char *pair, const struct id *generation, struct error *err)
{
	char path[PATHS_MAX], text[ID_TEXT_MAX];
	int fd = open(path_unlogged(paths, pair, path), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600), result = 0;
	ssize_t length = ID_TEXT_MAX - 1;

	if (fd < 0)
		return fail(err, errno, "make %s: %s", path, strerror(errno));
	id_text(generation, text);
	if (write(fd, text, (size_t)length) != length || fsync(fd) < 0)
		result = fail(err, errno ? errno : EIO, "write %s: %s", path, strerror(errno));
	close(fd);
	return result ? result : sync_directory(paths->configs, err);
}

int pair_mark_remove(const struct paths *paths, const char *pair, struct error *err)
{
	char path[PATHS_MAX];

	if (unlink(path_unlogged(paths, pair, path)) < 0)
		return errno == ENOENT ? 0 : fail(err, errno, "remove %s: %s", path, strerror(errno));
	return sync_directory(paths->configs, err);
}
