// SPDX-License-Identifier: Apache-2.0
#include "pairs.h"

#include "file_disk.h"
#include "lock.h"
#include "state_file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

bool pair_exists(const struct paths *paths, const char *pair)
{
	char path[PATHS_MAX];
	struct stat st;

	return lstat(path_config(paths, pair, path), &st) == 0;
}

// Volumes are numbered as the state has them; people may sort the file anew.
static int order_volumes(const char *file, struct pair_config *config, const struct pair_state *state,
                         struct error *err)
{
	for (unsigned i = 0; i < state->volume_count; i++) {
		struct config_volume volume;
		unsigned at = i;

		while (at < config->volume_count && strcmp(config->volumes[at].name, state->volumes[i].name) != 0)
			at++;
		if (at == config->volume_count)
			return fail(err, EINVAL, "%s: volume %s of the pair is missing; add its [volume %s] again",
			            file, state->volumes[i].name, state->volumes[i].name);
		volume = config->volumes[i];
		config->volumes[i] = config->volumes[at];
		config->volumes[at] = volume;
	}
	if (config->volume_count > state->volume_count)
		return fail(err, EINVAL, "%s: volume %s is not part of the pair; remove it, or pair anew with it", file,
		            config->volumes[state->volume_count].name);
	return 0;
}

int pair_load(const struct paths *paths, const char *pair, struct pair_config *config, struct pair_state *state,
              struct error *err)
{
	char file[PATHS_MAX], path[PATHS_MAX];
	int result = config_read(path_config(paths, pair, file), config, err);

	if (!result)
		result = state_file_read(path_pair_file(paths, pair, FILE_STATE, path), state, err);
	if (!result)
		result = order_volumes(file, config, state, err);
	return result;
}

int pair_lock(const struct paths *paths, const char *pair, struct error *err)
{
	char path[PATHS_MAX];
	int fd = open(path_pair_file(paths, pair, FILE_LOCK, path), O_RDWR | O_CREAT | O_CLOEXEC, 0600), result;

	if (fd < 0)
		return fail(err, errno, "open %s: %s", path, strerror(errno));
	if (lock_file(fd) == 0)
		return fd;
	result = fail(err, EBUSY, "pair %s is run by another daemon: %s is locked", pair, path);
	close(fd);
	return result;
}

// Whose pair it is can be known even when its configuration is bad; and when the
// state is bad, one of the two daemons must speak of it.
static bool is_of(const struct paths *paths, const char *pair, enum role role, struct pair_state *state)
{
	char path[PATHS_MAX];

	if (state_file_read(path_pair_file(paths, pair, FILE_STATE, path), state, NULL) == 0)
		return state->role == role;
	return (access(path_pair_file(paths, pair, FILE_MAP, path), F_OK) == 0) == (role == ROLE_PRIMARY);
}

int pair_open(const struct paths *paths, const char *pair, enum role role, struct pair_config *config,
              struct pair_state *state, struct error *err)
{
	int result = -EREMOTE, lock;

	config_init(config);
	snprintf(config->name, sizeof(config->name), "%s", pair);
	if (!is_of(paths, pair, role, state))
		return -EREMOTE;
	lock = pair_lock(paths, pair, err);
	if (lock < 0)
		return lock;
	// Who held the lock until now may have given the pair another role.
	if (is_of(paths, pair, role, state))
		result = pair_load(paths, pair, config, state, err);
	if (result < 0)
		close(lock);
	return result < 0 ? result : lock;
}

static int clear_directory(const char *path, struct error *err)
{
	DIR *directory = opendir(path);
	struct dirent *entry;
	int result = 0;

	if (!directory)
		return errno == ENOENT ? 0 : fail(err, errno, "open directory %s: %s", path, strerror(errno));
	while (!result && (entry = readdir(directory)))
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
		    unlinkat(dirfd(directory), entry->d_name, 0) < 0)
			result = fail(err, errno, "remove %s/%s: %s", path, entry->d_name, strerror(errno));
	closedir(directory);
	return result;
}

int pair_prepare(const struct paths *paths, const char *pair, const struct pair_state *state, struct error *err)
{
	char path[PATHS_MAX], file[PATHS_MAX];
	int result;

	if (pair_exists(paths, pair))
		return fail(err, EEXIST, "pair %s exists on this node; remove it first: stead pair remove %s", pair,
		            pair);
	path_pair(paths, pair, path);
	result = make_directories(path, 0700, err);
	if (!result)
		result = clear_directory(path, err);
	if (!result)
		result = state_file_write(path_pair_file(paths, pair, FILE_STATE, file), state, err);
	if (!result)
		result = sync_directory(path, err);
	if (!result)
		result = sync_directory(paths->states, err);
	return result;
}

int pair_commit(const struct paths *paths, const struct pair_config *config, struct error *err)
{
	char file[PATHS_MAX];

	return config_write(path_config(paths, config->name, file), config, err);
}

int pair_erase(const struct paths *paths, const char *pair, struct error *err)
{
	char path[PATHS_MAX];
	int result = 0;

	if (unlink(path_config(paths, pair, path)) < 0 && errno != ENOENT)
		return fail(err, errno, "remove %s: %s", path, strerror(errno));
	result = sync_directory(paths->configs, err);
	if (!result)
		result = clear_directory(path_pair(paths, pair, path), err);
	if (!result && rmdir(path) < 0 && errno != ENOENT)
		result = fail(err, errno, "remove %s: %s", path, strerror(errno));
	return result;
}

struct others {
	struct pair_config *configs;
	struct volume_user *users;
	unsigned count;
};

// A configuration that cannot be read takes no volume.
static int find_others(const struct paths *paths, const char *pair, struct others *others, struct error *err)
{
	char(*names)[NAME_MAX_LENGTH + 1] = NULL, path[PATHS_MAX];
	size_t count = 0;
	int result = config_list(paths->configs, &names, &count, err);

	if (result < 0)
		return result;
	others->configs = calloc(count + 1, sizeof(*others->configs));
	others->users = calloc((count + 1) * VOLUMES_MAX, sizeof(*others->users));
	if (!others->configs || !others->users) {
		free(names);
		return fail(err, ENOMEM, "check volumes: out of memory");
	}
	for (size_t i = 0; i < count; i++) {
		struct pair_config *config = &others->configs[i];

		if (!strcmp(names[i], pair) || config_read(path_config(paths, names[i], path), config, NULL) < 0)
			continue;
		for (unsigned j = 0; j < config->volume_count; j++)
			others->users[others->count++] =
			        (struct volume_user){config->name, config->volumes[j].name, config->volumes[j].path};
	}
	free(names);
	return 0;
}

int pair_check_volumes(const struct paths *paths, const char *pair, const struct config_volume *volumes, unsigned count,
                       uint64_t bytes[VOLUMES_MAX], bool starting, struct error *err)
{
	struct others others = {0};
	int result = find_others(paths, pair, &others, err);

	for (unsigned i = 0; !result && i < count; i++) {
		const struct volume_want want = {.name = volumes[i].name,
		                                 .path = volumes[i].path,
		                                 .bytes = bytes[i],
		                                 .in_use = starting,
		                                 .users = others.users,
		                                 .user_count = others.count};

		result = volume_check(&want, &bytes[i], err);
		others.users[others.count++] = (struct volume_user){pair, volumes[i].name, volumes[i].path};
	}
	free(others.users);
	free(others.configs);
	return result;
}

int pair_open_volumes(struct loop *loop, const struct paths *paths, const struct pair_config *config,
                      const struct pair_state *state, struct disk *volumes[VOLUMES_MAX], struct error *err)
{
	static const struct file_disk_options options = {.exclusive = true, .lock = true};
	uint64_t bytes[VOLUMES_MAX];
	int result;

	for (unsigned i = 0; i < state->volume_count; i++)
		bytes[i] = state->volumes[i].bytes;
	result = pair_check_volumes(paths, config->name, config->volumes, state->volume_count, bytes, true, err);
	for (unsigned i = 0; !result && i < state->volume_count; i++) {
		volumes[i] = file_disk_open(loop, config->volumes[i].path, &options, err);
		if (!volumes[i])
			result = -errno;
	}
	return result;
}
