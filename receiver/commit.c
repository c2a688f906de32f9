// SPDX-License-Identifier: Apache-2.0
// From written to durable.
#include "journal_impl.h"

#include "common/mutant.h"

#include <string.h>

void commits_doubt(struct journal *journal, int error, const struct error *err)
{
	struct epoch *epoch = journal->epochs;

	while (epoch && epoch->stage == EPOCH_DURABLE)
		epoch = epoch->next;
	if (epoch)
		epoch_reject(journal, epoch, error, err);
}

static void commit_flushed(struct disk_io *io, int error)
{
	struct journal *journal = (struct journal *)((char *)io - offsetof(struct journal, flush));
	struct epoch *epoch = journal->epochs;
	struct error err;

	journal->flushing = false;
	while (epoch && epoch->stage == EPOCH_DURABLE)
		epoch = epoch->next;
	if (error) {
		fail(&err, -error, "flush of the journal: %s", strerror(-error));
		journal->superblock_doubt = true;
		commits_doubt(journal, error, &err);
		epoch = NULL;
	}
	for (; epoch && epoch->stage == EPOCH_FLUSHING; epoch = epoch->next) {
		epoch->stage = EPOCH_DURABLE;
		journal->durable = epoch->commit.epoch;
		journal->durable_wall = epoch->commit.cut_wall;
		journal->durable_sequence = epoch->end.sequence;
		journal->durable_position = epoch->end.position;
		journal->config.events->durable(journal->config.user, &epoch->commit);
		superblock_want(journal);
	}
	commit_advance(journal);
	journal->config.events->progress(journal->config.user);
}

// One flush for as many epochs as are written by now, in their order.
void commit_advance(struct journal *journal)
{
	if (journal->flushing)
		return;
	for (struct epoch *epoch = journal->epochs; epoch; epoch = epoch->next) {
		if (epoch->stage == EPOCH_DURABLE)
			continue;
		if (epoch->stage != EPOCH_COMMITTING || epoch->writing > 0)
			break;
		epoch->stage = EPOCH_FLUSHING;
		journal->flushing = true;
	}
	if (!journal->flushing)
		return;
	journal->flush = (struct disk_io){.op = DISK_FLUSH, .done = commit_flushed};
	if (MUTANT(DURABLE_BEFORE_FLUSH))
		commit_flushed(&journal->flush, 0);
	else
		disk_submit(journal->disk, &journal->flush);
}

bool journal_settled(const struct journal *journal)
{
	for (const struct epoch *epoch = journal->epochs; epoch; epoch = epoch->next) {
		if (epoch->stage == EPOCH_COMMITTING || epoch->stage == EPOCH_FLUSHING)
			return false;
	}
	return true;
}

bool journal_completes(const struct journal *journal, const struct id *sync)
{
	for (const struct epoch *epoch = journal->epochs; epoch; epoch = epoch->next) {
		if (epoch->stage == EPOCH_DURABLE && epoch->commit.completes && id_equal(&epoch->commit.sync, sync))
			return true;
	}
	return false;
}

const struct commit *journal_adoption(const struct journal *journal)
{
	const struct commit *newest = NULL;

	for (const struct epoch *epoch = journal->epochs; epoch && epoch->stage == EPOCH_DURABLE; epoch = epoch->next)
		if (epoch->commit.adopts)
			newest = &epoch->commit;
	return newest;
}
