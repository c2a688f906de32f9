// SPDX-License-Identifier: Apache-2.0
#include "buffers.h"

#include <stdint.h>
#include <stdlib.h>

#define SHIFT_MIN 12
#define SHIFT_MAX 25
#define CLASSES (SHIFT_MAX - SHIFT_MIN + 1)
#define KEEP_BYTES ((size_t)16 << 20) // of free buffers
#define PAGE 4096

struct buffers {
	struct loop *loop;
	size_t budget;
	size_t used;
	size_t kept;
	void *free[CLASSES]; // each one's first word points to the next
	struct buffer_waiter waiters; // head of a ring
	struct buffer_waiter end; // in it while they are woken: behind the last one to wake
	struct task wake;
	bool waking;
};

static void insert(struct buffer_waiter *waiter, struct buffer_waiter *before)
{
	waiter->next = before;
	waiter->previous = before->previous;
	before->previous->next = waiter;
	before->previous = waiter;
}

static void remove_waiter(struct buffer_waiter *waiter)
{
	waiter->previous->next = waiter->next;
	waiter->next->previous = waiter->previous;
	waiter->next = waiter->previous = NULL;
}

// Those that find no memory wait again, behind the others.
static void wake(struct task *task)
{
	struct buffers *buffers = (struct buffers *)((char *)task - offsetof(struct buffers, wake));

	buffers->waking = false;
	insert(&buffers->end, &buffers->waiters);
	while (buffers->waiters.next != &buffers->end) {
		struct buffer_waiter *waiter = buffers->waiters.next;

		remove_waiter(waiter);
		waiter->ready(waiter);
	}
	remove_waiter(&buffers->end);
}

struct buffers *buffers_new(struct loop *loop, size_t budget)
{
	struct buffers *buffers = calloc(1, sizeof(*buffers));

	if (!buffers)
		return NULL;
	buffers->loop = loop;
	buffers->budget = budget;
	buffers->waiters.next = buffers->waiters.previous = &buffers->waiters;
	buffers->wake.run = wake;
	return buffers;
}

void buffers_free(struct buffers *buffers)
{
	if (!buffers)
		return;
	for (unsigned i = 0; i < CLASSES; i++) {
		while (buffers->free[i]) {
			void *data = buffers->free[i];

			buffers->free[i] = *(void **)data;
			free(data);
		}
	}
	free(buffers);
}

static unsigned class_of(size_t length)
{
	if (length <= (size_t)1 << SHIFT_MIN)
		return 0;
	return 64 - SHIFT_MIN - (unsigned)__builtin_clzll(length - 1);
}

size_t buffers_cost(size_t length)
{
	return (size_t)1 << (SHIFT_MIN + class_of(length));
}

void *buffers_take(struct buffers *buffers, size_t length, bool beyond)
{
	unsigned class = class_of(length);
	size_t cost = buffers_cost(length);
	void *data;

	if (class >= CLASSES)
		return NULL;
	if (!beyond && buffers->used + cost > buffers->budget)
		return NULL;
	data = buffers->free[class];
	if (data) {
		buffers->free[class] = *(void **)data;
		buffers->kept -= cost;
	} else {
		data = aligned_alloc(PAGE, cost);
	}
	if (data)
		buffers->used += cost;
	return data;
}

void buffers_give(struct buffers *buffers, void *data, size_t length)
{
	unsigned class = class_of(length);
	size_t cost = buffers_cost(length);

	buffers->used -= cost;
	if (buffers->kept + cost <= KEEP_BYTES) {
		*(void **)data = buffers->free[class];
		buffers->free[class] = data;
		buffers->kept += cost;
	} else {
		free(data);
	}
	if (buffers->waiters.next != &buffers->waiters && !buffers->waking) {
		buffers->waking = true;
		loop_post(buffers->loop, &buffers->wake);
	}
}

void buffers_wait(struct buffers *buffers, struct buffer_waiter *waiter)
{
	if (!waiter->next)
		insert(waiter, &buffers->waiters);
}

void buffers_unwait(struct buffers *buffers, struct buffer_waiter *waiter)
{
	(void)buffers;
	if (waiter->next)
		remove_waiter(waiter);
}
