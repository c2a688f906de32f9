// SPDX-License-Identifier: Apache-2.0
// A node's identity: an Ed25519 key with a self-signed certificate around it,
// made on first use and shared by both daemons of the node. What a peer pins
// is the fingerprint of the key, never the certificate: a certificate carries
// no meaning of its own and may be made anew.
//
// Rotation has its place: a second identity lives beside the first under
// another file name until the peers have pinned it.
#ifndef STEAD_KEYS_H
#define STEAD_KEYS_H

#include "error.h"

#include <stdint.h>

#include <openssl/evp.h>
#include <openssl/x509.h>

#define FINGERPRINT_BYTES 32 // SHA-256 of the DER form of the public key info
#define FINGERPRINT_TEXT_MAX 65 // hexadecimal, with NUL

struct keys;

// Reads DIRECTORY/identity.pem (the state directory of the node); makes both
// where they are missing. Two processes that begin at once end up with the
// same identity. NULL with the reason: damaged, readable by others, not ours,
// no space. A damaged identity is never replaced: it is what the peers trust.
struct keys *keys_load(const char *directory, struct error *err);
void keys_free(struct keys *keys);

const uint8_t *keys_fingerprint(const struct keys *keys);
EVP_PKEY *keys_private(const struct keys *keys); // borrowed
X509 *keys_certificate(const struct keys *keys); // borrowed

// 0 or -EINVAL or -ENOMEM.
int fingerprint_of(X509 *certificate, uint8_t fingerprint[FINGERPRINT_BYTES]);

void fingerprint_text(const uint8_t fingerprint[FINGERPRINT_BYTES], char text[FINGERPRINT_TEXT_MAX]);

#endif
