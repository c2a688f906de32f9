// SPDX-License-Identifier: Apache-2.0
// Numbers of the NBD protocol, as in doc/proto.md of the NBD project. All of
// them are big-endian on the wire.
#ifndef STEAD_NBD_WIRE_H
#define STEAD_NBD_WIRE_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

#define NBD_MAGIC_GREETING UINT64_C(0x4e42444d41474943) // "NBDMAGIC"
#define NBD_MAGIC_OPTION UINT64_C(0x49484156454f5054) // "IHAVEOPT"
#define NBD_MAGIC_OPTION_REPLY UINT64_C(0x0003e889045565a9)
#define NBD_MAGIC_REQUEST UINT32_C(0x25609513)
#define NBD_MAGIC_SIMPLE UINT32_C(0x67446698)
#define NBD_MAGIC_STRUCTURED UINT32_C(0x668e33ef)

enum {
	NBD_GREETING_BYTES = 18,
	NBD_CLIENT_FLAGS_BYTES = 4,
	NBD_OPTION_BYTES = 16, // before its data
	NBD_OPTION_REPLY_BYTES = 20, // before its data
	NBD_REQUEST_BYTES = 28,
	NBD_SIMPLE_BYTES = 16,
	NBD_CHUNK_BYTES = 20, // before its payload
};

enum { // the server's and the client's handshake flags
	NBD_FIXED_NEWSTYLE = 1 << 0,
	NBD_NO_ZEROES = 1 << 1,
};

enum nbd_option {
	NBD_OPT_EXPORT_NAME = 1,
	NBD_OPT_ABORT = 2,
	NBD_OPT_LIST = 3,
	NBD_OPT_STARTTLS = 5,
	NBD_OPT_INFO = 6,
	NBD_OPT_GO = 7,
	NBD_OPT_STRUCTURED_REPLY = 8,
	NBD_OPT_LIST_META_CONTEXT = 9,
	NBD_OPT_SET_META_CONTEXT = 10,
};

#define NBD_REP_ERROR(number) ((UINT32_C(1) << 31) + (number))
#define NBD_REP_ACK UINT32_C(1)
#define NBD_REP_SERVER UINT32_C(2)
#define NBD_REP_INFO UINT32_C(3)
#define NBD_REP_META_CONTEXT UINT32_C(4)
#define NBD_REP_ERR_UNSUP NBD_REP_ERROR(1)
#define NBD_REP_ERR_INVALID NBD_REP_ERROR(3)
#define NBD_REP_ERR_UNKNOWN NBD_REP_ERROR(6)
#define NBD_REP_ERR_TOO_BIG NBD_REP_ERROR(9)

enum nbd_info {
	NBD_INFO_EXPORT = 0,
	NBD_INFO_NAME = 1,
	NBD_INFO_DESCRIPTION = 2,
	NBD_INFO_BLOCK_SIZE = 3,
};

enum { // transmission flags
	NBD_FLAG_HAS_FLAGS = 1 << 0,
	NBD_FLAG_SEND_FLUSH = 1 << 2,
	NBD_FLAG_SEND_FUA = 1 << 3,
	NBD_FLAG_SEND_TRIM = 1 << 5,
	NBD_FLAG_SEND_WRITE_ZEROES = 1 << 6,
	NBD_FLAG_SEND_DF = 1 << 7,
	NBD_FLAG_CAN_MULTI_CONN = 1 << 8,
	NBD_FLAG_SEND_FAST_ZERO = 1 << 11,
};

enum { // flags of a chunk
	NBD_CHUNK_DONE = 1 << 0,
};

enum nbd_chunk {
	NBD_CHUNK_NONE = 0,
	NBD_CHUNK_OFFSET_DATA = 1,
	NBD_CHUNK_BLOCK_STATUS = 5,
	NBD_CHUNK_ERROR = (1 << 15) + 1,
};

#define NBD_ALLOCATION_ID 1 // of base:allocation, the only context there is

enum { // its flags
	NBD_STATE_HOLE = 1 << 0,
	NBD_STATE_ZERO = 1 << 1,
};

enum nbd_error {
	NBD_EPERM = 1,
	NBD_EIO = 5,
	NBD_ENOMEM = 12,
	NBD_EINVAL = 22,
	NBD_ENOSPC = 28,
	NBD_EOVERFLOW = 75,
	NBD_ENOTSUP = 95,
	NBD_ESHUTDOWN = 108,
};

static inline uint16_t nbd_get16(const uint8_t *bytes)
{
	uint16_t value;

	memcpy(&value, bytes, sizeof(value));
	return be16toh(value);
}

static inline uint32_t nbd_get32(const uint8_t *bytes)
{
	uint32_t value;

	memcpy(&value, bytes, sizeof(value));
	return be32toh(value);
}

static inline uint64_t nbd_get64(const uint8_t *bytes)
{
	uint64_t value;

	memcpy(&value, bytes, sizeof(value));
	return be64toh(value);
}

// These return where the next field goes.
static inline uint8_t *nbd_put16(uint8_t *bytes, uint16_t value)
{
	value = htobe16(value);
	memcpy(bytes, &value, sizeof(value));
	return bytes + sizeof(value);
}

static inline uint8_t *nbd_put32(uint8_t *bytes, uint32_t value)
{
	value = htobe32(value);
	memcpy(bytes, &value, sizeof(value));
	return bytes + sizeof(value);
}

static inline uint8_t *nbd_put64(uint8_t *bytes, uint64_t value)
{
	value = htobe64(value);
	memcpy(bytes, &value, sizeof(value));
	return bytes + sizeof(value);
}

#endif
