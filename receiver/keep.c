// SPDX-License-Identifier: Apache-2.0
// What is kept of an epoch that is left before it is complete. A STAGE record
// says so in the journal itself: the epoch that continues it follows that record,
// and one COMMIT makes both durable.
#include "journal_impl.h"

#include "common/mutant.h"

#include <errno.h>

void epoch_keep(struct epoch *epoch, const struct kept *kept, const struct place *end)
{
	epoch->keeps = true;
	epoch->kept = *kept;
	epoch->kept_end = *end;
	epoch->kept_last = epoch->last;
}

int journal_keep(struct journal *journal, const struct kept *kept, struct error *err)
{
	struct epoch *epoch = epoch_receiving(journal);
	struct journal_record *record;
	int error = record_close(journal);

	if (!error)
		error = ring_room(journal, epoch, record_bytes(STAGE_BYTES));
	if (error)
		return epoch_describe(journal, error, err);
	record = record_new(journal, epoch, RECORD_STAGE, RECORD_ALIGN);
	if (!record)
		return epoch_describe(journal, -ENOMEM, err);
	kept_put(record->data + RECORD_HEADER_BYTES, kept);
	record->payload = STAGE_BYTES;
	record_write(journal, record);
	epoch_keep(epoch, kept, &journal->head);
	return 0;
}

// What is on its way past the end is written for nobody.
static void forget_writes(struct journal *journal, struct epoch *epoch)
{
	for (struct journal_record *record = journal->inflight; record; record = record->next_busy) {
		if (record->epoch != epoch || record->position < epoch->kept_end.position)
			continue;
		record->epoch = NULL;
		epoch->writing--;
		journal->dropped++;
	}
}

void journal_leave(struct journal *journal)
{
	struct epoch *epoch = epoch_receiving(journal);
	struct journal_record *record, *next;

	if (!epoch)
		return;
	if (!epoch->keeps) {
		journal_drop(journal);
		return;
	}
	if (journal->filling)
		record_free(journal, journal->filling);
	journal->filling = NULL;
	record = *epoch->kept_last;
	*epoch->kept_last = NULL;
	epoch->last = epoch->kept_last;
	for (; record; record = next) {
		next = record->next;
		record->next = NULL;
		if (!record->busy)
			record_free(journal, record);
	}
	forget_writes(journal, epoch);
	journal->head = epoch->kept_end;
	epoch->commit.epoch = epoch->kept.epoch;
}

const struct kept *journal_kept(const struct journal *journal)
{
	const struct epoch *epoch = epoch_receiving(journal);

	return epoch && epoch->keeps ? &epoch->kept : NULL;
}

int journal_continue(struct journal *journal, uint64_t number)
{
	if (journal->dropped > 0 && !MUTANT(REWIND_IGNORES_INFLIGHT))
		return -EAGAIN;
	epoch_receiving(journal)->commit.epoch = number;
	return 0;
}
