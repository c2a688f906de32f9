// SPDX-License-Identifier: Apache-2.0
#include "epoch_ids.h"

#include "mutant.h"

#include <string.h>

static void drop(struct epoch_ids *ids, unsigned index)
{
	ids->count--;
	memmove(&ids->list[index], &ids->list[index + 1], (ids->count - index) * sizeof(ids->list[0]));
	ids->list[ids->count] = (struct epoch_id){0};
}

void epoch_ids_add(struct epoch_ids *ids, uint64_t epoch, const struct id *id)
{
	if (ids->count == EPOCH_IDS_MAX) {
		ids->forgotten = ids->list[1].epoch;
		drop(ids, 1);
	}
	ids->list[ids->count++] = (struct epoch_id){epoch, *id};
}

void epoch_ids_keep_from(struct epoch_ids *ids, uint64_t epoch)
{
	while (ids->count && ids->list[0].epoch < epoch)
		drop(ids, 0);
}

struct id epoch_ids_find(const struct epoch_ids *ids, uint64_t epoch)
{
	for (unsigned i = 0; i < ids->count; i++)
		if (ids->list[i].epoch == epoch)
			return ids->list[i].id;
	return (struct id){{0}};
}

enum epoch_match epoch_ids_match(const struct epoch_ids *ids, uint64_t epoch, const struct id *id)
{
	struct id known = epoch_ids_find(ids, epoch);

	if (MUTANT(EPOCH_BY_NUMBER))
		return EPOCH_OURS;
	if (!id_is_none(&known) && !id_is_none(id))
		return id_equal(&known, id) ? EPOCH_OURS : EPOCH_FOREIGN;
	if (id_is_none(id) || epoch <= ids->forgotten || (ids->count && epoch < ids->list[0].epoch))
		return EPOCH_UNKNOWN;
	return EPOCH_FOREIGN;
}
