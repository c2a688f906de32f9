// SPDX-License-Identifier: Apache-2.0
// The queue of a ublk device, between the driver and the engine. The driver
// takes commands from the task only that gave the first ones: all but the first
// function belong to the loop's thread.
//
// Everything that a request needs is there before the device is: a write must
// not need memory that only a write could free.
#ifndef STEAD_UBLK_QUEUE_H
#define STEAD_UBLK_QUEUE_H

#include "source.h"

#include "common/error.h"
#include "common/loop.h"

struct ublk_queue;

enum ublk_copies {
	UBLK_DRIVER_COPIES, // between the requests and a buffer of each tag
	UBLK_ZERO_COPY, // the disk below is given the memory of the requests
};

struct ublk_queue_config {
	int fd; // of /dev/ublkcN; the queue's from now on
	unsigned depth;
	uint32_t buffer_bytes; // longest READ or WRITE
	enum ublk_copies copies;
	int first_place; // UBLK_ZERO_COPY: of depth places (loop_buffers_take()); negative: none were to be had
	unsigned volume;
	struct source *source;
};

// Maps memory, on any thread. NULL with the reason; the descriptor is closed
// then.
struct ublk_queue *ublk_queue_new(struct loop *loop, const struct ublk_queue_config *config, struct error *err);

// Asks for requests. ended() is called when the driver has none any more and
// the last is answered.
void ublk_queue_start(struct ublk_queue *queue, void (*ended)(void *user), void *user);

// Begins no further request, so that the driver keeps them for the next
// process, and calls left() when the last is answered; never from within. The
// queue stays as it is until this process is gone: nothing is to be freed.
void ublk_queue_leave(struct ublk_queue *queue, void (*left)(void *user), void *user);

// Not started, or ended.
void ublk_queue_free(struct ublk_queue *queue);

#endif
