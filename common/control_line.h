// SPDX-License-Identifier: Apache-2.0
// What the two ends of the control protocol share: lines and addresses.
#ifndef STEAD_CONTROL_LINE_H
#define STEAD_CONTROL_LINE_H

#include "error.h"

#include <jansson.h>
#include <stddef.h>
#include <sys/un.h>

#define SOCKET_PATH_MAX sizeof(((struct sockaddr_un *)NULL)->sun_path)

#ifndef container_of
#define container_of(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))
#endif

// Whether a unix socket can be there: the kernel's limit is short. 0 or
// -ENAMETOOLONG.
int socket_path_check(const char *path, struct error *err);

void socket_address(const char *path, struct sockaddr_un *address);

// The object as one line with its newline; the caller frees it. NULL when it
// is longer than CONTROL_LINE_MAX or there is no memory.
char *line_dump(json_t *object, size_t *length);

// {"ok": false, "error": ...}
json_t *line_error(const char *error);

// Reads a reply line without its newline: 0, -EREMOTEIO with the daemon's own
// text, or -EBADMSG. The reply is the caller's when 0.
int line_reply(const char *line, size_t length, json_t **reply, struct error *err);

#endif
