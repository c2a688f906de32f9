// SPDX-License-Identifier: Apache-2.0
// The agent's NBD export in front of a file, without the engine: a source that
// hands every request straight to the disk. For interoperability tests and to
// measure what the export itself costs.
//
//   nbd-passthrough [--direct] [--memory] [--delay MS] SOCKET FILE
//
// Prints "ready" when it listens; ends in good order on SIGTERM. --direct goes
// past the page cache and then takes aligned requests only. --memory serves
// memory of the file's size instead. --delay holds each request back, so that
// many are in flight.
#include "agent/export_socket.h"
#include "common/file_disk.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <unistd.h>

struct source {
	struct loop *loop;
	struct disk *disk;
	uint8_t *memory; // instead of the disk
	struct task task;
	bool posted;
	uint64_t delay; // ns
	struct timer timer;
	struct disk_io *first, **end; // of requests held back
	unsigned in_flight, most_in_flight;
	struct socket_export *export;
	struct op signal;
	struct signalfd_siginfo siginfo;
	int signal_fd;
};

static void done(struct disk_io *io, int error)
{
	struct request *request = (struct request *)((char *)io - offsetof(struct request, io));

	if (request->op == REQUEST_TRIM && error == -EOPNOTSUPP)
		error = 0;
	request->source->in_flight--;
	request->done(request, error);
}

static void to_disk(struct source *source, struct request *request)
{
	static const enum disk_op ops[] = {
	        [REQUEST_READ] = DISK_READ, [REQUEST_WRITE] = DISK_WRITE, [REQUEST_ZERO] = DISK_ZERO,
	        [REQUEST_TRIM] = DISK_ZERO, [REQUEST_FLUSH] = DISK_FLUSH,
	};
	unsigned flags = request->flags & REQUEST_FUA ? DISK_FUA : 0;

	if (request->op == REQUEST_TRIM)
		flags |= DISK_UNMAP | DISK_FAST;
	if (request->op == REQUEST_ZERO)
		flags |= (request->flags & REQUEST_NO_HOLE ? 0 : DISK_UNMAP) |
		         (request->flags & REQUEST_FAST ? DISK_FAST : 0);
	request->io = (struct disk_io){
	        .op = ops[request->op],
	        .flags = request->op == REQUEST_READ || request->op == REQUEST_FLUSH ? 0 : flags,
	        .offset = request->offset,
	        .length = request->length,
	        .data = request->data,
	        .done = done,
	};
	disk_submit(source->disk, &request->io);
}

static void in_memory(struct source *source, struct request *request)
{
	uint8_t *memory = source->memory + request->offset;

	if (request->op == REQUEST_READ)
		memcpy(request->data, memory, request->length);
	else if (request->op == REQUEST_WRITE)
		memcpy(memory, request->data, request->length);
	else if (request->op == REQUEST_ZERO)
		memset(memory, 0, request->length);
	done(&request->io, 0);
}

static void release_all(struct source *source)
{
	struct disk_io *io = source->first, *next;

	source->first = NULL;
	source->end = &source->first;
	for (; io; io = next) {
		struct request *request = (struct request *)((char *)io - offsetof(struct request, io));

		next = io->next;
		if (source->memory)
			in_memory(source, request);
		else
			to_disk(source, request);
	}
}

static void release_timer(struct timer *timer)
{
	release_all((struct source *)((char *)timer - offsetof(struct source, timer)));
}

static void release_task(struct task *task)
{
	struct source *source = (struct source *)((char *)task - offsetof(struct source, task));

	source->posted = false;
	release_all(source);
}

void source_submit(struct source *source, struct request *request)
{
	struct clock *clock = loop_clock(source->loop);

	request->source = source;
	if (++source->in_flight > source->most_in_flight)
		source->most_in_flight = source->in_flight;
	if (!source->delay && !source->memory) {
		to_disk(source, request);
		return;
	}
	request->io.next = NULL;
	*source->end = &request->io;
	source->end = &request->io.next;
	if (!source->delay && !source->posted) {
		source->posted = true;
		loop_post(source->loop, &source->task);
	}
	if (source->delay && !source->timer.armed)
		clock_set(clock, &source->timer, clock_now(clock) + source->delay);
}

bool source_hole(struct source *source, unsigned volume, uint64_t offset, uint64_t *length)
{
	(void)volume;
	return source->memory ? false : disk_hole(source->disk, offset, length);
}

static void closed(void *user)
{
	loop_quit(((struct source *)user)->loop);
}

static void signalled(struct op *op, int result, unsigned flags)
{
	struct source *source = (struct source *)((char *)op - offsetof(struct source, signal));

	(void)result;
	(void)flags;
	socket_export_close(source->export, closed, source);
}

static void watch_signals(struct source *source)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigprocmask(SIG_BLOCK, &set, NULL);
	source->signal_fd = signalfd(-1, &set, SFD_CLOEXEC);
	source->signal.done = signalled;
	io_uring_prep_read(loop_sqe(source->loop, &source->signal), source->signal_fd, &source->siginfo,
	                   sizeof(source->siginfo), 0);
}

static int run(struct source *source, const char *socket, const char *file, bool direct, bool memory)
{
	struct file_disk_options options = {.buffered = !direct};
	struct error err;

	source->loop = loop_new(&err);
	if (!source->loop) {
		fprintf(stderr, "nbd-passthrough: %s\n", err.text);
		return 1;
	}
	source->disk = file_disk_open(source->loop, file, &options, &err);
	if (source->disk && memory)
		source->memory = mmap(NULL, source->disk->size, PROT_READ | PROT_WRITE,
		                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (source->memory == MAP_FAILED) {
		fprintf(stderr, "nbd-passthrough: no memory\n");
		return 1;
	}
	if (source->disk) {
		struct export_config config = {
		        .path = socket,
		        .name = "data",
		        .description = "a file, passed through",
		        .size = source->disk->size,
		        .source = source,
		};

		source->export = socket_export_open(source->loop, &config, &err);
	}
	if (!source->export) {
		fprintf(stderr, "nbd-passthrough: %s\n", err.text);
		file_disk_close(source->disk);
		loop_free(source->loop);
		return 1;
	}
	watch_signals(source);
	puts("ready");
	fflush(stdout);
	loop_run(source->loop);
	printf("most in flight: %u\n", source->most_in_flight);
	close(source->signal_fd);
	file_disk_close(source->disk);
	loop_free(source->loop);
	return 0;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"direct", no_argument, NULL, 'd'},
	                                        {"memory", no_argument, NULL, 'm'},
	                                        {"delay", required_argument, NULL, 'D'},
	                                        {0}};
	struct source source = {.end = &source.first, .timer.fire = release_timer, .task.run = release_task};
	bool direct = false, memory = false;
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option == 'd')
			direct = true;
		else if (option == 'm')
			memory = true;
		else if (option == 'D')
			source.delay = strtoull(optarg, NULL, 10) * NSEC_PER_MSEC;
		else
			return 2;
	}
	if (argc - optind != 2) {
		fprintf(stderr, "usage: nbd-passthrough [--direct] [--memory] [--delay MS] SOCKET FILE\n");
		return 2;
	}
	return run(&source, argv[optind], argv[optind + 1], direct, memory);
}
