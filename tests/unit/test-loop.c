// SPDX-License-Identifier: Apache-2.0
#include "common/loop.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static struct loop *loop;

static int setup(void **state)
{
	struct error err;

	(void)state;
	loop = loop_new(&err);
	return loop ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	loop_free(loop);
	return 0;
}

#define TIMERS 500

static struct {
	struct timer timer;
	uint64_t want;
	unsigned fired;
} timers[TIMERS];
static unsigned fired, wanted;
static uint64_t last_deadline;

static void timer_fired(struct timer *timer)
{
	assert_true(clock_now(loop_clock(loop)) >= timer->deadline);
	assert_true(timer->deadline >= last_deadline);
	assert_false(timer->armed);
	last_deadline = timer->deadline;
	timers[((char *)timer - (char *)timers) / sizeof(timers[0])].fired++;
	if (++fired == wanted)
		loop_quit(loop);
}

static void test_places_for_buffers_are_given_once(void **state)
{
	int first = loop_buffers_take(loop), count = 1, next;

	(void)state;
	if (first == -EOPNOTSUPP) // before Linux 5.19
		skip();
	assert_true(first >= 0);
	for (next = loop_buffers_take(loop); next >= 0; next = loop_buffers_take(loop), count++)
		assert_int_equal(next, first + count * LOOP_BUFFERS);
	assert_int_equal(next, -ENOSPC);
	loop_buffers_give(loop, first + 3 * LOOP_BUFFERS);
	assert_int_equal(loop_buffers_take(loop), first + 3 * LOOP_BUFFERS);
	assert_int_equal(loop_buffers_take(loop), -ENOSPC);
}

static void test_timers_fire_in_order(void **state)
{
	struct clock *clock = loop_clock(loop);
	uint64_t start = clock_now(clock);

	(void)state;
	memset(timers, 0, sizeof(timers));
	fired = wanted = 0;
	last_deadline = 0;
	srand(1);
	for (unsigned i = 0; i < TIMERS; i++) {
		timers[i].timer.fire = timer_fired;
		clock_set(clock, &timers[i].timer, start + (uint64_t)rand() % (20 * NSEC_PER_MSEC));
	}
	// Move a third of them either way, cancel another third.
	for (unsigned i = 0; i < TIMERS; i++) {
		if (i % 3 == 0)
			clock_set(clock, &timers[i].timer, start + (uint64_t)rand() % (20 * NSEC_PER_MSEC));
		if (i % 3 == 1) {
			clock_cancel(clock, &timers[i].timer);
			clock_cancel(clock, &timers[i].timer);
		} else {
			wanted++;
		}
	}
	assert_int_equal(loop_run(loop), 0);
	for (unsigned i = 0; i < TIMERS; i++)
		assert_int_equal(timers[i].fired, i % 3 == 1 ? 0 : 1);
}

static struct timer again;
static unsigned again_count;
static bool other_ran;

static void fire_again(struct timer *timer)
{
	again_count++;
	if (!other_ran)
		clock_set(loop_clock(loop), timer, 0);
	else
		loop_quit(loop);
}

static void nop_done(struct op *op, int result, unsigned flags)
{
	(void)op;
	(void)result;
	(void)flags;
	other_ran = true;
}

// A timer that is overdue at once, for ever, does not keep the loop from
// completions.
static void test_overdue_timer_does_not_starve(void **state)
{
	struct op nop = {nop_done};

	(void)state;
	again = (struct timer){.fire = fire_again};
	again_count = 0;
	other_ran = false;
	clock_set(loop_clock(loop), &again, 0);
	io_uring_prep_nop(loop_sqe(loop, &nop));
	assert_int_equal(loop_run(loop), 0);
	assert_true(other_ran);
	assert_true(again_count >= 1);
}

#define THREADS 4
#define POSTS 20000

struct post {
	struct task task;
	unsigned thread, number;
};

static unsigned posted[THREADS], posts_left;
static bool out_of_order;

static void post_run(struct task *task)
{
	struct post *post = (struct post *)task;

	if (posted[post->thread]++ != post->number)
		out_of_order = true;
	free(post);
	if (!--posts_left)
		loop_quit(loop);
}

static void *poster(void *arg)
{
	for (unsigned i = 0; i < POSTS; i++) {
		struct post *post = malloc(sizeof(*post));

		*post = (struct post){{post_run, NULL}, (unsigned)(uintptr_t)arg, i};
		loop_post(loop, &post->task);
		if (i % 1000 == 0)
			sched_yield(); // let the loop fall asleep now and then
	}
	return NULL;
}

static void test_posts_arrive_in_order(void **state)
{
	pthread_t threads[THREADS];

	(void)state;
	memset(posted, 0, sizeof(posted));
	posts_left = THREADS * POSTS;
	out_of_order = false;
	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, poster, (void *)(uintptr_t)i), 0);
	assert_int_equal(loop_run(loop), 0);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	assert_false(out_of_order);
	assert_int_equal(posts_left, 0);
}

#define MANY 20000

static unsigned many_done;

static void many_one(struct op *op, int result, unsigned flags)
{
	(void)op;
	(void)flags;
	assert_int_equal(result, 0);
	if (++many_done == MANY)
		loop_quit(loop);
}

// More operations at once than either queue holds: none is lost.
static void test_queues_overflow(void **state)
{
	struct op op = {many_one};

	(void)state;
	many_done = 0;
	for (unsigned i = 0; i < MANY; i++)
		io_uring_prep_nop(loop_sqe(loop, &op));
	assert_int_equal(loop_run(loop), 0);
	assert_int_equal(many_done, MANY);
}

static int cancel_result;

static unsigned open_rings(void)
{
	DIR *fds = opendir("/proc/self/fd");
	struct dirent *entry;
	unsigned count = 0;
	char target[64];

	assert_non_null(fds);
	while ((entry = readdir(fds))) {
		ssize_t length = readlinkat(dirfd(fds), entry->d_name, target, sizeof(target) - 1);

		target[length > 0 ? length : 0] = 0;
		count += strstr(target, "[io_uring]") != NULL;
	}
	closedir(fds);
	return count;
}

static void test_a_ring_is_closed_or_left(void **state)
{
	unsigned before = open_rings();
	struct error err;

	(void)state;
	assert_int_not_equal(before, 0);
	loop_free(loop);
	assert_int_equal(open_rings(), before - 1);
	loop = loop_new(&err);
	assert_non_null(loop);
	loop_leave_ring(loop);
	loop_free(loop);
	assert_int_equal(open_rings(), before);
	loop = loop_new(&err);
	assert_non_null(loop);
}

static void cancelled(struct op *op, int result, unsigned flags)
{
	(void)op;
	(void)flags;
	cancel_result = result;
	loop_quit(loop);
}

static void test_cancel(void **state)
{
	struct op op = {cancelled};
	char byte;
	int pair[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	io_uring_prep_recv(loop_sqe(loop, &op), pair[0], &byte, 1, 0);
	loop_cancel(loop, &op);
	assert_int_equal(loop_run(loop), 0);
	assert_int_equal(cancel_result, -ECANCELED);
	close(pair[0]);
	close(pair[1]);
}

static void quit_on_fire(struct timer *timer)
{
	(void)timer;
	loop_quit(loop);
}

// The linker puts this in the place of the loop's wait: how often it wakes.
int __real_io_uring_submit_and_wait_timeout(struct io_uring *ring, struct io_uring_cqe **cqe, unsigned wait_for,
                                            struct __kernel_timespec *timeout, sigset_t *mask);
int __wrap_io_uring_submit_and_wait_timeout(struct io_uring *ring, struct io_uring_cqe **cqe, unsigned wait_for,
                                            struct __kernel_timespec *timeout, sigset_t *mask);
static unsigned waits;

int __wrap_io_uring_submit_and_wait_timeout(struct io_uring *ring, struct io_uring_cqe **cqe, unsigned wait_for,
                                            struct __kernel_timespec *timeout, sigset_t *mask)
{
	waits++;
	return __real_io_uring_submit_and_wait_timeout(ring, cqe, wait_for, timeout, mask);
}

// An idle loop sleeps until its timer is due, and not in small portions. (A
// signal or a clock's granularity may add one.)
static void test_idle_sleeps(void **state)
{
	struct timer timer = {.fire = quit_on_fire};

	(void)state;
	waits = 0;
	clock_set(loop_clock(loop), &timer, clock_now(loop_clock(loop)) + 200 * NSEC_PER_MSEC);
	assert_int_equal(loop_run(loop), 0);
	assert_in_range(waits, 1, 5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(test_timers_fire_in_order, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_places_for_buffers_are_given_once, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_overdue_timer_does_not_starve, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_posts_arrive_in_order, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_queues_overflow, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_cancel, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_a_ring_is_closed_or_left, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_idle_sleeps, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
