// SPDX-License-Identifier: Apache-2.0
// The ublk driver's control device. Commands block, some of them on I/O that the
// device's own server must carry out meanwhile: they are for jobs.
#ifndef STEAD_UBLK_CONTROL_H
#define STEAD_UBLK_CONTROL_H

#include "ublk_abi.h"

#include "common/error.h"
#include "common/loop.h"

#include <stdbool.h>

struct ublk_control {
	struct io_uring ring;
	int fd;
	uint64_t features; // UBLK_F_* that the driver has
};

// Whether ublk works here, too. 0 or -errno with the reason.
int ublk_control_open(struct ublk_control *control, struct error *err);
void ublk_control_close(struct ublk_control *control);

// What is told of a volume, as parameters of its device. zero_copy: the disk
// below is given the memory of requests as it comes, so it must suit that.
void ublk_parameters(uint64_t bytes, uint32_t sector, uint32_t buffer_bytes, bool zero_copy, struct ublk_params *out);

// -- 0 or -errno of the driver --

// info goes in and comes back as granted.
int ublk_add(struct ublk_control *control, struct ublk_dev_info *info);
int ublk_info(struct ublk_control *control, uint32_t device, struct ublk_dev_info *info);
int ublk_set_params(struct ublk_control *control, uint32_t device, const struct ublk_params *params);

// Waits until the queue is served, then reads the partition table.
int ublk_start(struct ublk_control *control, uint32_t device);

// begin -EBUSY: the former server is not quite gone yet.
int ublk_recovery_begin(struct ublk_control *control, uint32_t device);
int ublk_recovery_end(struct ublk_control *control, uint32_t device);

// No requests from now on; those that come have errors.
int ublk_stop(struct ublk_control *control, uint32_t device);

// Stops it first if need be. Its queue must not be open in this process. It is
// gone for good once nobody has it open any more.
int ublk_delete(struct ublk_control *control, uint32_t device);

// Finds the device that carries a tag in its ublksrv_flags: false: there is none.
bool ublk_find(struct ublk_control *control, uint64_t tag, struct ublk_dev_info *info);

#endif
