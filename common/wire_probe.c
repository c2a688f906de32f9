// SPDX-License-Identifier: Apache-2.0
// The frames by which two nodes see whether their volumes are what they know
// them to be.
#include "bytes.h"
#include "wire.h"

#include <errno.h>

#define BLOCKS_MAX (VOLUME_BYTES_MAX >> BLOCK_SHIFT) // in a volume
#define HASH_BYTES 16

size_t wire_put_probe(uint8_t *body, const struct wire_probe *probe)
{
	struct writer writer = writer_begin(body);

	write_u32(&writer, probe->volume);
	write_u16(&writer, (uint16_t)probe->count);
	write_u8(&writer, probe->last);
	write_u8(&writer, 0);
	for (uint32_t i = 0; i < probe->count; i++) {
		write_u64(&writer, probe->blocks[i]);
		write_bytes(&writer, probe->hashes + (size_t)i * HASH_BYTES, HASH_BYTES);
	}
	return writer_length(&writer);
}

int wire_get_probe(const struct frame *frame, struct wire_probe *probe)
{
	struct reader reader = reader_begin(frame->payload, frame->length);

	memset(probe, 0, sizeof(*probe));
	reader_demand(&reader, frame->type == FRAME_PROBE);
	probe->volume = read_u32(&reader);
	probe->count = read_u16(&reader);
	probe->last = read_bool(&reader);
	read_zeroes(&reader, 1);
	reader_demand(&reader, probe->volume < VOLUMES_MAX && probe->count <= PROBE_BLOCKS_MAX);
	reader_demand(&reader, probe->count > 0 || probe->last);
	for (uint32_t i = 0; i < probe->count && !reader.bad; i++) {
		probe->blocks[i] = read_u64(&reader);
		reader_demand(&reader, probe->blocks[i] < BLOCKS_MAX);
		read_copy(&reader, probe->hashes + (size_t)i * HASH_BYTES, HASH_BYTES);
	}
	return reader_end(&reader) ? 0 : -EBADMSG;
}

size_t wire_put_probed(uint8_t *body, const struct wire_probed *probed)
{
	struct writer writer = writer_begin(body);

	write_u32(&writer, probed->looked);
	write_u32(&writer, probed->differ);
	write_u32(&writer, probed->volume);
	write_u32(&writer, 0);
	write_u64(&writer, probed->block);
	return writer_length(&writer);
}

int wire_get_probed(const struct frame *frame, struct wire_probed *probed)
{
	struct reader reader = reader_begin(frame->payload, frame->length);

	memset(probed, 0, sizeof(*probed));
	reader_demand(&reader, frame->type == FRAME_PROBED);
	probed->looked = read_u32(&reader);
	probed->differ = read_u32(&reader);
	probed->volume = read_u32(&reader);
	read_zeroes(&reader, 4);
	probed->block = read_u64(&reader);
	reader_demand(&reader, probed->differ <= probed->looked && probed->volume < VOLUMES_MAX);
	reader_demand(&reader, probed->block < BLOCKS_MAX);
	return reader_end(&reader) ? 0 : -EBADMSG;
}
