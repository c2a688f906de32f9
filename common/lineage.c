// SPDX-License-Identifier: Apache-2.0
#include "lineage.h"

#include "mutant.h"

#include <stddef.h>
#include <string.h>

bool id_equal(const struct id *a, const struct id *b)
{
	return memcmp(a->bytes, b->bytes, sizeof(a->bytes)) == 0;
}

bool id_is_none(const struct id *id)
{
	static const struct id none;

	return id_equal(id, &none);
}

struct id id_random(uint64_t (*random)(void *user), void *user)
{
	uint64_t words[2];
	struct id id;

	words[0] = random(user);
	words[1] = random(user);
	memcpy(id.bytes, words, sizeof(id.bytes));
	if (id_is_none(&id))
		id.bytes[0] = 1;
	return id;
}

void lineage_push(struct lineage *lineage, const struct id *generation, uint64_t epoch)
{
	if (!id_is_none(&lineage->generation)) {
		unsigned kept = lineage->count < ANCESTORS_MAX ? lineage->count : ANCESTORS_MAX - 1;

		memmove(&lineage->ancestors[1], &lineage->ancestors[0], kept * sizeof(lineage->ancestors[0]));
		lineage->ancestors[0] = (struct ancestor){lineage->generation, epoch};
		lineage->count = kept + 1;
	}
	lineage->generation = *generation;
}

const struct ancestor *lineage_find(const struct lineage *lineage, const struct id *generation)
{
	for (unsigned i = 0; i < lineage->count; i++) {
		if (id_equal(&lineage->ancestors[i].generation, generation))
			return &lineage->ancestors[i];
	}
	return NULL;
}

#define STILL_IN UINT64_MAX

// The newest generation that two lineages share, and the epoch at which each
// left it.
struct fork {
	uint64_t mine, peers;
	bool my_parent, peers_parent; // left at once for the present generation
};

static uint64_t left_at(const struct lineage *lineage, const struct id *generation, bool *parent)
{
	const struct ancestor *ancestor = lineage_find(lineage, generation);

	*parent = ancestor == lineage->ancestors;
	return ancestor ? ancestor->epoch : STILL_IN;
}

static bool knows(const struct lineage *lineage, const struct id *generation)
{
	return id_equal(&lineage->generation, generation) || lineage_find(lineage, generation);
}

static bool find_fork(const struct lineage *mine, const struct lineage *peers, struct fork *fork)
{
	const struct id *shared = NULL;

	if (id_is_none(&mine->generation) || id_is_none(&peers->generation))
		return false;
	if (knows(peers, &mine->generation))
		shared = &mine->generation;
	for (unsigned i = 0; i < mine->count && !shared; i++)
		if (knows(peers, &mine->ancestors[i].generation))
			shared = &mine->ancestors[i].generation;
	if (!shared)
		return false;
	// Each claims to descend from the other: cannot be.
	if (lineage_find(mine, &peers->generation) && lineage_find(peers, &mine->generation))
		return false;
	fork->mine = left_at(mine, shared, &fork->my_parent);
	fork->peers = left_at(peers, shared, &fork->peers_parent);
	return true;
}

// Same generation.
static enum verdict judge_same(const struct standing *primary, const struct standing *standby)
{
	if (standby->returned)
		return standby->yields ? VERDICT_COMPARE : VERDICT_DIVERGED;
	if (standby->consistent && standby->epoch > primary->epoch && !MUTANT(ROLLBACK_IGNORED))
		return standby->yields ? VERDICT_COMPARE : VERDICT_ROLLED_BACK;
	return VERDICT_CONTINUE;
}

// The primary left the standby's generation at an epoch, parent: for its own.
static enum verdict judge_descendant(uint64_t epoch, bool parent, const struct standing *standby)
{
	if (standby->returned)
		return parent && standby->mapped && epoch <= standby->epoch ? VERDICT_RESYNC : VERDICT_COMPARE;
	// While it is not consistent there is nothing to lose, and its epoch may
	// be one of the full sync.
	if (standby->consistent && standby->epoch > epoch && !standby->yields)
		return VERDICT_DIVERGED;
	return parent && standby->epoch == epoch ? VERDICT_RESYNC : VERDICT_COMPARE;
}

// Both went on from the same generation.
static enum verdict judge_forked(const struct fork *fork, const struct standing *standby)
{
	if (!standby->yields && !MUTANT(FORK_NOT_REFUSED))
		return VERDICT_DIVERGED;
	return fork->mine == fork->peers && fork->my_parent && fork->peers_parent && standby->returned &&
	                       standby->mapped
	               ? VERDICT_RESYNC
	               : VERDICT_COMPARE;
}

static enum verdict judge_pair(const struct standing *primary, const struct standing *standby)
{
	struct fork fork;

	if (!find_fork(&primary->lineage, &standby->lineage, &fork))
		return VERDICT_UNRELATED;
	if (fork.mine == STILL_IN)
		return fork.peers == STILL_IN ? judge_same(primary, standby) : VERDICT_FENCED;
	if (fork.peers == STILL_IN)
		return judge_descendant(fork.mine, fork.my_parent, standby);
	return judge_forked(&fork, standby);
}

static enum verdict judge_primaries(const struct standing *mine, const struct standing *peers)
{
	struct fork fork;

	if (!find_fork(&mine->lineage, &peers->lineage, &fork))
		return VERDICT_UNRELATED;
	if ((fork.mine == STILL_IN) == (fork.peers == STILL_IN))
		return VERDICT_SPLIT_BRAIN;
	return fork.mine == STILL_IN ? VERDICT_FENCED : VERDICT_PEER_FENCED;
}

enum verdict lineage_judge(const struct standing *mine, const struct standing *peers)
{
	enum verdict verdict;

	if (mine->role == ROLE_PRIMARY)
		return peers->role == ROLE_PRIMARY ? judge_primaries(mine, peers) : judge_pair(mine, peers);
	if (peers->role == ROLE_STANDBY)
		return VERDICT_NO_PRIMARY;
	verdict = judge_pair(peers, mine);
	return verdict == VERDICT_FENCED ? VERDICT_PEER_FENCED : verdict;
}

bool lineage_gives_way(const struct standing *mine, const struct standing *peers)
{
	if (MUTANT(GIVES_WAY_NEITHER))
		return false;
	if (mine->born != peers->born)
		return mine->born < peers->born;
	return memcmp(mine->lineage.generation.bytes, peers->lineage.generation.bytes, sizeof(struct id)) <= 0;
}
