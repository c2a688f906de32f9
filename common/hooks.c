// SPDX-License-Identifier: Apache-2.0
#include "hooks.h"
#include "block.h"
#include "job.h"
#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/queue.h>
#include <sys/wait.h>
#include <unistd.h>

#define OUTPUT_LINES_MAX 100 // of one hook, in the log
#define OUTPUT_LINE_MAX 400

struct hook {
	TAILQ_ENTRY(hook) entry;
	struct hooks *hooks;
	char pair[NAME_MAX_LENGTH + 1];
	const char *event;
	char *path;
	char **environment;
	bool running; // from the start of its job on
	uint64_t begun;

	struct job job; // starts it
	int error; // of that
	pid_t pid;
	int pidfd, output; // -1: none

	struct op exit_op, output_op;
	bool exit_pending, output_pending;
	struct timer limit;
	bool killed;
	siginfo_t info; // how it ended

	char line[OUTPUT_LINE_MAX + 1];
	size_t length;
	unsigned lines;
};

TAILQ_HEAD(hook_list, hook);

struct hooks {
	struct loop *loop;
	uint64_t limit;
	void (*idle)(void *user);
	void *user;
	struct hook_list list; // running and waiting, in order
	unsigned count;
	bool stopping;
};

#define HOOK_OF(pointer, member) ((struct hook *)((char *)(pointer)-offsetof(struct hook, member)))

static void start_next(struct hooks *hooks, const char *pair);

void environment_free(char **environment)
{
	for (char **at = environment; at && *at; at++)
		free(*at);
	free(environment);
}

static void forget(struct hook *hook)
{
	TAILQ_REMOVE(&hook->hooks->list, hook, entry);
	hook->hooks->count--;
	environment_free(hook->environment);
	free(hook->path);
	free(hook);
}

// -- what it prints --

static void put_line(struct hook *hook)
{
	hook->line[hook->length] = 0;
	if (hook->length && hook->lines < OUTPUT_LINES_MAX)
		log_event(LOG_LEVEL_INFO, "hook-output", "pair=%s for=%s text=%s", hook->pair, hook->event, hook->line);
	hook->lines += hook->length > 0;
	hook->length = 0;
}

static void take_output(struct hook *hook, const char *bytes, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (bytes[i] == '\n' || hook->length == OUTPUT_LINE_MAX)
			put_line(hook);
		if (bytes[i] != '\n')
			hook->line[hook->length++] = bytes[i];
	}
}

// What there is now, a part of it. False: nothing can follow.
static bool read_output(struct hook *hook)
{
	char bytes[4096];
	ssize_t got = read(hook->output, bytes, sizeof(bytes));

	if (got > 0)
		take_output(hook, bytes, (size_t)got);
	return got > 0 || (got < 0 && (errno == EAGAIN || errno == EINTR));
}

// -- its end --

static void log_end(const struct hook *hook, double seconds)
{
	bool by_itself = hook->info.si_code == CLD_EXITED;
	char why[80];

	if (hook->error < 0)
		snprintf(why, sizeof(why), "it cannot be started: %s", strerror(-hook->error));
	else if (hook->killed)
		snprintf(why, sizeof(why), "it was killed after %.1f s", seconds);
	else
		snprintf(why, sizeof(why), "it ended with %s %d", by_itself ? "exit code" : "signal",
		         hook->info.si_status);
	if (hook->error < 0 || hook->killed || !by_itself || hook->info.si_status != 0)
		log_event(LOG_LEVEL_ERROR, "hook-failed", "pair=%s for=%s path=%s reason=%s", hook->pair, hook->event,
		          hook->path, why);
	else
		log_event(LOG_LEVEL_INFO, "hook-done", "pair=%s for=%s path=%s seconds=%.1f", hook->pair, hook->event,
		          hook->path, seconds);
}

static void finish(struct hook *hook)
{
	struct hooks *hooks = hook->hooks;
	struct clock *clock = loop_clock(hooks->loop);
	char pair[NAME_MAX_LENGTH + 1];

	clock_cancel(clock, &hook->limit);
	if (hook->output >= 0) {
		// What it has started may hold the pipe open for ever: no more than is there.
		for (unsigned i = 0; i < 16 && read_output(hook); i++)
			;
		put_line(hook);
		close(hook->output);
	}
	if (hook->pidfd >= 0)
		close(hook->pidfd);
	log_end(hook, (double)(clock_now(clock) - hook->begun) / 1e9);
	memcpy(pair, hook->pair, sizeof(pair));
	forget(hook);
	start_next(hooks, pair);
	if (!hooks->count)
		hooks->idle(hooks->user);
}

static void await_output(struct hook *hook)
{
	io_uring_prep_poll_add(loop_sqe(hook->hooks->loop, &hook->output_op), hook->output, POLLIN);
	hook->output_pending = true;
}

static void printed(struct op *op, int result, unsigned flags)
{
	struct hook *hook = HOOK_OF(op, output_op);

	(void)flags;
	hook->output_pending = false;
	if (!hook->exit_pending)
		finish(hook);
	else if (result >= 0 && read_output(hook))
		await_output(hook);
}

static void exited(struct op *op, int result, unsigned flags)
{
	struct hook *hook = HOOK_OF(op, exit_op);

	(void)result;
	(void)flags;
	hook->exit_pending = false;
	while (waitid(P_PIDFD, (id_t)hook->pidfd, &hook->info, WEXITED) < 0 && errno == EINTR)
		;
	if (hook->output_pending)
		loop_cancel(hook->hooks->loop, &hook->output_op);
	else
		finish(hook);
}

static void kill_it(struct hook *hook)
{
	if (!hook->exit_pending)
		return;
	hook->killed = true;
	(void)kill(-hook->pid, SIGKILL); // not waited for yet: the number is still its own
}

static void too_long(struct timer *timer)
{
	kill_it(HOOK_OF(timer, limit));
}

// -- its start --

static int spawn(struct hook *hook, int output)
{
	char *arguments[] = {hook->path, NULL};
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	sigset_t none, all;
	int error;

	sigemptyset(&none);
	sigfillset(&all);
	error = -posix_spawn_file_actions_init(&actions);
	if (error)
		return error;
	error = -posix_spawnattr_init(&attributes);
	if (!error) {
		error = -posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
		if (!error)
			error = -posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
		if (!error)
			error = -posix_spawn_file_actions_adddup2(&actions, output, STDERR_FILENO);
		if (!error)
			error = -posix_spawn_file_actions_addclosefrom_np(&actions, STDERR_FILENO + 1);
		posix_spawnattr_setpgroup(&attributes, 0);
		posix_spawnattr_setsigmask(&attributes, &none);
		posix_spawnattr_setsigdefault(&attributes, &all);
		posix_spawnattr_setflags(&attributes,
		                         POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
		if (!error)
			error = -posix_spawn(&hook->pid, hook->path, &actions, &attributes, arguments,
			                     hook->environment);
		posix_spawnattr_destroy(&attributes);
	}
	posix_spawn_file_actions_destroy(&actions);
	return error;
}

// On the job's thread: waits until the executable is read.
static void start_work(struct job *job)
{
	struct hook *hook = HOOK_OF(job, job);
	int ends[2];

	if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0) {
		hook->error = -errno;
		return;
	}
	hook->output = ends[0];
	(void)fcntl(ends[1], F_SETFL, 0); // its own end blocks, as a program expects
	hook->error = spawn(hook, ends[1]);
	close(ends[1]);
	if (hook->error < 0)
		return;
	hook->pidfd = pidfd_open(hook->pid, 0);
	if (hook->pidfd < 0) {
		hook->error = -errno;
		(void)kill(-hook->pid, SIGKILL);
		(void)waitpid(hook->pid, NULL, 0);
	}
}

static void started(struct job *job)
{
	struct hook *hook = HOOK_OF(job, job);
	struct clock *clock = loop_clock(hook->hooks->loop);

	if (hook->error < 0) {
		finish(hook);
		return;
	}
	hook->exit_op.done = exited;
	hook->output_op.done = printed;
	io_uring_prep_poll_add(loop_sqe(hook->hooks->loop, &hook->exit_op), hook->pidfd, POLLIN);
	hook->exit_pending = true;
	await_output(hook);
	hook->limit.fire = too_long;
	clock_set(clock, &hook->limit, clock_now(clock) + hook->hooks->limit);
	if (hook->hooks->stopping)
		kill_it(hook);
}

// No thread: tried again with the next event, or dropped at the end.
static void start_next(struct hooks *hooks, const char *pair)
{
	struct hook *hook;

	TAILQ_FOREACH(hook, &hooks->list, entry)
	if (!strcmp(hook->pair, pair))
		break;
	if (!hook || hook->running)
		return;
	hook->begun = clock_now(loop_clock(hooks->loop));
	hook->job.work = start_work;
	hook->job.done = started;
	hook->running = job_start(hooks->loop, &hook->job) == 0;
}

static void dropped(const char *pair, const char *event, const char *path, const char *why)
{
	log_event(LOG_LEVEL_ERROR, "hook-dropped", "pair=%s for=%s path=%s reason=%s", pair, event, path, why);
}

void hooks_run(struct hooks *hooks, const char *pair, const char *event, const char *path, char **environment)
{
	struct hook *hook = hooks->stopping ? NULL : calloc(1, sizeof(*hook));
	char *copy = hook ? strdup(path) : NULL;

	if (!copy || hooks->count == HOOKS_WAITING_MAX) {
		if (!hooks->stopping)
			dropped(pair, event, path, copy ? "too many wait" : "out of memory");
		environment_free(environment);
		free(copy);
		free(hook);
		return;
	}
	hook->hooks = hooks;
	snprintf(hook->pair, sizeof(hook->pair), "%s", pair);
	hook->event = event;
	hook->path = copy;
	hook->environment = environment;
	hook->pidfd = hook->output = -1;
	TAILQ_INSERT_TAIL(&hooks->list, hook, entry);
	hooks->count++;
	start_next(hooks, pair);
}

struct hooks *hooks_new(struct loop *loop, uint64_t limit, void (*idle)(void *user), void *user)
{
	struct hooks *hooks = calloc(1, sizeof(*hooks));

	if (!hooks)
		return NULL;
	hooks->loop = loop;
	hooks->limit = limit;
	hooks->idle = idle;
	hooks->user = user;
	TAILQ_INIT(&hooks->list);
	return hooks;
}

void hooks_stop(struct hooks *hooks)
{
	struct hook *hook, *next;

	hooks->stopping = true;
	for (hook = TAILQ_FIRST(&hooks->list); hook; hook = next) {
		next = TAILQ_NEXT(hook, entry);
		if (hook->running) {
			kill_it(hook);
		} else {
			dropped(hook->pair, hook->event, hook->path, "the daemon is stopping");
			forget(hook);
		}
	}
}

bool hooks_idle(const struct hooks *hooks)
{
	return hooks->count == 0;
}

void hooks_free(struct hooks *hooks)
{
	free(hooks);
}
