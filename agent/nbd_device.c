// SPDX-License-Identifier: Apache-2.0
#include "nbd_device.h"

#include "connection.h"
#include "device_use.h"
#include "nbd_netlink.h"
#include "nbd_sysfs.h"
#include "nbd_wire.h"

#include "common/job.h"
#include "common/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define SLOTS 128 // as many requests as the kernel sends at a time
#define SLOT_BYTES ((uint32_t)128 << 10)
#define MEMORY_BYTES ((size_t)SLOTS * SLOT_BYTES)
#define SOCKET_BYTES (4 << 20)

// The kernel looks for requests that a dead connection has swallowed only so
// often. When it finds one that merely takes long it logs a line.
#define RESEND_MSEC 5000

#define ATTACH_NSEC (100 * NSEC_PER_MSEC) // between attempts
#define ATTACH_BUSY_NSEC NSEC_PER_SEC // while it is in use: the kernel logs each

struct nbd_device {
	struct connection_host host;
	const struct export_config *config;
	char path[32];
	unsigned index;
	struct connection *connection; // NULL: none now
	struct timer attach;
	struct task later;
	struct job job;
	bool working;
	int fd; // our end, of the job
	int result;
	struct error reason;

	bool open, closing;
	bool lost, lost_told; // since it is open; that it is not to be had either
	enum export_end end;
	void (*opened)(void *user, int error, const struct error *reason);
	void (*presence)(void *user, bool there, const char *why);
	void (*closed)(void *user);
	void *user;
};

static struct nbd_device *of_job(struct job *job)
{
	return (struct nbd_device *)((char *)job - offsetof(struct nbd_device, job));
}

static int start_job(struct nbd_device *device, void (*work)(struct job *job), void (*done)(struct job *job))
{
	int result;

	device->job.work = work;
	device->job.done = done;
	result = job_start(device->host.loop, &device->job);
	device->working = result == 0;
	return result;
}

static void finish(struct task *task)
{
	struct nbd_device *device = (struct nbd_device *)((char *)task - offsetof(struct nbd_device, later));
	void (*opened)(void *user, int error, const struct error *reason) = device->open ? NULL : device->opened;
	void (*closed)(void *user) = device->closed;
	void *user = device->user;
	int result = device->result;
	struct error reason = device->reason;

	if (device->host.memory)
		munmap(device->host.memory, MEMORY_BYTES);
	free(device);
	if (opened)
		opened(user, result, &reason);
	else
		closed(user);
}

static void finish_later(struct nbd_device *device)
{
	device->later = (struct task){finish, NULL};
	loop_post(device->host.loop, &device->later);
}

// -- attaching --

static int make_pair(int ends[2], struct error *err)
{
	static const int bytes = SOCKET_BYTES;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
		return fail(err, errno, "nbd: make a socket pair: %s", strerror(errno));
	(void)setsockopt(ends[1], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
	return 0;
}

// A device of ours that was disconnected, but is still mounted by somebody, is
// not to be had any more: the kernel refuses it. One that was disconnected
// under us keeps its number.
static int hand_over(struct nbd_device *device, int fd)
{
	const struct nbd_client client = {
	        .id = device->config->id,
	        .size = device->config->size,
	        .block = device->config->sector,
	        .flags = NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_FLUSH | NBD_FLAG_SEND_FUA | NBD_FLAG_SEND_TRIM |
	                 NBD_FLAG_SEND_WRITE_ZEROES,
	        .fd = fd,
	};
	int result = -EINVAL;
	unsigned index;

	if (nbd_sysfs_find(device->config->id, &index))
		result = nbd_netlink_reconnect(&client, index, &device->reason);
	if (result == 0)
		device->index = index;
	if (result == -EINVAL)
		result = nbd_netlink_connect(&client, &device->index, &device->reason);
	return result;
}

static int attach(struct nbd_device *device)
{
	int ends[2], result;

	if (!device->host.memory) {
		void *memory = mmap(NULL, MEMORY_BYTES, PROT_READ | PROT_WRITE,
		                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

		if (memory == MAP_FAILED)
			return fail(&device->reason, errno, "nbd: allocate buffers: %s", strerror(errno));
		device->host.memory = memory;
	}
	result = make_pair(ends, &device->reason);
	if (result < 0)
		return result;
	result = hand_over(device, ends[1]);
	close(ends[1]);
	if (result < 0) {
		close(ends[0]);
		return result;
	}
	device->fd = ends[0];
	snprintf(device->path, sizeof(device->path), "/dev/nbd%u", device->index);
	nbd_sysfs_tune(device->index, SLOT_BYTES, RESEND_MSEC);
	return 0;
}

static void attach_work(struct job *job)
{
	struct nbd_device *device = of_job(job);

	device->result = attach(device);
}

static void close_down(struct nbd_device *device);

static void try_again(struct nbd_device *device)
{
	struct clock *clock = loop_clock(device->host.loop);

	clock_set(clock, &device->attach, clock_now(clock) + (device->lost_told ? ATTACH_BUSY_NSEC : ATTACH_NSEC));
}

// The kernel looks for partitions when a device is opened for the first time:
// now, when there is somebody who answers.
static void scan_work(struct job *job)
{
	int fd = open(of_job(job)->path, O_RDONLY | O_CLOEXEC);

	if (fd >= 0)
		close(fd);
}

static void scan_done(struct job *job)
{
	struct nbd_device *device = of_job(job);

	device->working = false;
	device->open = true;
	device->opened(device->user, 0, NULL);
}

// The kernel attaches a device that was disconnected only once nobody has it open.
static void tell_busy(struct nbd_device *device)
{
	if (!device->lost_told)
		log_event(LOG_LEVEL_ERROR, "device-not-attached", "volume=%s device=%s reason=%s advice=%s",
		          device->config->name, device->path, device->reason.text,
		          "unmount it, and end who has it open: it is attached then");
	device->lost_told = true;
}

static void attach_done(struct job *job)
{
	struct nbd_device *device = of_job(job);

	device->working = false;
	if (device->result == 0) {
		device->connection = connection_new_attached(&device->host, device->fd);
		if (!device->connection)
			device->result = fail(&device->reason, ENOMEM, "nbd: out of memory");
	}
	if (device->closing) {
		close_down(device);
	} else if (device->open && device->result < 0) {
		tell_busy(device);
		try_again(device);
	} else if (device->lost) {
		device->lost = device->lost_told = false;
		device->presence(device->user, true, NULL);
	} else if (device->result < 0) {
		finish_later(device);
	} else if (!device->open && start_job(device, scan_work, scan_done) < 0) {
		scan_done(&device->job);
	}
}

static void attach_again(struct timer *timer)
{
	struct nbd_device *device = (struct nbd_device *)((char *)timer - offsetof(struct nbd_device, attach));

	if (device->working || start_job(device, attach_work, attach_done) < 0)
		try_again(device);
}

// The kernel has let go of it: it was disconnected by somebody, or did not
// take this end because it had not noticed yet that the former one is dead.
static void connection_ended(struct connection_host *host, struct connection *connection)
{
	struct nbd_device *device = (struct nbd_device *)host;

	(void)connection;
	device->connection = NULL;
	if (device->closing) {
		if (!device->working)
			finish_later(device);
		return;
	}
	try_again(device);
	if (!device->open || device->lost)
		return;
	device->lost = true;
	device->presence(device->user, false, "somebody disconnected it; it is attached again");
}

struct nbd_device *nbd_device_open(struct loop *loop, const struct export_config *config,
                                   void (*opened)(void *user, int error, const struct error *reason),
                                   void (*presence)(void *user, bool there, const char *why), void *user,
                                   struct error *err)
{
	struct nbd_device *device = calloc(1, sizeof(*device));

	if (!device) {
		fail(err, ENOMEM, "nbd: out of memory");
		return NULL;
	}
	device->host = (struct connection_host){
	        .loop = loop,
	        .buffers = config->buffers,
	        .export = {.name = config->name, .size = config->size},
	        .source = config->source,
	        .volume = config->volume,
	        .ended = connection_ended,
	        .slots = SLOTS,
	        .slot_bytes = SLOT_BYTES,
	};
	device->config = config;
	device->index = NBD_ANY;
	device->attach.fire = attach_again;
	device->opened = opened;
	device->presence = presence;
	device->user = user;
	if (start_job(device, attach_work, attach_done) == 0)
		return device;
	free(device);
	fail(err, EAGAIN, "nbd: make a device: no thread");
	return NULL;
}

const char *nbd_device_path(const struct nbd_device *device)
{
	return device->path;
}

// -- closing --

static void disconnect_work(struct job *job)
{
	struct nbd_device *device = of_job(job);
	struct error reason;
	unsigned index;

	// The number may be somebody else's once it was disconnected under us.
	if (!nbd_sysfs_find(device->config->id, &index) || index != device->index)
		return;
	if (device->end == EXPORT_LEAVE && device_use(device->path + strlen("/dev/"), &reason) < 0)
		return;
	if (nbd_netlink_disconnect(device->index, &reason) < 0)
		log_event(LOG_LEVEL_ERROR, "device-not-ended", "volume=%s device=%s reason=%s", device->config->name,
		          device->path, reason.text);
}

static void disconnect_done(struct job *job)
{
	struct nbd_device *device = of_job(job);

	device->working = false;
	if (!device->connection)
		finish_later(device);
	else // what it has sent and is not answered has failed, or comes again
		connection_finish(device->connection);
}

static void close_down(struct nbd_device *device)
{
	if (device->working) // attaching: it comes here again
		return;
	clock_cancel(loop_clock(device->host.loop), &device->attach);
	if (start_job(device, disconnect_work, disconnect_done) == 0)
		return;
	disconnect_work(&device->job);
	disconnect_done(&device->job);
}

void nbd_device_close(struct nbd_device *device, enum export_end end, void (*closed)(void *user), void *user)
{
	device->closing = true;
	device->end = end;
	device->closed = closed;
	device->user = user;
	close_down(device);
}

// -- devices without a process --

int nbd_device_probe(struct error *reason)
{
	return nbd_netlink_probe(reason);
}

bool nbd_device_find(const char *id, char name[32])
{
	unsigned index;

	if (!nbd_sysfs_find(id, &index))
		return false;
	snprintf(name, 32, "nbd%u", index);
	return true;
}

int nbd_device_end(const char *id, struct error *err)
{
	unsigned index;

	return nbd_sysfs_find(id, &index) ? nbd_netlink_disconnect(index, err) : 0;
}
