// SPDX-License-Identifier: Apache-2.0
#include "map_guard.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

// A handler looks at them at any moment, so they are never freed, and used again.
struct slot {
	_Atomic(struct map_guard *) guard;
	struct slot *next;
};

static _Atomic(struct slot *) slots;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; // of who begins and ends
static struct sigaction former;

// Whether [offset, end) of the file is in memory now. What the file has no page
// for is zero in both.
static bool read_range(const struct map_guard *guard, uint8_t *memory, off_t offset, off_t end)
{
	while (offset < end) {
		ssize_t got = pread(guard->fd, memory + offset, (size_t)(end - offset), offset);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return false;
		offset += got;
	}
	return true;
}

// A page at a time where not all can be read at once.
static bool read_pages(const struct map_guard *guard, uint8_t *memory, off_t offset, off_t end)
{
	bool all = true;

	if (read_range(guard, memory, offset, end))
		return true;
	for (; offset < end; offset += 4096)
		all &= read_range(guard, memory, offset, offset + 4096 < end ? offset + 4096 : end);
	return all;
}

static bool copy(const struct map_guard *guard, uint8_t *memory)
{
	struct stat st;
	bool all = fstat(guard->fd, &st) == 0 && (size_t)st.st_size == guard->bytes;
	off_t end = all ? st.st_size : 0, data, hole;

	for (hole = 0; hole < end;) {
		data = lseek(guard->fd, hole, SEEK_DATA);
		if (data < 0)
			return all && errno == ENXIO;
		hole = lseek(guard->fd, data, SEEK_HOLE);
		if (hole < 0)
			return false;
		all &= read_pages(guard, memory, data, hole);
	}
	return all;
}

// Of the signal handler too: only what is safe there. False: the memory is as it was.
static bool detach(struct map_guard *guard, bool lost)
{
	uint8_t *memory =
	        mmap(NULL, guard->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (memory == MAP_FAILED)
		return false;
	if (!copy(guard, memory))
		lost = true;
	if (mremap(memory, guard->bytes, guard->bytes, MREMAP_MAYMOVE | MREMAP_FIXED, guard->memory) == MAP_FAILED) {
		munmap(memory, guard->bytes);
		return false;
	}
	if (ftruncate(guard->fd, 0) < 0)
		lost = true; // the next process may find it: the engine says in its log that it is not complete
	if (lost)
		guard->lost = true;
	guard->detached = true;
	return true;
}

static void fault(int number, siginfo_t *info, void *context)
{
	int error = errno;
	uintptr_t at = (uintptr_t)info->si_addr;

	(void)number;
	(void)context;
	for (struct slot *slot = slots; slot; slot = slot->next) {
		struct map_guard *guard = slot->guard;

		if (!guard || guard->detached || at - (uintptr_t)guard->memory >= guard->bytes)
			continue;
		if (!detach(guard, false))
			break;
		errno = error;
		return;
	}
	// It comes again, and does what it does everywhere else.
	sigaction(SIGBUS, &former, NULL);
	errno = error;
}

static int handle(void)
{
	struct sigaction action = {.sa_sigaction = fault, .sa_flags = SA_SIGINFO}, now;

	sigemptyset(&action.sa_mask);
	if (sigaction(SIGBUS, NULL, &now) < 0)
		return -errno;
	if ((now.sa_flags & SA_SIGINFO) && now.sa_sigaction == fault)
		return 0;
	former = now;
	return sigaction(SIGBUS, &action, NULL) < 0 ? -errno : 0;
}

static struct slot *free_slot(void)
{
	struct slot *slot;

	for (slot = slots; slot; slot = slot->next)
		if (!slot->guard)
			return slot;
	slot = calloc(1, sizeof(*slot));
	if (!slot)
		return NULL;
	slot->next = slots;
	slots = slot;
	return slot;
}

int map_guard_begin(struct map_guard *guard, void *memory, size_t bytes, int fd)
{
	struct slot *slot;
	int result;

	guard->memory = memory;
	guard->bytes = bytes;
	guard->fd = fd;
	guard->detached = guard->lost = false;
	pthread_mutex_lock(&lock);
	result = handle();
	slot = result ? NULL : free_slot();
	if (slot)
		slot->guard = guard;
	else if (!result)
		result = -ENOMEM;
	pthread_mutex_unlock(&lock);
	return result;
}

void map_guard_end(struct map_guard *guard)
{
	pthread_mutex_lock(&lock);
	for (struct slot *slot = slots; slot; slot = slot->next)
		if (slot->guard == guard)
			slot->guard = NULL;
	pthread_mutex_unlock(&lock);
}

void map_guard_detach(struct map_guard *guard, bool lost)
{
	if (!guard->detached && !detach(guard, lost))
		guard->lost = true;
	if (lost)
		guard->lost = true;
}
