// SPDX-License-Identifier: Apache-2.0
#include "wire.h"

#include "blockhash.h"
#include "bytes.h"
#include "fields.h"

#include <errno.h>
#include <xxhash.h>

#define CHECKSUM_AT 16
#define EXTENTS_AT 16 // in a BLOCKS body
#define EXTENT_BYTES 16
#define EXTENT_ZERO UINT32_C(1)
#define BLOCKS_MAX (VOLUME_BYTES_MAX >> BLOCK_SHIFT) // in a volume

static const char *const type_names[] = {
        [FRAME_HELLO] = "HELLO",           [FRAME_WELCOME] = "WELCOME",
        [FRAME_REFUSE] = "REFUSE",         [FRAME_JOIN] = "JOIN",
        [FRAME_JOINED] = "JOINED",         [FRAME_BEGIN] = "BEGIN",
        [FRAME_BLOCKS] = "BLOCKS",         [FRAME_COMPARE] = "COMPARE",
        [FRAME_DIFFER] = "DIFFER",         [FRAME_END] = "END",
        [FRAME_ABORT] = "ABORT",           [FRAME_DURABLE] = "DURABLE",
        [FRAME_REJECT] = "REJECT",         [FRAME_MARK] = "MARK",
        [FRAME_MARKED] = "MARKED",         [FRAME_HEARTBEAT] = "HEARTBEAT",
        [FRAME_BEYOND] = "BEYOND",         [FRAME_TAKEOVER] = "TAKEOVER",
        [FRAME_SWITCHOVER] = "SWITCHOVER", [FRAME_DECLINE] = "DECLINE",
};

static bool type_known(unsigned type)
{
	return type >= FRAME_HELLO && type <= FRAME_DECLINE;
}

const char *frame_type_name(unsigned type)
{
	return type_known(type) ? type_names[type] : "unknown frame";
}

const char *trouble_name(enum trouble trouble)
{
	static const char *const names[] = {
	        [TROUBLE_NONE] = NULL,
	        [TROUBLE_PAUSED] = "paused",
	        [TROUBLE_LINK_SLOW] = "link-slow",
	        [TROUBLE_STANDBY_SLOW] = "standby-slow",
	        [TROUBLE_SPILL_FULL] = "spill-full",
	        [TROUBLE_JOURNAL_FULL] = "journal-full",
	        [TROUBLE_STANDBY_DISK_FULL] = "standby-disk-full",
	        [TROUBLE_STANDBY_ERROR] = "standby-error",
	        [TROUBLE_READ_ERROR] = "read-error",
	        [TROUBLE_NO_MEMORY] = "no-memory",
	        [TROUBLE_LINK_DOWN] = "link-down",
	        [TROUBLE_PEER_REFUSED] = "peer-refused",
	};

	return names[trouble];
}

// The part of the header before the checksum seeds the hash of the payload.
static uint64_t checksum(const uint8_t *bytes, size_t payload_length)
{
	uint64_t seed = XXH3_64bits(bytes, CHECKSUM_AT);

	return XXH3_64bits_withSeed(bytes + FRAME_HEADER_BYTES, payload_length, seed);
}

void frame_put_header(uint8_t *frame, enum frame_type type, uint64_t sequence, uint32_t payload_length)
{
	struct writer writer = writer_begin(frame);

	write_u32(&writer, payload_length);
	write_u16(&writer, (uint16_t)type);
	write_u16(&writer, 0);
	write_u64(&writer, sequence);
	write_u64(&writer, checksum(frame, payload_length));
}

int64_t frame_payload_length(const uint8_t *header, uint32_t max)
{
	uint32_t length = get_u32(header);

	if (length > max || !type_known(get_u16(header + 4)) || get_u16(header + 6) != 0)
		return -EBADMSG;
	return length;
}

int frame_check(const uint8_t *bytes, size_t length, struct frame *frame)
{
	int64_t payload_length;

	if (length < FRAME_HEADER_BYTES)
		return -EBADMSG;
	payload_length = frame_payload_length(bytes, FRAME_PAYLOAD_MAX);
	if (payload_length < 0 || (uint64_t)payload_length != length - FRAME_HEADER_BYTES)
		return -EBADMSG;
	if (get_u64(bytes + CHECKSUM_AT) != checksum(bytes, (size_t)payload_length))
		return -EBADMSG;
	*frame = (struct frame){
	        .type = get_u16(bytes + 4),
	        .sequence = get_u64(bytes + 8),
	        .bytes = bytes,
	        .payload = bytes + FRAME_HEADER_BYTES,
	        .length = (uint32_t)payload_length,
	};
	return 0;
}

uint64_t frame_checksum(const struct frame *frame)
{
	return get_u64(frame->bytes + CHECKSUM_AT);
}

// A reader of the payload that is bad from the beginning unless the type is
// one of the two.
static struct reader body_of(const struct frame *frame, enum frame_type type, enum frame_type or_type)
{
	struct reader reader = reader_begin(frame->payload, frame->length);

	reader_demand(&reader, frame->type == type || frame->type == or_type);
	return reader;
}

static int verdict(const struct reader *reader)
{
	return reader_end(reader) ? 0 : -EBADMSG;
}

size_t wire_put_refuse(uint8_t *body, const struct wire_refuse *refuse)
{
	struct writer writer = writer_begin(body);

	write_u16(&writer, (uint16_t)refuse->code);
	write_reason(&writer, refuse->reason);
	return writer_length(&writer);
}

int wire_get_refuse(const struct frame *frame, struct wire_refuse *refuse)
{
	struct reader reader = body_of(frame, FRAME_REFUSE, FRAME_REFUSE);
	uint16_t code = read_u16(&reader);

	reader_demand(&reader, code >= REFUSAL_VERSION && code <= REFUSAL_INTERNAL);
	refuse->code = code;
	read_reason(&reader, refuse->reason);
	return verdict(&reader);
}

size_t wire_put_begin(uint8_t *body, const struct wire_begin *begin)
{
	struct writer writer = writer_begin(body);

	write_u64(&writer, begin->epoch);
	write_u64(&writer, begin->base);
	write_u8(&writer, (uint8_t)begin->kind);
	write_u8(&writer, begin->completes);
	write_u8(&writer, begin->adopts);
	write_u8(&writer, begin->partial);
	write_zeroes(&writer, 4);
	write_id(&writer, &begin->sync);
	write_u64(&writer, (uint64_t)begin->cut_wall);
	return writer_length(&writer);
}

int wire_get_begin(const struct frame *frame, struct wire_begin *begin)
{
	struct reader reader = body_of(frame, FRAME_BEGIN, FRAME_BEGIN);
	uint8_t kind;

	begin->epoch = read_u63(&reader);
	begin->base = read_u63(&reader);
	reader_demand(&reader, begin->base < begin->epoch);
	kind = read_u8(&reader);
	reader_demand(&reader, kind == EPOCH_ATOMIC || kind == EPOCH_DIRECT);
	begin->kind = kind;
	begin->completes = read_bool(&reader);
	begin->adopts = read_bool(&reader);
	begin->partial = read_bool(&reader);
	read_zeroes(&reader, 4);
	begin->sync = read_id(&reader);
	if (kind == EPOCH_DIRECT) // belongs to a sync in place, and never ends one
		reader_demand(&reader, !id_is_none(&begin->sync) && !begin->completes && !begin->adopts);
	else
		reader_demand(&reader, !begin->partial);
	begin->cut_wall = (int64_t)read_u63(&reader);
	return verdict(&reader);
}

size_t wire_put_differ(uint8_t *body, const struct wire_differ *differ)
{
	struct writer writer = writer_begin(body);

	write_u64(&writer, differ->epoch);
	write_u32(&writer, differ->block_count);
	write_u32(&writer, 0);
	write_bytes(&writer, differ->bitmap, (differ->block_count + 7) / 8);
	return writer_length(&writer);
}

int wire_get_differ(const struct frame *frame, struct wire_differ *differ)
{
	struct reader reader = body_of(frame, FRAME_DIFFER, FRAME_DIFFER);

	memset(differ, 0, sizeof(*differ));
	differ->epoch = read_u63(&reader);
	reader_demand(&reader, differ->epoch != 0);
	differ->block_count = read_u32(&reader);
	reader_demand(&reader, differ->block_count >= 1 && differ->block_count <= COMPARE_BLOCKS_MAX);
	read_zeroes(&reader, 4);
	if (reader.bad)
		return -EBADMSG;
	read_copy(&reader, differ->bitmap, (differ->block_count + 7) / 8);
	if (differ->block_count % 8 != 0) // bits beyond the last block
		reader_demand(&reader, differ->bitmap[differ->block_count / 8] >> differ->block_count % 8 == 0);
	return verdict(&reader);
}

size_t wire_put_end(uint8_t *body, const struct wire_end *end)
{
	struct writer writer = writer_begin(body);

	write_u64(&writer, end->epoch);
	write_u64(&writer, end->frames);
	write_u64(&writer, end->digest);
	return writer_length(&writer);
}

int wire_get_end(const struct frame *frame, struct wire_end *end)
{
	struct reader reader = body_of(frame, FRAME_END, FRAME_END);

	end->epoch = read_u63(&reader);
	end->frames = read_u63(&reader);
	end->digest = read_u64(&reader);
	return verdict(&reader);
}

size_t wire_put_epoch(uint8_t *body, const struct wire_epoch *epoch)
{
	struct writer writer = writer_begin(body);

	write_u64(&writer, epoch->epoch);
	write_u64(&writer, (uint64_t)epoch->wall);
	return writer_length(&writer);
}

int wire_get_epoch(const struct frame *frame, struct wire_epoch *epoch)
{
	struct reader reader = reader_begin(frame->payload, frame->length);

	reader_demand(&reader,
	              frame->type == FRAME_ABORT || frame->type == FRAME_DURABLE || frame->type == FRAME_TAKEOVER);
	epoch->epoch = read_u63(&reader);
	epoch->wall = (int64_t)read_u63(&reader);
	return verdict(&reader);
}

size_t wire_put_reject(uint8_t *body, const struct wire_reject *reject)
{
	struct writer writer = writer_begin(body);

	write_u64(&writer, reject->epoch);
	write_u8(&writer, (uint8_t)reject->cause);
	write_u8(&writer, 0);
	write_reason(&writer, reject->reason);
	return writer_length(&writer);
}

int wire_get_reject(const struct frame *frame, struct wire_reject *reject)
{
	struct reader reader = body_of(frame, FRAME_REJECT, FRAME_REJECT);
	uint8_t cause;

	reject->epoch = read_u63(&reader);
	cause = read_u8(&reader);
	reader_demand(&reader, cause <= REJECT_TOO_LARGE);
	reject->cause = cause;
	read_zeroes(&reader, 1);
	read_reason(&reader, reject->reason);
	return verdict(&reader);
}

size_t wire_put_mark(uint8_t *body, const struct wire_mark *mark)
{
	struct writer writer = writer_begin(body);

	write_u32(&writer, mark->volume);
	write_u32(&writer, 0);
	write_u64(&writer, mark->block);
	return writer_length(&writer);
}

int wire_get_mark(const struct frame *frame, struct wire_mark *mark)
{
	struct reader reader = body_of(frame, FRAME_MARK, FRAME_MARKED);

	mark->volume = read_u32(&reader);
	reader_demand(&reader, mark->volume <= VOLUMES_MAX);
	read_zeroes(&reader, 4);
	mark->block = read_u64(&reader);
	reader_demand(&reader, mark->block <= BLOCKS_MAX);
	return verdict(&reader);
}

size_t wire_put_heartbeat(uint8_t *body, const struct wire_heartbeat *heartbeat)
{
	struct writer writer = writer_begin(body);

	write_u64(&writer, (uint64_t)heartbeat->wall);
	write_u64(&writer, heartbeat->cut);
	write_u64(&writer, heartbeat->applied);
	write_u64(&writer, heartbeat->lag);
	write_u8(&writer, heartbeat->clean);
	write_u8(&writer, (uint8_t)heartbeat->trouble);
	write_u8(&writer, (uint8_t)heartbeat->held);
	write_zeroes(&writer, 5);
	write_u64(&writer, heartbeat->outlook);
	return writer_length(&writer);
}

int wire_get_heartbeat(const struct frame *frame, struct wire_heartbeat *heartbeat)
{
	struct reader reader = body_of(frame, FRAME_HEARTBEAT, FRAME_HEARTBEAT);

	heartbeat->wall = (int64_t)read_u63(&reader);
	heartbeat->cut = read_u63(&reader);
	heartbeat->applied = read_u63(&reader);
	heartbeat->lag = read_u63(&reader);
	heartbeat->clean = read_bool(&reader);
	heartbeat->trouble = read_u8(&reader);
	reader_demand(&reader, heartbeat->trouble <= TROUBLE_WIRE_MAX);
	heartbeat->held = read_u8(&reader);
	reader_demand(&reader, heartbeat->held <= 100);
	read_zeroes(&reader, 5);
	heartbeat->outlook = read_u63(&reader);
	return verdict(&reader);
}

size_t wire_put_blocks(uint8_t *body, uint32_t volume, const struct extent *extents, uint32_t count)
{
	struct writer writer = writer_begin(body);
	uint64_t raw_blocks = 0;

	for (uint32_t i = 0; i < count; i++)
		raw_blocks += extents[i].zero ? 0 : extents[i].count;
	write_u32(&writer, volume);
	write_u32(&writer, count);
	write_u32(&writer, (uint32_t)(raw_blocks * BLOCK_SIZE));
	write_u8(&writer, 0);
	write_zeroes(&writer, 3);
	for (uint32_t i = 0; i < count; i++) {
		write_u64(&writer, extents[i].first);
		write_u32(&writer, extents[i].count);
		write_u32(&writer, extents[i].zero ? EXTENT_ZERO : 0);
	}
	return writer_length(&writer);
}

struct extent blocks_extent(const struct wire_blocks *blocks, uint32_t index)
{
	const uint8_t *at = blocks->extents + (size_t)index * EXTENT_BYTES;

	return (struct extent){
	        .first = get_u64(at),
	        .count = get_u32(at + 8),
	        .zero = get_u32(at + 12) & EXTENT_ZERO,
	};
}

// Checks the extents and returns how many blocks of content they have.
static uint64_t read_extents(struct reader *reader, struct wire_blocks *blocks, bool zero_allowed)
{
	uint64_t content = 0;

	reader_demand(reader, blocks->extent_count >= 1 && blocks->extent_count <= BLOCKS_EXTENTS_MAX);
	if (reader->bad)
		return 0;
	blocks->extents = read_bytes(reader, (size_t)blocks->extent_count * EXTENT_BYTES);
	for (uint32_t i = 0; !reader->bad && i < blocks->extent_count; i++) {
		struct extent extent = blocks_extent(blocks, i);
		uint32_t flags = get_u32(blocks->extents + i * EXTENT_BYTES + 12);

		reader_demand(reader, extent.count >= 1);
		reader_demand(reader, extent.first <= BLOCKS_MAX && extent.count <= BLOCKS_MAX - extent.first);
		reader_demand(reader, flags == 0 || (flags == EXTENT_ZERO && zero_allowed));
		content += extent.zero ? 0 : extent.count;
	}
	return content;
}

// Reads what comes before the content, of which payload_length is the length.
static int get_blocks(struct reader *reader, bool compare, uint32_t payload_length, struct wire_blocks *blocks)
{
	uint64_t content;
	uint8_t codec;

	memset(blocks, 0, sizeof(*blocks));
	blocks->volume = read_u32(reader);
	blocks->extent_count = read_u32(reader);
	blocks->raw_length = read_u32(reader);
	codec = read_u8(reader);
	reader_demand(reader, codec <= CODEC_MAX);
	blocks->codec = codec;
	read_zeroes(reader, 3);
	reader_demand(reader, blocks->volume < VOLUMES_MAX);
	reader_demand(reader, blocks->raw_length <= BLOCKS_RAW_MAX);
	content = read_extents(reader, blocks, !compare);
	reader_demand(reader, content * BLOCK_SIZE == blocks->raw_length);
	if (reader->bad)
		return -EBADMSG;
	blocks->payload = reader->at;
	blocks->payload_length = payload_length - EXTENTS_AT - blocks->extent_count * EXTENT_BYTES;
	if (compare) {
		if (blocks->codec != CODEC_NONE || blocks->payload_length != content * BLOCKHASH_BYTES)
			return -EBADMSG;
	} else if (blocks->codec != CODEC_NONE) {
		if (blocks->payload_length == 0 || blocks->payload_length >= blocks->raw_length)
			return -EBADMSG;
	} else if (blocks->payload_length != blocks->raw_length) {
		return -EBADMSG;
	}
	return 0;
}

int wire_get_blocks(const struct frame *frame, struct wire_blocks *blocks)
{
	struct reader reader = body_of(frame, FRAME_BLOCKS, FRAME_COMPARE);

	return get_blocks(&reader, frame->type == FRAME_COMPARE, frame->length, blocks);
}

int wire_peek_blocks(const uint8_t *bytes, size_t length, struct wire_blocks *blocks)
{
	struct reader reader;
	int64_t payload;
	uint32_t count;
	size_t head;

	if (length < FRAME_HEADER_BYTES + EXTENTS_AT)
		return -EAGAIN;
	payload = frame_payload_length(bytes, FRAME_PAYLOAD_MAX);
	count = get_u32(bytes + FRAME_HEADER_BYTES + 4);
	if (payload < 0 || get_u16(bytes + 4) != FRAME_BLOCKS || count > BLOCKS_EXTENTS_MAX)
		return -EBADMSG;
	head = EXTENTS_AT + count * EXTENT_BYTES;
	if ((uint64_t)payload < head)
		return -EBADMSG;
	if (length < FRAME_HEADER_BYTES + head)
		return -EAGAIN;
	reader = reader_begin(bytes + FRAME_HEADER_BYTES, head);
	return get_blocks(&reader, false, (uint32_t)payload, blocks);
}

int blocks_fit(const struct wire_blocks *blocks, const struct state_volume *volumes, unsigned volume_count)
{
	uint64_t size;

	if (blocks->volume >= volume_count)
		return -EBADMSG;
	size = bytes_to_blocks(volumes[blocks->volume].bytes);
	for (uint32_t i = 0; i < blocks->extent_count; i++) {
		struct extent extent = blocks_extent(blocks, i);

		if (extent.first > size || extent.count > size - extent.first)
			return -EBADMSG;
	}
	return 0;
}
