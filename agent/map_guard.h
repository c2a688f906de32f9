// SPDX-License-Identifier: Apache-2.0
// A store to a mapped file may find no space, and a load a page that cannot be
// read: the kernel tells that with SIGBUS. For the memory that is guarded here
// it ends nothing: the memory becomes the process's own, with what could be read,
// and the file is emptied, so that nobody takes it for complete.
#ifndef STEAD_MAP_GUARD_H
#define STEAD_MAP_GUARD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

struct map_guard {
	void *memory; // a shared mapping of all of the file
	size_t bytes;
	int fd;
	atomic_bool detached; // the memory is no file any more
	atomic_bool lost; // and not all of what it held could be read
};

// The guard stays where it is until map_guard_end(). 0 or -errno.
int map_guard_begin(struct map_guard *guard, void *memory, size_t bytes, int fd);
void map_guard_end(struct map_guard *guard);

// The file is not to be believed any more; lost: neither is what is in memory.
void map_guard_detach(struct map_guard *guard, bool lost);

#endif
