// SPDX-License-Identifier: Apache-2.0
#include "ctl.h"
#include "common/config_value.h"
#include "common/fields.h"
#include "common/units.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

char *printable(char *text)
{
	for (char *at = text; *at; at++)
		if ((unsigned char)*at < ' ' || *at == 0x7f)
			*at = '?';
	return text;
}

static FILE *complaints; // NULL: stderr
static const char *complaint_prefix = "stead: ";

void complain_as(FILE *stream, const char *prefix)
{
	complaints = stream;
	complaint_prefix = prefix;
}

static void complain(const char *format, va_list args)
{
	char text[4096];

	vsnprintf(text, sizeof(text), format, args);
	fprintf(complaints ? complaints : stderr, "%s%s\n", complaint_prefix, printable(text));
}

int refuse(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	complain(format, args);
	va_end(args);
	return EXIT_REFUSED;
}

int misuse(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	complain(format, args);
	va_end(args);
	return EXIT_USAGE;
}

int check_pair_name(const char *name)
{
	struct error err;

	if (value_name("pair", name, &err))
		return misuse("%s", err.text);
	return EXIT_DONE;
}

int unknown_pair(struct context *context, const char *name, const char *also)
{
	char(*names)[NAME_MAX_LENGTH + 1];
	char list[2000] = "";
	struct error err;
	size_t count;

	if (config_list(context->paths.configs, &names, &count, &err))
		return refuse("%s", err.text);
	for (size_t i = 0; i < count; i++) {
		size_t length = strlen(list);

		snprintf(list + length, sizeof(list) - length, "%s%s", i ? ", " : "", names[i]);
	}
	free(names);
	if (count == 0)
		return refuse("no pair %s on this node, and no other%s; see stead pair --help", name, also);
	return refuse("no pair %s on this node; there is %s%s", name, list, also);
}

int check_pair(struct context *context, const char *pair)
{
	char file[PATHS_MAX];
	struct pair_config config;
	struct error err;
	int code = check_pair_name(pair);

	if (code)
		return code;
	if (config_read(path_config(&context->paths, pair, file), &config, &err) == -ENOENT)
		return unknown_pair(context, pair, "");
	return EXIT_DONE;
}

char *size_cell(json_t *value, char text[CELL_MAX])
{
	if (!json_is_integer(value) || json_integer_value(value) < 0)
		snprintf(text, CELL_MAX, "-");
	else
		human_size((uint64_t)json_integer_value(value), text, CELL_MAX);
	return text;
}

char *seconds_cell(json_t *value, char text[CELL_MAX])
{
	double seconds = json_number_value(value);

	if (!json_is_number(value) || seconds < 0 || seconds > 9e9)
		snprintf(text, CELL_MAX, "-");
	else if (seconds == 0)
		snprintf(text, CELL_MAX, "0 s");
	else
		human_duration((uint64_t)(seconds * 1e9), text, CELL_MAX);
	return text;
}

static struct config_volume volumes[VOLUMES_MAX];
static unsigned volume_count;

// As the daemon, which runs elsewhere, will understand it.
static int absolute_path(const char *path, char absolute[CONFIG_PATH_MAX])
{
	char here[CONFIG_PATH_MAX] = "";
	struct error err;

	if (*path && *path != '/' && !getcwd(here, sizeof(here)))
		return misuse("path %s is relative and the current folder has no usable path", path);
	if (snprintf(absolute, CONFIG_PATH_MAX, "%s%s%s", here, *here ? "/" : "", path) >= CONFIG_PATH_MAX)
		return misuse("path is longer than %d bytes", CONFIG_PATH_MAX - 1);
	if (value_path(absolute, &err))
		return misuse("%s", err.text);
	return EXIT_DONE;
}

int volume_option(const char *value)
{
	struct config_volume *volume = &volumes[volume_count];
	const char *equals = strchr(value, '=');
	struct error err;
	int code;

	if (!equals || equals == value || !equals[1])
		return misuse("--volume %s: write NAME=PATH, for example --volume data=/dev/vg/data", value);
	if (volume_count == VOLUMES_MAX)
		return misuse("more than %d volumes; make a second pair", VOLUMES_MAX);
	if (equals - value > NAME_MAX_LENGTH)
		return misuse("--volume %s: the name is longer than %d characters", value, NAME_MAX_LENGTH);
	snprintf(volume->name, sizeof(volume->name), "%.*s", (int)(equals - value), value);
	if (value_name("volume", volume->name, &err))
		return misuse("%s", err.text);
	code = absolute_path(equals + 1, volume->path);
	if (code)
		return code;
	for (unsigned i = 0; i < volume_count; i++) {
		if (!strcmp(volumes[i].name, volume->name))
			return misuse("volume %s is given twice", volume->name);
		if (!strcmp(volumes[i].path, volume->path))
			return misuse("volumes %s and %s have the same path %s", volumes[i].name, volume->name,
			              volume->path);
	}
	volume_count++;
	return EXIT_DONE;
}

json_t *volume_options(void)
{
	json_t *array = json_array();

	for (unsigned i = 0; i < volume_count; i++)
		json_array_append_new(array, json_pack("{s:s,s:s}", "name", volumes[i].name, "path", volumes[i].path));
	return array;
}

unsigned volume_option_count(void)
{
	return volume_count;
}
