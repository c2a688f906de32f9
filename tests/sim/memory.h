// SPDX-License-Identifier: Apache-2.0
// Memory of the simulator itself, which does not survive running out of it.
#ifndef STEAD_SIM_MEMORY_H
#define STEAD_SIM_MEMORY_H

#include <stddef.h>
#include <stdlib.h>

static inline void *allocate(size_t bytes) // zeroed
{
	void *memory = calloc(1, bytes ? bytes : 1);

	if (!memory)
		abort();
	return memory;
}

static inline void *resize(void *memory, size_t bytes)
{
	memory = realloc(memory, bytes ? bytes : 1);
	if (!memory)
		abort();
	return memory;
}

#endif
