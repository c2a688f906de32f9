// SPDX-License-Identifier: Apache-2.0
// Addresses as people write them, and sockets made from them.
#ifndef STEAD_NET_H
#define STEAD_NET_H

#include "error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#define NET_PORT_DEFAULT 7420
#define NET_LISTEN_DEFAULT "[::]:7420"
#define NET_ADDRESS_MAX 264 // as text, with NUL
#define NET_PEER_MAX 80 // numeric, with NUL

struct net_address {
	char host[254]; // name or numeric, without brackets; "*" is kept as "::"
	uint16_t port;
};

// HOST:PORT, [V6]:PORT, or without the port where default_port is not 0. A
// host of "*" or nothing before the colon means every address. Port 0 is
// accepted only when listening (net_listen() then takes a free one).
int net_parse(const char *text, uint16_t default_port, struct net_address *address, struct error *err);
void net_format(const struct net_address *address, char text[NET_ADDRESS_MAX]);

// A listening socket, close-on-exec; [::] also takes IPv4. The descriptor, or
// -errno with the reason. Resolving a name may block.
int net_listen(const struct net_address *address, struct error *err);
uint16_t net_local_port(int fd); // 0: none
bool net_local_is_loopback(int fd); // reached from this machine only
bool net_host_is_loopback(const char *host); // a numeric address, without brackets

// Addresses to connect to, in the order to try; *count at most max. Blocks.
// 0 or -errno with the reason.
struct net_candidate {
	struct sockaddr_storage address;
	socklen_t length;
};
int net_resolve(const struct net_address *address, struct net_candidate *candidates, unsigned max, unsigned *count,
                struct error *err);

// Numeric address and port of the other end.
void net_text(const struct sockaddr *address, socklen_t length, char text[NET_PEER_MAX]);
void net_peer(int fd, char text[NET_PEER_MAX]);

// No delay for small frames, and probes that find a peer that is gone.
void net_tune(int fd);

#endif
