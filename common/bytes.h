// SPDX-License-Identifier: Apache-2.0
// Little-endian fields, at any alignment, as they lie on the wire and on disk;
// and cursors that write and read them one after another.
#ifndef STEAD_BYTES_H
#define STEAD_BYTES_H

#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline void put_u16(void *at, uint16_t value)
{
	value = htole16(value);
	memcpy(at, &value, sizeof(value));
}

static inline void put_u32(void *at, uint32_t value)
{
	value = htole32(value);
	memcpy(at, &value, sizeof(value));
}

static inline void put_u64(void *at, uint64_t value)
{
	value = htole64(value);
	memcpy(at, &value, sizeof(value));
}

static inline uint16_t get_u16(const void *at)
{
	uint16_t value;

	memcpy(&value, at, sizeof(value));
	return le16toh(value);
}

static inline uint32_t get_u32(const void *at)
{
	uint32_t value;

	memcpy(&value, at, sizeof(value));
	return le32toh(value);
}

static inline uint64_t get_u64(const void *at)
{
	uint64_t value;

	memcpy(&value, at, sizeof(value));
	return le64toh(value);
}

// The caller of the write_ functions knows that the buffer is large enough.
struct writer {
	uint8_t *start;
	uint8_t *at;
};

static inline struct writer writer_begin(void *buffer)
{
	return (struct writer){buffer, buffer};
}

static inline size_t writer_length(const struct writer *writer)
{
	return (size_t)(writer->at - writer->start);
}

static inline void write_bytes(struct writer *writer, const void *bytes, size_t length)
{
	memcpy(writer->at, bytes, length);
	writer->at += length;
}

static inline void write_zeroes(struct writer *writer, size_t length)
{
	memset(writer->at, 0, length);
	writer->at += length;
}

static inline void write_u8(struct writer *writer, uint8_t value)
{
	*writer->at++ = value;
}

static inline void write_u16(struct writer *writer, uint16_t value)
{
	put_u16(writer->at, value);
	writer->at += sizeof(value);
}

static inline void write_u32(struct writer *writer, uint32_t value)
{
	put_u32(writer->at, value);
	writer->at += sizeof(value);
}

static inline void write_u64(struct writer *writer, uint64_t value)
{
	put_u64(writer->at, value);
	writer->at += sizeof(value);
}

// A reader that was asked for more than there is, or met what must not be, is
// bad, gives zeroes from then on, and says so once, at the end, by reader_end().
struct reader {
	const uint8_t *at;
	size_t left;
	bool bad;
};

static inline struct reader reader_begin(const void *bytes, size_t length)
{
	return (struct reader){bytes, length, false};
}

// Whether all was read and nothing was bad.
static inline bool reader_end(const struct reader *reader)
{
	return !reader->bad && reader->left == 0;
}

static inline void reader_demand(struct reader *reader, bool condition)
{
	if (!condition)
		reader->bad = true;
}

// The next length bytes where they lie; NULL when the reader is bad.
static inline const uint8_t *read_bytes(struct reader *reader, size_t length)
{
	const uint8_t *at = reader->at;

	if (reader->bad || length > reader->left) {
		reader->bad = true;
		return NULL;
	}
	if (length > 0)
		reader->at += length;
	reader->left -= length;
	return at;
}

static inline void read_copy(struct reader *reader, void *to, size_t length)
{
	const uint8_t *at = read_bytes(reader, length);

	if (at)
		memcpy(to, at, length);
	else
		memset(to, 0, length);
}

// Reserved bytes: anything but zeroes is bad.
static inline void read_zeroes(struct reader *reader, size_t length)
{
	const uint8_t *at = read_bytes(reader, length);

	for (size_t i = 0; at && i < length; i++)
		reader_demand(reader, at[i] == 0);
}

static inline uint8_t read_u8(struct reader *reader)
{
	const uint8_t *at = read_bytes(reader, 1);

	return at ? *at : 0;
}

static inline bool read_bool(struct reader *reader)
{
	uint8_t value = read_u8(reader);

	reader_demand(reader, value <= 1);
	return value == 1;
}

static inline uint16_t read_u16(struct reader *reader)
{
	const uint8_t *at = read_bytes(reader, sizeof(uint16_t));

	return at ? get_u16(at) : 0;
}

static inline uint32_t read_u32(struct reader *reader)
{
	const uint8_t *at = read_bytes(reader, sizeof(uint32_t));

	return at ? get_u32(at) : 0;
}

static inline uint64_t read_u64(struct reader *reader)
{
	const uint8_t *at = read_bytes(reader, sizeof(uint64_t));

	return at ? get_u64(at) : 0;
}

#endif
