// SPDX-License-Identifier: Apache-2.0
#include "stored.h"

const char *stored_frame(const uint8_t *bytes, uint32_t left, struct frame *frame)
{
	int64_t payload = left < FRAME_HEADER_BYTES ? -1 : frame_payload_length(bytes, FRAME_PAYLOAD_MAX);

	if (payload < 0 || (uint64_t)payload > left - FRAME_HEADER_BYTES)
		return "frame header is malformed";
	if (frame_check(bytes, FRAME_HEADER_BYTES + (size_t)payload, frame))
		return "frame checksum does not match";
	return NULL;
}

const char *stored_blocks(const struct frame *frame, const struct state_volume *table, unsigned volume_count,
                          struct wire_blocks *blocks)
{
	if (frame->type != FRAME_BLOCKS || wire_get_blocks(frame, blocks) || blocks_fit(blocks, table, volume_count))
		return "frame is malformed";
	return NULL;
}
