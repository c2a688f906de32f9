// SPDX-License-Identifier: Apache-2.0
// What a node must remember of a pair across a power failure, whatever its
// role: docs/formats.md has the bytes. The file state.slots of the pair's state
// directory holds it in mirrored slots (slots.h).
#ifndef STEAD_STATE_H
#define STEAD_STATE_H

#include "block.h"
#include "error.h"
#include "lineage.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STATE_ENCODED_MAX 4096

struct state_volume {
	char name[NAME_MAX_LENGTH + 1];
	uint64_t bytes; // as replicated and exported; the file or device may be larger
};

struct pair_state {
	struct id pair;
	enum role role;
	struct lineage lineage;
	uint8_t peer_key[32]; // fingerprint that the peer must prove (keys.h)
	int64_t born; // wall clock of the promotion that made the generation, ns; 0: made by pairing
	bool paused; // primary: ships nothing until resumed
	bool fenced; // primary: the peer was promoted over it, it serves nothing any more
	bool split; // fenced: both nodes had been written to as primaries
	bool untouched; // primary: promoted, and not written to since: its change map begins empty
	bool redo; // primary: the journal holds epochs that are not in the volumes yet
	bool handover; // primary: it told its peer to take over, and serves nothing until it knows the outcome

	// Fenced: what it had acknowledged beyond the point at which the newer
	// generation began, as far as it knows.
	uint64_t local_bytes;
	int64_t local_since; // wall clock of the oldest of it, ns; 0: none

	// Standby that has been a primary. Where it returned with more than its peer
	// had, its change map, closed, names that, until the first epoch of the
	// newer generation is durable here. Its journal begins anew, at an epoch of
	// its generation: the last that its peer had, or one more than any it cut.
	bool returned;
	uint64_t base_epoch; // 0: the journal did not begin so
	bool yields; // standby: what it holds may be overwritten by any primary of the pair

	// Standby: false from the first direct write of a sync in place until the
	// epoch that completes it is durable. Not promotable while false.
	bool consistent;
	bool partial; // the sync brings only what changed, too much of it for the journal
	struct id sync; // the sync in place under way or last done; chosen by the primary
	uint32_t sync_volume; // blocks before (sync_volume, sync_block) are durable here
	uint64_t sync_block;

	// Set by a promotion: the recovery point it was made at.
	uint64_t promoted_epoch;
	int64_t promoted_point; // wall clock of that point, ns; 0: never promoted

	unsigned volume_count;
	struct state_volume volumes[VOLUMES_MAX];
};

// What a primary's state becomes when it is to follow its peer: that of a
// standby that stands at an epoch that its peer had, or, beyond, holds more than
// its last cut. discard: whatever it holds may be overwritten. Its change map is
// closed and its journal empty before this is made durable.
void state_return(struct pair_state *state, uint64_t epoch, bool beyond, bool discard, int64_t now);

// Returns the number of bytes written to buffer (at most STATE_ENCODED_MAX).
size_t state_encode(const struct pair_state *state, uint8_t *buffer);

// 0, or -EINVAL with the reason: every field is checked.
int state_decode(const uint8_t *buffer, size_t length, struct pair_state *state, struct error *err);

#endif
