// SPDX-License-Identifier: Apache-2.0
// For LD_PRELOAD: a kernel that has no memory for a table of registered buffers.
#include <errno.h>

struct io_uring;
int io_uring_register_buffers_sparse(struct io_uring *ring, unsigned count);

int io_uring_register_buffers_sparse(struct io_uring *ring, unsigned count)
{
	(void)ring;
	(void)count;
	return -ENOMEM;
}
