// SPDX-License-Identifier: Apache-2.0
// Stores into memory that outlives the process, which may die after any of them:
// one whole word, and in this order. In the simulator it does.
#ifndef STEAD_STORE_H
#define STEAD_STORE_H

#include <stdatomic.h>
#include <stdint.h>

#ifdef STEAD_STORE_POINTS
extern void (*store_point)(const void *at); // called after each
#define STORE_POINT(at) store_point(at)
#else
#define STORE_POINT(at) ((void)(at))
#endif

// Everything that was stored before is there before what follows.
static inline void store_barrier(const void *at)
{
	atomic_signal_fence(memory_order_seq_cst);
	STORE_POINT(at);
}

static inline void store_word(uint64_t *at, uint64_t value)
{
	__atomic_store_n(at, value, __ATOMIC_RELAXED);
	store_barrier(at);
}

#endif
