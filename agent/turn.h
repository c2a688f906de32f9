// SPDX-License-Identifier: Apache-2.0
// A pair changes its role here: demote, planned switchover, return as the
// standby of the peer that was promoted, or serve again by force. Whatever was
// begun ends in one of the two roles, also when a process dies on the way.
#ifndef STEAD_TURN_H
#define STEAD_TURN_H

#include "pair.h"

struct turned {
	uint64_t discarded; // bytes that were held beyond the peer's generation
	char salvage[PATHS_MAX]; // where they are kept; empty: nowhere
	const char *note; // what is left to do by hand; NULL: nothing
};

// turned is there when error is 0.
typedef void (*turn_done)(void *user, int error, const struct error *reason, const struct turned *turned);

// Each tells by done(), once; never from within unless refused at once.
void turn_demote(struct pair *pair, void *user, turn_done done);
void turn_switchover(struct pair *pair, void *user, turn_done done);

// discard: also what was written here while the peer was written to. salvage:
// what is discarded is kept in files first.
void turn_resync(struct pair *pair, bool discard, bool salvage, void *user, turn_done done);

// The administrator decides that this node is the primary.
void turn_force(struct pair *pair, void *user, turn_done done);

#endif
