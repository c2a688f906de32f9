// SPDX-License-Identifier: Apache-2.0
// The kernel's NBD client over generic netlink. Everything blocks, if shortly.
// Apart from the rest of NBD because linux/nbd-netlink.h has names of its own
// for it.
#ifndef STEAD_NBD_NETLINK_H
#define STEAD_NBD_NETLINK_H

#include "common/error.h"

#include <stdbool.h>
#include <stdint.h>

struct nl_msg;

struct nbd_client {
	const char *id; // backend identifier: a device is taken up only by who knows it
	uint64_t size; // bytes
	uint32_t block; // bytes: smallest request
	uint64_t flags; // transmission flags of the server
	int fd; // the client's end of the connection; the kernel takes a reference of its own
};

// Whether the driver is there and this process may use it. 0 or -errno with
// the reason.
int nbd_netlink_probe(struct error *reason);

// Makes a device: the one of this number, or NBD_ANY, and tells which. 0 or
// -errno with the reason.
#define NBD_ANY UINT32_MAX
int nbd_netlink_connect(const struct nbd_client *client, unsigned *index, struct error *err);

// Gives a device whose connection is dead a new one. -EINVAL: the device has
// been disconnected, or carries another id. While its connection is not known
// to be dead, 0 although the kernel does not take the new one.
int nbd_netlink_reconnect(const struct nbd_client *client, unsigned index, struct error *err);

// Whoever uses the device has errors from now on.
int nbd_netlink_disconnect(unsigned index, struct error *err);

// The messages, for tests too. NULL without memory.
struct nl_msg *nbd_message_connect(int family, const struct nbd_client *client, unsigned index);
struct nl_msg *nbd_message_reconnect(int family, const struct nbd_client *client, unsigned index);
struct nl_msg *nbd_message_disconnect(int family, unsigned index);

#endif
