// SPDX-License-Identifier: Apache-2.0
// The event loop: one io_uring, timers, and tasks handed over by other threads.
// Everything but loop_post() is for the loop's own thread.
#ifndef STEAD_LOOP_H
#define STEAD_LOOP_H

#include "clock.h"
#include "error.h"

// linux/fs.h, which it includes, has a BLOCK_SIZE of its own.
#pragma push_macro("BLOCK_SIZE")
#undef BLOCK_SIZE
#include <liburing.h>
#pragma pop_macro("BLOCK_SIZE")

struct loop;

// One io_uring operation under way. The owner embeds it, and keeps it until
// done() ran with the operation's result (>= 0 or -errno). flags are those of
// the completion; a multishot operation calls done() again and again while
// they have IORING_CQE_F_MORE.
struct op {
	void (*done)(struct op *op, int result, unsigned flags);
};

// Work handed to a loop. The owner embeds it and keeps it until run() is called.
struct task {
	void (*run)(struct task *task);
	struct task *next;
};

// NULL with the reason.
struct loop *loop_new(struct error *err);

// Nothing may be under way.
void loop_free(struct loop *loop);

// From now on a driver has commands of ours under way for good: loop_free()
// leaves the ring open, for the end of this process, which takes them back from
// this thread. A ring that is closed before that is taken down by a worker of the
// kernel; older ones may wait for ever for the work that a request sends to this
// thread at that moment.
void loop_leave_ring(struct loop *loop);

// Runs until loop_quit(). 0 or -errno of the ring.
int loop_run(struct loop *loop);
void loop_quit(struct loop *loop);

struct clock *loop_clock(struct loop *loop);

// A submission queue entry for the caller to prepare with io_uring_prep_*();
// its user data belongs to the loop. Never NULL: a full queue is submitted
// first. What was prepared is submitted, in one system call, when the loop has
// run all completions at hand.
struct io_uring_sqe *loop_sqe(struct loop *loop, struct op *op);

// LOOP_BUFFERS places in the ring's table of registered buffers, for a driver to
// put memory into: the number of the first. -EOPNOTSUPP: no such table here
// (Linux 5.19); -ENOSPC.
#define LOOP_BUFFERS 128
int loop_buffers_take(struct loop *loop);
void loop_buffers_give(struct loop *loop, int first);

// Asks that op be cancelled; its done() still runs, with -ECANCELED or with
// the result it had already.
void loop_cancel(struct loop *loop, struct op *op);

// Thread-safe: runs task on the loop's thread, after everything that the same
// thread posted before. Wakes the loop only if it sleeps.
void loop_post(struct loop *loop, struct task *task);

#endif
