// SPDX-License-Identifier: Apache-2.0
// The blocking half of file_disk.c: opening and making files, and finding out
// what they can do.
#ifndef STEAD_FILE_OPEN_H
#define STEAD_FILE_OPEN_H

#include "file_disk.h"

struct opened_file {
	int fd;
	int stream_fd; // the same file through the page cache, where that is always in step; else fd
	bool device; // a block device
	bool fast_zero; // device: zeroes without being sent them
	uint64_t size;
	uint32_t align;
};

// 0 or -errno with the reason.
int file_open(const char *path, const struct file_disk_options *options, struct opened_file *file, struct error *err);

void file_close(struct opened_file *file);

#endif
