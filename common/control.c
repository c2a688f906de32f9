// SPDX-License-Identifier: Apache-2.0
#include "control.h"
#include "control_callers.h"
#include "control_line.h"
#include "lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define BACKLOG 16
#define STOP_GRACE NSEC_PER_SEC // for replies on their way to a client that does not read

struct control {
	struct loop *loop;
	char path[SOCKET_PATH_MAX];
	int lock;
	int listener;
	struct op accept;
	bool accepting;
	struct timer patience; // accept again after it went wrong
	bool patient;
	struct control_callers callers;

	bool stopping;
	bool told; // stopped() is on its way
	struct timer grace;
	struct task task;
	void (*stopped)(void *user);
	void *stopped_user;
};

static void accept_next(struct control *control);

static void tell_stopped(struct task *task)
{
	struct control *control = container_of(task, struct control, task);

	control->stopped(control->stopped_user);
}

static void stop_advance(struct control *control)
{
	if (!control->stopping || control->told || control->accepting || control->callers.count)
		return;
	control->told = true;
	clock_cancel(loop_clock(control->loop), &control->grace);
	control->task.run = tell_stopped;
	loop_post(control->loop, &control->task);
}

static void accept_again(struct timer *timer)
{
	struct control *control = container_of(timer, struct control, patience);

	control->patient = false;
	accept_next(control);
}

static void accepted(struct op *op, int result, unsigned flags)
{
	struct control *control = container_of(op, struct control, accept);

	(void)flags;
	control->accepting = false;
	if (control->stopping) {
		if (result >= 0)
			close(result);
		stop_advance(control);
		return;
	}
	if (result >= 0) {
		callers_add(&control->callers, result);
	} else if (result != -ECONNABORTED && result != -EINTR && result != -EAGAIN) {
		// Out of descriptors or memory: the client waits, we do not spin.
		struct clock *clock = loop_clock(control->loop);

		control->patient = true;
		control->patience.fire = accept_again;
		clock_set(clock, &control->patience, clock_now(clock) + NSEC_PER_SEC);
	}
	accept_next(control);
}

static void accept_next(struct control *control)
{
	if (control->accepting || control->stopping || control->patient ||
	    control->callers.count >= CONTROL_CLIENTS_MAX)
		return;
	control->accepting = true;
	control->accept.done = accepted;
	io_uring_prep_accept(loop_sqe(control->loop, &control->accept), control->listener, NULL, NULL, SOCK_CLOEXEC);
}

static void caller_gone(struct control_callers *callers)
{
	struct control *control = container_of(callers, struct control, callers);

	accept_next(control);
	stop_advance(control);
}

// The lock says who serves the socket; a daemon that dies leaves the socket
// behind but not the lock.
static int take_lock(struct control *control, struct error *err)
{
	char path[SOCKET_PATH_MAX + 8];
	int result;

	snprintf(path, sizeof(path), "%s.lock", control->path);
	control->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (control->lock < 0)
		return fail(err, errno, "open %s: %s", path, strerror(errno));
	result = lock_file(control->lock);
	if (result == -EWOULDBLOCK)
		return fail(err, EADDRINUSE, "already running: another process serves %s", control->path);
	if (result < 0)
		return fail(err, -result, "lock %s: %s", path, strerror(-result));
	return 0;
}

static int start_listening(struct control *control, struct error *err)
{
	struct sockaddr_un address;
	struct stat existing;

	socket_address(control->path, &address);
	if (lstat(control->path, &existing) == 0) {
		if (!S_ISSOCK(existing.st_mode))
			return fail(err, EEXIST, "listen at %s: a file that is no socket is in the way", control->path);
		if (unlink(control->path) < 0)
			return fail(err, errno, "replace %s: %s", control->path, strerror(errno));
	}
	control->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (control->listener < 0)
		return fail(err, errno, "make a control socket: %s", strerror(errno));
	// The file takes the mode of the socket: it never is open to others.
	if (fchmod(control->listener, 0600) < 0 ||
	    bind(control->listener, (struct sockaddr *)&address, sizeof(address)) < 0 ||
	    listen(control->listener, BACKLOG) < 0)
		return fail(err, errno, "listen at %s: %s", control->path, strerror(errno));
	return 0;
}

int control_new(struct loop *loop, const char *path, control_handler handler, void *user, struct control **result,
                struct error *err)
{
	struct control *control;
	int error;

	error = socket_path_check(path, err);
	if (error)
		return error;
	control = calloc(1, sizeof(*control));
	if (!control)
		return fail(err, ENOMEM, "out of memory");
	control->loop = loop;
	control->callers = (struct control_callers){loop, handler, user, .gone = caller_gone};
	control->lock = control->listener = -1;
	snprintf(control->path, sizeof(control->path), "%s", path);
	error = take_lock(control, err);
	if (!error)
		error = start_listening(control, err);
	if (error) {
		control_free(control);
		return error;
	}
	accept_next(control);
	*result = control;
	return 0;
}

static void grace_over(struct timer *timer)
{
	callers_cut(&container_of(timer, struct control, grace)->callers);
}

void control_stop(struct control *control, void (*stopped)(void *user), void *user)
{
	struct clock *clock = loop_clock(control->loop);

	control->stopping = true;
	control->stopped = stopped;
	control->stopped_user = user;
	unlink(control->path);
	if (control->patient)
		clock_cancel(clock, &control->patience);
	if (control->accepting)
		loop_cancel(control->loop, &control->accept);
	control->grace.fire = grace_over;
	clock_set(clock, &control->grace, clock_now(clock) + STOP_GRACE);
	callers_stop(&control->callers);
	stop_advance(control);
}

void control_free(struct control *control)
{
	if (!control)
		return;
	if (control->listener >= 0)
		close(control->listener);
	if (control->lock >= 0)
		close(control->lock);
	free(control);
}
