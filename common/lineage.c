// SPDX-License-Identifier: Apache-2.0
#include "lineage.h"

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

// Two nodes that ask about each other must come to the same end: the verdict of
// one is the mirror image of the other's, whatever the roles and lineages.
enum verdict lineage_judge(enum role my_role, const struct lineage *mine, enum role peer_role,
                           const struct lineage *peers)
{
	bool both_primary = my_role == ROLE_PRIMARY && peer_role == ROLE_PRIMARY;
	bool peer_is_newer = lineage_find(peers, &mine->generation) != NULL;
	bool peer_is_older = lineage_find(mine, &peers->generation) != NULL;

	if (my_role == ROLE_STANDBY && peer_role == ROLE_STANDBY)
		return VERDICT_NO_PRIMARY;
	if (id_is_none(&mine->generation) || id_is_none(&peers->generation))
		return both_primary ? VERDICT_SPLIT_BRAIN : VERDICT_UNRELATED;
	if (id_equal(&mine->generation, &peers->generation))
		return both_primary ? VERDICT_SPLIT_BRAIN : VERDICT_CONTINUE;
	if (peer_is_newer && !peer_is_older)
		return VERDICT_FENCED;
	if (peer_is_older && !peer_is_newer)
		return VERDICT_PEER_FENCED;
	return both_primary ? VERDICT_SPLIT_BRAIN : VERDICT_UNRELATED;
}
