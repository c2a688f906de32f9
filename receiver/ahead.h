// SPDX-License-Identifier: Apache-2.0
// Headers of the journal's records, read before they are needed.
#ifndef STEAD_AHEAD_H
#define STEAD_AHEAD_H

#include <stdbool.h>
#include <stdint.h>

struct ahead;
struct journal;

// ready() follows whenever what ahead_page() said may have changed. NULL
// without memory.
struct ahead *ahead_new(struct journal *journal, void (*ready)(void *user), void *user);
void ahead_free(struct ahead *ahead); // idle, or to play a crash

// Begins to read the headers between two positions, the last of which is that
// of a COMMIT. False: nothing is read ahead, and ready() does not follow.
bool ahead_start(struct ahead *ahead, uint64_t tail, uint64_t end);

// The first RECORD_ALIGN bytes of the record at the position, until one further
// on is asked for. NULL: coming says whether to wait for it.
const uint8_t *ahead_page(struct ahead *ahead, uint64_t position, bool *coming);

bool ahead_idle(const struct ahead *ahead);

#endif
