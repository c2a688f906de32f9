// SPDX-License-Identifier: Apache-2.0
// A volume as /dev/nbdN: the kernel's NBD client on the other end of a socket
// pair.
//
// When our end is gone, because this process is, the kernel keeps requests
// until another end is given to it, and sends those again that were not
// answered: writing twice does no harm.
#ifndef STEAD_NBD_DEVICE_H
#define STEAD_NBD_DEVICE_H

#include "export.h"

struct nbd_device;

// The configuration outlives the device. opened() is called once, not from
// within; with an error the device is gone. presence(): somebody else has
// disconnected an open one, or it is attached again. NULL with the reason.
struct nbd_device *nbd_device_open(struct loop *loop, const struct export_config *config,
                                   void (*opened)(void *user, int error, const struct error *reason),
                                   void (*presence)(void *user, bool there, const char *why), void *user,
                                   struct error *err);
const char *nbd_device_path(const struct nbd_device *device);

// Only when it is open.
void nbd_device_close(struct nbd_device *device, enum export_end end, void (*closed)(void *user), void *user);

// -- each blocks --

// Whether the kernel has nbd and lets us use it. 0 or -errno with the reason.
int nbd_device_probe(struct error *reason);

// Whether there is a device of this id; its name in /dev.
bool nbd_device_find(const char *id, char name[32]);

// Ends the device of this id, which no process serves.
int nbd_device_end(const char *id, struct error *err);

#endif
