// SPDX-License-Identifier: Apache-2.0
// Transmission: replies.
#include "nbd.h"
#include "nbd_wire.h"

#include <errno.h>

// Nothing but NBD's own errors goes out.
static enum nbd_error wire_error(int error)
{
	switch (-error) {
	case EPERM:
	case EACCES:
	case EROFS:
		return NBD_EPERM;
	case ENOMEM:
		return NBD_ENOMEM;
	case EINVAL:
		return NBD_EINVAL;
	case ENOSPC:
	case EDQUOT:
	case EFBIG:
		return NBD_ENOSPC;
	case EOVERFLOW:
		return NBD_EOVERFLOW;
	case EOPNOTSUPP:
		return NBD_ENOTSUP;
	case ESHUTDOWN:
		return NBD_ESHUTDOWN;
	default:
		return NBD_EIO;
	}
}

// The one chunk of a reply; its payload goes to what is returned.
static uint8_t *put_chunk(uint8_t *out, const struct nbd_request *request, enum nbd_chunk type, uint32_t length)
{
	out = nbd_put32(out, NBD_MAGIC_STRUCTURED);
	out = nbd_put16(out, NBD_CHUNK_DONE);
	out = nbd_put16(out, type);
	out = nbd_put64(out, request->cookie);
	return nbd_put32(out, length);
}

size_t nbd_put_reply(const struct nbd *nbd, const struct nbd_request *request, int error, uint8_t *out)
{
	uint8_t *at;

	// Structured replies are a must for READ and BLOCK_STATUS only, and
	// longer than simple ones.
	if (!nbd->structured || (request->command != NBD_CMD_READ && request->command != NBD_CMD_BLOCK_STATUS)) {
		at = nbd_put32(out, NBD_MAGIC_SIMPLE);
		at = nbd_put32(at, error ? wire_error(error) : 0);
		at = nbd_put64(at, request->cookie);
	} else if (error) {
		at = put_chunk(out, request, NBD_CHUNK_ERROR, 6);
		at = nbd_put32(at, wire_error(error));
		at = nbd_put16(at, 0);
	} else if (request->length == 0) {
		at = put_chunk(out, request, NBD_CHUNK_NONE, 0);
	} else {
		at = put_chunk(out, request, NBD_CHUNK_OFFSET_DATA, 8 + request->length);
		at = nbd_put64(at, request->offset);
	}
	return at - out;
}

size_t nbd_put_status(const struct nbd_request *request, bool (*hole)(void *user, uint64_t offset, uint64_t *length),
                      void *user, uint8_t *out)
{
	uint8_t *extents = out + NBD_CHUNK_BYTES + 4;
	uint64_t offset = request->offset, left = request->length;
	unsigned extents_max = request->flags & NBD_CMD_FLAG_REQ_ONE ? 1 : NBD_STATUS_EXTENTS_MAX;
	unsigned count = 0, state = 0;
	uint32_t extent = 0;

	for (unsigned asked = 0; left && asked < NBD_STATUS_EXTENTS_MAX; asked++) {
		uint64_t length = left;
		unsigned next = hole(user, offset, &length) ? NBD_STATE_HOLE | NBD_STATE_ZERO : 0;

		if (length == 0 || length > left)
			length = left;
		if (extent && next != state) {
			nbd_put32(nbd_put32(extents + 8 * count, extent), state);
			extent = 0;
			if (++count == extents_max)
				break;
		}
		state = next;
		extent += length;
		offset += length;
		left -= length;
	}
	if (extent) {
		nbd_put32(nbd_put32(extents + 8 * count, extent), state);
		count++;
	}
	nbd_put32(put_chunk(out, request, NBD_CHUNK_BLOCK_STATUS, 4 + 8 * count), NBD_ALLOCATION_ID);
	return NBD_CHUNK_BYTES + 4 + 8 * count;
}
