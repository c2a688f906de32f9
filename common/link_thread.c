// SPDX-License-Identifier: Apache-2.0
// Two halves: the near one on the user's loop, the far one on the thread with
// a dialer and links of its own (link.h). They share nothing but three stacks a
// channel that one side pushes to and the other takes whole (messages to send,
// messages that are done, frames) and tasks posted to each other's loop. A
// stack's task is posted when it stops being empty: one wake for a batch.
//
// Tasks of one poster run in their order. So what was pushed before a close was
// posted is met before that close, and each side knows its last task: the
// channel is freed by "gone", which the far half posts once the user has
// released the channel and every message has come back.
#include "link_thread.h"

#include "link_internal.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define INBOX_HIGH (4 << 20) // bytes of frames that wait for the user before the thread stops reading
#define INBOX_LOW (1 << 20)

#define OF(type, member, pointer) ((type *)((char *)(pointer)-offsetof(type, member)))

// One dial. The far half posts result exactly once unless it was cancelled in
// time; a cancelled one is freed by its buried task, which comes after result.
struct attempt {
	struct link_thread *thread;
	struct task dial, cancel; // to the far half
	struct task result, buried; // to the near half
	bool cancelled; // near
	struct pipe *pipe; // NULL: it failed
	char why[400];
};

struct link_thread {
	struct loop *loop; // near
	struct dialer dialer;
	struct attempt *attempt; // under way and not cancelled
	unsigned attempts, pipes; // not freed yet
	struct timer refuse; // dial() without memory
	bool stopping, stop_posted;
	struct timer check; // whether all is gone
	void (*stopped)(void *user);
	void *stopped_user;

	pthread_t thread;
	pthread_mutex_t lock; // of what follows, and around the last post to the far loop
	pthread_cond_t started;
	bool ready;
	int error;
	struct error why;

	struct loop *far_loop; // far, once it runs
	struct links *links;
	struct dialer *far_dialer;
	struct attempt *far_attempt;
	struct task stop; // to the far half
	struct task ended; // to the near half

	struct tls_context *tls;
	struct net_address address;
	uint8_t key[FINGERPRINT_BYTES];
};

struct item {
	struct item *next;
	struct frame frame;
	size_t length;
	uint8_t bytes[];
};

// A channel whose two ends are on different threads.
struct pipe {
	struct link_channel base; // first: cast; near
	struct link_thread *thread;

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

static struct pipe *pipe_of(struct channel *channel)
{
	return (struct pipe *)channel;
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

static void to_near(struct pipe *pipe, struct task *task)
{
	loop_post(pipe->thread->loop, task);
}

static void far_done(struct pipe *pipe, struct message *message)
{
	if (push_message(&pipe->done, message))
		to_near(pipe, &pipe->done_task);
}

static void far_check_gone(struct pipe *pipe)
{
	if (pipe->far_released && pipe->handed == 0)
		to_near(pipe, &pipe->gone_task);
}

static void far_finished(void *user, struct message *message)
{
	struct pipe *pipe = user;

	far_done(pipe, message);
	pipe->handed--;
	far_check_gone(pipe);
}

static void far_over(struct pipe *pipe, const char *why)
{
	pipe->channel = NULL;
	snprintf(pipe->why, sizeof(pipe->why), "%s", why);
	to_near(pipe, &pipe->over_task);
}

// The near half consumes without waiting for us, so the state is looked at
// again after it was announced; exactly one of the two takes stalled back.
static void far_stall(struct pipe *pipe)
{
	channel_hold(pipe->channel, true);
	atomic_store(&pipe->stalled, true);
	if (atomic_load(&pipe->inbox_bytes) <= INBOX_LOW && atomic_exchange(&pipe->stalled, false))
		channel_hold(pipe->channel, false);
}

static void far_frame(void *user, const struct frame *frame)
{
	struct pipe *pipe = user;
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
	struct pipe *pipe = OF(struct pipe, send_task, task);
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
	struct pipe *pipe = OF(struct pipe, resume_task, task);

	if (pipe->channel)
		channel_hold(pipe->channel, false);
}

static void far_trust(struct task *task)
{
	struct pipe *pipe = OF(struct pipe, trust_task, task);

	if (pipe->channel)
		link_trust(pipe->channel);
}

static void far_release(struct task *task)
{
	struct pipe *pipe = OF(struct pipe, release_task, task);

	if (pipe->channel)
		channel_close(pipe->channel);
	pipe->channel = NULL;
	pipe->far_released = true;
	far_check_gone(pipe);
}

// --- the near half of a channel

static void check_stopped(struct link_thread *thread)
{
	if (thread->stopping && !thread->check.armed)
		clock_set(loop_clock(thread->loop), &thread->check, 0);
}

static void consume(struct pipe *pipe, struct item *item)
{
	size_t left = atomic_fetch_sub(&pipe->inbox_bytes, item->length) - item->length;

	free(item);
	if (!pipe->released && left <= INBOX_LOW && atomic_exchange(&pipe->stalled, false))
		loop_post(pipe->thread->far_loop, &pipe->resume_task);
}

// The last that the near half posts.
static void release(struct pipe *pipe)
{
	pipe->released = true;
	clock_cancel(loop_clock(pipe->thread->loop), &pipe->deliver);
	loop_post(pipe->thread->far_loop, &pipe->release_task);
}

static void drop_inbox(struct pipe *pipe)
{
	struct item *next;

	for (struct item *item = pipe->inbox; item; item = next) {
		next = item->next;
		consume(pipe, item);
	}
	pipe->inbox = NULL;
	pipe->inbox_end = &pipe->inbox;
}

static void near_deliver(struct pipe *pipe)
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
	near_deliver(OF(struct pipe, deliver, timer));
}

static void near_frames(struct task *task)
{
	struct pipe *pipe = OF(struct pipe, frames_task, task);
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
	struct pipe *pipe = OF(struct pipe, over_task, task);

	pipe->over = true;
	near_deliver(pipe);
}

static void near_done(struct task *task)
{
	struct pipe *pipe = OF(struct pipe, done_task, task);
	struct message *list = take_messages(&pipe->done), *next;

	for (; list; list = next) {
		next = list->next;
		list->done(list);
	}
}

static void near_gone(struct task *task)
{
	struct pipe *pipe = OF(struct pipe, gone_task, task);
	struct link_thread *thread = pipe->thread;

	drop_inbox(pipe);
	free(pipe);
	thread->pipes--;
	check_stopped(thread);
}

static void near_send(struct channel *channel, struct message *message)
{
	struct pipe *pipe = pipe_of(channel);

	message->wire_bytes = 0;
	if (push_message(&pipe->to_send, message))
		loop_post(pipe->thread->far_loop, &pipe->send_task);
}

static void near_hold(struct channel *channel, bool hold)
{
	struct pipe *pipe = pipe_of(channel);

	if (pipe->held && !hold)
		clock_set(loop_clock(pipe->thread->loop), &pipe->deliver, 0);
	pipe->held = hold;
}

static void near_close(struct channel *channel)
{
	struct pipe *pipe = pipe_of(channel);

	if (!pipe->released)
		release(pipe);
}

static const struct channel_ops pipe_ops = {near_send, near_hold, near_close};

static void near_trust(struct link_channel *channel)
{
	struct pipe *pipe = pipe_of(&channel->channel);

	// A dialed channel is trusted from the start; once is enough anyway.
	if (!pipe->trust_task.run) {
		pipe->trust_task.run = far_trust;
		loop_post(pipe->thread->far_loop, &pipe->trust_task);
	}
}

static struct pipe *pipe_new(struct link_thread *thread, struct channel *channel)
{
	struct pipe *pipe = calloc(1, sizeof(*pipe));

	if (!pipe)
		return NULL;
	pipe->base.channel.ops = &pipe_ops;
	pipe->base.trust = near_trust;
	memcpy(pipe->base.channel.peer, channel->peer, sizeof(channel->peer));
	memcpy(pipe->base.channel.peer_key, channel->peer_key, sizeof(channel->peer_key));
	memcpy(pipe->base.exporter, link_exporter(channel), sizeof(pipe->base.exporter));
	pipe->thread = thread;
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
	return pipe;
}

// --- dialing

static void far_result(struct link_thread *thread)
{
	struct attempt *attempt = thread->far_attempt;

	thread->far_attempt = NULL;
	loop_post(thread->loop, &attempt->result);
}

static void far_opened(void *user, struct channel *channel)
{
	struct link_thread *thread = user;
	struct pipe *pipe = pipe_new(thread, channel);

	thread->far_attempt->pipe = pipe;
	if (pipe) {
		channel->events = &far_events;
		channel->user = pipe;
		link_set_finished(channel, far_finished, pipe);
	} else {
		channel_close(channel);
		strcpy(thread->far_attempt->why, "connect: out of memory");
	}
	far_result(thread);
}

static void far_failed(void *user, const char *why)
{
	struct link_thread *thread = user;

	snprintf(thread->far_attempt->why, sizeof(thread->far_attempt->why), "%s", why);
	far_result(thread);
}

static void far_dial(struct task *task)
{
	struct attempt *attempt = OF(struct attempt, dial, task);
	struct link_thread *thread = attempt->thread;

	thread->far_attempt = attempt;
	dialer_dial(thread->far_dialer);
}

static void far_cancel(struct task *task)
{
	struct attempt *attempt = OF(struct attempt, cancel, task);
	struct link_thread *thread = attempt->thread;

	if (thread->far_attempt == attempt) {
		dialer_cancel(thread->far_dialer);
		thread->far_attempt = NULL;
	}
	loop_post(thread->loop, &attempt->buried);
}

static void free_attempt(struct attempt *attempt)
{
	struct link_thread *thread = attempt->thread;

	free(attempt);
	thread->attempts--;
	check_stopped(thread);
}

static void near_result(struct task *task)
{
	struct attempt *attempt = OF(struct attempt, result, task);
	struct link_thread *thread = attempt->thread;
	struct pipe *pipe = attempt->pipe;
	char why[sizeof(attempt->why)];

	if (pipe)
		thread->pipes++;
	if (attempt->cancelled) {
		if (pipe)
			release(pipe);
		return; // freed when buried
	}
	thread->attempt = NULL;
	memcpy(why, attempt->why, sizeof(why));
	free_attempt(attempt);
	if (pipe)
		thread->dialer.opened(thread->dialer.user, &pipe->base.channel);
	else
		thread->dialer.failed(thread->dialer.user, why);
}

static void near_buried(struct task *task)
{
	free_attempt(OF(struct attempt, buried, task));
}

static void near_refuse(struct timer *timer)
{
	struct link_thread *thread = OF(struct link_thread, refuse, timer);

	thread->dialer.failed(thread->dialer.user,
	                      thread->stopping ? "connect: shutting down" : "connect: out of memory");
}

static void near_dial(struct dialer *dialer)
{
	struct link_thread *thread = OF(struct link_thread, dialer, dialer);
	struct attempt *attempt;

	if (thread->attempt || thread->refuse.armed)
		return; // one at a time
	attempt = thread->stopping ? NULL : calloc(1, sizeof(*attempt));
	if (!attempt) {
		clock_set(loop_clock(thread->loop), &thread->refuse, 0);
		return;
	}
	attempt->thread = thread;
	attempt->dial.run = far_dial;
	attempt->cancel.run = far_cancel;
	attempt->result.run = near_result;
	attempt->buried.run = near_buried;
	thread->attempt = attempt;
	thread->attempts++;
	loop_post(thread->far_loop, &attempt->dial);
}

static void near_cancel(struct dialer *dialer)
{
	struct link_thread *thread = OF(struct link_thread, dialer, dialer);
	struct attempt *attempt = thread->attempt;

	clock_cancel(loop_clock(thread->loop), &thread->refuse);
	if (!attempt)
		return;
	thread->attempt = NULL;
	attempt->cancelled = true;
	loop_post(thread->far_loop, &attempt->cancel);
}

static const struct dialer_ops dialer_ops = {near_dial, near_cancel};

// --- the thread

static void far_links_stopped(void *user)
{
	struct link_thread *thread = user;

	links_free(thread->links);
	loop_quit(thread->far_loop);
}

static void far_stop(struct task *task)
{
	struct link_thread *thread = OF(struct link_thread, stop, task);

	link_dialer_free(thread->far_dialer);
	links_stop(thread->links, far_links_stopped, thread);
}

static int far_set_up(struct link_thread *thread, struct error *err)
{
	thread->far_loop = loop_new(err);
	if (!thread->far_loop)
		return -EIO;
	thread->links = links_new(thread->far_loop, thread->tls);
	if (thread->links)
		thread->far_dialer = link_dialer_new(thread->links, &thread->address, thread->key);
	if (!thread->far_dialer) {
		links_free(thread->links);
		loop_free(thread->far_loop);
		return fail(err, ENOMEM, "start link thread: out of memory");
	}
	thread->far_dialer->opened = far_opened;
	thread->far_dialer->failed = far_failed;
	thread->far_dialer->user = thread;
	return 0;
}

static void *run(void *argument)
{
	struct link_thread *thread = argument;
	struct error why = {""};
	int error = far_set_up(thread, &why);

	pthread_mutex_lock(&thread->lock);
	thread->why = why;
	thread->error = error;
	thread->ready = true;
	pthread_cond_signal(&thread->started);
	pthread_mutex_unlock(&thread->lock);
	if (error)
		return NULL;

	if (loop_run(thread->far_loop) < 0)
		abort(); // the ring is broken, and with it everything that is under way
	// Whoever posted stop may still be about to wake the loop.
	pthread_mutex_lock(&thread->lock);
	pthread_mutex_unlock(&thread->lock);
	loop_free(thread->far_loop);
	loop_post(thread->loop, &thread->ended);
	return NULL;
}

static void free_thread(struct link_thread *thread)
{
	pthread_cond_destroy(&thread->started);
	pthread_mutex_destroy(&thread->lock);
	free(thread);
}

static void near_ended(struct task *task)
{
	struct link_thread *thread = OF(struct link_thread, ended, task);
	void (*stopped)(void *user) = thread->stopped;
	void *user = thread->stopped_user;

	pthread_join(thread->thread, NULL);
	free_thread(thread);
	stopped(user);
}

static void near_check(struct timer *timer)
{
	struct link_thread *thread = OF(struct link_thread, check, timer);

	if (thread->stop_posted || thread->attempts || thread->pipes)
		return;
	thread->stop_posted = true;
	pthread_mutex_lock(&thread->lock);
	loop_post(thread->far_loop, &thread->stop);
	pthread_mutex_unlock(&thread->lock);
}

// The thread takes no signals: they are for the user's loop.
static int start(struct link_thread *thread)
{
	sigset_t all, former;
	int error;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &former);
	error = pthread_create(&thread->thread, NULL, run, thread);
	pthread_sigmask(SIG_SETMASK, &former, NULL);
	if (!error)
		(void)pthread_setname_np(thread->thread, "stead-link");
	return error;
}

struct link_thread *link_thread_start(struct loop *loop, struct tls_context *tls, const struct net_address *address,
                                      const uint8_t key[FINGERPRINT_BYTES], struct error *err)
{
	struct link_thread *thread = calloc(1, sizeof(*thread));
	int error;

	if (!thread) {
		fail(err, ENOMEM, "start link thread: out of memory");
		return NULL;
	}
	thread->loop = loop;
	thread->dialer.ops = &dialer_ops;
	thread->refuse.fire = near_refuse;
	thread->check.fire = near_check;
	thread->stop.run = far_stop;
	thread->ended.run = near_ended;
	thread->tls = tls;
	thread->address = *address;
	memcpy(thread->key, key, FINGERPRINT_BYTES);
	pthread_mutex_init(&thread->lock, NULL);
	pthread_cond_init(&thread->started, NULL);

	error = start(thread);
	if (error) {
		fail(err, error, "start link thread: %s", strerror(error));
		free_thread(thread);
		return NULL;
	}
	pthread_mutex_lock(&thread->lock);
	while (!thread->ready)
		pthread_cond_wait(&thread->started, &thread->lock);
	error = thread->error;
	if (error && err)
		*err = thread->why;
	pthread_mutex_unlock(&thread->lock);
	if (error) {
		pthread_join(thread->thread, NULL);
		free_thread(thread);
		return NULL;
	}
	return thread;
}

struct dialer *link_thread_dialer(struct link_thread *thread)
{
	return &thread->dialer;
}

void link_thread_stop(struct link_thread *thread, void (*stopped)(void *user), void *user)
{
	near_cancel(&thread->dialer);
	thread->stopping = true;
	thread->stopped = stopped;
	thread->stopped_user = user;
	check_stopped(thread);
}
