// SPDX-License-Identifier: Apache-2.0
// The file state.slots of a pair (state.h, slots.h), read and made without a
// loop. While an engine runs the pair, only that engine writes it.
#ifndef STEAD_STATE_FILE_H
#define STEAD_STATE_FILE_H

#include "state.h"

#define STATE_SLOT_KIND_PAIR UINT32_C(0x54415453) // "STAT"

// 0, -ENOENT, -EILSEQ (damaged), -EINVAL (of another version or not sound), or
// the error of reading; with the reason.
int state_file_read(const char *path, struct pair_state *state, struct error *err);

// Makes or replaces it, durably. Blocks.
int state_file_write(const char *path, const struct pair_state *state, struct error *err);

#endif
