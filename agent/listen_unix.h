// SPDX-License-Identifier: Apache-2.0
// Listening on a unix socket that belongs to its owner alone.
#ifndef STEAD_LISTEN_UNIX_H
#define STEAD_LISTEN_UNIX_H

#include "common/error.h"

#include <sys/stat.h>
#include <sys/un.h>

struct unix_listener {
	int fd;
	struct sockaddr_un address;
	dev_t device; // of the socket file
	ino_t inode;
};

// Takes the place of a socket that nobody listens on any more; whoever does is
// expected to greet. 0 or -errno: -EADDRINUSE when somebody does.
int unix_listen(struct unix_listener *listener, const char *path, struct error *err);

// Removes the socket file, if it is still this listener's.
void unix_unlink(const struct unix_listener *listener);

#endif
