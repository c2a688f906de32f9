// SPDX-License-Identifier: Apache-2.0
#include "control.h"
#include "control_line.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

// One question under way: the line that goes out, the line that comes in.
struct ask {
	struct sockaddr_un address;
	int fd;
	char *out;
	size_t out_length, out_sent;
	char *in;
	size_t in_length;

	// on a loop only
	struct op op;
	struct task task;
	struct timer timer;
	struct loop *loop;
	bool late;
	int error;
	struct error reason;
	void *user;
	void (*done)(void *user, int error, json_t *reply, const struct error *reason);
};

static int ask_init(struct ask *ask, const char *path, json_t *request, struct error *err)
{
	int error = socket_path_check(path, err);

	ask->fd = -1;
	if (!error) {
		ask->out = line_dump(request, &ask->out_length);
		ask->in = malloc(CONTROL_LINE_MAX);
		if (!ask->out || !ask->in)
			error = fail(err, ENOMEM, "ask at %s: the request is too long, or out of memory", path);
	}
	json_decref(request);
	if (error)
		return error;
	socket_address(path, &ask->address);
	ask->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (ask->fd < 0)
		return fail(err, errno, "make a socket: %s", strerror(errno));
	return 0;
}

static void ask_clear(struct ask *ask)
{
	if (ask->fd >= 0)
		close(ask->fd);
	free(ask->out);
	free(ask->in);
}

static int connect_error(const struct ask *ask, int errnum, struct error *err)
{
	const char *path = ask->address.sun_path;

	if (errnum == ENOENT || errnum == ECONNREFUSED || errnum == ENOTDIR)
		return fail(err, ENOTCONN, "nobody listens at %s", path);
	if (errnum == EAGAIN || errnum == ETIMEDOUT)
		return fail(err, ETIMEDOUT, "connect to %s: it does not take connections in time", path);
	return fail(err, errnum, "connect to %s: %s", path, strerror(errnum));
}

static int transfer_error(const struct ask *ask, int errnum, struct error *err)
{
	const char *path = ask->address.sun_path;

	if (errnum == EAGAIN || errnum == ETIMEDOUT)
		return fail(err, ETIMEDOUT, "%s: no reply in time; the daemon may still be at it", path);
	if (errnum == 0 || errnum == EPIPE || errnum == ECONNRESET)
		return fail(err, ECONNRESET, "%s: the daemon hung up without a reply", path);
	return fail(err, errnum, "%s: %s", path, strerror(errnum));
}

// The length of the reply, once it is whole. 0: not yet; or -EBADMSG.
static ssize_t reply_length(const struct ask *ask, size_t fresh, struct error *err)
{
	const char *end = memchr(ask->in + ask->in_length - fresh, '\n', fresh);

	if (end)
		return end - ask->in + 1;
	if (ask->in_length == CONTROL_LINE_MAX)
		return fail(err, EBADMSG, "%s: the reply is longer than a line may be", ask->address.sun_path);
	return 0;
}

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

// Gives the next system call what is left. false: nothing is.
static bool set_timeout(int fd, int option, int64_t deadline)
{
	struct timeval left = {0};

	if (deadline >= 0) {
		int64_t ms = deadline - now_ms();

		if (ms <= 0)
			return false;
		left.tv_sec = ms / 1000;
		left.tv_usec = ms % 1000 * 1000;
	}
	setsockopt(fd, SOL_SOCKET, option, &left, sizeof(left));
	return true;
}

static int ask_blocking(struct ask *ask, int64_t deadline, json_t **reply, struct error *err)
{
	if (!set_timeout(ask->fd, SO_SNDTIMEO, deadline))
		return connect_error(ask, ETIMEDOUT, err);
	if (connect(ask->fd, (struct sockaddr *)&ask->address, sizeof(ask->address)) < 0)
		return connect_error(ask, errno, err);
	while (ask->out_sent < ask->out_length) {
		ssize_t sent;

		if (!set_timeout(ask->fd, SO_SNDTIMEO, deadline))
			return transfer_error(ask, ETIMEDOUT, err);
		sent = send(ask->fd, ask->out + ask->out_sent, ask->out_length - ask->out_sent, MSG_NOSIGNAL);
		if (sent > 0)
			ask->out_sent += (size_t)sent;
		else if (errno != EINTR)
			break; // there may be a refusal to read all the same
	}
	for (;;) {
		ssize_t got, length;

		if (!set_timeout(ask->fd, SO_RCVTIMEO, deadline))
			return transfer_error(ask, ETIMEDOUT, err);
		got = recv(ask->fd, ask->in + ask->in_length, CONTROL_LINE_MAX - ask->in_length, 0);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return transfer_error(ask, got ? errno : 0, err);
		ask->in_length += (size_t)got;
		length = reply_length(ask, (size_t)got, err);
		if (length < 0)
			return (int)length;
		if (length > 0)
			return line_reply(ask->in, (size_t)length - 1, reply, err);
	}
}

int control_ask(const char *path, json_t *request, int timeout, json_t **reply, struct error *err)
{
	struct ask ask = {0};
	int error = ask_init(&ask, path, request, err);

	if (!error)
		error = ask_blocking(&ask, timeout < 0 ? -1 : now_ms() + timeout, reply, err);
	ask_clear(&ask);
	return error;
}

static void ask_finish(struct ask *ask, int error, json_t *reply)
{
	clock_cancel(loop_clock(ask->loop), &ask->timer);
	ask->done(ask->user, error, reply, &ask->reason);
	json_decref(reply);
	ask_clear(ask);
	free(ask);
}

static void ask_received(struct op *op, int result, unsigned flags)
{
	struct ask *ask = container_of(op, struct ask, op);
	json_t *reply = NULL;
	ssize_t length;
	int error;

	(void)flags;
	if (result <= 0) {
		ask_finish(ask, transfer_error(ask, ask->late ? ETIMEDOUT : -result, &ask->reason), NULL);
		return;
	}
	ask->in_length += (size_t)result;
	length = reply_length(ask, (size_t)result, &ask->reason);
	if (length < 0) {
		ask_finish(ask, (int)length, NULL);
		return;
	}
	if (length == 0) {
		io_uring_prep_recv(loop_sqe(ask->loop, &ask->op), ask->fd, ask->in + ask->in_length,
		                   CONTROL_LINE_MAX - ask->in_length, 0);
		if (ask->late)
			loop_cancel(ask->loop, &ask->op);
		return;
	}
	error = line_reply(ask->in, (size_t)length - 1, &reply, &ask->reason);
	ask_finish(ask, error, reply);
}

static void ask_sent(struct op *op, int result, unsigned flags)
{
	struct ask *ask = container_of(op, struct ask, op);
	struct io_uring_sqe *sqe;

	(void)flags;
	if (result > 0)
		ask->out_sent += (size_t)result;
	sqe = loop_sqe(ask->loop, &ask->op);
	if (result > 0 && ask->out_sent < ask->out_length) {
		io_uring_prep_send(sqe, ask->fd, ask->out + ask->out_sent, ask->out_length - ask->out_sent,
		                   MSG_NOSIGNAL);
	} else { // there may be a refusal to read also where sending went wrong
		ask->op.done = ask_received;
		io_uring_prep_recv(sqe, ask->fd, ask->in, CONTROL_LINE_MAX, 0);
	}
	if (ask->late)
		loop_cancel(ask->loop, &ask->op);
}

static void ask_connected(struct op *op, int result, unsigned flags)
{
	struct ask *ask = container_of(op, struct ask, op);

	(void)flags;
	if (result < 0 || ask->late) {
		ask_finish(ask, connect_error(ask, ask->late ? ETIMEDOUT : -result, &ask->reason), NULL);
		return;
	}
	ask->op.done = ask_sent;
	io_uring_prep_send(loop_sqe(ask->loop, &ask->op), ask->fd, ask->out, ask->out_length, MSG_NOSIGNAL);
}

static void ask_late(struct timer *timer)
{
	struct ask *ask = container_of(timer, struct ask, timer);

	ask->late = true;
	loop_cancel(ask->loop, &ask->op);
}

static void ask_failed(struct task *task)
{
	struct ask *ask = container_of(task, struct ask, task);

	ask_finish(ask, ask->error, NULL);
}

int control_ask_on(struct loop *loop, const char *path, json_t *request, unsigned timeout, void *user,
                   void (*done)(void *user, int error, json_t *reply, const struct error *reason))
{
	struct clock *clock = loop_clock(loop);
	struct ask *ask = calloc(1, sizeof(*ask));

	if (!ask) {
		json_decref(request);
		return -ENOMEM;
	}
	ask->loop = loop;
	ask->user = user;
	ask->done = done;
	ask->error = ask_init(ask, path, request, &ask->reason);
	if (ask->error) {
		ask->task.run = ask_failed;
		loop_post(loop, &ask->task);
		return 0;
	}
	ask->op.done = ask_connected;
	io_uring_prep_connect(loop_sqe(loop, &ask->op), ask->fd, (struct sockaddr *)&ask->address,
	                      sizeof(ask->address));
	ask->timer.fire = ask_late;
	clock_set(clock, &ask->timer, clock_now(clock) + timeout * NSEC_PER_MSEC);
	return 0;
}
