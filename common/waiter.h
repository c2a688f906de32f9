// SPDX-License-Identifier: Apache-2.0
// Something that waits for something else to end, linked into a list of the
// latter.
#ifndef STEAD_WAITER_H
#define STEAD_WAITER_H

#include <stddef.h>

struct waiter {
	void (*wake)(struct waiter *waiter);
	struct waiter *next;
};

static inline void waiter_add(struct waiter **list, struct waiter *waiter)
{
	waiter->next = *list;
	*list = waiter;
}

// Empties the list first: who is woken may begin to wait again.
static inline void waiter_wake_all(struct waiter **list)
{
	struct waiter *waiter = *list;

	*list = NULL;
	while (waiter) {
		struct waiter *next = waiter->next;

		waiter->wake(waiter);
		waiter = next;
	}
}

#endif
