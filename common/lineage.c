// SPDX-License-Identifier: Apache-2.0
#include "lineage.h"

#include "mutant.h"

#include <stddef.h>
#include <string.h>

void lineage_push(struct lineage *lineage, const struct id *generation, uint64_t epoch, const struct id *epoch_id)
{
	if (!id_is_none(&lineage->generation)) {
		unsigned kept = lineage->count < ANCESTORS_MAX ? lineage->count : ANCESTORS_MAX - 1;

		memmove(&lineage->ancestors[1], &lineage->ancestors[0], kept * sizeof(lineage->ancestors[0]));
		lineage->ancestors[0] = (struct ancestor){lineage->generation, epoch, *epoch_id};
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
	struct ancestor mine, peers; // epoch STILL_IN: the present generation
	bool my_parent, peers_parent; // left at once for the present generation
};

static struct ancestor left_at(const struct lineage *lineage, const struct id *generation, bool *parent)
{
	const struct ancestor *ancestor = lineage_find(lineage, generation);

	*parent = ancestor == lineage->ancestors;
	return ancestor ? *ancestor : (struct ancestor){.epoch = STILL_IN};
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

static bool refuted(const struct id *a, const struct id *b)
{
	return !id_is_none(a) && !id_is_none(b) && !id_equal(a, b) && !MUTANT(EPOCH_BY_NUMBER);
}

static bool confirmed(const struct id *a, const struct id *b)
{
	return (!id_is_none(a) && id_equal(a, b)) || MUTANT(EPOCH_BY_NUMBER);
}

// Same generation.
static enum verdict judge_same(const struct standing *primary, const struct standing *standby)
{
	bool unlogged = (primary->unlogged || standby->unlogged) && !MUTANT(UNLOGGED_ROLLED_BACK);

	if (standby->returned)
		return standby->yields ? VERDICT_COMPARE : VERDICT_DIVERGED;
	if (!standby->consistent || MUTANT(ROLLBACK_IGNORED))
		return VERDICT_CONTINUE;
	if (standby->epoch > primary->epoch)
		return standby->yields || unlogged ? VERDICT_COMPARE : VERDICT_ROLLED_BACK;
	if (epoch_ids_match(&primary->cuts, standby->epoch, &standby->epoch_id) == EPOCH_FOREIGN)
		return standby->yields || unlogged ? VERDICT_COMPARE : VERDICT_COPIED;
	return VERDICT_CONTINUE;
}

// The primary left the standby's generation, its parent or an earlier one, for
// its own.
static enum verdict judge_descendant(const struct ancestor *left, bool parent, const struct standing *standby)
{
	bool other = standby->epoch == left->epoch && refuted(&standby->epoch_id, &left->epoch_id);

	if (standby->returned)
		return parent && standby->mapped && left->epoch <= standby->epoch ? VERDICT_RESYNC : VERDICT_COMPARE;
	// While it is not consistent there is nothing to lose, and its epoch may
	// be one of the full sync.
	if (standby->consistent && (standby->epoch > left->epoch || other) && !standby->yields)
		return VERDICT_DIVERGED;
	return parent && standby->epoch == left->epoch && confirmed(&standby->epoch_id, &left->epoch_id)
	               ? VERDICT_RESYNC
	               : VERDICT_COMPARE;
}

// Both went on from the same generation.
static enum verdict judge_forked(const struct fork *fork, const struct standing *standby)
{
	if (!standby->yields && !MUTANT(FORK_NOT_REFUSED))
		return VERDICT_DIVERGED;
	return fork->mine.epoch == fork->peers.epoch && confirmed(&fork->mine.epoch_id, &fork->peers.epoch_id) &&
	                       fork->my_parent && fork->peers_parent && standby->returned && standby->mapped
	               ? VERDICT_RESYNC
	               : VERDICT_COMPARE;
}

static enum verdict judge_pair(const struct standing *primary, const struct standing *standby)
{
	struct fork fork;

	if (!find_fork(&primary->lineage, &standby->lineage, &fork))
		return VERDICT_UNRELATED;
	if (fork.mine.epoch == STILL_IN)
		return fork.peers.epoch == STILL_IN ? judge_same(primary, standby) : VERDICT_FENCED;
	if (fork.peers.epoch == STILL_IN)
		return judge_descendant(&fork.mine, fork.my_parent, standby);
	return judge_forked(&fork, standby);
}

static enum verdict judge_primaries(const struct standing *mine, const struct standing *peers)
{
	struct fork fork;

	if (!find_fork(&mine->lineage, &peers->lineage, &fork))
		return VERDICT_UNRELATED;
	if ((fork.mine.epoch == STILL_IN) == (fork.peers.epoch == STILL_IN))
		return VERDICT_SPLIT_BRAIN;
	return fork.mine.epoch == STILL_IN ? VERDICT_FENCED : VERDICT_PEER_FENCED;
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
