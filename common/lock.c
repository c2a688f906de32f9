// SPDX-License-Identifier: Apache-2.0
#include "lock.h"

#include <errno.h>
#include <sys/file.h>
#include <time.h>

#define RETRY_MS 20

int lock_file(int fd)
{
	const struct timespec retry = {.tv_nsec = RETRY_MS * 1000000L};

	// Nothing tells when a lock is free, and waiting for it in flock() has no
	// limit.
	for (int waited = 0;; waited += RETRY_MS) {
		if (flock(fd, LOCK_EX | LOCK_NB) == 0)
			return 0;
		if (errno != EWOULDBLOCK && errno != EINTR)
			return -errno;
		if (waited >= LOCK_PATIENCE_MS)
			return -EWOULDBLOCK;
		nanosleep(&retry, NULL);
	}
}
