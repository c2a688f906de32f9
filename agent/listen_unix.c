// SPDX-License-Identifier: Apache-2.0
#include "listen_unix.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define GREETING_MSEC 1000

// Whether somebody serves the socket: 1, 0 or -errno. The kernel takes a killed
// process's ring apart only after the process is gone, and until then
// connections to its listeners succeed; so a greeting is waited for, or the
// end. One that listens but does not greet counts as alive.
static int is_served(const struct sockaddr_un *address)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), result;
	struct pollfd pollfd = {.fd = fd, .events = POLLIN};
	ssize_t length;
	char byte;

	if (fd < 0)
		return -errno;
	if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0) {
		result = errno == ECONNREFUSED || errno == ENOENT ? 0 : 1;
	} else {
		(void)poll(&pollfd, 1, GREETING_MSEC);
		length = recv(fd, &byte, 1, 0);
		result = length == 0 || (length < 0 && errno == ECONNRESET) ? 0 : 1;
	}
	close(fd);
	return result;
}

// What is at the path: 0 when it was a dead socket and is gone now.
static int replace_stale(const struct sockaddr_un *address, struct error *err)
{
	const char *path = address->sun_path;
	struct stat st;
	int served;

	if (lstat(path, &st) < 0)
		return errno == ENOENT ? 0 : fail(err, errno, "listen on %s: %s", path, strerror(errno));
	if (!S_ISSOCK(st.st_mode))
		return fail(err, EADDRINUSE, "listen on %s: something that is no socket is there", path);

	served = is_served(address);
	if (served < 0)
		return fail(err, -served, "listen on %s: create socket: %s", path, strerror(-served));
	if (served)
		return fail(err, EADDRINUSE, "listen on %s: another process serves it", path);
	if (unlink(path) < 0 && errno != ENOENT)
		return fail(err, errno, "remove stale socket %s: %s", path, strerror(errno));
	return 0;
}

static int bind_path(struct unix_listener *listener, struct error *err)
{
	const struct sockaddr_un *address = &listener->address;
	int result;

	if (bind(listener->fd, (const struct sockaddr *)address, sizeof(*address)) == 0)
		return 0;
	if (errno != EADDRINUSE)
		return fail(err, errno, "listen on %s: %s", address->sun_path, strerror(errno));
	result = replace_stale(address, err);
	if (result)
		return result;
	if (bind(listener->fd, (const struct sockaddr *)address, sizeof(*address)) == 0)
		return 0;
	return fail(err, errno, "listen on %s: %s", address->sun_path, strerror(errno));
}

int unix_listen(struct unix_listener *listener, const char *path, struct error *err)
{
	struct stat st;
	int result;

	*listener = (struct unix_listener){.fd = -1, .address.sun_family = AF_UNIX};
	if (strlen(path) >= sizeof(listener->address.sun_path))
		return fail(err, ENAMETOOLONG, "listen on %s: path is longer than the %zu bytes that a socket may have",
		            path, sizeof(listener->address.sun_path) - 1);
	strcpy(listener->address.sun_path, path);
	path = listener->address.sun_path;

	listener->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (listener->fd < 0)
		return fail(err, errno, "listen on %s: create socket: %s", path, strerror(errno));

	// The file inherits the mode: there is no instant at which others may use it.
	if (fchmod(listener->fd, 0600) < 0) {
		result = fail(err, errno, "listen on %s: set mode: %s", path, strerror(errno));
		goto err;
	}
	result = bind_path(listener, err);
	if (result)
		goto err;
	if (listen(listener->fd, SOMAXCONN) < 0 || lstat(path, &st) < 0) {
		result = fail(err, errno, "listen on %s: %s", path, strerror(errno));
		unlink(path);
		goto err;
	}
	listener->device = st.st_dev;
	listener->inode = st.st_ino;
	return 0;
err:
	close(listener->fd);
	return result;
}

void unix_unlink(const struct unix_listener *listener)
{
	const char *path = listener->address.sun_path;
	struct stat st;

	if (lstat(path, &st) == 0 && st.st_dev == listener->device && st.st_ino == listener->inode)
		unlink(path);
}
