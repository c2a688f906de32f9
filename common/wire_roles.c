// SPDX-License-Identifier: Apache-2.0
// The frames by which two nodes exchange their roles.
#include "bytes.h"
#include "fields.h"
#include "wire.h"

#include <errno.h>

#define BLOCKS_MAX (VOLUME_BYTES_MAX >> BLOCK_SHIFT) // in a volume

struct standing wire_standing(const struct wire_hello *hello, bool consistent)
{
	return (struct standing){
	        .role = hello->role,
	        .lineage = hello->lineage,
	        .born = hello->born,
	        .epoch = hello->epoch,
	        .consistent = consistent,
	        .returned = hello->returned,
	        .mapped = hello->mapped,
	        .yields = hello->yields,
	};
}

size_t wire_put_beyond(uint8_t *body, const struct wire_beyond *beyond)
{
	struct writer writer = writer_begin(body);

	write_u32(&writer, beyond->volume);
	write_u16(&writer, (uint16_t)beyond->extent_count);
	write_u8(&writer, beyond->last);
	write_u8(&writer, 0);
	for (uint32_t i = 0; i < beyond->extent_count; i++) {
		write_u64(&writer, beyond->extents[i].first);
		write_u32(&writer, beyond->extents[i].count);
		write_u32(&writer, 0);
	}
	return writer_length(&writer);
}

int wire_get_beyond(const struct frame *frame, struct wire_beyond *beyond)
{
	struct reader reader = reader_begin(frame->payload, frame->length);

	memset(beyond, 0, sizeof(*beyond));
	reader_demand(&reader, frame->type == FRAME_BEYOND);
	beyond->volume = read_u32(&reader);
	beyond->extent_count = read_u16(&reader);
	beyond->last = read_bool(&reader);
	read_zeroes(&reader, 1);
	reader_demand(&reader, beyond->volume < VOLUMES_MAX);
	reader_demand(&reader, beyond->extent_count <= BEYOND_EXTENTS_MAX);
	reader_demand(&reader, beyond->extent_count > 0 || beyond->last);
	for (uint32_t i = 0; !reader.bad && i < beyond->extent_count; i++) {
		struct extent *extent = &beyond->extents[i];

		extent->first = read_u64(&reader);
		extent->count = read_u32(&reader);
		read_zeroes(&reader, 4);
		reader_demand(&reader, extent->count >= 1 && extent->first <= BLOCKS_MAX &&
		                               extent->count <= BLOCKS_MAX - extent->first);
	}
	return reader_end(&reader) ? 0 : -EBADMSG;
}

size_t wire_put_decline(uint8_t *body, const struct wire_decline *decline)
{
	struct writer writer = writer_begin(body);

	write_reason(&writer, decline->reason);
	return writer_length(&writer);
}

int wire_get_decline(const struct frame *frame, struct wire_decline *decline)
{
	struct reader reader = reader_begin(frame->payload, frame->length);

	reader_demand(&reader, frame->type == FRAME_DECLINE);
	read_reason(&reader, decline->reason);
	return reader_end(&reader) ? 0 : -EBADMSG;
}
