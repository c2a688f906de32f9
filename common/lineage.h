// SPDX-License-Identifier: Apache-2.0
// Which node may follow which: generations, their ancestors, and the judgement
// that every handshake begins with.
#ifndef STEAD_LINEAGE_H
#define STEAD_LINEAGE_H

#include <stdbool.h>
#include <stdint.h>

#define ANCESTORS_MAX 32

struct id {
	uint8_t bytes[16]; // random; all zero: none
};

enum role {
	ROLE_PRIMARY = 1,
	ROLE_STANDBY = 2,
};

struct ancestor {
	struct id generation;
	uint64_t epoch; // the last epoch of it that its descendant holds
};

struct lineage {
	struct id generation;
	unsigned count;
	struct ancestor ancestors[ANCESTORS_MAX]; // newest first; the oldest fall off
};

// What a node says of itself when two of them meet: all that decides which may
// follow the other.
struct standing {
	enum role role;
	struct lineage lineage;
	int64_t born; // wall clock of the promotion that made the generation, ns; 0: made by pairing
	uint64_t epoch; // of its generation. Primary: the last cut; standby: the last durable, or where it returned
	bool consistent; // standby: it holds that epoch
	bool returned; // standby that was a primary, and may hold blocks beyond
	bool mapped; // returned: it knows which
	bool yields; // standby: what it holds may be overwritten, the administrator said
};

enum verdict {
	VERDICT_CONTINUE, // same generation, one primary, one standby: on from the standby's epoch
	VERDICT_RESYNC, // the standby lacks what changed since it was left behind, beside what it holds beyond
	VERDICT_COMPARE, // the standby may follow, but which blocks differ is not known
	VERDICT_ROLLED_BACK, // the standby knows an epoch that the primary never cut
	VERDICT_DIVERGED, // the standby holds what its primary never had, and nobody said that it yields
	VERDICT_FENCED, // the peer's generation is newer than ours: stop serving
	VERDICT_PEER_FENCED, // ours is newer than the peer's: it must stop serving
	VERDICT_SPLIT_BRAIN, // both are primary, neither descends from the other: the older stops serving
	VERDICT_UNRELATED, // no generation in common
	VERDICT_NO_PRIMARY, // both are standby
};

bool id_equal(const struct id *a, const struct id *b);
bool id_is_none(const struct id *id);
struct id id_random(uint64_t (*random)(void *user), void *user); // not none

// Makes generation the newest of the lineage, its parent left at epoch.
void lineage_push(struct lineage *lineage, const struct id *generation, uint64_t epoch);

// Looks generation up among the ancestors; NULL when it is not one.
const struct ancestor *lineage_find(const struct lineage *lineage, const struct id *generation);

// Two nodes that ask about each other come to the same end: the verdict of one
// is the mirror image of the other's, whatever both say.
enum verdict lineage_judge(const struct standing *mine, const struct standing *peers);

// In a split brain: whether mine has to stop serving. Never false for both.
bool lineage_gives_way(const struct standing *mine, const struct standing *peers);

#endif
