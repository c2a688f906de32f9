// SPDX-License-Identifier: Apache-2.0
// One turn of the loop: run the completions at hand, the tasks that other
// threads posted and the timers that are due; then submit everything they
// prepared and wait, in one system call. A loop with nothing to do sleeps in
// that call until a completion, the next timer, or the eventfd of loop_post().
#include "loop.h"

#include <errno.h>
#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define SQ_ENTRIES 512
#define CQ_ENTRIES 8192
#define BATCH 64
#define BUFFER_GROUPS 128 // as many as the kernel has room for

struct entry {
	uint64_t key; // its deadline, or later when it was set while timers run
	struct timer *timer;
};

struct completion {
	struct op *op;
	int result;
	unsigned flags;
};

struct loop {
	struct clock clock; // first: loop_of() casts
	struct io_uring ring;
	bool quit;
	bool freeing;
	bool leave_ring;

	// Binary heap; timer->slot is the index of its entry.
	struct entry *heap;
	unsigned timers, heap_room;
	bool firing;
	uint64_t fire_time;

	// Completions taken off the ring early, because a full submission queue
	// could not be submitted before: they run in the next turn.
	struct completion *early;
	unsigned early_count, early_room;

	enum {
		TABLE_UNKNOWN,
		TABLE_THERE,
		TABLE_NONE
	} buffer_table;
	bool buffers_taken[BUFFER_GROUPS];

	int wake_fd;
	uint64_t wake_value;
	struct op wake;
	bool wake_armed;

	pthread_mutex_t lock; // of what follows; held for a few instructions only
	struct task *tasks, **tasks_end;
	bool sleeping;
};

// The loop that this thread is in: posting to it wakes nobody.
static _Thread_local const struct loop *running;

static struct loop *loop_of(struct clock *clock)
{
	return (struct loop *)clock;
}

// CLOCK_MONOTONIC, which stands still while the machine is suspended, and not
// CLOCK_BOOTTIME: the kernel's wait timeouts run on it, and a node that wakes
// up must not find every deadline missed before it could hear its peer.
static uint64_t now(struct clock *clock)
{
	struct timespec ts;

	(void)clock;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * NSEC_PER_SEC + (uint64_t)ts.tv_nsec;
}

static int64_t wall(struct clock *clock)
{
	struct timespec ts;

	(void)clock;
	clock_gettime(CLOCK_REALTIME, &ts);
	return ts.tv_sec * (int64_t)NSEC_PER_SEC + ts.tv_nsec;
}

static void heap_put(struct loop *loop, unsigned slot, struct entry entry)
{
	loop->heap[slot] = entry;
	entry.timer->slot = slot;
}

// Moves entry from the gap at slot to where it belongs.
static void heap_sift(struct loop *loop, unsigned slot, struct entry entry)
{
	while (slot > 0) {
		unsigned parent = (slot - 1) / 2;

		if (loop->heap[parent].key <= entry.key)
			break;
		heap_put(loop, slot, loop->heap[parent]);
		slot = parent;
	}
	for (;;) {
		unsigned child = 2 * slot + 1;

		if (child >= loop->timers)
			break;
		if (child + 1 < loop->timers && loop->heap[child + 1].key < loop->heap[child].key)
			child++;
		if (entry.key <= loop->heap[child].key)
			break;
		heap_put(loop, slot, loop->heap[child]);
		slot = child;
	}
	heap_put(loop, slot, entry);
}

static void timer_set(struct clock *clock, struct timer *timer, uint64_t deadline)
{
	struct loop *loop = loop_of(clock);
	struct entry entry = {deadline, timer};

	// A timer that is set again and again from its own fire() must not keep
	// the loop from everything else.
	if (loop->firing && entry.key <= loop->fire_time)
		entry.key = loop->fire_time + 1;
	timer->deadline = deadline;
	if (timer->armed) {
		heap_sift(loop, timer->slot, entry);
		return;
	}
	if (loop->timers == loop->heap_room) {
		unsigned room = loop->heap_room ? 2 * loop->heap_room : 64;
		struct entry *heap = realloc(loop->heap, room * sizeof(*heap));

		if (!heap)
			abort(); // a lost timer would be a silent stall; a few hundred bytes
		loop->heap = heap;
		loop->heap_room = room;
	}
	timer->armed = true;
	heap_sift(loop, loop->timers++, entry);
}

static void timer_cancel(struct clock *clock, struct timer *timer)
{
	struct loop *loop = loop_of(clock);
	struct entry last;

	if (!timer->armed)
		return;
	timer->armed = false;
	last = loop->heap[--loop->timers];
	if (last.timer != timer)
		heap_sift(loop, timer->slot, last);
}

static const struct clock_ops clock_ops = {now, wall, timer_set, timer_cancel};

static void fire_timers(struct loop *loop)
{
	if (!loop->timers)
		return;
	loop->fire_time = now(&loop->clock);
	loop->firing = true;
	while (loop->timers && loop->heap[0].key <= loop->fire_time) {
		struct timer *timer = loop->heap[0].timer;

		timer_cancel(&loop->clock, timer);
		timer->fire(timer);
	}
	loop->firing = false;
}

static void arm_wake(struct loop *loop)
{
	struct io_uring_sqe *sqe = loop_sqe(loop, &loop->wake);

	io_uring_prep_read(sqe, loop->wake_fd, &loop->wake_value, sizeof(loop->wake_value), 0);
	loop->wake_armed = true;
}

static void woken(struct op *op, int result, unsigned flags)
{
	struct loop *loop = (struct loop *)((char *)op - offsetof(struct loop, wake));

	(void)flags;
	loop->wake_armed = false;
	if (result != -ECANCELED && !loop->freeing)
		arm_wake(loop);
}

static int ring_open(struct io_uring *ring)
{
	// The loop's thread alone submits and waits, so completions need not
	// interrupt it (6.1); else not be interrupted across cores (5.19).
	static const unsigned modes[] = {
	        IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_SUBMIT_ALL,
	        IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SUBMIT_ALL,
	        0,
	};
	int result = -EINVAL;

	for (unsigned i = 0; i < sizeof(modes) / sizeof(modes[0]) && result == -EINVAL; i++) {
		struct io_uring_params params = {
		        .flags = modes[i] | IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP,
		        .cq_entries = CQ_ENTRIES,
		};

		result = io_uring_queue_init_params(SQ_ENTRIES, ring, &params);
	}
	return result;
}

struct loop *loop_new(struct error *err)
{
	struct loop *loop = calloc(1, sizeof(*loop));
	int result;

	if (!loop) {
		fail(err, ENOMEM, "create event loop: out of memory");
		return NULL;
	}
	loop->clock.ops = &clock_ops;
	loop->wake.done = woken;
	loop->tasks_end = &loop->tasks;
	loop->wake_fd = -1;

	result = ring_open(&loop->ring);
	if (result < 0) {
		fail(err, -result, "create io_uring: %s; check kernel.io_uring_disabled and the system call filter",
		     strerror(-result));
		goto err_loop;
	}
	// NODROP: a completion that finds the queue full waits in the kernel.
	if (!(loop->ring.features & IORING_FEAT_NODROP) || !(loop->ring.features & IORING_FEAT_EXT_ARG)) {
		fail(err, ENOTSUP, "create io_uring: this kernel is too old; needs Linux 5.15 or newer");
		goto err_ring;
	}
	(void)io_uring_register_ring_fd(&loop->ring);
	loop->wake_fd = eventfd(0, EFD_CLOEXEC);
	if (loop->wake_fd < 0) {
		fail(err, errno, "create eventfd: %s", strerror(errno));
		goto err_ring;
	}
	pthread_mutex_init(&loop->lock, NULL);
	arm_wake(loop);
	return loop;

err_ring:
	io_uring_queue_exit(&loop->ring);
err_loop:
	free(loop);
	return NULL;
}

// Made when it is first wanted: most loops never do.
int loop_buffers_take(struct loop *loop)
{
	if (loop->buffer_table == TABLE_UNKNOWN)
		loop->buffer_table = io_uring_register_buffers_sparse(&loop->ring, BUFFER_GROUPS * LOOP_BUFFERS) < 0
		                             ? TABLE_NONE
		                             : TABLE_THERE;
	if (loop->buffer_table == TABLE_NONE)
		return -EOPNOTSUPP;
	for (int group = 0; group < BUFFER_GROUPS; group++) {
		if (loop->buffers_taken[group])
			continue;
		loop->buffers_taken[group] = true;
		return group * LOOP_BUFFERS;
	}
	return -ENOSPC;
}

void loop_buffers_give(struct loop *loop, int first)
{
	loop->buffers_taken[first / LOOP_BUFFERS] = false;
}

struct clock *loop_clock(struct loop *loop)
{
	return &loop->clock;
}

void loop_quit(struct loop *loop)
{
	loop->quit = true;
}

// Moves completions off the ring without running them.
static void take_early(struct loop *loop)
{
	struct io_uring_cqe *cqes[BATCH];
	unsigned count;

	while ((count = io_uring_peek_batch_cqe(&loop->ring, cqes, BATCH)) > 0) {
		if (loop->early_count + count > loop->early_room) {
			unsigned room = 2 * loop->early_room + BATCH;
			struct completion *early = realloc(loop->early, room * sizeof(*early));

			if (!early)
				return;
			loop->early = early;
			loop->early_room = room;
		}
		for (unsigned i = 0; i < count; i++)
			loop->early[loop->early_count++] =
			        (struct completion){io_uring_cqe_get_data(cqes[i]), cqes[i]->res, cqes[i]->flags};
		io_uring_cq_advance(&loop->ring, count);
	}
}

struct io_uring_sqe *loop_sqe(struct loop *loop, struct op *op)
{
	struct io_uring_sqe *sqe;

	while (!(sqe = io_uring_get_sqe(&loop->ring))) {
		// The kernel takes nothing more while it is short of memory or
		// sits on overflown completions: make room for those.
		if (io_uring_submit(&loop->ring) < 0) {
			(void)io_uring_get_events(&loop->ring);
			take_early(loop);
		}
	}
	memset(sqe, 0, sizeof(*sqe)); // io_uring_prep_*() leaves some fields alone, user_data among them
	io_uring_sqe_set_data(sqe, op);
	return sqe;
}

void loop_cancel(struct loop *loop, struct op *op)
{
	io_uring_prep_cancel(loop_sqe(loop, NULL), op, 0);
}

static void complete(struct op *op, int result, unsigned flags)
{
	if (op)
		op->done(op, result, flags);
}

// Runs what is at hand, not what arrives meanwhile without end.
static void run_completions(struct loop *loop)
{
	struct io_uring_cqe *cqes[BATCH];
	unsigned left = CQ_ENTRIES, count;

	while (loop->early_count) {
		struct completion *early = loop->early;
		unsigned early_count = loop->early_count;

		loop->early = NULL;
		loop->early_count = loop->early_room = 0;
		for (unsigned i = 0; i < early_count; i++)
			complete(early[i].op, early[i].result, early[i].flags);
		free(early);
	}
	while (left && (count = io_uring_peek_batch_cqe(&loop->ring, cqes, BATCH)) > 0) {
		struct completion batch[BATCH];

		for (unsigned i = 0; i < count; i++)
			batch[i] = (struct completion){io_uring_cqe_get_data(cqes[i]), cqes[i]->res, cqes[i]->flags};
		io_uring_cq_advance(&loop->ring, count);
		for (unsigned i = 0; i < count; i++)
			complete(batch[i].op, batch[i].result, batch[i].flags);
		left = left > count ? left - count : 0;
		if (loop->early_count)
			break; // older ones were set aside: keep the order
	}
}

static void run_tasks(struct loop *loop)
{
	struct task *task, *next;

	pthread_mutex_lock(&loop->lock);
	loop->sleeping = false;
	task = loop->tasks;
	loop->tasks = NULL;
	loop->tasks_end = &loop->tasks;
	pthread_mutex_unlock(&loop->lock);

	for (; task; task = next) {
		next = task->next;
		task->run(task);
	}
}

void loop_post(struct loop *loop, struct task *task)
{
	uint64_t one = 1;
	bool wake;

	task->next = NULL;
	pthread_mutex_lock(&loop->lock);
	*loop->tasks_end = task;
	loop->tasks_end = &task->next;
	wake = loop->sleeping && loop != running;
	loop->sleeping = false;
	pthread_mutex_unlock(&loop->lock);

	while (wake && write(loop->wake_fd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}

// Whether the loop may sleep; from then on loop_post() wakes it.
static bool prepare_sleep(struct loop *loop)
{
	bool sleep;

	if (loop->quit || loop->early_count)
		return false;
	pthread_mutex_lock(&loop->lock);
	sleep = loop->sleeping = !loop->tasks;
	pthread_mutex_unlock(&loop->lock);
	return sleep;
}

static int submit_and_wait(struct loop *loop)
{
	struct __kernel_timespec timeout = {0}, *limit = NULL;
	struct io_uring_cqe *cqe;

	if (!prepare_sleep(loop))
		return io_uring_submit_and_get_events(&loop->ring);
	if (loop->timers) {
		uint64_t time = now(&loop->clock), key = loop->heap[0].key;
		uint64_t wait = key > time ? key - time : 0;

		timeout.tv_sec = (int64_t)(wait / NSEC_PER_SEC);
		timeout.tv_nsec = (long long)(wait % NSEC_PER_SEC);
		limit = &timeout;
	}
	return io_uring_submit_and_wait_timeout(&loop->ring, &cqe, 1, limit, NULL);
}

static int turn(struct loop *loop)
{
	int result = submit_and_wait(loop);

	// EAGAIN, EBUSY: short of memory or completions overflown; what was
	// prepared stays queued and running completions makes room.
	if (result < 0 && result != -ETIME && result != -EINTR && result != -EAGAIN && result != -EBUSY)
		return result;
	run_completions(loop);
	run_tasks(loop);
	fire_timers(loop);
	return 0;
}

int loop_run(struct loop *loop)
{
	const struct loop *outer = running;
	int result = 0;

	loop->quit = false;
	running = loop;
	while (!loop->quit && !result)
		result = turn(loop);
	running = outer;
	return result;
}

void loop_leave_ring(struct loop *loop)
{
	loop->leave_ring = true;
}

void loop_free(struct loop *loop)
{
	if (!loop)
		return;
	// The kernel must not write to wake_value after the memory is gone. A
	// wake that came late may beat its cancellation.
	loop->freeing = true;
	if (loop->wake_armed) {
		loop_cancel(loop, &loop->wake);
		while (loop->wake_armed) {
			int result = io_uring_submit_and_wait(&loop->ring, 1);

			if (result < 0 && result != -EINTR && result != -EAGAIN && result != -EBUSY)
				break;
			run_completions(loop);
		}
	}
	if (!loop->leave_ring)
		io_uring_queue_exit(&loop->ring);
	close(loop->wake_fd);
	pthread_mutex_destroy(&loop->lock);
	free(loop->early);
	free(loop->heap);
	free(loop);
}
