// SPDX-License-Identifier: Apache-2.0
#include "config.h"
#include "config_value.h"
#include "fields.h"

#include <errno.h>
#include <fcntl.h>
#include <ini.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LINE_MAX_BYTES 2048 // with what inih adds
#define NO_VOLUME (-1)

// inih splits lines; which line it is at and which section that is, it does
// not tell, so the reader that feeds it keeps both.
struct parse {
	const char *file;
	struct pair_config *config;
	struct error *err;
	int error;

	const char *at, *end;
	unsigned line;

	unsigned pair_line; // of [pair]; 0: not seen
	unsigned pair_seen; // bit i: pair_keys[i]
	unsigned hooks_line; // of [hooks]; 0: not seen
	bool in_pair, in_hooks;
	int volume; // NO_VOLUME: not in one
	unsigned volume_line[VOLUMES_MAX];
	bool path_seen, export_seen;
};

static int __attribute__((format(printf, 3, 4))) parse_fail(struct parse *parse, unsigned line, const char *format, ...)
{
	char what[300];
	va_list args;

	va_start(args, format);
	vsnprintf(what, sizeof(what), format, args);
	va_end(args);
	parse->error = fail(parse->err, EINVAL, "%s:%u: %s", parse->file, line, what);
	return parse->error;
}

static void leave_section(struct parse *parse)
{
	if (parse->volume != NO_VOLUME && !parse->path_seen && !parse->error)
		parse_fail(parse, parse->volume_line[parse->volume], "volume %s has no path; add path = /...",
		           parse->config->volumes[parse->volume].name);
	parse->in_pair = parse->in_hooks = false;
	parse->volume = NO_VOLUME;
}

static void enter_pair(struct parse *parse)
{
	if (parse->pair_line) {
		parse_fail(parse, parse->line, "second [pair] section, the first is in line %u; make them one",
		           parse->pair_line);
		return;
	}
	parse->pair_line = parse->line;
	parse->in_pair = true;
}

static void enter_hooks(struct parse *parse)
{
	if (parse->hooks_line) {
		parse_fail(parse, parse->line, "second [hooks] section, the first is in line %u; make them one",
		           parse->hooks_line);
		return;
	}
	parse->hooks_line = parse->line;
	parse->in_hooks = true;
}

static void enter_volume(struct parse *parse, const char *name)
{
	struct pair_config *config = parse->config;
	struct error why;

	if (value_name("volume", name, &why)) {
		parse_fail(parse, parse->line, "%s", why.text);
		return;
	}
	for (unsigned i = 0; i < config->volume_count; i++) {
		if (!strcmp(config->volumes[i].name, name)) {
			parse_fail(parse, parse->line, "second section for volume %s, the first is in line %u", name,
			           parse->volume_line[i]);
			return;
		}
	}
	if (config->volume_count == VOLUMES_MAX) {
		parse_fail(parse, parse->line, "more than %d volumes; make a second pair", VOLUMES_MAX);
		return;
	}
	parse->volume = (int)config->volume_count++;
	parse->volume_line[parse->volume] = parse->line;
	parse->path_seen = parse->export_seen = false;
	memset(&config->volumes[parse->volume], 0, sizeof(config->volumes[0]));
	snprintf(config->volumes[parse->volume].name, NAME_MAX_LENGTH + 1, "%s", name);
}

// header is the line from its [ on, without what follows the last visible
// character.
static void enter_section(struct parse *parse, char *header)
{
	size_t length = strlen(header);

	leave_section(parse);
	if (parse->error)
		return;
	if (header[length - 1] != ']') {
		parse_fail(parse, parse->line,
		           "a section ends with ] and nothing after it; comments need their own line");
		return;
	}
	header[length - 1] = '\0';
	header++;
	if (!strcmp(header, "pair"))
		enter_pair(parse);
	else if (!strcmp(header, "hooks"))
		enter_hooks(parse);
	else if (!strncmp(header, "volume ", 7))
		enter_volume(parse, header + 7 + strspn(header + 7, " \t"));
	else
		parse_fail(parse, parse->line,
		           "unknown section [%.60s]; possible are [pair], [volume NAME] and [hooks]", header);
}

static int look_at_line(struct parse *parse, const char *text, size_t length)
{
	char header[LINE_MAX_BYTES];
	size_t first = 0;

	for (size_t i = 0; i < length; i++) {
		unsigned char byte = (unsigned char)text[i];

		if ((byte < ' ' && byte != '\t' && byte != '\r') || byte == 0x7f)
			return parse_fail(parse, parse->line, "control character 0x%02x at byte %zu", byte, i + 1);
	}
	while (length > 0 && strchr(" \t\r", text[length - 1]))
		length--;
	while (first < length && strchr(" \t\r", text[first]))
		first++;
	if (first < length && text[first] == '[') {
		memcpy(header, text + first, length - first);
		header[length - first] = '\0';
		enter_section(parse, header);
	}
	return parse->error;
}

// Gives inih the next line. NULL ends the file, also when an error does.
static char *next_line(char *line, int size, void *user)
{
	struct parse *parse = user;
	size_t left = (size_t)(parse->end - parse->at);
	const char *newline = memchr(parse->at, '\n', left);
	size_t length = newline ? (size_t)(newline - parse->at) : left;

	if (parse->error || left == 0)
		return NULL;
	parse->line++;
	if (length + 2 > (size_t)size || length + 2 > LINE_MAX_BYTES) {
		parse_fail(parse, parse->line, "the line has %zu bytes, more than %d", length, size - 2);
		return NULL;
	}
	if (look_at_line(parse, parse->at, length))
		return NULL;
	memcpy(line, parse->at, length);
	strcpy(line + length, "\n");
	parse->at += newline ? length + 1 : length;
	return line;
}

// "bandwidth 08:00-18:00 = 5M", which inih has taken apart at its first colon.
static int hours_value(struct parse *parse, const char *begin, const char *rest)
{
	struct pair_config *config = parse->config;
	char text[LINE_MAX_BYTES * 2];
	struct error why;

	if (config->hours_count == HOURS_MAX)
		return parse_fail(parse, parse->line, "more than %d hours of bandwidth", HOURS_MAX);
	snprintf(text, sizeof(text), "%s:%s", begin + strspn(begin, " \t"), rest);
	if (hours_parse(text, &config->hours[config->hours_count], &why) < 0 ||
	    hours_check(config->hours, ++config->hours_count, &why) < 0)
		return parse_fail(parse, parse->line, "%s", why.text);
	return 0;
}

static int pair_value(struct parse *parse, const char *name, const char *value)
{
	const struct pair_key *key = pair_key_find(name);
	struct error why;
	unsigned bit;

	if (!strncmp(name, "bandwidth ", 10))
		return hours_value(parse, name + 10, value);
	if (!key) {
		char known[200] = "";

		for (unsigned i = 0; i < pair_key_count; i++) {
			size_t length = strlen(known);

			snprintf(known + length, sizeof(known) - length, "%s%s", i ? ", " : "", pair_keys[i].name);
		}
		return parse_fail(parse, parse->line, "unknown key %s; [pair] has %s", name, known);
	}
	bit = 1U << (key - pair_keys);
	if (parse->pair_seen & bit)
		return parse_fail(parse, parse->line, "%s is given twice", name);
	parse->pair_seen |= bit;
	if (pair_key_parse(key, value, parse->config, &why))
		return parse_fail(parse, parse->line, "%s", why.text);
	return 0;
}

static int volume_path(struct parse *parse, const char *value)
{
	struct config_volume *volumes = parse->config->volumes;
	struct error why;

	if (parse->path_seen)
		return parse_fail(parse, parse->line, "path is given twice");
	parse->path_seen = true;
	if (value_path(value, &why))
		return parse_fail(parse, parse->line, "%s", why.text);
	for (int i = 0; i < parse->volume; i++)
		if (!strcmp(volumes[i].path, value))
			return parse_fail(parse, parse->line, "volume %s has the same path", volumes[i].name);
	snprintf(volumes[parse->volume].path, CONFIG_PATH_MAX, "%s", value);
	return 0;
}

static int volume_value(struct parse *parse, const char *name, const char *value)
{
	struct error why;

	if (!strcmp(name, "path"))
		return volume_path(parse, value);
	if (strcmp(name, "export") != 0)
		return parse_fail(parse, parse->line, "unknown key %s; [volume NAME] has path, export", name);
	if (parse->export_seen)
		return parse_fail(parse, parse->line, "export is given twice");
	parse->export_seen = true;
	if (export_parse(value, &parse->config->volumes[parse->volume].export, &why))
		return parse_fail(parse, parse->line, "%s", why.text);
	return 0;
}

static int hook_value(struct parse *parse, const char *name, const char *value)
{
	char known[300] = "";
	struct error why;

	for (int event = 0; event < HOOK_EVENTS; event++) {
		size_t length = strlen(known);

		if (strcmp(hook_name((enum hook_event)event), name) != 0) {
			snprintf(known + length, sizeof(known) - length, "%s%s", event ? ", " : "",
			         hook_name((enum hook_event)event));
			continue;
		}
		if (parse->config->hooks[event][0])
			return parse_fail(parse, parse->line, "%s is given twice", name);
		if (value_path(value, &why))
			return parse_fail(parse, parse->line, "%s", why.text);
		snprintf(parse->config->hooks[event], CONFIG_PATH_MAX, "%s", value);
		return 0;
	}
	return parse_fail(parse, parse->line, "unknown event %.40s; [hooks] has %s", name, known);
}

static int key_value(void *user, const char *section, const char *name, const char *value)
{
	struct parse *parse = user;
	int error;

	(void)section;
	if (parse->in_pair)
		error = pair_value(parse, name, value);
	else if (parse->in_hooks)
		error = hook_value(parse, name, value);
	else if (parse->volume != NO_VOLUME)
		error = volume_value(parse, name, value);
	else
		error = parse_fail(parse, parse->line, "%s before the first section; begin with [pair]", name);
	return error == 0; // as inih wants it
}

static void parse_text(struct parse *parse)
{
	int bad;

	// A value is what stands in its line, no more and no less.
	ini_allow_bom = false;
	ini_allow_inline_comments = false;
	ini_allow_multiline = false;
	ini_allow_no_value = false;
	ini_stop_on_first_error = true;
	ini_use_stack = false;
	ini_initial_alloc = ini_max_line = LINE_MAX_BYTES;
	bad = ini_parse_stream(next_line, parse, key_value, parse);
	if (parse->error)
		return;
	if (bad < 0) {
		parse->error = fail(parse->err, ENOMEM, "%s: out of memory", parse->file);
		return;
	}
	if (bad > 0) {
		parse_fail(parse, (unsigned)bad, "neither a [section], nor KEY = VALUE, nor a # comment");
		return;
	}
	leave_section(parse);
	if (parse->error)
		return;
	if (!parse->pair_line)
		parse_fail(parse, parse->line + 1, "the file ends without a [pair] section");
	else if (parse->config->volume_count == 0)
		parse_fail(parse, parse->line + 1, "the file ends without a [volume NAME] section");
}

static int take_name(const char *file, struct pair_config *config, struct error *err)
{
	const char *slash = strrchr(file, '/');
	const char *base = slash ? slash + 1 : file;
	size_t length = strlen(base);

	if (length > 5 && length - 5 <= NAME_MAX_LENGTH && !strcmp(base + length - 5, ".conf")) {
		snprintf(config->name, sizeof(config->name), "%.*s", (int)(length - 5), base);
		if (name_valid(config->name))
			return 0;
	}
	return fail(err, EINVAL, "%s: the file of a pair is called PAIR.conf, PAIR 1 to %d of A-Z a-z 0-9 . _ -", file,
	            NAME_MAX_LENGTH);
}

static int read_text(const char *file, char **text, size_t *length, struct error *err)
{
	int fd = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat info;
	ssize_t got = 0;
	int error = 0;

	*text = NULL;
	if (fd < 0)
		return fail(err, errno, "read %s: %s", file, strerror(errno));
	if (fstat(fd, &info) < 0)
		error = fail(err, errno, "read %s: %s", file, strerror(errno));
	else if (!S_ISREG(info.st_mode))
		error = fail(err, EINVAL, "read %s: not a regular file", file);
	if (error) {
		close(fd);
		return error;
	}
	*text = malloc(CONFIG_FILE_MAX + 1);
	*length = 0;
	while (*text && *length <= CONFIG_FILE_MAX &&
	       (got = read(fd, *text + *length, CONFIG_FILE_MAX + 1 - *length)) > 0)
		*length += (size_t)got;
	if (!*text)
		error = fail(err, ENOMEM, "read %s: out of memory", file);
	else if (got < 0)
		error = fail(err, errno, "read %s: %s", file, strerror(errno));
	else if (*length > CONFIG_FILE_MAX)
		error = fail(err, EINVAL, "read %s: larger than %d KiB", file, CONFIG_FILE_MAX >> 10);
	close(fd);
	return error;
}

int config_read(const char *file, struct pair_config *config, struct error *err)
{
	struct parse parse = {.file = file, .config = config, .err = err, .volume = NO_VOLUME};
	size_t length = 0;
	char *text;
	int error;

	config_init(config);
	error = take_name(file, config, err);
	if (error)
		return error;
	error = read_text(file, &text, &length, err);
	if (!error) {
		parse.at = text;
		parse.end = text + length;
		parse_text(&parse);
		error = parse.error;
	}
	free(text);
	return error;
}
