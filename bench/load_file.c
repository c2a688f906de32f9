// SPDX-License-Identifier: Apache-2.0
// The load generator on the file itself: io_uring and O_DIRECT, what the fastest
// server could do at best.
#include "load.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct file {
	struct io_uring ring;
	int fd;
} file;

static void file_open(struct load *load, const char *where)
{
	struct stat stat;
	int error;

	file.fd = open(where, (load->writes ? O_RDWR : O_RDONLY) | O_DIRECT | O_CLOEXEC);
	if (file.fd < 0 || fstat(file.fd, &stat) < 0)
		complain("open %s: %s", where, strerror(errno));
	load->size = (uint64_t)stat.st_size;
	error = io_uring_queue_init(load->depth, &file.ring, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN);
	if (error)
		complain("io_uring: %s", strerror(-error));
	error = io_uring_register_files(&file.ring, &file.fd, 1);
	if (error)
		complain("io_uring: register a file: %s", strerror(-error));
}

static void file_put(struct load *load, unsigned index)
{
	const struct load_slot *slot = &load->slots[index];
	struct io_uring_sqe *sqe = io_uring_get_sqe(&file.ring);

	if (slot->op == LOAD_FLUSH)
		io_uring_prep_fsync(sqe, 0, IORING_FSYNC_DATASYNC);
	else if (slot->op == LOAD_WRITE)
		io_uring_prep_write(sqe, 0, slot->data, slot->length, slot->offset);
	else
		io_uring_prep_read(sqe, 0, load->scratch + (size_t)index * load->block, slot->length, slot->offset);
	io_uring_sqe_set_flags(sqe, IOSQE_FIXED_FILE);
	io_uring_sqe_set_data64(sqe, index);
}

static void file_wait(uint64_t until)
{
	struct io_uring_cqe *cqe;
	struct __kernel_timespec left;
	uint64_t now;
	int error;

	if (until == UINT64_MAX) {
		error = io_uring_submit_and_wait(&file.ring, 1);
	} else {
		now = now_ns();
		left.tv_sec = until > now ? (int64_t)((until - now) / 1000000000) : 0;
		left.tv_nsec = until > now ? (int64_t)((until - now) % 1000000000) : 0;
		error = io_uring_submit_and_wait_timeout(&file.ring, &cqe, 1, &left, NULL);
	}
	if (error < 0 && error != -ETIME && error != -EINTR)
		complain("io_uring: %s", strerror(-error));
}

static void file_run(struct load *load, uint64_t until)
{
	struct io_uring_cqe *cqe;

	file_wait(until);
	while (io_uring_peek_cqe(&file.ring, &cqe) == 0) {
		unsigned index = (unsigned)io_uring_cqe_get_data64(cqe);
		int result = cqe->res;
		bool whole = load->slots[index].op == LOAD_FLUSH || result == (int)load->slots[index].length;

		io_uring_cqe_seen(&file.ring, cqe);
		load_done(load, index, result < 0 ? -result : whole ? 0 : EIO);
	}
}

static void file_close(struct load *load)
{
	(void)load;
	io_uring_queue_exit(&file.ring);
	close(file.fd);
}

const struct load_target file_target = {file_open, file_put, file_run, file_close};
