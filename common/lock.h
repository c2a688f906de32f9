// SPDX-License-Identifier: Apache-2.0
// Exclusive locks on whole files (flock), between processes.
#ifndef STEAD_LOCK_H
#define STEAD_LOCK_H

#define LOCK_PATIENCE_MS 3000

// 0, -EWOULDBLOCK when another process holds it, or -errno. Blocks for up to
// LOCK_PATIENCE_MS: the files of a killed process are closed by the kernel only
// when its last io_uring request has ended, which may be after the process
// itself is gone and its successor started. The lock goes with fd.
int lock_file(int fd);

#endif
