// SPDX-License-Identifier: Apache-2.0
#include "paths.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

// Long enough by construction: the root is at most PATHS_ROOT_MAX, the names
// are at most NAME_MAX_LENGTH. Cutting is for the compiler's peace of mind.
static const char *join(char *out, const char *directory, const char *name, const char *more, const char *end)
{
	if (snprintf(out, PATHS_MAX, "%s/%s%s%s", directory, name, more, end) >= PATHS_MAX)
		out[0] = 0;
	return out;
}

int paths_init(struct paths *paths, const char *root, struct error *err)
{
	char *real = realpath(root, NULL);
	struct stat st;

	memset(paths, 0, sizeof(*paths));
	if (!real)
		return fail(err, errno, "root %s: %s", root, strerror(errno));
	if (stat(real, &st) < 0 || !S_ISDIR(st.st_mode)) {
		free(real);
		return fail(err, ENOTDIR, "root %s: not a directory", root);
	}
	if (strlen(real) >= sizeof(paths->root)) {
		free(real);
		return fail(err, ENAMETOOLONG, "root %s: path is longer than %zu bytes", root, sizeof(paths->root) - 1);
	}
	if (strcmp(real, "/") != 0)
		strcpy(paths->root, real);
	free(real);
	join(paths->configs, paths->root, "etc/stead/pairs", "", "");
	join(paths->state, paths->root, "var/lib/stead", "", "");
	join(paths->states, paths->root, "var/lib/stead/pairs", "", "");
	join(paths->run, paths->root, "run/stead", "", "");
	join(paths->agent_socket, paths->root, "run/stead/agent.sock", "", "");
	join(paths->receiver_socket, paths->root, "run/stead/receiver.sock", "", "");
	return 0;
}

int make_directories(const char *path, unsigned mode, struct error *err)
{
	char part[PATHS_MAX];
	size_t length = strlen(path);
	struct stat st;

	if (length >= sizeof(part))
		return fail(err, ENAMETOOLONG, "make directory %s: path is longer than %d bytes", path, PATHS_MAX - 1);
	for (size_t at = 1; at <= length; at++) {
		if (path[at] != '/' && path[at] != 0)
			continue;
		memcpy(part, path, at);
		part[at] = 0;
		if (mkdir(part, mode) < 0 && errno != EEXIST)
			return fail(err, errno, "make directory %s: %s", part, strerror(errno));
	}
	if (stat(path, &st) < 0)
		return fail(err, errno, "directory %s: %s", path, strerror(errno));
	if (!S_ISDIR(st.st_mode))
		return fail(err, ENOTDIR, "make directory %s: a file of that name is in the way", path);
	return 0;
}

// For what must be nobody else's business.
static int make_private(const struct paths *paths, const char *parent, const char *path, struct error *err)
{
	char above[PATHS_MAX];
	struct stat st;
	int result = make_directories(join(above, paths->root, parent, "", ""), 0755, err);

	if (result < 0)
		return result;
	result = make_directories(path, 0700, err);
	if (result < 0)
		return result;
	if (stat(path, &st) == 0 && (st.st_mode & 077) && chmod(path, 0700) < 0)
		return fail(err, errno, "directory %s is open to others and cannot be closed to them: %s", path,
		            strerror(errno));
	return 0;
}

int paths_make(const struct paths *paths, struct error *err)
{
	int result = make_directories(paths->configs, 0755, err);

	if (!result)
		result = make_private(paths, "var/lib", paths->state, err);
	if (!result)
		result = make_private(paths, "var/lib", paths->states, err);
	if (!result)
		result = make_private(paths, "run", paths->run, err);
	return result;
}

const char *path_config(const struct paths *paths, const char *pair, char *out)
{
	return join(out, paths->configs, pair, "", ".conf");
}

const char *path_pair(const struct paths *paths, const char *pair, char *out)
{
	return join(out, paths->states, pair, "", "");
}

const char *path_pair_file(const struct paths *paths, const char *pair, const char *file, char *out)
{
	return join(out, paths->states, pair, "/", file);
}

const char *path_salvage(const struct paths *paths, const char *pair, const char *stamp, char *out)
{
	if (snprintf(out, PATHS_MAX, "%s/salvage/%s-%s", paths->state, pair, stamp) >= PATHS_MAX)
		out[0] = 0;
	return out;
}

static const char *exported(const struct paths *paths, const char *pair, const char *volume, const char *end, char *out)
{
	if (snprintf(out, PATHS_MAX, "%s/%s-%s%s", paths->run, pair, volume, end) >= PATHS_MAX)
		out[0] = 0;
	return out;
}

const char *path_device(const struct paths *paths, const char *pair, const char *volume, char *out)
{
	return exported(paths, pair, volume, "", out);
}

const char *path_export(const struct paths *paths, const char *pair, const char *volume, char *out)
{
	return exported(paths, pair, volume, ".sock", out);
}

int sync_directory(const char *path, struct error *err)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), result = 0;

	if (fd < 0)
		return fail(err, errno, "open directory %s: %s", path, strerror(errno));
	if (fsync(fd) < 0)
		result = fail(err, errno, "sync directory %s: %s", path, strerror(errno));
	close(fd);
	return result;
}
