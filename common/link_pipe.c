// SPDX-License-Identifier: Apache-2.0
// The two halves share nothing but three stacks that one pushes to and the
// other takes whole (messages to send, messages that are done, frames), and
// tasks posted to each other's loop. A stack's task is posted when it stops
// being empty: one wake for a batch.
//
// Tasks of one poster run in their order. So what was pushed before a close was
// posted is met before that close, and each side knows its last task: the pipe
// is freed by "gone", which the far half posts once the user has released the
// channel and every message has come back.
#include "link_pipe.h"

#include "link_internal.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define INBOX_HIGH (4 << 20) // bytes of frames that wait for the user before the thread stops reading
#define INBOX_LOW (1 << 20)

struct item {
	struct item *next;
	struct frame frame;
	size_t length;
	uint8_t bytes[];
};

// A channel whose two ends are on different threads.
struct link_pipe {
	struct link_channel base; // first: cast; near
	struct loop *near, *far;
	void (*gone)(void *user); // near
	void *gone_user;

	// near
	bool held, released, over;
	struct item *inbox, **inbox_end;
	struct timer deliver;

	// far
	struct channel *channel; // NULL: closed
	unsigned handed; // messages that the link has
	bool far_released;

	_Atomic(struct message *) to_send;
	_Atomic(struct message *) done;
	_Atomic(struct item *) frames;
	atomic_size_t inbox_bytes; // pushed and not consumed
	atomic_bool stalled; // the far half waits for the inbox to shrink
	struct task send_task, resume_task, trust_task, release_task; // to the far half
	struct task done_task, frames_task, over_task, gone_task; // to the near half
	char why[400];
};

static struct link_pipe *pipe_of(struct channel *channel)
{
	return (struct link_pipe *)channel;
}

// --- stacks: newest first; whoever takes one turns it around

static bool push_message(_Atomic(struct message *) *stack, struct message *message)
{
	struct message *top = atomic_load_explicit(stack, memory_order_relaxed);

	do {
		message->next = top;
	} while (!atomic_compare_exchange_weak_explicit(stack, &top, message, memory_order_acq_rel,
	                                                memory_order_relaxed));
	return top == NULL;
}

static struct message *take_messages(_Atomic(struct message *) *stack)
{
	struct message *list = atomic_exchange_explicit(stack, NULL, memory_order_acq_rel), *ordered = NULL;

	while (list) {
		struct message *next = list->next;

		list->next = ordered;
		ordered = list;
		list = next;
	}
	return ordered;
}

static bool push_item(_Atomic(struct item *) *stack, struct item *item)
{
	struct item *top = atomic_load_explicit(stack, memory_order_relaxed);

	do {
		item->next = top;
	} while (!atomic_compare_exchange_weak_explicit(stack, &top, item, memory_order_acq_rel, memory_order_relaxed));
	return top == NULL;
}

static struct item *take_items(_Atomic(struct item *) *stack)
{
	struct item *list = atomic_exchange_explicit(stack, NULL, memory_order_acq_rel), *ordered = NULL;

	while (list) {
		struct item *next = list->next;

		list->next = ordered;
		ordered = list;
		list = next;
	}
	return ordered;
}

// --- the far half of a channel

static void to_near(struct link_pipe *pipe, struct task *task)
{
	loop_post(pipe->near, task);
}

static void far_done(struct link_pipe *pipe, struct message *message)
{
	if (push_message(&pipe->done, message))
		to_near(pipe, &pipe->done_task);
}

static void far_check_gone(struct link_pipe *pipe)
{
	if (pipe->far_released && pipe->handed == 0)
		to_near(pipe, &pipe->gone_task);
}

static void far_finished(void *user, struct message *message)
{
	struct link_pipe *pipe = user;

	far_done(pipe, message);
	pipe->handed--;
	far_check_gone(pipe);
}

static void far_over(struct link_pipe *pipe, const char *why)
{
	pipe->channel = NULL;
	snprintf(pipe->why, sizeof(pipe->why), "%s", why);
	to_near(pipe, &pipe->over_task);
}

// The near half consumes without waiting for us, so the state is looked at
// again after it was announced; exactly one of the two takes stalled back.
static void far_stall(struct link_pipe *pipe)
{
	channel_hold(pipe->channel, true);
	atomic_store(&pipe->stalled, true);
	if (atomic_load(&pipe->inbox_bytes) <= INBOX_LOW && atomic_exchange(&pipe->stalled, false))
		channel_hold(pipe->channel, false);
}

static void far_frame(void *user, const struct frame *frame)
{
	struct link_pipe *pipe = user;
	size_t length = FRAME_HEADER_BYTES + (size_t)frame->length;
	struct item *item = malloc(sizeof(*item) + length);

	if (!item) {
		channel_close(pipe->channel);
		far_over(pipe, "out of memory");
		return;
	}
	memcpy(item->bytes, frame->bytes, length);
	item->length = sizeof(*item) + length;
	item->frame = *frame;
	item->frame.bytes = item->bytes;
	item->frame.payload = item->bytes + FRAME_HEADER_BYTES;
	if (atomic_fetch_add(&pipe->inbox_bytes, item->length) + item->length > INBOX_HIGH)
		far_stall(pipe);
	if (push_item(&pipe->frames, item))
		to_near(pipe, &pipe->frames_task);
}

static void far_closed(void *user, const char *why)
{
	far_over(user, why);
}

static const struct channel_events far_events = {far_frame, far_closed};

static void far_send(struct task *task)
{
	struct link_pipe *pipe = OF(struct link_pipe, send_task, task);
	struct message *list = take_messages(&pipe->to_send), *next;

	for (; list; list = next) {
		next = list->next;
		if (pipe->channel) {
			pipe->handed++;
			channel_send(pipe->channel, list);
		} else {
			list->wire_bytes = 0;
			far_done(pipe, list);
		}
	}
}

static void far_resume(struct task *task)
{
	struct link_pipe *pipe = OF(struct link_pipe, resume_task, task);

	if (pipe->channel)
		channel_hold(pipe->channel, false);
}

static void far_trust(struct task *task)
{
	struct link_pipe *pipe = OF(struct link_pipe, trust_task, task);

	if (pipe->channel)
		link_trust(pipe->channel);
}

static void far_release(struct task *task)
{
	struct link_pipe *pipe = OF(struct link_pipe, release_task, task);

	if (pipe->channel)
		channel_close(pipe->channel);
	pipe->channel = NULL;
	pipe->far_released = true;
	far_check_gone(pipe);
}

// --- the near half of a channel

static void consume(struct link_pipe *pipe, struct item *item)
{
	size_t left = atomic_fetch_sub(&pipe->inbox_bytes, item->length) - item->length;

	free(item);
	if (!pipe->released && left <= INBOX_LOW && atomic_exchange(&pipe->stalled, false))
		loop_post(pipe->far, &pipe->resume_task);
}

// The last that the near half posts.
static void release(struct link_pipe *pipe)
{
	pipe->released = true;
	clock_cancel(loop_clock(pipe->near), &pipe->deliver);
	loop_post(pipe->far, &pipe->release_task);
}

static void drop_inbox(struct link_pipe *pipe)
{
	struct item *next;

	for (struct item *item = pipe->inbox; item; item = next) {
		next = item->next;
		consume(pipe, item);
	}
	pipe->inbox = NULL;
	pipe->inbox_end = &pipe->inbox;
}

static void near_deliver(struct link_pipe *pipe)
{
	while (pipe->inbox && !pipe->held && !pipe->released) {
		struct item *item = pipe->inbox;

		pipe->inbox = item->next;
		if (!pipe->inbox)
			pipe->inbox_end = &pipe->inbox;
		pipe->base.channel.events->frame(pipe->base.channel.user, &item->frame);
		consume(pipe, item);
	}
	if (pipe->over && !pipe->inbox && !pipe->released) {
		pipe->base.channel.events->closed(pipe->base.channel.user, pipe->why);
		if (!pipe->released)
			release(pipe);
	}
}

static void near_deliver_later(struct timer *timer)
{
	near_deliver(OF(struct link_pipe, deliver, timer));
}

static void near_frames(struct task *task)
{
	struct link_pipe *pipe = OF(struct link_pipe, frames_task, task);
	struct item *items = take_items(&pipe->frames);

	*pipe->inbox_end = items;
	for (; items; items = items->next)
		pipe->inbox_end = &items->next;
	if (pipe->released)
		drop_inbox(pipe);
	else
		near_deliver(pipe);
}

static void near_over(struct task *task)
{
	struct link_pipe *pipe = OF(struct link_pipe, over_task, task);

	pipe->over = true;
	near_deliver(pipe);
}

static void near_done(struct task *task)
{
	struct link_pipe *pipe = OF(struct link_pipe, done_task, task);
	struct message *list = take_messages(&pipe->done), *next;

	for (; list; list = next) {
		next = list->next;
		list->done(list);
	}
}

static void near_gone(struct task *task)
{
	struct link_pipe *pipe = OF(struct link_pipe, gone_task, task);
	void (*gone)(void *user) = pipe->gone;
	void *user = pipe->gone_user;

	drop_inbox(pipe);
	free(pipe);
	gone(user);
}

static void near_send(struct channel *channel, struct message *message)
{
	struct link_pipe *pipe = pipe_of(channel);

	message->wire_bytes = 0;
	if (push_message(&pipe->to_send, message))
		loop_post(pipe->far, &pipe->send_task);
}

static void near_hold(struct channel *channel, bool hold)
{
	struct link_pipe *pipe = pipe_of(channel);

	if (pipe->held && !hold)
		clock_set(loop_clock(pipe->near), &pipe->deliver, 0);
	pipe->held = hold;
}

static void near_close(struct channel *channel)
{
	struct link_pipe *pipe = pipe_of(channel);

	if (!pipe->released)
		release(pipe);
}

static const struct channel_ops pipe_ops = {near_send, near_hold, near_close};

static void near_trust(struct link_channel *channel)
{
	struct link_pipe *pipe = pipe_of(&channel->channel);

	// A dialed channel is trusted from the start; once is enough anyway.
	if (!pipe->trust_task.run) {
		pipe->trust_task.run = far_trust;
		loop_post(pipe->far, &pipe->trust_task);
	}
}

struct link_pipe *link_pipe_new(struct channel *channel, struct loop *far, struct loop *near, void (*gone)(void *user),
                                void *user)
{
	struct link_pipe *pipe = calloc(1, sizeof(*pipe));

	if (!pipe)
		return NULL;
	pipe->base.channel.ops = &pipe_ops;
	pipe->base.trust = near_trust;
	memcpy(pipe->base.channel.peer, channel->peer, sizeof(channel->peer));
	memcpy(pipe->base.channel.peer_key, channel->peer_key, sizeof(channel->peer_key));
	memcpy(pipe->base.exporter, link_exporter(channel), sizeof(pipe->base.exporter));
	pipe->near = near;
	pipe->far = far;
	pipe->gone = gone;
	pipe->gone_user = user;
	pipe->channel = channel;
	pipe->inbox_end = &pipe->inbox;
	pipe->deliver.fire = near_deliver_later;
	pipe->send_task.run = far_send;
	pipe->resume_task.run = far_resume;
	pipe->release_task.run = far_release;
	pipe->done_task.run = near_done;
	pipe->frames_task.run = near_frames;
	pipe->over_task.run = near_over;
	pipe->gone_task.run = near_gone;
	channel->events = &far_events;
	channel->user = pipe;
	link_set_finished(channel, far_finished, pipe);
	return pipe;
}

struct channel *link_pipe_channel(struct link_pipe *pipe)
{
	return &pipe->base.channel;
}
