// SPDX-License-Identifier: Apache-2.0
#include "config.h"
#include "config_value.h"
#include "fields.h"
#include "paths.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void write_hooks(FILE *out, const struct pair_config *config)
{
	bool begun = false;

	for (int event = 0; event < HOOK_EVENTS; event++) {
		if (!config->hooks[event][0])
			continue;
		fprintf(out, "%s%s = %s\n", begun ? "" : "\n[hooks]\n", hook_name((enum hook_event)event),
		        config->hooks[event]);
		begun = true;
	}
}

static int write_text(FILE *out, const struct pair_config *config)
{
	fprintf(out, "# Pair %s. Written by `stead pair`; every key is in stead.conf(5).\n", config->name);
	fprintf(out, "# After a change: stead config check, then SIGHUP to both daemons.\n\n[pair]\n");
	for (unsigned i = 0; i < pair_key_count; i++) {
		char value[VALUE_TEXT_MAX];

		if (pair_key_format(&pair_keys[i], config, value))
			fprintf(out, "%s = %s\n", pair_keys[i].name, value);
	}
	for (unsigned i = 0; i < config->hours_count; i++) {
		char hours[HOURS_TEXT_MAX];

		fprintf(out, "bandwidth %s\n", hours_format(&config->hours[i], hours));
	}
	for (unsigned i = 0; i < config->volume_count; i++) {
		const struct config_volume *volume = &config->volumes[i];

		fprintf(out, "\n[volume %s]\npath = %s\nexport = %s\n", volume->name, volume->path,
		        export_name(volume->export));
	}
	write_hooks(out, config);
	return fflush(out) == 0 && fsync(fileno(out)) == 0 ? 0 : -errno;
}

// Writes the whole content to a fresh file beside the target.
static int write_beside(const char *path, const struct pair_config *config, struct error *err)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	FILE *out = fd < 0 ? NULL : fdopen(fd, "w");
	int error = -errno;

	if (out) {
		error = write_text(out, config);
		if (fclose(out) != 0 && !error)
			error = -errno;
	} else if (fd >= 0) {
		close(fd);
	}
	return error ? fail(err, -error, "write %s: %s", path, strerror(-error)) : 0;
}

int config_write(const char *file, const struct pair_config *config, struct error *err)
{
	char beside[PATHS_MAX], directory[PATHS_MAX];
	const char *slash = strrchr(file, '/');
	int length = slash ? (int)(slash - file) : 1;
	int error = config_check(config, err);

	if (error)
		return error;
	snprintf(directory, sizeof(directory), "%.*s", length, slash ? file : ".");
	if ((size_t)snprintf(beside, sizeof(beside), "%s/.%s.conf.new", directory, config->name) >= sizeof(beside))
		return fail(err, ENAMETOOLONG, "write %s: the path is too long", file);
	error = write_beside(beside, config, err);
	if (!error && rename(beside, file) < 0)
		error = fail(err, errno, "replace %s: %s", file, strerror(errno));
	if (error) {
		unlink(beside);
		return error;
	}
	return sync_directory(directory, err);
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(a, b);
}

// The pair that a file of the directory configures. false: none.
static bool pair_of(const char *file, char name[NAME_MAX_LENGTH + 1])
{
	size_t length = strlen(file);

	if (length <= 5 || length - 5 > NAME_MAX_LENGTH || strcmp(file + length - 5, ".conf") != 0)
		return false;
	snprintf(name, NAME_MAX_LENGTH + 1, "%.*s", (int)(length - 5), file);
	return name_valid(name);
}

int config_list(const char *directory, char (**names)[NAME_MAX_LENGTH + 1], size_t *count, struct error *err)
{
	DIR *dir = opendir(directory);
	struct dirent *entry;

	*names = NULL;
	*count = 0;
	if (!dir && errno == ENOENT)
		return 0;
	if (!dir)
		return fail(err, errno, "read the folder %s: %s", directory, strerror(errno));
	while ((entry = readdir(dir))) {
		char name[NAME_MAX_LENGTH + 1];
		char(*grown)[NAME_MAX_LENGTH + 1];

		if (!pair_of(entry->d_name, name))
			continue;
		grown = realloc(*names, (*count + 1) * sizeof(**names));
		if (!grown) {
			closedir(dir);
			free(*names);
			*names = NULL;
			return fail(err, ENOMEM, "read the folder %s: out of memory", directory);
		}
		*names = grown;
		memcpy(grown[(*count)++], name, sizeof(name));
	}
	closedir(dir);
	if (*count)
		qsort(*names, *count, sizeof(**names), compare_names);
	return 0;
}

bool config_listed(char (*names)[NAME_MAX_LENGTH + 1], size_t count, const char *name)
{
	for (size_t i = 0; i < count; i++)
		if (!strcmp(names[i], name))
			return true;
	return false;
}
