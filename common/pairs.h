// SPDX-License-Identifier: Apache-2.0
// The files that make a pair on this node: its configuration, which says that
// it exists, and its state directory. Everything here blocks.
#ifndef STEAD_PAIRS_H
#define STEAD_PAIRS_H

#include "config.h"
#include "disk.h"
#include "loop.h"
#include "paths.h"
#include "state.h"
#include "volume.h"

// Whether the pair is configured here, well or badly.
bool pair_exists(const struct paths *paths, const char *pair);

// Configuration and state of a pair, the configuration's volumes in the
// state's order. 0 or -errno with the reason.
int pair_load(const struct paths *paths, const char *pair, struct pair_config *config, struct pair_state *state,
              struct error *err);

// What the daemon that runs the pairs of a role begins with: whose pair it is,
// pair_load() and pair_lock(). What the lock gives, -EREMOTE when the other
// daemon is to speak of the pair, or -errno with the reason. config and state
// hold what could be read; state is all zeroes at first.
int pair_open(const struct paths *paths, const char *pair, enum role role, struct pair_config *config,
              struct pair_state *state, struct error *err);

// Held by the daemon that runs the pair. The descriptor, or -EBUSY with the
// reason. Closing it releases the lock.
int pair_lock(const struct paths *paths, const char *pair, struct error *err);

// The two halves of making a pair: its directory with the state alone, from
// which what an earlier pair of the name left is cleared; then its
// configuration. -EEXIST when it is configured already.
int pair_prepare(const struct paths *paths, const char *pair, const struct pair_state *state, struct error *err);
int pair_commit(const struct paths *paths, const struct pair_config *config, struct error *err);

// Removes the configuration, then the directory. What is not there is no error.
int pair_erase(const struct paths *paths, const char *pair, struct error *err);

// Checks volumes against the paths of all other pairs and against each other:
// volume i must have at least bytes[i] and bytes[i] becomes its size. starting:
// the pair exists, and its volumes must too.
int pair_check_volumes(const struct paths *paths, const char *pair, const struct config_volume *volumes, unsigned count,
                       uint64_t bytes[VOLUMES_MAX], bool starting, struct error *err);

// Opens the volumes of a pair that exists, for it alone, after that check. 0 or
// -errno with the reason; then some of them may be open.
int pair_open_volumes(struct loop *loop, const struct paths *paths, const struct pair_config *config,
                      const struct pair_state *state, struct disk *volumes[VOLUMES_MAX], struct error *err);

#endif
