// SPDX-License-Identifier: Apache-2.0
// Memory that a TLS session reads from or writes to. OpenSSL's own kind clears
// and copies every byte once more on its way through.
#ifndef STEAD_TLS_MEMORY_H
#define STEAD_TLS_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <openssl/bio.h>

struct tls_memory {
	uint8_t *bytes;
	size_t begin, end, room; // what waits is from begin to end
	bool over; // nothing is added any more: reading past it is the end of the connection
};

// How BIOs get at a struct tls_memory; NULL without memory. For
// BIO_meth_free(), once no BIO is made with it any more.
BIO_METHOD *tls_memory_method(void);

// One that reads from memory or writes to it, and does not own it; NULL without
// memory.
BIO *tls_memory_bio(const BIO_METHOD *method, struct tls_memory *memory);

// Room for size bytes behind what waits, where it stays until this is called
// again; NULL without memory.
uint8_t *tls_memory_reserve(struct tls_memory *memory, size_t size);

#endif
