// SPDX-License-Identifier: Apache-2.0
#include "ublk_device.h"

#include "device_use.h"
#include "ublk_claim.h"
#include "ublk_control.h"
#include "ublk_queue.h"

#include "common/job.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct ublk_device {
	struct loop *loop;
	const struct export_config *config;
	struct ublk_claim claim;
	char path[32];
	int first_place; // of buffers, with the loop; negative: none
	struct ublk_queue *queue;
	struct job job;
	int result; // of the job
	struct error reason;

	bool left; // of the job: the driver was not told to stop
	bool open, closing, stopped, ended;
	enum export_end end;
	void (*opened)(void *user, int error, const struct error *reason);
	void (*lost)(void *user);
	void (*closed)(void *user);
	void *user;
};

static struct ublk_device *of_job(struct job *job)
{
	return (struct ublk_device *)((char *)job - offsetof(struct ublk_device, job));
}

static int start_job(struct ublk_device *device, void (*work)(struct job *job), void (*done)(struct job *job))
{
	device->job.work = work;
	device->job.done = done;
	return job_start(device->loop, &device->job);
}

static void drop(struct ublk_device *device)
{
	if (device->first_place >= 0)
		loop_buffers_give(device->loop, device->first_place);
	free(device);
}

static void finish(struct ublk_device *device)
{
	void (*opened)(void *user, int error, const struct error *reason) = device->open ? NULL : device->opened;
	void (*closed)(void *user) = device->closed;
	void *user = device->user;
	int result = device->result;
	struct error reason = device->reason;

	if (device->left) { // the driver may still use its places, and has commands
		device->first_place = -1;
		loop_leave_ring(device->loop);
	}
	drop(device);
	if (opened)
		opened(user, result, &reason);
	else
		closed(user);
}

// -- opening: before the queue --

bool ublk_device_zero_copy(const struct ublk_device *device)
{
	return ublk_claim_zero_copy(&device->claim);
}

static int open_queue(struct ublk_device *device)
{
	struct ublk_queue_config config = {
	        .depth = device->claim.info.queue_depth,
	        .buffer_bytes = device->claim.info.max_io_buf_bytes,
	        .copies = ublk_device_zero_copy(device) ? UBLK_ZERO_COPY : UBLK_DRIVER_COPIES,
	        .first_place = device->claim.info.queue_depth <= LOOP_BUFFERS ? device->first_place : -1,
	        .volume = device->config->volume,
	        .source = device->config->source,
	};
	char path[32];

	snprintf(device->path, sizeof(device->path), "/dev/ublkb%u", device->claim.info.dev_id);
	snprintf(path, sizeof(path), "/dev/ublkc%u", device->claim.info.dev_id);
	config.fd = open(path, O_RDWR | O_CLOEXEC);
	if (config.fd < 0)
		return fail(&device->reason, errno, "ublk: open %s: %s", path, strerror(errno));
	device->queue = ublk_queue_new(device->loop, &config, &device->reason);
	return device->queue ? 0 : -ENOMEM;
}

static void prepare_work(struct job *job)
{
	struct ublk_device *device = of_job(job);
	struct ublk_control control;

	device->result = ublk_control_open(&control, &device->reason);
	if (device->result < 0)
		return;
	device->result =
	        ublk_claim(&control, device->config, device->first_place >= 0, &device->claim, &device->reason);
	if (!device->result) {
		device->result = open_queue(device);
		if (device->result < 0 && !device->claim.taken_up)
			(void)ublk_delete(&control, device->claim.info.dev_id);
	}
	ublk_control_close(&control);
}

// -- opening: with the queue --

static void close_down(struct ublk_device *device);

// The kernel looks for partitions with the driver locked, and the look waits for
// the loop to read them. On Linux 6.12 a process that is killed just then may
// never end, nor its device be taken up; no parameter does without the look.
static void start_work(struct job *job)
{
	struct ublk_device *device = of_job(job);
	struct ublk_control control;
	uint32_t number = device->claim.info.dev_id;

	device->result = ublk_control_open(&control, &device->reason);
	if (device->result < 0)
		return;
	device->result = device->claim.taken_up ? ublk_recovery_end(&control, number) : ublk_start(&control, number);
	if (device->result < 0)
		fail(&device->reason, -device->result, "ublk: start %s: %s", device->path, strerror(-device->result));
	ublk_control_close(&control);
}

static void start_done(struct job *job)
{
	struct ublk_device *device = of_job(job);

	if (device->result < 0) {
		device->end = device->claim.taken_up ? EXPORT_LEAVE : EXPORT_END;
		close_down(device);
		return;
	}
	device->open = true;
	device->opened(device->user, 0, NULL);
	if (device->ended && !device->closing)
		device->lost(device->user);
}

static void queue_ended(void *user);

static void prepare_done(struct job *job)
{
	struct ublk_device *device = of_job(job);

	if (device->result < 0) {
		finish(device);
		return;
	}
	ublk_queue_start(device->queue, queue_ended, device);
	if (start_job(device, start_work, start_done) < 0) {
		device->result = fail(&device->reason, EAGAIN, "ublk: start %s: no thread", device->path);
		device->end = device->claim.taken_up ? EXPORT_LEAVE : EXPORT_END;
		close_down(device);
	}
}

struct ublk_device *ublk_device_open(struct loop *loop, const struct export_config *config,
                                     void (*opened)(void *user, int error, const struct error *reason),
                                     void (*lost)(void *user), void *user, struct error *err)
{
	struct ublk_device *device = calloc(1, sizeof(*device));

	if (!device) {
		fail(err, ENOMEM, "ublk: out of memory");
		return NULL;
	}
	device->loop = loop;
	device->first_place = loop_buffers_take(loop);
	device->config = config;
	device->opened = opened;
	device->lost = lost;
	device->user = user;
	if (start_job(device, prepare_work, prepare_done) == 0)
		return device;
	drop(device);
	fail(err, EAGAIN, "ublk: make a device: no thread");
	return NULL;
}

const char *ublk_device_path(const struct ublk_device *device)
{
	return device->path;
}

// -- closing --

static void queue_left(void *user)
{
	struct ublk_device *device = user;

	device->left = true;
	finish(device);
}

static void delete_work(struct job *job)
{
	struct ublk_device *device = of_job(job);
	struct ublk_control control;
	struct error ignored;

	if (ublk_control_open(&control, &ignored) < 0)
		return;
	(void)ublk_delete(&control, device->claim.info.dev_id);
	ublk_control_close(&control);
}

static void delete_done(struct job *job)
{
	finish(of_job(job));
}

// The driver deletes the device only when the queue is not open any more.
static void delete_stopped(struct ublk_device *device)
{
	if (!device->stopped || !device->ended)
		return;
	ublk_queue_free(device->queue);
	if (start_job(device, delete_work, delete_done) < 0) {
		delete_work(&device->job);
		finish(device);
	}
}

static void queue_ended(void *user)
{
	struct ublk_device *device = user;

	device->ended = true;
	if (device->closing)
		delete_stopped(device);
	else if (device->open) // else the job that starts it fails, or it is told then
		device->lost(device->user);
}

static void stop_work(struct job *job)
{
	struct ublk_device *device = of_job(job);
	struct ublk_control control;
	struct error reason;

	device->left = true;
	if (device->end == EXPORT_LEAVE && device_use(device->path + strlen("/dev/"), &reason) < 0)
		return;
	if (ublk_control_open(&control, &reason) < 0)
		return;
	device->left = ublk_stop(&control, device->claim.info.dev_id) == -EINTR;
	ublk_control_close(&control);
}

static void stop_done(struct job *job)
{
	struct ublk_device *device = of_job(job);

	device->stopped = !device->left;
	if (device->stopped)
		delete_stopped(device);
	else
		ublk_queue_leave(device->queue, queue_left, device);
}

static void close_down(struct ublk_device *device)
{
	device->closing = true;
	if (device->end == EXPORT_LEAVE && !device->open) // it failed: nobody but a former process's users are there
		ublk_queue_leave(device->queue, queue_left, device);
	else if (start_job(device, stop_work, stop_done) < 0)
		ublk_queue_leave(device->queue, queue_left, device);
}

void ublk_device_close(struct ublk_device *device, enum export_end end, void (*closed)(void *user), void *user)
{
	device->end = end;
	device->closed = closed;
	device->user = user;
	close_down(device);
}

// -- devices without a process --

int ublk_device_probe(struct error *reason)
{
	struct ublk_control control;
	int result = ublk_control_open(&control, reason);

	if (!result)
		ublk_control_close(&control);
	return result;
}

bool ublk_device_find(const char *id, char name[32])
{
	struct ublk_dev_info info;
	struct ublk_control control;
	bool found;

	if (ublk_control_open(&control, NULL) < 0)
		return false;
	found = ublk_find(&control, ublk_claim_tag(id), &info) && info.state != UBLK_STATE_DEAD;
	ublk_control_close(&control);
	if (found)
		snprintf(name, 32, "ublkb%u", info.dev_id);
	return found;
}

int ublk_device_end(const char *id, struct error *err)
{
	struct ublk_dev_info info;
	struct ublk_control control;
	int result = ublk_control_open(&control, err);

	if (result < 0)
		return result;
	if (ublk_find(&control, ublk_claim_tag(id), &info))
		result = ublk_delete(&control, info.dev_id);
	ublk_control_close(&control);
	if (result < 0)
		fail(err, -result, "ublk: end /dev/ublkb%u: %s", info.dev_id, strerror(-result));
	return result;
}
