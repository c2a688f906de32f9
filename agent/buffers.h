// SPDX-License-Identifier: Apache-2.0
// Page-aligned buffers for the payload of requests, from free lists and within
// a budget. One thread.
#ifndef STEAD_BUFFERS_H
#define STEAD_BUFFERS_H

#include "common/loop.h"

#include <stdbool.h>
#include <stddef.h>

struct buffers;

// Who waits for memory. The owner embeds it, zeroed.
struct buffer_waiter {
	void (*ready)(struct buffer_waiter *waiter);
	struct buffer_waiter *next, *previous;
};

struct buffers *buffers_new(struct loop *loop, size_t budget); // NULL without memory

// Every buffer must have been given back, and what the loop was posted before
// must have run.
void buffers_free(struct buffers *buffers);

// What a buffer of this length counts in the budget: the next power of two, at
// least a page.
size_t buffers_cost(size_t length);

// NULL when the budget or, even with beyond set, memory is used up. beyond
// takes one in spite of the budget.
void *buffers_take(struct buffers *buffers, size_t length, bool beyond);
void buffers_give(struct buffers *buffers, void *data, size_t length);

// ready() is called once, from the loop, after something was given back.
// Waiting twice is waiting once.
void buffers_wait(struct buffers *buffers, struct buffer_waiter *waiter);
void buffers_unwait(struct buffers *buffers, struct buffer_waiter *waiter);

#endif
