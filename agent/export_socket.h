// SPDX-License-Identifier: Apache-2.0
// A volume as an NBD server on a unix socket: any number of clients up to
// EXPORT_CLIENTS_MAX, further ones wait for a place.
#ifndef STEAD_EXPORT_SOCKET_H
#define STEAD_EXPORT_SOCKET_H

#include "export.h"

#define EXPORT_CLIENTS_MAX 64

struct socket_export;

// Listens at once. A socket that a dead process left behind is replaced; one
// that answers is an error. NULL with the reason.
struct socket_export *socket_export_open(struct loop *loop, const struct export_config *config, struct error *err);

// Removes the socket, takes no further requests, answers those under way,
// hangs up on clients and calls closed(), not from within. A client that does
// not take its replies is waited for but shortly; the source, as long as it
// needs.
void socket_export_close(struct socket_export *export, void (*closed)(void *user), void *user);

#endif
