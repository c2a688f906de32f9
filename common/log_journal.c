// SPDX-License-Identifier: Apache-2.0
#include "log_journal.h"
#include "bytes.h"

#include <ctype.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define JOURNAL_SOCKET "/run/systemd/journal/socket"
#define KEY_MAX 64 // of journald

struct entry {
	char *text;
	size_t size, length;
};

// All of it or nothing: a cut field would make the rest unreadable.
static void put_field(struct entry *entry, const char *key, const char *value)
{
	size_t name = strlen(key), length = strlen(value);
	char *at = entry->text + entry->length;

	if (entry->size - entry->length < name + length + 10)
		return;
	memcpy(at, key, name);
	at += name;
	if (strchr(value, '\n')) {
		*at++ = '\n';
		put_u64(at, length);
		at += 8;
	} else {
		*at++ = '=';
	}
	memcpy(at, value, length);
	at += length;
	*at++ = '\n';
	entry->length = (size_t)(at - entry->text);
}

static void put_pair(void *user, const char *key, size_t length, const char *value)
{
	char name[KEY_MAX + 1] = "STEAD_";
	size_t used = strlen(name);

	for (size_t i = 0; i < length && used < KEY_MAX; i++)
		name[used++] = isalnum((unsigned char)key[i]) ? (char)toupper((unsigned char)key[i]) : '_';
	name[used] = 0;
	put_field(user, name, value ? value : "");
}

size_t journal_entry(char *out, size_t size, enum log_level level, const char *event, const char *format, va_list args)
{
	struct entry entry = {out, size, 0};
	char message[LOG_LINE_MAX], priority[2] = {(char)('0' + log_priorities[level]), 0};
	int length = snprintf(message, sizeof(message) / 2, "%s%s", event, format && *format ? " " : "");

	if (length > 0 && (size_t)length < sizeof(message) / 2)
		(void)log_format(message + length, sizeof(message) - (size_t)length, format, args);
	put_field(&entry, "MESSAGE", message);
	put_field(&entry, "PRIORITY", priority);
	put_field(&entry, "SYSLOG_IDENTIFIER", program_invocation_short_name);
	put_field(&entry, "STEAD_EVENT", event);
	log_pairs(format, args, put_pair, &entry);
	return entry.length;
}

bool journal_send(enum log_level level, const char *event, const char *format, va_list args)
{
	const struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = JOURNAL_SOCKET};
	char text[JOURNAL_ENTRY_MAX];
	size_t length = journal_entry(text, sizeof(text), level, event, format, args);
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	ssize_t sent;

	if (fd < 0)
		return false;
	sent = sendto(fd, text, length, MSG_NOSIGNAL | MSG_DONTWAIT, (const struct sockaddr *)&address,
	              sizeof(address));
	close(fd);
	return sent == (ssize_t)length;
}
