// SPDX-License-Identifier: Apache-2.0
// Channels (channel.h) over TCP and TLS. Everything here belongs to the thread
// of one loop; link_thread.h puts a loop of its own under a link.
//
// A stranger (a peer whose key was not pinned beforehand) may send frames of at
// most FRAME_PAYLOAD_STRANGER_MAX, and is dropped LINK_STRANGER_SECONDS after it
// connected, until link_trust(). A peer that is silent for LINK_SILENCE_SECONDS
// while we are willing to read is taken as gone: engines send heartbeats every
// second.
#ifndef STEAD_LINK_H
#define STEAD_LINK_H

#include "channel.h"
#include "error.h"
#include "loop.h"
#include "net.h"
#include "tls.h"

#include <stdint.h>

#define LINK_CONNECT_SECONDS 5 // for each address that a name has
#define LINK_HANDSHAKE_SECONDS 10
#define LINK_STRANGER_SECONDS 10
#define LINK_SILENCE_SECONDS 30
#define LINK_LINGER_SECONDS 1 // to let the last frames arrive after a close

// What is open on one loop.
struct links;

// NULL without memory. tls must outlive it.
struct links *links_new(struct loop *loop, struct tls_context *tls);

// Drops, without telling, what is not opened yet, waits until channels that
// were closed are gone, and calls stopped(), never from within. The user closes
// its channels itself, before or after. Then links_free().
void links_stop(struct links *links, void (*stopped)(void *user), void *user);
void links_free(struct links *links);

// Exactly one of the two follows link_accept(), never from within it, as with
// a dialer (channel.h).
struct link_waiter {
	void (*opened)(void *user, struct channel *channel);
	void (*failed)(void *user, const char *why);
	void *user;
};

struct link;

// Takes over a connected socket, in any case, as the server of the TLS session;
// the peer is a stranger. NULL without memory. The link is the caller's until
// opened() or failed(), to be able to cancel.
struct link *link_accept(struct links *links, int fd, const struct link_waiter *waiter);
void link_cancel(struct link *link);

// A dialer that connects to one address, as the client, and insists on the key.
// Its channels are trusted. Resolving the name blocks the thread. NULL without
// memory.
struct dialer *link_dialer_new(struct links *links, const struct net_address *address,
                               const uint8_t key[FINGERPRINT_BYTES]);
void link_dialer_free(struct dialer *dialer); // cancels; its channels live on

// For channels made here or by link_thread.h only:

// Lifts the limits of strangers.
void link_trust(struct channel *channel);

// The exported secret of the TLS session (token.h), TOKEN_EXPORTER_BYTES.
const uint8_t *link_exporter(const struct channel *channel);

#endif
