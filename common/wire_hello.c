// SPDX-License-Identifier: Apache-2.0
// The frames that two nodes introduce themselves with.
#include "bytes.h"
#include "fields.h"
#include "wire.h"

#include <errno.h>

#define MAGIC_BYTES (sizeof(WIRE_MAGIC) - 1)
#define VOLUME_BLANK UINT8_C(1)

// The first 16 bytes of HELLO, WELCOME and JOIN are the same in every version.
static void write_versions(struct writer *writer, uint16_t version_min, uint16_t version_max)
{
	write_bytes(writer, WIRE_MAGIC, MAGIC_BYTES);
	write_u16(writer, version_min);
	write_u16(writer, version_max);
	write_u32(writer, 0);
}

// 0, -EPROTONOSUPPORT when the peer speaks no version that we speak, or
// -EBADMSG when it is no peer at all. What follows has the layout of the
// oldest version that the sender speaks.
static int read_versions(struct reader *reader, uint16_t *version_min, uint16_t *version_max)
{
	const uint8_t *magic = read_bytes(reader, MAGIC_BYTES);

	*version_min = read_u16(reader);
	*version_max = read_u16(reader);
	if (reader->bad || memcmp(magic, WIRE_MAGIC, MAGIC_BYTES) != 0 || *version_min > *version_max)
		return -EBADMSG;
	if (*version_min > WIRE_VERSION || *version_max < WIRE_VERSION)
		return -EPROTONOSUPPORT;
	read_zeroes(reader, 4);
	return reader->bad ? -EBADMSG : 0;
}

static void write_volumes(struct writer *writer, const struct wire_volume *volumes, unsigned count, bool with_blank)
{
	for (unsigned i = 0; i < count; i++) {
		write_name(writer, volumes[i].name);
		write_u64(writer, volumes[i].bytes);
		write_u8(writer, with_blank && volumes[i].blank ? VOLUME_BLANK : 0);
		write_zeroes(writer, 7);
	}
}

static void read_volumes(struct reader *reader, struct wire_volume *volumes, unsigned count, bool with_blank)
{
	for (unsigned i = 0; i < count && !reader->bad; i++) {
		read_name(reader, volumes[i].name);
		for (unsigned j = 0; j < i; j++)
			reader_demand(reader, strcmp(volumes[i].name, volumes[j].name) != 0);
		volumes[i].bytes = read_volume_bytes(reader);
		volumes[i].blank = read_bool(reader);
		reader_demand(reader, with_blank || !volumes[i].blank);
		read_zeroes(reader, 7);
	}
}

static unsigned read_volume_count(struct reader *reader)
{
	uint32_t count = read_u32(reader);

	reader_demand(reader, count >= 1 && count <= VOLUMES_MAX);
	return reader->bad ? 0 : count;
}

static void write_hello(struct writer *writer, const struct wire_hello *hello, bool welcome)
{
	write_versions(writer, hello->version_min, hello->version_max);
	write_u64(writer, hello->features);
	write_id(writer, &hello->pair);
	write_u8(writer, (uint8_t)hello->role);
	write_zeroes(writer, 3);
	write_u32(writer, hello->volume_count);
	write_u64(writer, hello->epoch);
	write_id(writer, &hello->sync);
	write_u64(writer, (uint64_t)hello->born);
	write_u64(writer, hello->local_bytes);
	write_u64(writer, (uint64_t)hello->local_since);
	write_u8(writer, hello->returned);
	write_u8(writer, hello->mapped);
	write_u8(writer, hello->yields);
	write_u8(writer, hello->untouched);
	write_u8(writer, hello->split);
	write_zeroes(writer, 3);
	write_lineage(writer, &hello->lineage);
	write_volumes(writer, hello->volumes, hello->volume_count, welcome);
}

static int read_hello(struct reader *reader, struct wire_hello *hello, bool welcome)
{
	uint8_t role;
	int error;

	memset(hello, 0, sizeof(*hello));
	error = read_versions(reader, &hello->version_min, &hello->version_max);
	if (error)
		return error;
	hello->features = read_u64(reader);
	hello->pair = read_some_id(reader);
	role = read_u8(reader);
	reader_demand(reader, role == ROLE_PRIMARY || role == ROLE_STANDBY);
	hello->role = role;
	read_zeroes(reader, 3);
	hello->volume_count = read_volume_count(reader);
	hello->epoch = read_u63(reader);
	hello->sync = read_id(reader);
	hello->born = (int64_t)read_u63(reader);
	hello->local_bytes = read_u63(reader);
	hello->local_since = (int64_t)read_u63(reader);
	hello->returned = read_bool(reader);
	hello->mapped = read_bool(reader);
	hello->yields = read_bool(reader);
	hello->untouched = read_bool(reader);
	hello->split = read_bool(reader);
	read_zeroes(reader, 3);
	read_lineage(reader, &hello->lineage);
	read_volumes(reader, hello->volumes, hello->volume_count, welcome);
	return reader->bad ? -EBADMSG : 0;
}

size_t wire_put_hello(uint8_t *body, const struct wire_hello *hello)
{
	struct writer writer = writer_begin(body);

	write_hello(&writer, hello, false);
	return writer_length(&writer);
}

int wire_get_hello(const struct frame *frame, struct wire_hello *hello)
{
	struct reader reader = reader_begin(frame->payload, frame->length);
	int error;

	reader_demand(&reader, frame->type == FRAME_HELLO);
	error = read_hello(&reader, hello, false);
	if (error)
		return error;
	return reader_end(&reader) ? 0 : -EBADMSG;
}

size_t wire_put_welcome(uint8_t *body, const struct wire_welcome *welcome)
{
	struct writer writer = writer_begin(body);

	write_hello(&writer, &welcome->hello, true);
	write_u8(&writer, welcome->consistent);
	write_zeroes(&writer, 3);
	write_u32(&writer, welcome->sync_volume);
	write_u64(&writer, welcome->sync_block);
	write_bytes(&writer, welcome->hash_key, sizeof(welcome->hash_key));
	write_u64(&writer, welcome->journal_bytes);
	return writer_length(&writer);
}

static bool cursor_fits(const struct wire_welcome *welcome)
{
	const struct wire_hello *hello = &welcome->hello;

	if (welcome->sync_volume >= hello->volume_count)
		return welcome->sync_volume == hello->volume_count && welcome->sync_block == 0;
	return welcome->sync_block <= bytes_to_blocks(hello->volumes[welcome->sync_volume].bytes);
}

int wire_get_welcome(const struct frame *frame, struct wire_welcome *welcome)
{
	struct reader reader = reader_begin(frame->payload, frame->length);
	int error;

	memset(welcome, 0, sizeof(*welcome));
	reader_demand(&reader, frame->type == FRAME_WELCOME);
	error = read_hello(&reader, &welcome->hello, true);
	if (error)
		return error;
	welcome->consistent = read_bool(&reader);
	read_zeroes(&reader, 3);
	welcome->sync_volume = read_u32(&reader);
	welcome->sync_block = read_u64(&reader);
	read_copy(&reader, welcome->hash_key, sizeof(welcome->hash_key));
	welcome->journal_bytes = read_u63(&reader);
	return reader_end(&reader) && cursor_fits(welcome) ? 0 : -EBADMSG;
}

size_t wire_put_join(uint8_t *body, const struct wire_join *join)
{
	struct writer writer = writer_begin(body);

	write_versions(&writer, join->version_min, join->version_max);
	write_name(&writer, join->pair_name);
	write_bytes(&writer, join->proof, sizeof(join->proof));
	write_id(&writer, &join->pair);
	write_id(&writer, &join->generation);
	write_word(&writer, join->listen, sizeof(join->listen));
	write_u64(&writer, join->rpo);
	write_u64(&writer, join->rto);
	write_u32(&writer, join->volume_count);
	write_u32(&writer, 0);
	write_volumes(&writer, join->volumes, join->volume_count, false);
	return writer_length(&writer);
}

int wire_get_join(const struct frame *frame, struct wire_join *join)
{
	struct reader reader = reader_begin(frame->payload, frame->length);
	int error;

	memset(join, 0, sizeof(*join));
	reader_demand(&reader, frame->type == FRAME_JOIN);
	error = read_versions(&reader, &join->version_min, &join->version_max);
	if (error)
		return error;
	read_name(&reader, join->pair_name);
	read_copy(&reader, join->proof, sizeof(join->proof));
	join->pair = read_some_id(&reader);
	join->generation = read_some_id(&reader);
	read_word(&reader, join->listen, sizeof(join->listen));
	join->rpo = read_u63(&reader);
	join->rto = read_u63(&reader);
	reader_demand(&reader, join->rpo > 0 && join->rto > 0);
	join->volume_count = read_volume_count(&reader);
	read_zeroes(&reader, 4);
	read_volumes(&reader, join->volumes, join->volume_count, false);
	return reader_end(&reader) ? 0 : -EBADMSG;
}

size_t wire_put_joined(uint8_t *body, const struct wire_joined *joined)
{
	memcpy(body, joined->proof, sizeof(joined->proof));
	return sizeof(joined->proof);
}

int wire_get_joined(const struct frame *frame, struct wire_joined *joined)
{
	struct reader reader = reader_begin(frame->payload, frame->length);

	reader_demand(&reader, frame->type == FRAME_JOINED);
	read_copy(&reader, joined->proof, sizeof(joined->proof));
	return reader_end(&reader) ? 0 : -EBADMSG;
}
