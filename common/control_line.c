// SPDX-License-Identifier: Apache-2.0
#include "control_line.h"
#include "control.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int socket_path_check(const char *path, struct error *err)
{
	size_t length = strlen(path);

	if (length >= SOCKET_PATH_MAX)
		return fail(err, ENAMETOOLONG,
		            "socket %s: its path has %zu bytes, at most %zu are possible; use a shorter --root", path,
		            length, SOCKET_PATH_MAX - 1);
	return 0;
}

void socket_address(const char *path, struct sockaddr_un *address)
{
	memset(address, 0, sizeof(*address));
	address->sun_family = AF_UNIX;
	snprintf(address->sun_path, sizeof(address->sun_path), "%s", path);
}

char *line_dump(json_t *object, size_t *length)
{
	char *line = json_dumps(object, JSON_COMPACT);

	if (!line)
		return NULL;
	*length = strlen(line);
	if (*length >= CONTROL_LINE_MAX) {
		free(line);
		return NULL;
	}
	line[(*length)++] = '\n'; // in the place of its end
	return line;
}

json_t *line_error(const char *error)
{
	json_t *text = json_string(error);

	if (!text) // not UTF-8: a name out of a file
		text = json_string("the daemon refused; the reason is in its log");
	return json_pack("{s:b,s:o}", "ok", 0, "error", text);
}

int line_reply(const char *line, size_t length, json_t **reply, struct error *err)
{
	json_error_t where;
	json_t *object = json_loadb(line, length, JSON_REJECT_DUPLICATES, &where);
	json_t *ok = json_object_get(object, "ok");

	if (json_is_true(ok)) {
		*reply = object;
		return 0;
	}
	if (json_is_false(ok)) {
		const char *text = json_string_value(json_object_get(object, "error"));
		int error = fail(err, EREMOTEIO, "%s", text ? text : "the daemon refused without a reason");

		json_decref(object);
		return error;
	}
	json_decref(object);
	return fail(err, EBADMSG, "the daemon's reply is not of this protocol; is it of the same version?");
}
