// SPDX-License-Identifier: Apache-2.0
// Whoever serves a block device of the machine that it runs on must not wait
// for memory that the kernel can only free by writing to that device.
#ifndef STEAD_MEMORY_GUARD_H
#define STEAD_MEMORY_GUARD_H

// Before any thread is started, which inherit it: memory is never waited for
// by writing. Without the permission for it nothing happens.
void memory_guard_early(void);

// Before a device is served: what is in memory stays there. Logs what is not to
// be had, once.
void memory_guard(void);

#endif
