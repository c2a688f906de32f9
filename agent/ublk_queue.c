// SPDX-License-Identifier: Apache-2.0
#include "ublk_queue.h"

#include "ublk_abi.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/queue.h>
#include <unistd.h>

#define PAGE ((size_t)4096)

struct tag {
	struct op op;
	struct request request;
	struct ublk_queue *queue;
	const struct ublk_io_desc *desc;
	uint8_t *buffer; // with zero copy: for writes that the engine keeps
	uint16_t number;
	STAILQ_ENTRY(tag) link; // in copied
};

// One piece of memory: this, the tags, their buffers, the spare one.
struct ublk_queue {
	struct loop *loop;
	struct ublk_queue_config config;
	size_t bytes, desc_bytes;
	const struct ublk_io_desc *descs;

	unsigned waiting; // tags whose command the driver has
	unsigned in_engine;
	bool leaving;
	struct task end;
	bool ending, over; // end is posted, has run

	// With zero copy: requests whose memory the kernel could not register. They
	// go through one buffer, the first of them has it.
	STAILQ_HEAD(, tag) copied;
	uint8_t *spare;

	void (*ended)(void *user);
	void *user;
	struct tag tags[];
};

static size_t to_pages(size_t bytes)
{
	return (bytes + PAGE - 1) & ~(PAGE - 1);
}

static void end(struct task *task)
{
	struct ublk_queue *queue = (struct ublk_queue *)((char *)task - offsetof(struct ublk_queue, end));

	queue->over = true;
	queue->ended(queue->user); // may free it
}

static void settle(struct ublk_queue *queue)
{
	if (queue->ending || queue->in_engine || (!queue->leaving && queue->waiting))
		return;
	queue->ending = true;
	loop_post(queue->loop, &queue->end);
}

// A place that there is not has every request go through the spare buffer.
static uint64_t place_of(const struct tag *tag)
{
	int first = tag->queue->config.first_place;

	return first < 0 ? UBLK_BUFFER_PLACE_MAX : (uint64_t)first + tag->number;
}

// Gives the driver the tag's last result, with COMMIT_AND_FETCH, and asks for
// its next request.
static void ask(struct tag *tag, uint32_t operation, int32_t result)
{
	struct ublk_queue *queue = tag->queue;
	struct io_uring_sqe *sqe = loop_sqe(queue->loop, &tag->op);
	bool zero_copy = queue->config.copies == UBLK_ZERO_COPY;
	const struct ublk_io_cmd command = {
	        .tag = tag->number, .result = result, .addr = zero_copy ? 0 : (uintptr_t)tag->buffer};

	sqe->opcode = IORING_OP_URING_CMD;
	if (zero_copy)
		sqe->addr = place_of(tag) | UBLK_BUFFER_FALLBACK;
	sqe->fd = queue->config.fd;
	sqe->cmd_op = operation;
	memcpy(sqe->cmd, &command, sizeof(command));
	queue->waiting++;
}

static void answer(struct tag *tag, int error)
{
	int32_t bytes =
	        tag->request.op == REQUEST_READ || tag->request.op == REQUEST_WRITE ? (int32_t)tag->request.length : 0;

	ask(tag, UBLK_IO_COMMIT_AND_FETCH_REQ, error < 0 ? error : bytes);
}

static void copied_done(struct tag *tag, int *error);

static void request_done(struct request *request, int error)
{
	struct tag *tag = (struct tag *)((char *)request - offsetof(struct tag, request));

	tag->queue->in_engine--;
	if (request->data && request->data == tag->queue->spare)
		copied_done(tag, &error);
	answer(tag, error);
	settle(tag->queue);
}

// -- with zero copy: what is copied nevertheless --

// Between a buffer and the request's memory, in the direction of the request.
static int copy(struct tag *tag)
{
	struct ublk_queue *queue = tag->queue;
	size_t length = (size_t)tag->request.length;
	off_t at = (off_t)UBLK_CONTENT(tag->number);
	void *data = tag->request.data;
	ssize_t got = tag->request.op == REQUEST_WRITE ? pread(queue->config.fd, data, length, at)
	                                               : pwrite(queue->config.fd, data, length, at);

	if (got < 0)
		return -errno;
	return (size_t)got == length ? 0 : -EIO;
}

static void begin_copied(struct tag *tag, uint8_t *data)
{
	int error;

	tag->request.data = data;
	error = tag->request.op == REQUEST_WRITE ? copy(tag) : 0;
	if (error < 0)
		request_done(&tag->request, error);
	else
		source_submit(tag->queue->config.source, &tag->request);
}

static void copied_done(struct tag *tag, int *error)
{
	struct ublk_queue *queue = tag->queue;

	if (!*error && tag->request.op == REQUEST_READ)
		*error = copy(tag);
	STAILQ_REMOVE_HEAD(&queue->copied, link);
	if (!STAILQ_EMPTY(&queue->copied))
		begin_copied(STAILQ_FIRST(&queue->copied), queue->spare);
}

static void begin_uncopied(struct tag *tag)
{
	struct ublk_queue *queue = tag->queue;

	if (tag->request.op == REQUEST_WRITE && tag->request.length <= SOURCE_KEPT_BYTES) {
		begin_copied(tag, tag->buffer);
		return;
	}
	if (!(tag->desc->op_flags & UBLK_IO_F_NEED_REG_BUF)) {
		tag->request.registered = (unsigned)place_of(tag) + 1;
		source_submit(queue->config.source, &tag->request);
		return;
	}
	STAILQ_INSERT_TAIL(&queue->copied, tag, link);
	if (STAILQ_FIRST(&queue->copied) == tag)
		begin_copied(tag, queue->spare);
}

// False: the driver sent what was never announced to it.
static bool translate(const struct ublk_io_desc *desc, struct request *request)
{
	unsigned flags = desc->op_flags;

	request->flags = flags & UBLK_IO_F_FUA ? REQUEST_FUA : 0;
	switch (flags & UBLK_OP_MASK) {
	case UBLK_OP_READ:
		request->op = REQUEST_READ;
		return true;
	case UBLK_OP_WRITE:
		request->op = REQUEST_WRITE;
		return true;
	case UBLK_OP_FLUSH:
		request->op = REQUEST_FLUSH;
		return true;
	case UBLK_OP_DISCARD:
		request->op = REQUEST_TRIM;
		return true;
	case UBLK_OP_WRITE_ZEROES:
		request->op = REQUEST_ZERO;
		request->flags |= flags & UBLK_IO_F_NOUNMAP ? REQUEST_NO_HOLE : 0;
		return true;
	default:
		return false;
	}
}

static void begin(struct tag *tag)
{
	struct ublk_queue *queue = tag->queue;
	const struct ublk_io_desc *desc = tag->desc;
	struct request *request = &tag->request;

	*request = (struct request){
	        .volume = queue->config.volume,
	        .offset = desc->start_sector << 9,
	        .length = (uint64_t)desc->nr_sectors << 9,
	        .data = tag->buffer,
	        .done = request_done,
	};
	if (!translate(desc, request)) {
		answer(tag, -EOPNOTSUPP);
		return;
	}
	if (request->op == REQUEST_FLUSH)
		request->offset = request->length = 0;
	queue->in_engine++;
	if (queue->config.copies == UBLK_ZERO_COPY && (request->op == REQUEST_READ || request->op == REQUEST_WRITE))
		begin_uncopied(tag);
	else
		source_submit(queue->config.source, request);
}

static void fetched(struct op *op, int result, unsigned flags)
{
	struct tag *tag = (struct tag *)op;
	struct ublk_queue *queue = tag->queue;

	(void)flags;
	queue->waiting--;
	if (result == 0 && !queue->leaving)
		begin(tag);
	settle(queue);
}

void ublk_queue_start(struct ublk_queue *queue, void (*ended)(void *user), void *user)
{
	queue->ended = ended;
	queue->user = user;
	for (unsigned i = 0; i < queue->config.depth; i++)
		ask(&queue->tags[i], UBLK_IO_FETCH_REQ, 0);
}

void ublk_queue_leave(struct ublk_queue *queue, void (*left)(void *user), void *user)
{
	queue->leaving = true;
	if (queue->over)
		queue->ending = false;
	queue->ended = left;
	queue->user = user;
	settle(queue);
}

static int map_descs(struct ublk_queue *queue, struct error *err)
{
	void *descs;

	queue->desc_bytes = to_pages(UBLK_DESC_BYTES(queue->config.depth));
	descs = mmap(NULL, queue->desc_bytes, PROT_READ, MAP_SHARED | MAP_POPULATE, queue->config.fd, 0);
	if (descs == MAP_FAILED)
		return fail(err, errno, "ublk: map the queue of the device: %s", strerror(errno));
	queue->descs = descs;
	return 0;
}

struct ublk_queue *ublk_queue_new(struct loop *loop, const struct ublk_queue_config *config, struct error *err)
{
	size_t front = to_pages(sizeof(struct ublk_queue) + config->depth * sizeof(struct tag));
	bool zero_copy = config->copies == UBLK_ZERO_COPY;
	size_t each = zero_copy ? (size_t)SOURCE_KEPT_BYTES : config->buffer_bytes;
	size_t bytes = front + config->depth * each + (zero_copy ? config->buffer_bytes : 0);
	struct ublk_queue *queue =
	        mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (queue == MAP_FAILED) {
		fail(err, errno, "ublk: allocate %zu bytes for the queue: %s", bytes, strerror(errno));
		close(config->fd);
		return NULL;
	}
	queue->loop = loop;
	queue->config = *config;
	queue->bytes = bytes;
	queue->end.run = end;
	queue->spare = zero_copy ? (uint8_t *)queue + front + config->depth * each : NULL;
	STAILQ_INIT(&queue->copied);
	if (map_descs(queue, err) < 0) {
		ublk_queue_free(queue);
		return NULL;
	}
	for (unsigned i = 0; i < config->depth; i++)
		queue->tags[i] = (struct tag){
		        .op = {fetched},
		        .queue = queue,
		        .desc = queue->descs + i,
		        .buffer = (uint8_t *)queue + front + i * each,
		        .number = (uint16_t)i,
		};
	return queue;
}

void ublk_queue_free(struct ublk_queue *queue)
{
	if (queue->descs)
		munmap((void *)queue->descs, queue->desc_bytes);
	close(queue->config.fd);
	munmap(queue, queue->bytes);
}
