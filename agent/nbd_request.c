// SPDX-License-Identifier: Apache-2.0
// Transmission: from bytes to sound requests.
#include "nbd_phases.h"
#include "nbd_wire.h"

#include <errno.h>

static unsigned flags_allowed(const struct nbd *nbd, unsigned command)
{
	switch (command) {
	case NBD_CMD_READ:
		return NBD_CMD_FLAG_FUA | (nbd->structured ? NBD_CMD_FLAG_DF : 0);
	case NBD_CMD_WRITE_ZEROES:
		return NBD_CMD_FLAG_FUA | NBD_CMD_FLAG_NO_HOLE | NBD_CMD_FLAG_FAST_ZERO;
	case NBD_CMD_BLOCK_STATUS:
		return NBD_CMD_FLAG_FUA | NBD_CMD_FLAG_REQ_ONE;
	default:
		return NBD_CMD_FLAG_FUA;
	}
}

static bool beyond_end(const struct nbd *nbd, const struct nbd_request *request)
{
	uint64_t size = nbd->export->size;

	return request->offset > size || request->length > size - request->offset;
}

static int validate(const struct nbd *nbd, const struct nbd_request *request)
{
	if (request->flags & ~flags_allowed(nbd, request->command))
		return -EINVAL;
	switch (request->command) {
	case NBD_CMD_READ:
	case NBD_CMD_TRIM:
		break;
	case NBD_CMD_WRITE:
	case NBD_CMD_WRITE_ZEROES:
		if (beyond_end(nbd, request))
			return -ENOSPC;
		break;
	case NBD_CMD_FLUSH:
		return request->offset || request->length ? -EINVAL : 0;
	case NBD_CMD_BLOCK_STATUS:
		if (!nbd->allocation || !request->length)
			return -EINVAL;
		break;
	default:
		return -EINVAL;
	}
	if (beyond_end(nbd, request))
		return -EINVAL;
	if ((request->command == NBD_CMD_READ || request->command == NBD_CMD_WRITE) &&
	    request->length > NBD_PAYLOAD_MAX)
		return -EINVAL;
	return 0;
}

enum nbd_step nbd_request(struct nbd *nbd, struct nbd_input *input, struct nbd_request *request)
{
	const uint8_t *at = input->data;
	int error;

	if (input->length < NBD_REQUEST_BYTES)
		return NBD_MORE;
	if (nbd_get32(at) != NBD_MAGIC_REQUEST)
		return nbd_broken(nbd, "request without its magic number");
	request->flags = nbd_get16(at + 4);
	request->command = nbd_get16(at + 6);
	request->cookie = nbd_get64(at + 8);
	request->offset = nbd_get64(at + 16);
	request->length = nbd_get32(at + 24);
	request->error = 0;
	nbd_consume(input, NBD_REQUEST_BYTES);

	if (request->command == NBD_CMD_DISC) {
		nbd->phase = NBD_PHASE_OVER;
		return NBD_GOODBYE;
	}
	error = validate(nbd, request);
	if (!error)
		return NBD_REQUEST;
	if (request->command != NBD_CMD_WRITE) {
		request->error = error;
		return NBD_REQUEST;
	}
	if (request->length > NBD_DRAIN_MAX)
		return nbd_broken(nbd, "write request far beyond the maximum payload");

	// The reply waits until the payload is out of the way: some clients
	// do not listen while they send.
	nbd_reject(nbd, request, error);
	return NBD_SEND;
}
