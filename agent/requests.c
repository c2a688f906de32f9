// SPDX-License-Identifier: Apache-2.0
// Requests, from the application and back to it. What changes nothing goes to the
// disk from here.
#include "engine.h"

#include "common/mutant.h"

#include <errno.h>

#define DATA_BYTES_MAX (UINT64_C(32) << 20)

void request_finish(struct request *request, int error)
{
	struct source *source = request->source;

	source->requests--;
	source->served = true;
	request->done(request, error);
	if (source->stopping)
		source_check_stopped(source);
}

void request_finish_later(struct request *request, int error)
{
	struct source *source = request->source;

	request->error = error;
	TAILQ_INSERT_TAIL(&source->finished, request, changes);
	clock_set(source->clock, &source->finish, 0);
}

static bool is_data(const struct request *request)
{
	return request->op == REQUEST_READ || request->op == REQUEST_WRITE;
}

static int check(const struct source *source, const struct request *request)
{
	uint64_t bytes;

	if (!source->serving || source->stopping)
		return -ESHUTDOWN;
	if (request->volume >= source->volume_count)
		return -EINVAL;
	bytes = source->volumes[request->volume].bytes;
	if (request->op == REQUEST_FLUSH)
		return 0;
	if (request->offset > bytes || request->length > bytes - request->offset)
		return request->op == REQUEST_WRITE ? -ENOSPC : -EINVAL;
	if (request->registered && !request_is_aligned(request))
		return -EINVAL;
	return is_data(request) && request->length > DATA_BYTES_MAX ? -EINVAL : 0;
}

static void io_done(struct disk_io *io, int error)
{
	struct request *request = container_of(io, struct request, io);

	request_finish(request, error);
}

void request_submit_io(struct request *request)
{
	disk_submit(request->source->volumes[request->volume].disk, &request->io);
}

static void pass_through(struct request *request)
{
	request->io = (struct disk_io){
	        .op = request->op == REQUEST_READ ? DISK_READ : DISK_FLUSH,
	        .offset = request->offset,
	        .length = request->length,
	        .data = request->data,
	        .registered = request->registered,
	        .done = io_done,
	};
	request_submit_io(request);
}

// A trim may do less than it was asked for: whole blocks only. False when
// nothing is left of it.
static bool shrink_trim(struct request *request)
{
	uint64_t end = request->offset + request->length;

	if (request->source->volumes[request->volume].no_unmap)
		return false;
	if (end != request->source->volumes[request->volume].bytes)
		end = end / BLOCK_SIZE * BLOCK_SIZE;
	request->offset = bytes_to_blocks(request->offset) * BLOCK_SIZE;
	if (request->offset >= end)
		return false;
	request->length = end - request->offset;
	return true;
}

static void dispatch(struct request *request);

static void dispatch_again(struct waiter *waiter)
{
	dispatch(container_of(waiter, struct request, waiter));
}

static void dispatch(struct request *request)
{
	struct source *source = request->source;
	int error = check(source, request);

	// What the peer may have changed already must not be read here.
	if (!error && source->handover && !(MUTANT(HELD_READ_SERVED) && request->op == REQUEST_READ)) {
		request->waiter.wake = dispatch_again;
		waiter_add(&source->held, &request->waiter);
		return;
	}
	if (error || (request->op != REQUEST_FLUSH && !request->length) ||
	    (request->op == REQUEST_TRIM && !shrink_trim(request))) {
		request_finish_later(request, error);
		return;
	}
	if (request->op == REQUEST_FLUSH || (request->op == REQUEST_READ && request_is_aligned(request))) {
		pass_through(request);
		return;
	}
	if (request->op == REQUEST_READ) {
		unaligned_read(request);
		return;
	}
	request->range.first = request->offset >> BLOCK_SHIFT;
	request->range.count = bytes_to_blocks(request->offset + request->length) - (request->offset >> BLOCK_SHIFT);
	request->exclusive = !request_is_aligned(request);
	if (request->exclusive) {
		bool fast = request->op == REQUEST_ZERO && request->flags & REQUEST_FAST;

		error = fast ? -EOPNOTSUPP : unaligned_prepare(request);
		if (error) {
			request_finish_later(request, error);
			return;
		}
	}
	TAILQ_INSERT_TAIL(&source->changes, request, changes);
	tracker_admit(request);
}

void source_submit(struct source *source, struct request *request)
{
	request->source = source;
	request->waiters = NULL;
	request->bounce = NULL;
	request->marked = false;
	request->exclusive = false;
	request->contended = false;
	source->requests++;
	dispatch(request);
}
