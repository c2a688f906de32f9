// SPDX-License-Identifier: Apache-2.0
// What sysfs knows of the kernel's NBD devices. Blocks, if shortly.
#ifndef STEAD_NBD_SYSFS_H
#define STEAD_NBD_SYSFS_H

#include <stdbool.h>
#include <stdint.h>

// The device with this backend identifier.
bool nbd_sysfs_find(const char *id, unsigned *index);

// Requests no longer than bytes; and those that a dead connection has swallowed
// are sent again within so many milliseconds after there is another one. As far
// as the kernel lets us.
void nbd_sysfs_tune(unsigned index, uint32_t bytes, unsigned retry_msec);

#endif
