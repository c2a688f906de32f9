// SPDX-License-Identifier: Apache-2.0
// An invitation that waits for its JOIN: the file invitations/PAIR.json of the
// node's state directory, mode 0600, removed when it was used. All functions
// block.
#ifndef STEAD_INVITATION_H
#define STEAD_INVITATION_H

#include "common/config.h"
#include "common/paths.h"

struct invitation {
	struct pair_config config; // name, listen, volumes
	uint8_t secret[32];
	int64_t expires; // seconds since 1970
};

// Replaces an earlier one for the pair, durably.
int invitation_save(const struct paths *paths, const struct invitation *invitation, struct error *err);

// 0, -ENOENT when there is none, or -errno with the reason.
int invitation_load(const struct paths *paths, const char *pair, struct invitation *invitation, struct error *err);

// Durably; 0 also when there is none.
int invitation_remove(const struct paths *paths, const char *pair, struct error *err);

#endif
