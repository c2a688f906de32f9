// SPDX-License-Identifier: Apache-2.0
// Two nodes of a pair, reduced to what decides which of them may serve and which
// content survives: small numbers, every one bounded. What happens at once in
// one step is durable at once; what is not durable is lost by a crash.
#ifndef STEAD_MODEL_WORLD_H
#define STEAD_MODEL_WORLD_H

#include "common/lineage.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NODES 2
#define BLOCKS 2 // each a region of the write-intent log as well
#define WRITES_MAX 3 // of the application; write 0 is what was there at first
#define GENERATIONS_MAX 7
#define EPOCHS_MAX 15
#define IN_FLIGHT 2 // letters of a direction, and frozen sets

// Bit b: block b.
typedef uint8_t blocks;

struct frozen {
	uint8_t epoch; // 0: none
	blocks bits;
};

struct node {
	// what the state slots hold
	uint8_t role, generation;
	uint8_t fenced, untouched, handover, returned, yields;
	uint8_t epoch; // standby: durable, or its base; primary: the last one that it knows to be

	// the change map; of a returned standby the closed one
	uint8_t map_kept, suspect, cut, acknowledged;
	blocks open;
	struct frozen frozen[IN_FLIGHT];

	// the write-intent log
	blocks logged;
	uint8_t logged_cut, logged_acknowledged, logged_suspect;

	uint8_t content[BLOCKS], flushed[BLOCKS]; // the write that each block holds

	// lost by a crash
	uint8_t up, serving;
	uint8_t drained; // TAKEOVER is to be sent
	uint8_t adopting, comparing, doubtful, base;
	uint8_t apart; // it was told of what keeps the nodes apart
	uint8_t asked; // by a TAKEOVER

	// what only the model knows
	uint8_t ordered; // what it holds was given up: 1: to a descendant of it, 2: to anybody
	uint8_t learnt; // of a newer generation
};

enum letter_type {
	LETTER_NONE,
	LETTER_EPOCH,
	LETTER_TAKEOVER,
	LETTER_DURABLE,
	LETTER_DECLINE
};

struct letter {
	uint8_t type, epoch, base, adopts;
	blocks mask; // that it carries
	uint8_t content[BLOCKS]; // at the cut
};

enum stage {
	STAGE_NONE,
	STAGE_HELLO,
	STAGE_WELCOME,
	STAGE_OPEN
}; // the first two: on its way

// One connection. Each end can be gone while letters are still on their way to
// the other.
struct connection {
	uint8_t stage, dialer;
	uint8_t dialer_gone, listener_gone;

	// as HELLO says
	uint8_t hello_generation, hello_cut, hello_untouched;
	// as WELCOME says
	uint8_t role, generation, epoch, returned, mapped, yields;
	blocks beyond;

	// the listener's session
	uint8_t received, adopting, takeover;

	struct letter out[IN_FLIGHT], back[IN_FLIGHT]; // dialer's, listener's
};

struct world {
	struct node nodes[NODES];
	struct connection connections[2]; // the present one; one whose dialer is gone
	struct node snapshot;
	uint8_t snapshot_of; // 0: none; 1 + node

	uint8_t generations; // made so far
	uint8_t parents[GENERATIONS_MAX], left_at[GENERATIONS_MAX];

	uint8_t writes; // so far
	uint8_t before[WRITES_MAX + 1]; // what the write replaced
	uint8_t lost; // bit w: write w was lost with the power, before it was flushed
	uint8_t promotions, crashes, losses, rolled_back;
};

#define WORLD_PACKED_MAX 96

// What may happen, and how often.
struct bounds {
	const char *name;
	uint8_t writes, promotions, crashes, losses;
	bool power; // a crash of a primary may lose what is not flushed
	bool rollback; // a node may be set back once
	bool orders; // an administrator may do all that can be ordered
	bool switchover; // and nothing else by anybody: it has to end well
	size_t states; // there is room for
};

enum variant {
	VARIANT_NONE,
#define VARIANTS(DO)                                                                                                   \
	DO(HANDOVER_NOT_KEPT, SWITCHOVER) /* a crash forgets that the role was handed over */                          \
	DO(TAKEOVER_LATE, SWITCHOVER) /* taken over although the connection that asked is gone */                      \
	DO(FENCE_NOT_KEPT, ORDERS) /* a crash forgets that the peer was promoted */                                    \
	DO(RETURNED_IGNORED, ORDERS) /* a former primary counts as any standby */                                      \
	DO(BEYOND_IGNORED, ORDERS) /* what a former primary holds is not asked for */                                  \
	DO(GRANDCHILD_AS_CHILD, ORDERS) /* resync where a generation lies between */                                   \
	DO(DIVERGED_AS_COMPARE, ORDERS) /* overwritten without an order */                                             \
	DO(REPLACED_TRUSTED, ROLLBACK) /* resync though the standby was replaced by an older state */                  \
	DO(LOST_ACK_FORGOTTEN, ROLLBACK) /* a WELCOME does not count as an acknowledgement */                          \
	DO(LOG_ACK_LATE, REPLACED) /* regions leave the log before it knows the epoch that let them */                 \
	DO(MAP_SPAN_IGNORED, ROLLBACK) /* a map counts for epochs that it was not kept for */                          \
	DO(UNTOUCHED_FOREVER, POWER) /* the first write does not make it touched */                                    \
	DO(SPLIT_HELLO_IGNORED, ORDERS) /* only who dials gives way */                                                 \
	DO(ALONE_AS_EPOCH, ROLLBACK) /* what a former primary wrote alone counts as one epoch of its generation */     \
	DO(SPLIT_BOTH_SERVE, ORDERS) /* in a split brain nobody gives way */
#define VARIANT_ENUM(name, bounds) VARIANT_##name,
	VARIANTS(VARIANT_ENUM)
#undef VARIANT_ENUM
	VARIANT_MAX,
};

extern enum variant variant;
#define VARIANT(name) (variant == VARIANT_##name)

void world_init(struct world *world);

// A world as few bytes; the number of them is the same for all worlds.
size_t world_pack(const struct world *world, uint8_t *bytes);
void world_unpack(struct world *world, const uint8_t *bytes);

// What two nodes say of themselves.
struct standing world_standing(const struct world *world, const struct node *node);
void world_lineage(const struct world *world, unsigned generation, struct lineage *lineage);
bool world_descends(const struct world *world, unsigned generation, unsigned from); // properly
// At which epoch the generation from left towards generation; 0: it is none of its ancestors.
unsigned world_left_at(const struct world *world, unsigned generation, unsigned from);

// Whether write w is what is there, or was replaced by it.
bool world_contains(const struct world *world, unsigned content, unsigned write);

bool serves(const struct node *node);

// Why the world must not be, or NULL.
const char *world_check(const struct world *world, const struct bounds *bounds);

#endif
