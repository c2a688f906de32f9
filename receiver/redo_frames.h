// SPDX-License-Identifier: Apache-2.0
// The content of frames in the journal, for the blocks of them that are redone:
// read, checked and unpacked when it is first asked for, and kept for a while,
// because a frame often has blocks of several regions.
#ifndef STEAD_REDO_FRAMES_H
#define STEAD_REDO_FRAMES_H

#include "common/disk.h"
#include "common/error.h"
#include "common/state.h"
#include "redo_index.h"

#include <stdbool.h>
#include <stdint.h>

struct redo_frames;
struct redo_content;

// Holds depth frames at most. progress() follows when what redo_frames_get()
// answered with -EAGAIN may have changed. NULL without memory.
struct redo_frames *redo_frames_new(struct disk *journal, const struct redo_index *index,
                                    const struct pair_state *state, unsigned depth, void (*progress)(void *user),
                                    void *user);
void redo_frames_free(struct redo_frames *frames); // idle, or to play a crash

// Content that stays until redo_frames_put(). 0; -EAGAIN: it is being read, or
// there is no room now; -ENOMEM; or why it cannot be had, with the reason:
// -EILSEQ when the frame is not as it was received.
int redo_frames_get(struct redo_frames *frames, uint32_t number, struct redo_content **content, struct error *err);
void redo_frames_put(struct redo_frames *frames, struct redo_content *content);

// Begins to read it, if there is room: it will be asked for.
void redo_frames_want(struct redo_frames *frames, uint32_t number);

// The content of a block and of *count blocks from there on, which is reduced
// to what follows in one piece. NULL: the frame does not have the block.
const uint8_t *redo_content_block(const struct redo_content *content, unsigned volume, uint64_t block, uint64_t *count);

bool redo_frames_idle(const struct redo_frames *frames); // nothing is being read

#endif
