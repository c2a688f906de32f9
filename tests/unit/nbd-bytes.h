// SPDX-License-Identifier: Apache-2.0
// The client's half of the NBD protocol, for tests: messages as bytes.
#ifndef STEAD_TEST_NBD_BYTES_H
#define STEAD_TEST_NBD_BYTES_H

#include "agent/nbd.h"
#include "agent/nbd_wire.h"

struct bytes {
	uint8_t data[1 << 16];
	size_t length;
};

static inline void add(struct bytes *bytes, const void *data, size_t length)
{
	memcpy(bytes->data + bytes->length, data, length);
	bytes->length += length;
}

static inline void add16(struct bytes *bytes, uint16_t value)
{
	nbd_put16(bytes->data + bytes->length, value);
	bytes->length += 2;
}

static inline void add32(struct bytes *bytes, uint32_t value)
{
	nbd_put32(bytes->data + bytes->length, value);
	bytes->length += 4;
}

static inline void add64(struct bytes *bytes, uint64_t value)
{
	nbd_put64(bytes->data + bytes->length, value);
	bytes->length += 8;
}

static inline void add_text(struct bytes *bytes, const char *text)
{
	add32(bytes, (uint32_t)strlen(text));
	add(bytes, text, strlen(text));
}

static inline void add_option(struct bytes *bytes, uint32_t option, uint32_t length)
{
	add64(bytes, NBD_MAGIC_OPTION);
	add32(bytes, option);
	add32(bytes, length);
}

// INFO or GO without a wish for information.
static inline void add_go(struct bytes *bytes, uint32_t option, const char *name)
{
	add_option(bytes, option, (uint32_t)(4 + strlen(name) + 2));
	add_text(bytes, name);
	add16(bytes, 0);
}

static inline void add_meta(struct bytes *bytes, uint32_t option, const char *name, const char *query)
{
	add_option(bytes, option, (uint32_t)(4 + strlen(name) + 4 + (query ? 4 + strlen(query) : 0)));
	add_text(bytes, name);
	add32(bytes, query ? 1 : 0);
	if (query)
		add_text(bytes, query);
}

static inline void add_request(struct bytes *bytes, unsigned command, unsigned flags, uint64_t cookie, uint64_t offset,
                               uint32_t length)
{
	add32(bytes, NBD_MAGIC_REQUEST);
	add16(bytes, (uint16_t)flags);
	add16(bytes, (uint16_t)command);
	add64(bytes, cookie);
	add64(bytes, offset);
	add32(bytes, length);
}

#endif
