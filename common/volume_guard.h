// SPDX-License-Identifier: Apache-2.0
// Whether the volumes of a pair are the ones that they were, and as they were
// left: asked at each start, before anything is served, applied, or called
// promotable. Noted at each stop in order. Everything here blocks.
//
// After a process or a machine died, what the volumes hold is not known, and
// only what the system says of them is compared.
#ifndef STEAD_VOLUME_GUARD_H
#define STEAD_VOLUME_GUARD_H

#include "config.h"
#include "disk.h"
#include "error.h"
#include "paths.h"
#include "state.h"

#define VOLUME_REPLACED ESTALE // a volume is not the one that it was
#define VOLUME_CHANGED EUCLEAN // it is, and holds something else than when it was left

// The status's reason for such an error; NULL: it is another one.
const char *volume_guard_reason(int error);

// The volumes are open, by file_disk_open(), and nothing was written to them.
// 0: they are taken, and what was noted at the stop is void, durably.
// -VOLUME_REPLACED, -VOLUME_CHANGED, or the error of a file; with the reason,
// and nothing was changed.
int volume_guard_open(const struct paths *paths, const struct pair_config *config, const struct pair_state *state,
                      struct disk *const *volumes, struct error *err);

// All that was written is flushed, and nothing is under way. Where it cannot be
// noted the next start has less to compare.
void volume_guard_close(const struct paths *paths, const struct pair_config *config, const struct pair_state *state,
                        struct disk *const *volumes);

// The volume is taken as it is now from here on. Of a pair that this process
// has locked, and whose volume need not be open.
int volume_guard_accept(const struct paths *paths, const struct pair_config *config, const char *volume,
                        struct error *err);

#endif
