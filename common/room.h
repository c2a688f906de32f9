// SPDX-License-Identifier: Apache-2.0
// The room that a pair's files take under var/lib/stead: what a change of role
// needs is made when the pair is, on both nodes, and kept, so that no disk that
// has become full since stands in its way. Everything here blocks.
#ifndef STEAD_ROOM_H
#define STEAD_ROOM_H

#include "error.h"
#include "paths.h"
#include "state.h"

#include <stdint.h>

#define ROOM_JOURNAL_LEAST (UINT64_C(16) << 20) // bytes

// Makes what is missing of it: the write-intent log and redo log of a primary, the least journal of a standby, or what its configuration has for it if
// that is less. Harmless while they are in use. 0, or -errno with the reason and
// what would be right.
int room_reserve(const struct paths *paths, const char *pair, const struct pair_state *state, uint64_t journal,
                 struct error *err);

// What a new journal is to take: the limit, but no more than a quarter of what is
// free there. 0, or -ENOSPC when that is less than ROOM_JOURNAL_LEAST.
int room_journal(const struct paths *paths, uint64_t limit, uint64_t *bytes, uint64_t *unused, struct error *err);

// Journal and redo log as if they were made anew, in the room that they have.
// Nobody has them open.
int room_renew(const struct paths *paths, const char *pair, const struct pair_state *state, uint64_t journal,
               struct error *err);

#endif
