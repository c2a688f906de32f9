// SPDX-License-Identifier: Apache-2.0
// Who uses a block device of this machine.
#ifndef STEAD_DEVICE_USE_H
#define STEAD_DEVICE_USE_H

#include "common/error.h"

// 0 when nobody does, or -EBUSY with the reason: the disk or a partition of it
// is mounted, swap, part of another device, or open in another process. name is
// as in /dev. Blocks.
int device_use(const char *name, struct error *reason);

// Whether this process may make devices. 0 or -EPERM with the reason.
int device_permission(struct error *reason);

#endif
