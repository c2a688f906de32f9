// SPDX-License-Identifier: Apache-2.0
// Requests whose offset, length or memory the disk does not take as it is. They
// go through a buffer that covers whole sectors; a change first reads the
// sectors that it only touches, alone on its blocks until it has written them.
#include "engine.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static uint64_t align_of(const struct request *request)
{
	return request->source->volumes[request->volume].disk->align;
}

static uint64_t begin_of(const struct request *request)
{
	return request->offset & ~(align_of(request) - 1);
}

static uint64_t end_of(const struct request *request)
{
	return (request->offset + request->length + align_of(request) - 1) & ~(align_of(request) - 1);
}

bool request_is_aligned(const struct request *request)
{
	uint64_t mask = align_of(request) - 1;
	bool data = request->op == REQUEST_READ || request->op == REQUEST_WRITE;

	return !((request->offset | request->length) & mask) && !(data && (uintptr_t)request->data & mask);
}

static void read_done(struct disk_io *io, int error)
{
	struct request *request = container_of(io, struct request, io);

	if (!error)
		memcpy(request->data, request->bounce + (request->offset - begin_of(request)), request->length);
	TAILQ_REMOVE(&request->source->bounced, request, changes);
	free(request->bounce);
	request->bounce = NULL;
	request_finish(request, error);
}

static uint8_t *bounce_buffer(uint64_t bytes)
{
	return aligned_alloc(BLOCK_SIZE, (bytes + BLOCK_SIZE - 1) & ~(BLOCK_SIZE - 1));
}

void unaligned_read(struct request *request)
{
	uint64_t begin = begin_of(request), length = end_of(request) - begin;

	request->bounce = bounce_buffer(length);
	if (!request->bounce) {
		request_finish_later(request, -ENOMEM);
		return;
	}
	TAILQ_INSERT_TAIL(&request->source->bounced, request, changes);
	request->io = (struct disk_io){
	        .op = DISK_READ,
	        .offset = begin,
	        .length = length,
	        .data = request->bounce,
	        .done = read_done,
	};
	request_submit_io(request);
}

// What of a change goes through the buffer. Of a long zero only its edges do,
// one sector each, side by side.
struct span {
	uint64_t begin, end; // bytes, aligned
};

static struct span buffered(const struct request *request)
{
	uint64_t align = align_of(request);
	struct span span = {begin_of(request), end_of(request)};

	if (request->op != REQUEST_WRITE && span.end - span.begin > 2 * align)
		span.end = span.begin + 2 * align;
	return span;
}

static bool split(const struct request *request)
{
	return request->op != REQUEST_WRITE && end_of(request) - begin_of(request) > 2 * align_of(request);
}

static void step_done(struct disk_io *io, int error);

static void submit(struct request *request, enum disk_op op, uint64_t offset, uint64_t length, uint8_t *data)
{
	request->io = (struct disk_io){
	        .op = op,
	        .flags = op != DISK_READ && request->flags & REQUEST_FUA ? DISK_FUA : 0,
	        .offset = offset,
	        .length = length,
	        .data = data,
	        .done = step_done,
	};
	request_submit_io(request);
}

static void fill(struct request *request)
{
	struct span span = buffered(request);
	uint64_t align = align_of(request);
	uint64_t head = request->offset - span.begin;

	if (request->op == REQUEST_WRITE) {
		memcpy(request->bounce + head, request->data, request->length);
	} else if (split(request)) {
		uint64_t tail = request->offset + request->length - (end_of(request) - align);

		memset(request->bounce + head, 0, align - head);
		memset(request->bounce + align, 0, tail);
	} else {
		memset(request->bounce + head, 0, request->length);
	}
}

static void finish(struct request *request, int error)
{
	free(request->bounce);
	request->bounce = NULL;
	tracker_done(request, error);
}

// One step after the other: read head and tail, then the write or, for a long
// zero, two writes of a sector and the zeroes between.
static void next_step(struct request *request)
{
	struct span span = buffered(request);
	uint64_t align = align_of(request), end = end_of(request);
	uint64_t buffer = span.end - span.begin;

	switch (request->step++) {
	case 0:
		submit(request, DISK_READ, span.begin, align, request->bounce);
		return;
	case 1:
		if (end - span.begin > align) {
			submit(request, DISK_READ, end - align, align, request->bounce + buffer - align);
			return;
		}
		request->step++;
		// fall through
	case 2:
		fill(request);
		submit(request, DISK_WRITE, span.begin, split(request) ? align : buffer, request->bounce);
		return;
	case 3:
		if (split(request)) {
			submit(request, DISK_WRITE, end - align, align, request->bounce + align);
			return;
		}
		break;
	case 4:
		submit(request, DISK_ZERO, span.begin + align, end - span.begin - 2 * align, NULL);
		return;
	default:
		break;
	}
	finish(request, 0);
}

static void step_done(struct disk_io *io, int error)
{
	struct request *request = container_of(io, struct request, io);

	if (error)
		finish(request, error);
	else
		next_step(request);
}

int unaligned_prepare(struct request *request)
{
	struct span span = buffered(request);

	request->step = 0;
	request->bounce = bounce_buffer(span.end - span.begin);
	return request->bounce ? 0 : -ENOMEM;
}

void unaligned_change(struct request *request)
{
	next_step(request);
}
