// SPDX-License-Identifier: Apache-2.0
// Content that is going to be discarded, kept in files first: for each volume a
// sparse image that holds the blocks at their places, and a list of them.
#ifndef STEAD_SALVAGE_H
#define STEAD_SALVAGE_H

#include "common/config.h"
#include "common/error.h"
#include "common/paths.h"
#include "common/state.h"
#include "source.h"

#include <stdint.h>

// Copies what the engine says is not known to be on the standby, from the
// volumes of the configuration. Nothing may change them, or the engine's map,
// meanwhile. Blocks. directory receives where it is, bytes how much; on an
// error nothing is left there. 0 or -errno with the reason.
int salvage(const struct paths *paths, const struct pair_config *config, const struct pair_state *state,
            struct source *source, char directory[PATHS_MAX], uint64_t *bytes, struct error *err);

#endif
