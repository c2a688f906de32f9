// SPDX-License-Identifier: Apache-2.0
// The frames between two nodes; docs/protocol.md has the bytes and the order.
//
//   A → R  HELLO            pair, role, lineage, volumes, last cut
//   R → A  WELCOME          role, lineage, last durable epoch, sync cursor
//                           (or REFUSE, and the connection ends)
//   A → R  BEGIN 7          one epoch ...
//   A → R  BLOCKS, COMPARE  ... its content, in any order
//   R → A  DIFFER           answers a COMPARE
//   A → R  END 7
//   A → R  BEGIN 8 ...      before the answer to 7
//   R → A  DURABLE 7        journalled and flushed
//   both   HEARTBEAT        A every half second, R every second
//   R → A  BEYOND           after WELCOME, what a former primary holds beyond
//   A → R  TAKEOVER 8       planned switchover: be the primary after epoch 8
//
// Everything here is pure: no allocation, no I/O. The get functions check every
// field of the body for itself (counts, names, booleans, trailing bytes); what
// depends on the pair (does the extent lie in the volume?) is checked by
// blocks_fit().
#ifndef STEAD_WIRE_H
#define STEAD_WIRE_H

#include "block.h"
#include "lineage.h"
#include "pack.h"
#include "state.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WIRE_VERSION 1
#define WIRE_MAGIC "STEADREP"
#define FRAME_HEADER_BYTES 24
#define FRAME_PAYLOAD_MAX (UINT32_C(1) << 20) // bytes
#define FRAME_PAYLOAD_STRANGER_MAX 4096 // before HELLO was accepted
#define BLOCKS_RAW_MAX (UINT32_C(256) << 10) // content bytes in one BLOCKS or COMPARE
#define BLOCKS_EXTENTS_MAX 1024 // extents in one BLOCKS or COMPARE, as received
#define BLOCKS_EXTENTS_SEND_MAX (BLOCKS_EXTENTS_MAX - 2 * (int)COMPARE_BLOCKS_MAX) // leaves room to split
#define COMPARE_BLOCKS_MAX (BLOCKS_RAW_MAX / BLOCK_SIZE)

// Features (struct wire_hello): in force where both sides name them.
#define WIRE_FEATURE_ZSTD (UINT64_C(1) << 0) // content packed with CODEC_ZSTD
#define WIRE_FEATURES WIRE_FEATURE_ZSTD // that this program knows

enum frame_type {
	FRAME_HELLO = 1,
	FRAME_WELCOME = 2,
	FRAME_REFUSE = 3,
	FRAME_JOIN = 4,
	FRAME_JOINED = 5,
	FRAME_BEGIN = 6,
	FRAME_BLOCKS = 7,
	FRAME_COMPARE = 8,
	FRAME_DIFFER = 9,
	FRAME_END = 10,
	FRAME_ABORT = 11,
	FRAME_DURABLE = 12,
	FRAME_REJECT = 13,
	FRAME_MARK = 14,
	FRAME_MARKED = 15,
	FRAME_HEARTBEAT = 16,
	FRAME_BEYOND = 17,
	FRAME_TAKEOVER = 18,
	FRAME_SWITCHOVER = 19,
	FRAME_DECLINE = 20,
};

// A frame as it lies in a buffer, header checked.
struct frame {
	enum frame_type type;
	uint64_t sequence;
	const uint8_t *bytes; // header and payload, as received
	const uint8_t *payload;
	uint32_t length; // of the payload
};

struct wire_volume {
	char name[NAME_MAX_LENGTH + 1];
	uint64_t bytes;
	bool blank; // WELCOME: nothing but holes here, no need to compare
};

struct wire_hello { // both HELLO and WELCOME begin with it
	uint16_t version_min;
	uint16_t version_max;
	uint64_t features;
	struct id pair;
	enum role role;
	struct lineage lineage;
	uint64_t epoch; // as in struct standing
	int64_t born; // so are these
	bool returned;
	bool mapped;
	bool yields;
	bool untouched; // primary: promoted, and not written to since
	bool split; // primary: stopped serving, after both had been written to
	uint64_t local_bytes; // primary: changed since its generation began, or what it holds beyond the peer's
	int64_t local_since; // wall clock of the oldest of them, ns; 0: none
	struct id sync; // full sync under way; none: none
	unsigned volume_count;
	struct wire_volume volumes[VOLUMES_MAX];
};

struct wire_welcome {
	struct wire_hello hello;
	bool consistent;
	uint32_t sync_volume; // cursor of the sync named in hello.sync
	uint64_t sync_block;
	uint8_t hash_key[16]; // for COMPARE in this connection
	uint64_t journal_bytes; // no epoch may need more
};

enum refusal {
	REFUSAL_VERSION = 1,
	REFUSAL_UNKNOWN_PAIR = 2,
	REFUSAL_WRONG_KEY = 3,
	REFUSAL_VOLUMES = 4,
	REFUSAL_LINEAGE = 5, // the WELCOME that came before says whose
	REFUSAL_BUSY = 6,
	REFUSAL_TOKEN = 7,
	REFUSAL_PROTOCOL = 8,
	REFUSAL_INTERNAL = 9,
};

struct wire_refuse {
	enum refusal code;
	char reason[REASON_MAX + 1];
};

struct wire_join {
	uint16_t version_min;
	uint16_t version_max;
	char pair_name[NAME_MAX_LENGTH + 1];
	uint8_t proof[32]; // HMAC of the token's secret over this TLS session (token.h)
	struct id pair; // made by the primary
	struct id generation;
	char listen[80]; // where the primary's own receiver is reached; empty: not told
	uint64_t rpo; // ns
	uint64_t rto; // ns
	unsigned volume_count;
	struct wire_volume volumes[VOLUMES_MAX];
};

struct wire_joined {
	uint8_t proof[32]; // the standby's own
};

enum epoch_kind {
	EPOCH_ATOMIC = 1, // becomes visible on the standby as a whole
	EPOCH_DIRECT = 2, // sync in place: written as it comes, standby inconsistent meanwhile
};

struct wire_begin {
	uint64_t epoch;
	uint64_t base; // the epoch before it on this connection, or the last durable
	enum epoch_kind kind;
	bool completes; // the standby is consistent once this one is durable
	bool adopts; // ATOMIC: the standby is of the primary's generation once this one is durable
	bool partial; // DIRECT: what is not sent stays as it was; else it walks all blocks
	struct id sync; // DIRECT: which sync in place this is
	int64_t cut_wall; // ns
};

// Content or compare request. extents points into the frame.
struct wire_blocks {
	uint32_t volume;
	uint32_t extent_count;
	const uint8_t *extents; // blocks_extent() decodes one
	uint32_t raw_length; // bytes of content of the extents that are not zero
	enum codec codec; // COMPARE: CODEC_NONE
	const uint8_t *payload; // content; COMPARE: 16-byte hashes, one a block
	uint32_t payload_length;
};

struct wire_differ { // COMPAREs of an epoch are answered in their order
	uint64_t epoch; // that the COMPARE belonged to: it may be given up by now
	uint32_t block_count; // as in the COMPARE
	uint8_t bitmap[(COMPARE_BLOCKS_MAX + 7) / 8]; // bit i: block i of its extents differs
};

struct wire_end {
	uint64_t epoch;
	uint64_t frames; // BLOCKS frames between BEGIN and END
	uint64_t digest; // chained XXH3-64 of their checksums, in order (codec.h)
};

struct wire_epoch { // ABORT, DURABLE; TAKEOVER: the last epoch there is, durable
	uint64_t epoch;
	int64_t wall; // sender's clock, ns
};

enum reject_cause {
	REJECT_ERROR = 0, // of a disk
	REJECT_DISK_FULL = 1, // the one that the journal lies on; it may get room
	REJECT_TOO_LARGE = 2, // the journal could not hold it if it were empty
};

struct wire_reject {
	uint64_t epoch; // this one and all after it are dropped; BEGIN anew
	enum reject_cause cause;
	char reason[REASON_MAX + 1];
};

struct wire_mark { // MARK, MARKED: the sync in place is complete up to here
	uint32_t volume;
	uint64_t block;
};

// What a returned standby holds beyond the point at which the primary's
// generation began, in no order.
#define BEYOND_EXTENTS_MAX 250
struct wire_beyond {
	uint32_t volume;
	bool last;
	uint32_t extent_count; // 0 only when last
	struct extent extents[BEYOND_EXTENTS_MAX];
};

struct wire_decline { // of TAKEOVER, SWITCHOVER: nothing was changed
	char reason[REASON_MAX + 1];
};

// Why a pair that replicates is not in step. The last two are known to the
// primary alone and do not travel.
enum trouble {
	TROUBLE_NONE = 0,
	TROUBLE_PAUSED = 1,
	TROUBLE_LINK_SLOW = 2,
	TROUBLE_STANDBY_SLOW = 3,
	TROUBLE_SPILL_FULL = 4,
	TROUBLE_JOURNAL_FULL = 5,
	TROUBLE_STANDBY_DISK_FULL = 6,
	TROUBLE_STANDBY_ERROR = 7,
	TROUBLE_READ_ERROR = 8,
	TROUBLE_NO_MEMORY = 9,
	TROUBLE_LINK_DOWN,
	TROUBLE_PEER_REFUSED,
};
#define TROUBLE_WIRE_MAX TROUBLE_NO_MEMORY

// Design's reason code; NULL: none.
const char *trouble_name(enum trouble trouble);

#define OUTLOOK_NEVER (UINT64_MAX >> 1) // nothing ends the lag

struct wire_heartbeat {
	int64_t wall; // sender's clock, ns
	uint64_t cut; // primary: last cut; standby: last durable epoch
	uint64_t applied; // standby only
	uint64_t lag; // primary only, ns
	bool clean; // primary: nothing acknowledged is newer than epoch cut
	enum trouble trouble; // primary only
	unsigned held; // standby only: percent of the time since its last one in which it could take nothing
	uint64_t outlook; // primary only: the lag to expect at this rate, ns
};

const char *frame_type_name(unsigned type);

// Header. Writes FRAME_HEADER_BYTES; payload follows it in memory.
void frame_put_header(uint8_t *frame, enum frame_type type, uint64_t sequence, uint32_t payload_length);

// Length of the payload that a header announces; -EBADMSG when the type is
// unknown or the length over max. Needs FRAME_HEADER_BYTES.
int64_t frame_payload_length(const uint8_t *header, uint32_t max);

// Checks a whole frame; 0 or -EBADMSG.
int frame_check(const uint8_t *bytes, size_t length, struct frame *frame);
uint64_t frame_checksum(const struct frame *frame); // as stored in its header

// Bodies. put returns the length; the buffer holds at least WIRE_BODY_MAX. get
// returns 0 or -EBADMSG; those of HELLO, WELCOME and JOIN also -EPROTONOSUPPORT
// for a peer with no version in common, with version_min and version_max filled
// in and nothing else.
#define WIRE_BODY_MAX 4096
size_t wire_put_hello(uint8_t *body, const struct wire_hello *hello);
size_t wire_put_welcome(uint8_t *body, const struct wire_welcome *welcome);
size_t wire_put_refuse(uint8_t *body, const struct wire_refuse *refuse);
size_t wire_put_join(uint8_t *body, const struct wire_join *join);
size_t wire_put_joined(uint8_t *body, const struct wire_joined *joined);
size_t wire_put_begin(uint8_t *body, const struct wire_begin *begin);
size_t wire_put_differ(uint8_t *body, const struct wire_differ *differ);
size_t wire_put_end(uint8_t *body, const struct wire_end *end);
size_t wire_put_epoch(uint8_t *body, const struct wire_epoch *epoch);
size_t wire_put_reject(uint8_t *body, const struct wire_reject *reject);
size_t wire_put_mark(uint8_t *body, const struct wire_mark *mark);
size_t wire_put_heartbeat(uint8_t *body, const struct wire_heartbeat *heartbeat);
size_t wire_put_beyond(uint8_t *body, const struct wire_beyond *beyond);
size_t wire_put_decline(uint8_t *body, const struct wire_decline *decline);

int wire_get_hello(const struct frame *frame, struct wire_hello *hello);
int wire_get_welcome(const struct frame *frame, struct wire_welcome *welcome);
int wire_get_refuse(const struct frame *frame, struct wire_refuse *refuse);
int wire_get_join(const struct frame *frame, struct wire_join *join);
int wire_get_joined(const struct frame *frame, struct wire_joined *joined);
int wire_get_begin(const struct frame *frame, struct wire_begin *begin);
int wire_get_blocks(const struct frame *frame, struct wire_blocks *blocks); // BLOCKS and COMPARE
int wire_get_differ(const struct frame *frame, struct wire_differ *differ);
int wire_get_end(const struct frame *frame, struct wire_end *end);
int wire_get_epoch(const struct frame *frame, struct wire_epoch *epoch);
int wire_get_reject(const struct frame *frame, struct wire_reject *reject);
int wire_get_mark(const struct frame *frame, struct wire_mark *mark);
int wire_get_heartbeat(const struct frame *frame, struct wire_heartbeat *heartbeat);
int wire_get_beyond(const struct frame *frame, struct wire_beyond *beyond);
int wire_get_decline(const struct frame *frame, struct wire_decline *decline);

// What a HELLO, or a WELCOME that says consistent, says of its sender.
struct standing wire_standing(const struct wire_hello *hello, bool consistent);

// The sender's half of BLOCKS and COMPARE: volume and extents. The content
// follows as message->data and is added by the codec. Needs BLOCKS_BODY_MAX.
#define BLOCKS_BODY_MAX (16 + BLOCKS_EXTENTS_MAX * 16)
size_t wire_put_blocks(uint8_t *body, uint32_t volume, const struct extent *extents, uint32_t count);

// The extents of a BLOCKS frame of which only the first length bytes are there:
// the checksum is not looked at, and the content must not be. 0, -EBADMSG, or
// -EAGAIN: more is needed, at most FRAME_HEADER_BYTES + BLOCKS_BODY_MAX.
int wire_peek_blocks(const uint8_t *bytes, size_t length, struct wire_blocks *blocks);

struct extent blocks_extent(const struct wire_blocks *blocks, uint32_t index);

// Whether every extent lies in its volume. 0 or -EBADMSG.
int blocks_fit(const struct wire_blocks *blocks, const struct state_volume *volumes, unsigned volume_count);

#endif
