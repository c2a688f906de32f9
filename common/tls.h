// SPDX-License-Identifier: Apache-2.0
// TLS 1.3 with both ends proving their keys, as bytes in and bytes out: no
// sockets here. Nothing but the pinned key counts: no names, no authorities, no
// dates, no resumption.
//
// A struct tls belongs to one thread; a struct tls_context may be shared.
#ifndef STEAD_TLS_H
#define STEAD_TLS_H

#include "error.h"
#include "keys.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct tls_context;
struct tls;

enum tls_side {
	TLS_CLIENT,
	TLS_SERVER,
};

// Holds on to what it needs of keys. NULL with the reason. Freed once no
// struct tls needs to be made from it any more.
struct tls_context *tls_context_new(const struct keys *keys, struct error *err);
void tls_context_free(struct tls_context *context);
const uint8_t *tls_context_fingerprint(const struct tls_context *context); // our own key's

// expected: fingerprint that the peer must prove, copied; the handshake fails
// for any other key. NULL: any key is taken, and the caller judges
// tls_peer_key() afterwards. NULL without memory.
struct tls *tls_new(struct tls_context *context, enum tls_side side, const uint8_t *expected);
void tls_free(struct tls *tls);

// Ciphertext from the peer: tls_input() gives room for size bytes, NULL without
// memory, and tls_feed() takes so many of them as were put there. The caller
// bounds what is kept: it feeds no more before tls_read() said -EAGAIN.
void *tls_input(struct tls *tls, size_t size);
void tls_feed(struct tls *tls, size_t length);
void tls_feed_end(struct tls *tls); // the connection brings nothing more

// Goes on with the handshake. 0: through; -EAGAIN: send what tls_output() has,
// feed more, call again; else -errno and tls_reason(). The client is through
// before the server has judged its key: a refusal shows in its first
// tls_read().
int tls_handshake(struct tls *tls);

// Number of plaintext bytes read; -EAGAIN: feed more; -EPIPE: the peer ended
// the session in good order; else -errno and tls_reason(). May produce output.
ssize_t tls_read(struct tls *tls, void *buffer, size_t size);

// Takes all of it. 0 or -errno and tls_reason(). The caller bounds what waits
// by tls_output_length().
int tls_write(struct tls *tls, const void *bytes, size_t length);
void tls_shutdown(struct tls *tls); // adds the end of the session to the output

// Ciphertext for the peer: all that waits, where it stays until there is
// something to be taken again. After a failed handshake it may hold the alert
// that tells the peer why.
size_t tls_output_length(const struct tls *tls);
const void *tls_output(struct tls *tls, size_t *length);

// Valid once the handshake is through.
const uint8_t *tls_peer_key(const struct tls *tls); // fingerprint
int tls_export(struct tls *tls, const char *label, uint8_t *out, size_t length); // 0 or -errno

const char *tls_reason(const struct tls *tls); // of the last error, for people

#endif
