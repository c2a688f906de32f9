// SPDX-License-Identifier: Apache-2.0
// What a standby that was a primary holds beyond the point at which its peer
// went on without it: its change map, read once more.
#ifndef STEAD_BEYOND_H
#define STEAD_BEYOND_H

#include "common/state.h"
#include "common/wire.h"

#include <stdbool.h>
#include <stdint.h>

struct beyond;

// memory: the closed map of the generation that the state names. NULL when
// that cannot be believed, or without memory.
struct beyond *beyond_open(void *memory, const struct pair_state *state);
void beyond_free(struct beyond *beyond);

// Whether it names all that changed after an epoch of that generation, 0: since
// it began: what was durable on the standby it had was cleared from it, and what
// it never cut is not in it.
bool beyond_covers(const struct beyond *beyond, uint64_t after);
// Its last cut: what the node holds at a later epoch no other one can have.
uint64_t beyond_cut(const struct beyond *beyond);

// Begins anew: what changed after an epoch of that generation.
void beyond_rewind(struct beyond *beyond, uint64_t after);

// Fills the next frame. False: the last one was filled before.
bool beyond_next(struct beyond *beyond, struct wire_beyond *frame);

#endif
