// SPDX-License-Identifier: Apache-2.0
#include "ublk_control.h"

#include "device_use.h"

#include "common/block.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define CLASS_PATH "/sys/class/ublk-char"
#define DELETE_SECONDS 2 // for a kernel that cannot delete without waiting

// -- commands --

static int prepare(struct ublk_control *control, uint32_t operation, const struct ublk_ctrl_cmd *command)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&control->ring);

	if (!sqe)
		return -EBUSY;
	memset(sqe, 0, 128);
	sqe->opcode = IORING_OP_URING_CMD;
	sqe->fd = control->fd;
	sqe->cmd_op = operation;
	memcpy(sqe->cmd, command, sizeof(*command));
	return 0;
}

// -ETIME: it goes on after so many seconds; 0: waits for its end.
static int run(struct ublk_control *control, uint32_t operation, const struct ublk_ctrl_cmd *command, unsigned seconds)
{
	struct __kernel_timespec limit = {.tv_sec = seconds};
	struct io_uring_cqe *cqe;
	int result = prepare(control, operation, command);

	if (result < 0)
		return result;
	do {
		result = io_uring_submit(&control->ring);
	} while (result == -EINTR || result == -EAGAIN);
	if (result < 0)
		return result;
	do {
		result = seconds ? io_uring_wait_cqe_timeout(&control->ring, &cqe, &limit)
		                 : io_uring_wait_cqe(&control->ring, &cqe);
	} while (result == -EINTR);
	if (result < 0)
		return result;
	result = cqe->res;
	io_uring_cqe_seen(&control->ring, cqe);
	return result;
}

static int simple(struct ublk_control *control, uint32_t operation, uint32_t device, uint64_t data)
{
	const struct ublk_ctrl_cmd command = {.dev_id = device, .queue_id = UINT16_MAX, .data = data};

	return run(control, operation, &command, 0);
}

static int with_buffer(struct ublk_control *control, uint32_t operation, uint32_t device, void *buffer, uint16_t length)
{
	const struct ublk_ctrl_cmd command = {
	        .dev_id = device, .queue_id = UINT16_MAX, .addr = (uintptr_t)buffer, .len = length};

	return run(control, operation, &command, 0);
}

int ublk_add(struct ublk_control *control, struct ublk_dev_info *info)
{
	return with_buffer(control, UBLK_ADD_DEV, info->dev_id, info, sizeof(*info));
}

int ublk_info(struct ublk_control *control, uint32_t device, struct ublk_dev_info *info)
{
	return with_buffer(control, UBLK_GET_DEV_INFO, device, info, sizeof(*info));
}

int ublk_set_params(struct ublk_control *control, uint32_t device, const struct ublk_params *params)
{
	struct ublk_params copy = *params;

	return with_buffer(control, UBLK_SET_PARAMS, device, &copy, UBLK_PARAMS_BYTES);
}

int ublk_start(struct ublk_control *control, uint32_t device)
{
	return simple(control, UBLK_START_DEV, device, (uint64_t)getpid());
}

int ublk_recovery_begin(struct ublk_control *control, uint32_t device)
{
	return simple(control, UBLK_START_USER_RECOVERY, device, 0);
}

int ublk_recovery_end(struct ublk_control *control, uint32_t device)
{
	return simple(control, UBLK_END_USER_RECOVERY, device, (uint64_t)getpid());
}

int ublk_stop(struct ublk_control *control, uint32_t device)
{
	return simple(control, UBLK_STOP_DEV, device, 0);
}

// Before Linux 6.9 it waits for whoever has the device open; what is left to do
// then needs nobody to wait for it.
int ublk_delete(struct ublk_control *control, uint32_t device)
{
	const struct ublk_ctrl_cmd command = {.dev_id = device, .queue_id = UINT16_MAX};
	int result = run(control, UBLK_DEL_DEV_ASYNC, &command, 0);

	if (result == -EOPNOTSUPP)
		result = run(control, UBLK_DEL_DEV, &command, DELETE_SECONDS);
	return result == -ETIME ? 0 : result;
}

bool ublk_find(struct ublk_control *control, uint64_t tag, struct ublk_dev_info *info)
{
	DIR *devices = opendir(CLASS_PATH);
	struct dirent *entry;
	bool found = false;

	while (devices && !found && (entry = readdir(devices))) {
		unsigned device;

		if (sscanf(entry->d_name, "ublkc%u", &device) == 1 && ublk_info(control, device, info) == 0)
			found = info->ublksrv_flags == tag;
	}
	if (devices)
		closedir(devices);
	return found;
}

// -- opening --

static int open_device(struct error *err)
{
	int fd = open(UBLK_CONTROL_PATH, O_RDWR | O_CLOEXEC);

	if (fd >= 0)
		return fd;
	if (errno == ENOENT || errno == ENODEV || errno == ENXIO)
		return fail(err, ENODEV, "ublk: the driver is not there: modprobe ublk_drv (Linux 6.5 or newer)");
	return fail(err, errno, "ublk: open %s: %s", UBLK_CONTROL_PATH, strerror(errno));
}

int ublk_control_open(struct ublk_control *control, struct error *err)
{
	struct io_uring_params params = {.flags = IORING_SETUP_SQE128};
	struct error reason;
	int result;

	if (device_permission(&reason) < 0)
		return fail(err, EPERM, "ublk: %s", reason.text);
	control->features = 0;
	control->fd = open_device(err);
	if (control->fd < 0)
		return control->fd;
	result = io_uring_queue_init_params(2, &control->ring, &params);
	if (result < 0) {
		close(control->fd);
		return fail(err, -result, "ublk: io_uring with long entries: %s; needs Linux 6.5 or newer",
		            strerror(-result));
	}
	result = with_buffer(control, UBLK_GET_FEATURES, UINT32_MAX, &control->features, sizeof(control->features));
	if (result == 0 && (control->features & UBLK_F_USER_RECOVERY_REISSUE))
		return 0;
	ublk_control_close(control);
	if (result == -EPERM || result == -EACCES)
		return fail(err, EPERM, "ublk: the driver refuses this process: %s", strerror(-result));
	return fail(err, EOPNOTSUPP, "ublk: the driver is too old; needs Linux 6.5 or newer");
}

void ublk_control_close(struct ublk_control *control)
{
	io_uring_queue_exit(&control->ring);
	close(control->fd);
}

void ublk_parameters(uint64_t bytes, uint32_t sector, uint32_t buffer_bytes, bool zero_copy, struct ublk_params *out)
{
	*out = (struct ublk_params){
	        .len = UBLK_PARAMS_BYTES,
	        .types = UBLK_PARAM_TYPE_BASIC | UBLK_PARAM_TYPE_DISCARD | (zero_copy ? UBLK_PARAM_TYPE_DMA_ALIGN : 0),
	        .basic =
	                {
	                        .attrs = UBLK_ATTR_VOLATILE_CACHE | UBLK_ATTR_FUA,
	                        .logical_bs_shift = (uint8_t)__builtin_ctz(sector),
	                        .physical_bs_shift = BLOCK_SHIFT,
	                        .io_opt_shift = BLOCK_SHIFT,
	                        .io_min_shift = BLOCK_SHIFT,
	                        .max_sectors = buffer_bytes >> 9,
	                        .dev_sectors = bytes >> 9,
	                },
	        .discard =
	                {
	                        .discard_granularity = 1u << BLOCK_SHIFT,
	                        .max_discard_sectors = UINT32_MAX >> 9,
	                        .max_write_zeroes_sectors = UINT32_MAX >> 9,
	                        .max_discard_segments = 1,
	                },
	        .dma.alignment = sector - 1,
	};
}
