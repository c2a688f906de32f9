// SPDX-License-Identifier: Apache-2.0
// What turn_begin.c (who else is concerned), turn.c (orders, and when they are
// refused) and turn_stop.c (the pair stops as the one thing and starts as the
// other) share.
#ifndef STEAD_TURN_IMPL_H
#define STEAD_TURN_IMPL_H

#include "pair_impl.h"
#include "turn.h"

#define ASK_MS 20000 // for the node's receiver to answer

enum turn_kind {
	TURN_DEMOTE,
	TURN_SWITCHOVER,
	TURN_RETURN, // as the standby of a newer generation
	TURN_FORCE, // go on as the primary of a generation of its own
};

struct turn {
	struct agent *agent;
	struct pair *pair; // NULL: it has stopped
	char name[NAME_MAX_LENGTH + 1];
	enum turn_kind kind;
	bool yields, salvage;
	bool tentative; // only when it holds nothing of its own
	void *user;
	turn_done done; // NULL: nobody waits
	struct timer timer;

	struct job job; // salvage
	bool going; // the pair stops for it
	bool salvaging, salvaged;
	int64_t wall; // when it stopped
	uint64_t cut; // of the generation that it leaves
	bool beyond; // it holds more
	int64_t since; // wall clock of the oldest write of that, ns; 0: none
	struct turned turned;
	int result;
	struct error reason;
};

void turn_refuse(struct turn *turn, int error, const struct error *reason); // and frees it
// Ships all there is, then goes on as kind says; or tells why not.
void turn_drain(struct pair *pair, enum turn_kind kind, void *user, turn_done done);
void turn_stop(struct turn *turn); // the pair, and goes on from there

#endif
