// SPDX-License-Identifier: Apache-2.0
#include "log.h"
#include "log_journal.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

struct line {
	char *text;
	size_t size, length; // one byte of size is kept for the end
};

static void put(struct line *line, const char *bytes, size_t count)
{
	if (count > line->size - 1 - line->length)
		count = line->size - 1 - line->length;
	memcpy(line->text + line->length, bytes, count);
	line->length += count;
}

static bool plain(const char *value)
{
	if (!*value)
		return false;
	for (const unsigned char *at = (const unsigned char *)value; *at; at++)
		if (*at <= ' ' || *at == '"' || *at == '\\' || *at == '=' || *at == 0x7f)
			return false;
	return true;
}

static void put_value(struct line *line, const char *value)
{
	if (plain(value)) {
		put(line, value, strlen(value));
		return;
	}
	put(line, "\"", 1);
	for (const unsigned char *at = (const unsigned char *)value; *at; at++) {
		char escaped[8];

		if (*at == '"' || *at == '\\')
			snprintf(escaped, sizeof(escaped), "\\%c", *at);
		else if (*at == '\n')
			snprintf(escaped, sizeof(escaped), "\\n");
		else if (*at < ' ' || *at == 0x7f)
			snprintf(escaped, sizeof(escaped), "\\u%04x", *at);
		else
			snprintf(escaped, sizeof(escaped), "%c", *at);
		put(line, escaped, strlen(escaped));
	}
	put(line, "\"", 1);
}

// One conversion, at format[0] == '%', appended to value; returns its length in
// the format. The whole format cannot go to vsnprintf() at once: where a value
// ends would no longer be known.
static size_t convert(const char *format, va_list *args, char *value, size_t size)
{
	char spec[32];
	size_t length = 1 + strspn(format + 1, "-+ #0'123456789.*");
	size_t used = strlen(value);
	unsigned longs = 0;
	bool z = false;
	char type;

	for (; format[length] && strchr("hlzj", format[length]); length++) {
		longs += format[length] == 'l';
		z |= format[length] == 'z' || format[length] == 'j';
	}
	type = format[length];
	if (!type || length + 2 > sizeof(spec) || memchr(format, '*', length))
		return strlen(format);
	length++;
	memcpy(spec, format, length);
	spec[length] = 0;
	value += used;
	size -= used;

	switch (type) {
	case '%':
		snprintf(value, size, "%%");
		break;
	case 's': {
		const char *text = va_arg(*args, const char *);

		snprintf(value, size, spec, text ? text : "");
		break;
	}
	case 'c':
		snprintf(value, size, spec, va_arg(*args, int));
		break;
	case 'f':
	case 'g':
		snprintf(value, size, spec, va_arg(*args, double));
		break;
	case 'd':
	case 'i':
	case 'u':
	case 'x':
	case 'X':
	case 'o':
		if (longs == 2)
			snprintf(value, size, spec, va_arg(*args, unsigned long long));
		else if (longs || z)
			snprintf(value, size, spec, va_arg(*args, unsigned long));
		else
			snprintf(value, size, spec, va_arg(*args, unsigned));
		break;
	default:
		return strlen(format + length) + length;
	}
	return length;
}

void log_pairs(const char *format, va_list args, log_pair *pair, void *user)
{
	va_list copy;

	va_copy(copy, args);
	while (format && *format) {
		char value[LOG_LINE_MAX] = "";
		size_t key = strcspn(format, "= "), used;
		const char *name = format;

		format += key;
		if (*format != '=') {
			pair(user, name, key, NULL);
		} else {
			format++;
			while (*format && *format != ' ') {
				if (*format == '%') {
					format += convert(format, &copy, value, sizeof(value));
				} else {
					used = strcspn(format, "% ");
					strncat(value, format,
					        used < sizeof(value) - 1 - strlen(value)
					                ? used
					                : sizeof(value) - 1 - strlen(value));
					format += used;
				}
			}
			pair(user, name, key, value);
		}
		format += *format == ' ';
	}
	va_end(copy);
}

static void put_pair(void *user, const char *key, size_t length, const char *value)
{
	struct line *line = user;

	if (line->length)
		put(line, " ", 1);
	put(line, key, length);
	if (value) {
		put(line, "=", 1);
		put_value(line, value);
	}
}

size_t log_format(char *out, size_t size, const char *format, va_list args)
{
	struct line line = {out, size, 0};

	log_pairs(format, args, put_pair, &line);
	out[line.length] = 0;
	return line.length;
}

// JOURNAL_STREAM names the device and inode that stderr has when it is the
// journal's own socket, which adds the time.
static bool under_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	unsigned long long device, inode;
	struct stat st;

	return stream && sscanf(stream, "%llu:%llu", &device, &inode) == 2 && !fstat(STDERR_FILENO, &st) &&
	       st.st_dev == device && st.st_ino == inode;
}

// Of syslog; the journal takes <N> off.
const int log_priorities[] = {3, 4, 6};

static size_t begin(char *text, size_t size, enum log_level level, const char *event)
{
	static const char *const names[] = {"error", "warning", "info"};
	struct timespec now;
	struct tm tm;
	char time[32];

	if (under_journal())
		return (size_t)snprintf(text, size, "<%d>%s %s", log_priorities[level], names[level], event);
	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &tm);
	strftime(time, sizeof(time), "%Y-%m-%dT%H:%M:%S", &tm);
	return (size_t)snprintf(text, size, "%s.%03dZ %s %s", time, (int)(now.tv_nsec / 1000000), names[level], event);
}

void log_event(enum log_level level, const char *event, const char *format, ...)
{
	char text[LOG_LINE_MAX];
	size_t length;
	va_list args;

	if (under_journal()) {
		bool sent;

		va_start(args, format);
		sent = journal_send(level, event, format, args);
		va_end(args);
		if (sent)
			return;
	}
	length = begin(text, sizeof(text) / 2, level, event);
	if (length >= sizeof(text) / 2)
		length = sizeof(text) / 2 - 1;
	if (format && *format) {
		text[length++] = ' ';
		va_start(args, format);
		length += log_format(text + length, sizeof(text) - 1 - length, format, args);
		va_end(args);
	}
	text[length++] = '\n';
	while (write(STDERR_FILENO, text, length) < 0 && errno == EINTR)
		;
}
