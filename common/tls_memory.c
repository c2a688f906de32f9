// SPDX-License-Identifier: Apache-2.0
#include "tls_memory.h"

#include <stdlib.h>
#include <string.h>

uint8_t *tls_memory_reserve(struct tls_memory *memory, size_t size)
{
	size_t waits = memory->end - memory->begin, room = memory->room;
	uint8_t *bytes = memory->bytes;

	if (size <= room - memory->end)
		return bytes + memory->end;
	if (memory->begin > 0) {
		memmove(bytes, bytes + memory->begin, waits);
		memory->begin = 0;
		memory->end = waits;
	}
	if (size > room - waits) {
		room = waits + size > 2 * room ? waits + size : 2 * room;
		bytes = realloc(bytes, room);
		if (!bytes)
			return NULL;
		memory->bytes = bytes;
		memory->room = room;
	}
	return bytes + memory->end;
}

static int memory_write(BIO *bio, const char *bytes, size_t length, size_t *written)
{
	struct tls_memory *memory = BIO_get_data(bio);
	uint8_t *to = tls_memory_reserve(memory, length);

	BIO_clear_retry_flags(bio);
	if (!to)
		return 0;
	memcpy(to, bytes, length);
	memory->end += length;
	*written = length;
	return 1;
}

static int memory_read(BIO *bio, char *buffer, size_t size, size_t *read)
{
	struct tls_memory *memory = BIO_get_data(bio);
	size_t length = memory->end - memory->begin;

	BIO_clear_retry_flags(bio);
	if (length == 0) {
		if (!memory->over)
			BIO_set_retry_read(bio);
		return 0;
	}
	if (length > size)
		length = size;
	memcpy(buffer, memory->bytes + memory->begin, length);
	memory->begin += length;
	if (memory->begin == memory->end)
		memory->begin = memory->end = 0;
	*read = length;
	return 1;
}

static long memory_control(BIO *bio, int command, long number, void *pointer)
{
	const struct tls_memory *memory = BIO_get_data(bio);

	(void)number;
	(void)pointer;
	switch (command) {
	case BIO_CTRL_FLUSH:
		return 1;
	case BIO_CTRL_EOF:
		return memory->over && memory->begin == memory->end;
	default:
		return 0;
	}
}

BIO_METHOD *tls_memory_method(void)
{
	BIO_METHOD *method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "stead memory");

	if (method && BIO_meth_set_write_ex(method, memory_write) == 1 &&
	    BIO_meth_set_read_ex(method, memory_read) == 1 && BIO_meth_set_ctrl(method, memory_control) == 1)
		return method;
	BIO_meth_free(method);
	return NULL;
}

BIO *tls_memory_bio(const BIO_METHOD *method, struct tls_memory *memory)
{
	BIO *bio = BIO_new(method);

	if (!bio)
		return NULL;
	BIO_set_data(bio, memory);
	BIO_set_init(bio, 1);
	return bio;
}
