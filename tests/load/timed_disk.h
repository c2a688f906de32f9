// SPDX-License-Identifier: Apache-2.0
// A disk that takes its time: one operation after another, each for a latency
// and for its bytes at a rate.
#ifndef STEAD_LOAD_TIMED_DISK_H
#define STEAD_LOAD_TIMED_DISK_H

#include "common/disk.h"
#include "tests/sim/scheduler.h"

#include <stdint.h>

struct timed_disk {
	struct disk disk;
	struct scheduler *scheduler;
	uint64_t latency; // ns
	uint64_t rate; // bytes a second
	uint8_t *bytes; // content
	bool written; // else all of it is a hole
	struct disk_io *first, *last; // the first one is under way
	unsigned reads, reads_most; // of them, and at most so far
	struct event done;
};

void timed_disk_init(struct timed_disk *timed, struct scheduler *scheduler, uint64_t size, uint64_t rate);
void timed_disk_free(struct timed_disk *timed); // what is under way is forgotten

#endif
