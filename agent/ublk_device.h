// SPDX-License-Identifier: Apache-2.0
// A volume as /dev/ublkbN.
//
//   job:  find or ADD_DEV, SET_PARAMS; or START_USER_RECOVERY ─► open /dev/ublkcN, map the queue
//   loop: ask for requests (ublk_queue.h)
//   job:  START_DEV or END_USER_RECOVERY, while the loop serves already
//
// When the process dies the driver keeps requests, and has those that were not
// answered carried out again by the next one: writing twice does no harm.
#ifndef STEAD_UBLK_DEVICE_H
#define STEAD_UBLK_DEVICE_H

#include "export.h"

struct ublk_device;

// The configuration outlives the device. opened() is called once, not from
// within; with an error the device is gone. lost(): an open one was ended by
// somebody else, and is to be closed. NULL with the reason.
struct ublk_device *ublk_device_open(struct loop *loop, const struct export_config *config,
                                     void (*opened)(void *user, int error, const struct error *reason),
                                     void (*lost)(void *user), void *user, struct error *err);
const char *ublk_device_path(const struct ublk_device *device);
bool ublk_device_zero_copy(const struct ublk_device *device);

// Only when it is open.
void ublk_device_close(struct ublk_device *device, enum export_end end, void (*closed)(void *user), void *user);

// -- each blocks --

// Whether ublk works here. 0 or -errno with the reason.
int ublk_device_probe(struct error *reason);

// Whether there is a device of this id; its name in /dev.
bool ublk_device_find(const char *id, char name[32]);

// Ends the device of this id, which no process serves.
int ublk_device_end(const char *id, struct error *err);

#endif
