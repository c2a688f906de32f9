// SPDX-License-Identifier: Apache-2.0
// The server's side of the NBD protocol for one client, without I/O: bytes go
// in, requests and bytes come out. Fixed newstyle handshake, one export,
// structured replies, base:allocation. Not offered: TLS, CACHE, extended
// headers.
//
//   C                          S
//     <- greeting                       nbd_start()
//     -> client flags
//     -> option                         nbd_step() ...
//     <- option replies
//     -> EXPORT_NAME or GO
//     ------------- transmission -------------
//     -> request [payload]              nbd_step() == NBD_REQUEST
//     <- reply [data]                   nbd_put_reply()
//     -> DISC                           nbd_step() == NBD_GOODBYE
#ifndef STEAD_NBD_H
#define STEAD_NBD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NBD_PAYLOAD_MAX (UINT32_C(32) << 20) // of a READ or WRITE
#define NBD_DRAIN_MAX (UINT32_C(64) << 20) // longest payload that is refused rather than hung up on
#define NBD_NAME_BYTES_MAX 255 // of our export's name and description

enum nbd_command {
	NBD_CMD_READ = 0,
	NBD_CMD_WRITE = 1,
	NBD_CMD_DISC = 2,
	NBD_CMD_FLUSH = 3,
	NBD_CMD_TRIM = 4,
	NBD_CMD_WRITE_ZEROES = 6,
	NBD_CMD_BLOCK_STATUS = 7,
};

enum nbd_command_flags {
	NBD_CMD_FLAG_FUA = 1 << 0,
	NBD_CMD_FLAG_NO_HOLE = 1 << 1,
	NBD_CMD_FLAG_DF = 1 << 2,
	NBD_CMD_FLAG_REQ_ONE = 1 << 3,
	NBD_CMD_FLAG_FAST_ZERO = 1 << 4,
};

// What is exported. The strings belong to the caller, and are cut at
// NBD_NAME_BYTES_MAX.
struct nbd_export {
	const char *name; // the empty name means it too
	const char *description;
	uint64_t size; // bytes
};

// A request. One without an error is sound: its range lies in the export, its
// flags fit its command, READ and WRITE are no longer than NBD_PAYLOAD_MAX.
struct nbd_request {
	uint64_t cookie;
	uint64_t offset;
	uint32_t length; // may be 0, except for BLOCK_STATUS
	uint16_t command; // enum nbd_command, if there is no error
	uint16_t flags;
	int error; // -errno to answer with; a payload has been dropped already
};

enum nbd_phase {
	NBD_PHASE_FLAGS,
	NBD_PHASE_OPTIONS,
	NBD_PHASE_TRANSMISSION,
	NBD_PHASE_OVER,
};

// To be embedded; private but for why.
struct nbd {
	const struct nbd_export *export;
	enum nbd_phase phase;
	bool fixed;
	bool no_zeroes;
	bool structured;
	bool allocation; // base:allocation was selected
	bool rejecting; // rejected is answered once skip is 0
	uint32_t skip; // bytes of input to drop
	unsigned options; // how many came
	struct nbd_request rejected;
	const char *why; // after NBD_BROKEN: what was wrong
};

// nbd_step() advances the input beyond what it used and appends to the output.
struct nbd_input {
	const uint8_t *data;
	size_t length;
};

struct nbd_output {
	uint8_t *data;
	size_t length;
	size_t size;
};

#define NBD_INPUT_MAX 20480 // a step never needs more at hand
#define NBD_OUTPUT_MAX 2048 // a step never needs more room; no output after the handshake

enum nbd_step {
	NBD_MORE, // what is left is no whole message: call again with more behind it
	NBD_SEND, // the output has no room for another message: send it and call again
	NBD_REQUEST, // *request; the length bytes that follow a WRITE in the input are the caller's to take
	NBD_GOODBYE, // finish what is under way, send the output, close
	NBD_BROKEN, // hang up: the stream makes no sense any more
};

// Writes the greeting. The export stays the caller's and must outlive nbd.
void nbd_start(struct nbd *nbd, const struct nbd_export *export, struct nbd_output *output);

// The kernel's client: no handshake, it was told everything already. It takes
// simple replies only.
void nbd_start_attached(struct nbd *nbd, const struct nbd_export *export);

enum nbd_step nbd_step(struct nbd *nbd, struct nbd_input *input, struct nbd_output *output,
                       struct nbd_request *request);

// Takes a request back that the caller cannot carry out: its payload, none of
// which was taken, is dropped, then it comes again with the error.
void nbd_reject(struct nbd *nbd, const struct nbd_request *request, int error);

// Whether nbd_step() may write output.
static inline bool nbd_in_handshake(const struct nbd *nbd)
{
	return nbd->phase < NBD_PHASE_TRANSMISSION;
}

// Writes the reply to a request that is done, but for the data of a READ
// without error, which follow it. error is 0 or -errno. Returns its length. A
// BLOCK_STATUS without error is answered with nbd_put_status().
#define NBD_REPLY_BYTES_MAX 32
size_t nbd_put_reply(const struct nbd *nbd, const struct nbd_request *request, int error, uint8_t *out);

// Writes the reply to a BLOCK_STATUS, asking hole() about its range piece by
// piece (disk.h): a bounded number of times, so it may tell of less than was
// asked. Returns its length.
#define NBD_STATUS_EXTENTS_MAX 128
#define NBD_STATUS_BYTES_MAX (24 + NBD_STATUS_EXTENTS_MAX * 8)
size_t nbd_put_status(const struct nbd_request *request, bool (*hole)(void *user, uint64_t offset, uint64_t *length),
                      void *user, uint8_t *out);

#endif
