// SPDX-License-Identifier: Apache-2.0
#include "control_callers.h"

#include "control_line.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BUFFER_FIRST 4096

// A caller has exactly one thing under way: a recv, a call, or a send.
enum caller_stage {
	CALLER_RECEIVING,
	CALLER_CALLING,
	CALLER_SENDING,
};

struct caller {
	struct op op;
	struct control_callers *callers;
	struct caller *next, *previous;
	int fd;
	enum caller_stage stage;
	bool last; // hang up after this reply
	char *in;
	size_t in_length, in_size;
	size_t scanned; // of in_length: no newline there
	char *out;
	size_t out_length, out_sent;
	struct control_call *call;
};

struct control_call {
	struct caller *caller; // NULL: gone
	json_t *request;
};

static void caller_receive(struct caller *caller);
static void caller_advance(struct caller *caller);

// Nothing of the caller is under way.
static void caller_close(struct caller *caller)
{
	struct control_callers *callers = caller->callers;

	if (caller->call)
		caller->call->caller = NULL;
	if (caller->next)
		caller->next->previous = caller->previous;
	if (caller->previous)
		caller->previous->next = caller->next;
	else
		callers->first = caller->next;
	callers->count--;
	close(caller->fd);
	free(caller->in);
	free(caller->out);
	free(caller);
	callers->gone(callers);
}

static void caller_sent(struct op *op, int result, unsigned flags)
{
	struct caller *caller = container_of(op, struct caller, op);

	(void)flags;
	if (result <= 0) {
		caller_close(caller);
		return;
	}
	caller->out_sent += (size_t)result;
	if (caller->out_sent < caller->out_length) {
		struct io_uring_sqe *sqe = loop_sqe(caller->callers->loop, &caller->op);

		io_uring_prep_send(sqe, caller->fd, caller->out + caller->out_sent,
		                   caller->out_length - caller->out_sent, MSG_NOSIGNAL);
		return;
	}
	free(caller->out);
	caller->out = NULL;
	if (caller->last || caller->callers->stopping) {
		caller_close(caller);
		return;
	}
	caller->stage = CALLER_RECEIVING;
	caller_advance(caller);
}

// Takes reply over. The caller must not be touched afterwards.
static void caller_answer(struct caller *caller, json_t *reply)
{
	caller->out = line_dump(reply, &caller->out_length);
	json_decref(reply);
	if (!caller->out) {
		reply = line_error("the reply is longer than a line may be");
		caller->out = line_dump(reply, &caller->out_length);
		json_decref(reply);
	}
	if (!caller->out) {
		caller_close(caller);
		return;
	}
	caller->out_sent = 0;
	caller->stage = CALLER_SENDING;
	caller->op.done = caller_sent;
	io_uring_prep_send(loop_sqe(caller->callers->loop, &caller->op), caller->fd, caller->out, caller->out_length,
	                   MSG_NOSIGNAL);
}

static void caller_refuse(struct caller *caller, const char *error)
{
	caller_answer(caller, line_error(error));
}

static void caller_dispatch(struct caller *caller, const char *line, size_t length)
{
	struct control_callers *callers = caller->callers;
	struct control_call *call;
	json_error_t where;
	json_t *request;
	const char *command;

	request = json_loadb(line, length, JSON_REJECT_DUPLICATES, &where);
	if (!json_is_object(request)) {
		json_decref(request);
		caller_refuse(caller, "the request is not one JSON object on a line");
		return;
	}
	command = json_string_value(json_object_get(request, "command"));
	call = calloc(1, sizeof(*call));
	if (!command || !call) {
		free(call);
		json_decref(request);
		caller_refuse(caller, command ? "out of memory" : "the request has no \"command\"");
		return;
	}
	call->caller = caller;
	call->request = request;
	caller->call = call;
	caller->stage = CALLER_CALLING;
	callers->handler(callers->user, call, command, request);
}

// Handles what is in the buffer, or waits for more.
static void caller_advance(struct caller *caller)
{
	char *end = memchr(caller->in + caller->scanned, '\n', caller->in_length - caller->scanned);
	size_t length;
	char *line;

	if (!end && caller->in_length >= CONTROL_LINE_MAX) {
		caller->last = true;
		caller_refuse(caller, "the request is longer than a line may be");
		return;
	}
	if (!end) {
		caller->scanned = caller->in_length;
		caller_receive(caller);
		return;
	}
	// The handler may answer at once and the caller be gone after it: the
	// line leaves the buffer first.
	length = (size_t)(end - caller->in);
	line = malloc(length + 1);
	if (!line) {
		caller_close(caller);
		return;
	}
	memcpy(line, caller->in, length);
	caller->in_length -= length + 1;
	memmove(caller->in, end + 1, caller->in_length);
	caller->scanned = 0;
	caller_dispatch(caller, line, length);
	free(line);
}

static void caller_received(struct op *op, int result, unsigned flags)
{
	struct caller *caller = container_of(op, struct caller, op);

	(void)flags;
	if (result <= 0 || caller->callers->stopping) {
		caller_close(caller);
		return;
	}
	caller->in_length += (size_t)result;
	caller_advance(caller);
}

static void caller_receive(struct caller *caller)
{
	struct io_uring_sqe *sqe;

	if (caller->in_length == caller->in_size) {
		size_t size = caller->in_size * 2;
		char *in = realloc(caller->in, size);

		if (!in) {
			caller_close(caller);
			return;
		}
		caller->in = in;
		caller->in_size = size;
	}
	caller->stage = CALLER_RECEIVING;
	caller->op.done = caller_received;
	sqe = loop_sqe(caller->callers->loop, &caller->op);
	io_uring_prep_recv(sqe, caller->fd, caller->in + caller->in_length, caller->in_size - caller->in_length, 0);
}

void callers_add(struct control_callers *callers, int fd)
{
	struct caller *caller = calloc(1, sizeof(*caller));

	if (caller)
		caller->in = malloc(BUFFER_FIRST);
	if (!caller || !caller->in) {
		free(caller);
		close(fd);
		return;
	}
	caller->in_size = BUFFER_FIRST;
	caller->callers = callers;
	caller->fd = fd;
	caller->next = callers->first;
	if (caller->next)
		caller->next->previous = caller;
	callers->first = caller;
	callers->count++;
	caller_receive(caller);
}

void callers_stop(struct control_callers *callers)
{
	struct caller *next;

	callers->stopping = true;
	for (struct caller *caller = callers->first; caller; caller = next) {
		next = caller->next;
		if (caller->stage == CALLER_RECEIVING)
			loop_cancel(callers->loop, &caller->op);
		else if (caller->stage == CALLER_CALLING)
			caller_close(caller);
	}
}

void callers_cut(struct control_callers *callers)
{
	for (struct caller *caller = callers->first; caller; caller = caller->next)
		loop_cancel(callers->loop, &caller->op);
}

json_t *control_request(struct control_call *call)
{
	return call->request;
}

static void call_answer(struct control_call *call, json_t *reply)
{
	struct caller *caller = call->caller;

	json_decref(call->request);
	free(call);
	if (!caller) {
		json_decref(reply);
		return;
	}
	caller->call = NULL;
	caller_answer(caller, reply);
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
