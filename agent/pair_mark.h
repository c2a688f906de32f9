// SPDX-License-Identifier: Apache-2.0
// A mark beside the configuration of a pair, that what its state directory says
// is not to be trusted after a power failure, as something there could not be
// written. The configuration may well be on another disk.
#ifndef STEAD_PAIR_MARK_H
#define STEAD_PAIR_MARK_H

#include "common/error.h"
#include "common/lineage.h"
#include "common/paths.h"

#include <stdbool.h>

// Whether there is one of this generation. One of another is of no use any more.
bool pair_mark_found(const struct paths *paths, const char *pair, const struct id *generation);

// Makes it, or removes it, durably. Both block.
int pair_mark_make(const struct paths *paths, const char *pair, const struct id *generation, struct error *err);
int pair_mark_remove(const struct paths *paths, const char *pair, struct error *err);

#endif
