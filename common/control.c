// SPDX-License-Identifier: Apache-2.0
#include "control.h"
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

#define BUFFER_FIRST 4096
#define BACKLOG 16
#define STOP_GRACE NSEC_PER_SEC // for replies on their way to a client that does not read

// A client has exactly one thing under way: a recv, a call, or a send.
enum client_stage {
	CLIENT_RECEIVING,
	CLIENT_CALLING,
	CLIENT_SENDING,
};

struct client {
	struct op op;
	struct control *control;
	struct client *next, *previous;
	int fd;
	enum client_stage stage;
	bool last; // hang up after this reply
	char *in;
	size_t in_length, in_size;
	size_t scanned; // of in_length: no newline there
	char *out;
	size_t out_length, out_sent;
	struct control_call *call;
};

struct control_call {
	struct client *client; // NULL: gone
	json_t *request;
};

struct control {
	struct loop *loop;
	control_handler handler;
	void *user;
	char path[SOCKET_PATH_MAX];
	int lock;
	int listener;
	struct op accept;
	bool accepting;
	struct timer patience; // accept again after it went wrong
	bool patient;
	struct client *clients;
	unsigned count;

	bool stopping;
	bool told; // stopped() is on its way
	struct timer grace;
	struct task task;
	void (*stopped)(void *user);
	void *stopped_user;
};

static void accept_next(struct control *control);
static void client_receive(struct client *client);
static void client_advance(struct client *client);

static void tell_stopped(struct task *task)
{
	struct control *control = container_of(task, struct control, task);

	control->stopped(control->stopped_user);
}

static void stop_advance(struct control *control)
{
	if (!control->stopping || control->told || control->accepting || control->clients)
		return;
	control->told = true;
	clock_cancel(loop_clock(control->loop), &control->grace);
	control->task.run = tell_stopped;
	loop_post(control->loop, &control->task);
}

// Nothing of the client is under way.
static void client_close(struct client *client)
{
	struct control *control = client->control;

	if (client->call)
		client->call->client = NULL;
	if (client->next)
		client->next->previous = client->previous;
	if (client->previous)
		client->previous->next = client->next;
	else
		control->clients = client->next;
	control->count--;
	close(client->fd);
	free(client->in);
	free(client->out);
	free(client);
	accept_next(control);
	stop_advance(control);
}

static void client_sent(struct op *op, int result, unsigned flags)
{
	struct client *client = container_of(op, struct client, op);

	(void)flags;
	if (result <= 0) {
		client_close(client);
		return;
	}
	client->out_sent += (size_t)result;
	if (client->out_sent < client->out_length) {
		struct io_uring_sqe *sqe = loop_sqe(client->control->loop, &client->op);

		io_uring_prep_send(sqe, client->fd, client->out + client->out_sent,
		                   client->out_length - client->out_sent, MSG_NOSIGNAL);
		return;
	}
	free(client->out);
	client->out = NULL;
	if (client->last || client->control->stopping) {
		client_close(client);
		return;
	}
	client->stage = CLIENT_RECEIVING;
	client_advance(client);
}

// Takes reply over. The client must not be touched afterwards.
static void client_answer(struct client *client, json_t *reply)
{
	client->out = line_dump(reply, &client->out_length);
	json_decref(reply);
	if (!client->out) {
		reply = line_error("the reply is longer than a line may be");
		client->out = line_dump(reply, &client->out_length);
		json_decref(reply);
	}
	if (!client->out) {
		client_close(client);
		return;
	}
	client->out_sent = 0;
	client->stage = CLIENT_SENDING;
	client->op.done = client_sent;
	io_uring_prep_send(loop_sqe(client->control->loop, &client->op), client->fd, client->out, client->out_length,
	                   MSG_NOSIGNAL);
}

static void client_refuse(struct client *client, const char *error)
{
	client_answer(client, line_error(error));
}

static void client_dispatch(struct client *client, const char *line, size_t length)
{
	struct control *control = client->control;
	struct control_call *call;
	json_error_t where;
	json_t *request;
	const char *command;

	request = json_loadb(line, length, JSON_REJECT_DUPLICATES, &where);
	if (!json_is_object(request)) {
		json_decref(request);
		client_refuse(client, "the request is not one JSON object on a line");
		return;
	}
	command = json_string_value(json_object_get(request, "command"));
	call = calloc(1, sizeof(*call));
	if (!command || !call) {
		free(call);
		json_decref(request);
		client_refuse(client, command ? "out of memory" : "the request has no \"command\"");
		return;
	}
	call->client = client;
	call->request = request;
	client->call = call;
	client->stage = CLIENT_CALLING;
	control->handler(control->user, call, command, request);
}

// Handles what is in the buffer, or waits for more.
static void client_advance(struct client *client)
{
	char *end = memchr(client->in + client->scanned, '\n', client->in_length - client->scanned);
	size_t length;
	char *line;

	if (!end && client->in_length >= CONTROL_LINE_MAX) {
		client->last = true;
		client_refuse(client, "the request is longer than a line may be");
		return;
	}
	if (!end) {
		client->scanned = client->in_length;
		client_receive(client);
		return;
	}
	// The handler may answer at once and the client be gone after it: the
	// line leaves the buffer first.
	length = (size_t)(end - client->in);
	line = malloc(length + 1);
	if (!line) {
		client_close(client);
		return;
	}
	memcpy(line, client->in, length);
	client->in_length -= length + 1;
	memmove(client->in, end + 1, client->in_length);
	client->scanned = 0;
	client_dispatch(client, line, length);
	free(line);
}

static void client_received(struct op *op, int result, unsigned flags)
{
	struct client *client = container_of(op, struct client, op);

	(void)flags;
	if (result <= 0 || client->control->stopping) {
		client_close(client);
		return;
	}
	client->in_length += (size_t)result;
	client_advance(client);
}

static void client_receive(struct client *client)
{
	struct io_uring_sqe *sqe;

	if (client->in_length == client->in_size) {
		size_t size = client->in_size * 2;
		char *in = realloc(client->in, size);

		if (!in) {
			client_close(client);
			return;
		}
		client->in = in;
		client->in_size = size;
	}
	client->stage = CLIENT_RECEIVING;
	client->op.done = client_received;
	sqe = loop_sqe(client->control->loop, &client->op);
	io_uring_prep_recv(sqe, client->fd, client->in + client->in_length, client->in_size - client->in_length, 0);
}

static void client_open(struct control *control, int fd)
{
	struct client *client = calloc(1, sizeof(*client));

	if (client)
		client->in = malloc(BUFFER_FIRST);
	if (!client || !client->in) {
		free(client);
		close(fd);
		return;
	}
	client->in_size = BUFFER_FIRST;
	client->control = control;
	client->fd = fd;
	client->next = control->clients;
	if (client->next)
		client->next->previous = client;
	control->clients = client;
	control->count++;
	client_receive(client);
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
		client_open(control, result);
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
	if (control->accepting || control->stopping || control->patient || control->count >= CONTROL_CLIENTS_MAX)
		return;
	control->accepting = true;
	control->accept.done = accepted;
	io_uring_prep_accept(loop_sqe(control->loop, &control->accept), control->listener, NULL, NULL, SOCK_CLOEXEC);
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
	control->handler = handler;
	control->user = user;
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
	struct control *control = container_of(timer, struct control, grace);

	for (struct client *client = control->clients; client; client = client->next)
		loop_cancel(control->loop, &client->op);
}

void control_stop(struct control *control, void (*stopped)(void *user), void *user)
{
	struct clock *clock = loop_clock(control->loop);
	struct client *client = control->clients;

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
	while (client) {
		struct client *next = client->next;

		if (client->stage == CLIENT_RECEIVING)
			loop_cancel(control->loop, &client->op);
		else if (client->stage == CLIENT_CALLING)
			client_close(client);
		client = next;
	}
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

json_t *control_request(struct control_call *call)
{
	return call->request;
}

static void call_answer(struct control_call *call, json_t *reply)
{
	struct client *client = call->client;

	json_decref(call->request);
	free(call);
	if (!client) {
		json_decref(reply);
		return;
	}
	client->call = NULL;
	client_answer(client, reply);
}

void control_reply(struct control_call *call, json_t *reply)
{
	json_t *whole = json_pack("{s:b}", "ok", 1);

	if (reply)
		json_object_update(whole, reply);
	json_decref(reply);
	call_answer(call, whole);
}

void control_refuse(struct control_call *call, const char *error)
{
	call_answer(call, line_error(error));
}

const char *control_text(json_t *request, const char *key, struct error *err)
{
	const char *text = json_string_value(json_object_get(request, key));

	if (!text || !*text) {
		fail(err, EINVAL, "the request has no \"%s\"", key);
		return NULL;
	}
	return text;
}
