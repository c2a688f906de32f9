// SPDX-License-Identifier: Apache-2.0
// The near half of everything runs on the user's loop, the far half on the
// thread, with a dialer and links of its own (link.h). What they tell each other
// are tasks posted to the other's loop; tasks of one poster run in their order.
#include "link_thread.h"

#include "link.h"
#include "link_pipe.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

// What the thread does makes lag when there is no CPU for it, and what the user's
// loop does makes others wait: it comes second.
#define NICE 5

#define OF(type, member, pointer) ((type *)((char *)(pointer)-offsetof(type, member)))

// One dial. The far half posts result exactly once unless it was cancelled in
// time; a cancelled one is freed by its buried task, which comes after result.
struct attempt {
	struct link_thread *thread;
	struct task dial, cancel; // to the far half
	struct task result, buried; // to the near half
	bool cancelled; // near
	struct link_pipe *pipe; // NULL: it failed
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

// --- dialing

static void check_stopped(struct link_thread *thread)
{
	if (thread->stopping && !thread->check.armed)
		clock_set(loop_clock(thread->loop), &thread->check, 0);
}

static void far_result(struct link_thread *thread)
{
	struct attempt *attempt = thread->far_attempt;

	thread->far_attempt = NULL;
	loop_post(thread->loop, &attempt->result);
}

static void near_pipe_gone(void *user)
{
	struct link_thread *thread = user;

	thread->pipes--;
	check_stopped(thread);
}

static void far_opened(void *user, struct channel *channel)
{
	struct link_thread *thread = user;
	struct link_pipe *pipe = link_pipe_new(channel, thread->far_loop, thread->loop, near_pipe_gone, thread);

	thread->far_attempt->pipe = pipe;
	if (!pipe) {
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
	struct link_pipe *pipe = attempt->pipe;
	char why[sizeof(attempt->why)];

	if (pipe)
		thread->pipes++;
	if (attempt->cancelled) {
		if (pipe)
			channel_close(link_pipe_channel(pipe));
		return; // freed when buried
	}
	thread->attempt = NULL;
	memcpy(why, attempt->why, sizeof(why));
	free_attempt(attempt);
	if (pipe)
		thread->dialer.opened(thread->dialer.user, link_pipe_channel(pipe));
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

	// Of this thread alone, as priorities are on Linux.
	(void)setpriority(PRIO_PROCESS, 0, getpriority(PRIO_PROCESS, 0) + NICE);

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
