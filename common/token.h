// SPDX-License-Identifier: Apache-2.0
// The pairing token: one line that the administrator carries from the standby
// to the primary, and the proofs of its secret that both sides give inside the
// TLS session. A proof is bound to that session and to the keys of both ends,
// so whoever sits in between and terminates TLS himself gains nothing.
// Everything here is pure.
#ifndef STEAD_TOKEN_H
#define STEAD_TOKEN_H

#include "block.h"
#include "error.h"

#include <stdbool.h>
#include <stdint.h>

#define TOKEN_ADDRESS_MAX 80 // with NUL, as in the configuration
#define TOKEN_TEXT_MAX 272 // with NUL
#define TOKEN_PROOF_BYTES 32
#define TOKEN_EXPORTER_BYTES 32
#define TOKEN_EXPORTER_LABEL "EXPORTER-stead-join" // of the TLS exporter, without context

struct token {
	char pair[NAME_MAX_LENGTH + 1];
	char address[TOKEN_ADDRESS_MAX]; // host:port of the standby's receiver
	uint8_t fingerprint[32]; // of the standby's key (keys.h)
	uint8_t secret[32]; // random, used once
	int64_t expires; // seconds since 1970
};

// Writes "stead1:..." without a newline. 0, or -EINVAL with the reason where
// the pair's name, the address or the expiry cannot stand in a token.
int token_encode(const struct token *token, char text[TOKEN_TEXT_MAX], struct error *err);

// Blanks and newlines around the token are ignored. now: seconds since 1970.
// 0, or with the reason: -EINVAL not a token, -EPROTONOSUPPORT of another
// version, -EBADMSG damaged or cut short, -EKEYEXPIRED expired (the token is
// filled in all the same).
int token_decode(const char *text, int64_t now, struct token *token, struct error *err);

enum token_side {
	TOKEN_PRIMARY, // proves in JOIN; the TLS client
	TOKEN_STANDBY, // proves in JOINED; the TLS server
};

// What side has to show. client and server are the fingerprints of the two
// ends of the session, exporter is its exported secret (link_exporter()).
// 0 or -ENOMEM.
int token_proof(const uint8_t secret[32], enum token_side side, const uint8_t exporter[TOKEN_EXPORTER_BYTES],
                const uint8_t client[32], const uint8_t server[32], const char *pair, uint8_t proof[TOKEN_PROOF_BYTES]);

// In constant time.
bool token_proof_equal(const uint8_t a[TOKEN_PROOF_BYTES], const uint8_t b[TOKEN_PROOF_BYTES]);

#endif
