// SPDX-License-Identifier: Apache-2.0
// A regular file or block device as a struct disk, over a loop's io_uring.
//
// Reads and writes go past the page cache (O_DIRECT) where the file allows it;
// align says what they need, 1 where they go through the cache. A file whose
// size is no multiple of what O_DIRECT needs goes through the cache, so that
// all of it can be reached. ZERO takes any range on a file; where the kernel
// cannot zero and on devices it must be a multiple of align, else -EINVAL.
// A range that reaches beyond the size is -EINVAL. On a file system whose page
// cache stays in step with direct writes, what is marked as a stream goes through
// it, and leaves it soon. A block device is only ever read and written past its
// cache, which is dropped when it is opened and closed.
#ifndef STEAD_FILE_DISK_H
#define STEAD_FILE_DISK_H

#include "disk.h"
#include "error.h"
#include "loop.h"

#include <stdbool.h>
#include <stdint.h>

struct file_disk_options {
	// Makes a file of size bytes, mode 0600, when there is none or an empty
	// one; what is there already is taken as it is.
	bool create;
	uint64_t size;
	bool preallocate; // with create, also for a file that is there: its space is certain
	bool resize; // with create: a file that is there is brought to size
	bool grow; // with create: a smaller file that is there is brought to size, or left as it is with an error

	bool exclusive; // a block device that is mounted, or part of another, is refused
	bool lock; // flock(): refused while another process has it open with this
	bool buffered; // never O_DIRECT: for small files with an align of 1
};

// NULL with the reason, and errno.
struct disk *file_disk_open(struct loop *loop, const char *path, const struct file_disk_options *options,
                            struct error *err);

// Nothing may be under way. NULL is harmless.
void file_disk_close(struct disk *disk);

#endif
