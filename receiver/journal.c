// SPDX-License-Identifier: Apache-2.0
#include "journal_impl.h"

#include "common/mutant.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define FRAME_LIKELY_MAX (UINT64_C(320) << 10) // what a sender that packs well makes

struct journal *journal_new(const struct journal_config *config)
{
	struct journal *journal = calloc(1, sizeof(*journal));

	if (!journal)
		return NULL;
	journal->config = *config;
	journal->disk = config->disk;
	journal->last_epoch = &journal->epochs;
	journal->superblock = aligned_alloc(RECORD_ALIGN, SUPERBLOCK_BYTES);
	if (!journal->superblock) {
		free(journal);
		return NULL;
	}
	return journal;
}

void journal_free(struct journal *journal)
{
	if (!journal)
		return;
	clock_cancel(journal->config.clock, &journal->superblock_timer);
	if (journal->filling)
		record_free(journal, journal->filling);
	while (journal->epochs) {
		struct epoch *epoch = journal->epochs;

		journal->epochs = epoch->next;
		epoch_free(journal, epoch);
	}
	while (journal->inflight) {
		struct journal_record *record = journal->inflight;

		journal->inflight = record->next_busy;
		record_free(journal, record);
	}
	recovery_free(journal->recovery);
	free(journal->superblock);
	free(journal);
}

// Epochs.

struct epoch *epoch_add(struct journal *journal)
{
	struct epoch *epoch = calloc(1, sizeof(*epoch));

	if (!epoch)
		return NULL;
	epoch->begin = journal->head;
	epoch->last = &epoch->first;
	*journal->last_epoch = epoch;
	journal->last_epoch = &epoch->next;
	journal->epoch_count++;
	return epoch;
}

// Its records that are being written are freed when that is over.
void epoch_free(struct journal *journal, struct epoch *epoch)
{
	while (epoch->first) {
		struct journal_record *record = epoch->first;

		epoch->first = record->next;
		if (!record->busy)
			record_free(journal, record);
	}
	for (struct journal_record *record = journal->inflight; record; record = record->next_busy) {
		if (record->epoch == epoch) {
			record->epoch = NULL;
			journal->dropped++;
		}
	}
	journal->epoch_count--;
	free(epoch);
}

static struct epoch *receiving(const struct journal *journal)
{
	struct epoch *epoch = journal->epochs;

	while (epoch && epoch->stage != EPOCH_RECEIVING)
		epoch = epoch->next;
	return epoch;
}

// Drops first and all epochs after it.
static void drop_from(struct journal *journal, struct epoch *first)
{
	struct epoch **link = &journal->epochs, *next;

	while (*link != first)
		link = &(*link)->next;
	*link = NULL;
	journal->last_epoch = link;
	journal->head = first->begin;
	if (journal->filling)
		record_free(journal, journal->filling);
	journal->filling = NULL;
	for (struct epoch *epoch = first; epoch; epoch = next) {
		next = epoch->next;
		epoch_free(journal, epoch);
	}
}

void epoch_reject(struct journal *journal, struct epoch *epoch, int error, const struct error *err)
{
	uint64_t number = epoch->commit.epoch;

	drop_from(journal, epoch);
	journal->config.events->rejected(journal->config.user, number, error, err);
}

static int close_filling(struct journal *journal)
{
	struct journal_record *record = journal->filling, *pad = NULL;

	if (!record)
		return 0;
	if (record_bytes(record->payload) > ring_left(journal, journal->head.position)) {
		pad = record_new(journal, record->epoch, RECORD_PAD, RECORD_ALIGN);
		if (!pad)
			return -ENOMEM;
		record_write(journal, pad);
	}
	journal->filling = NULL;
	record_trim(journal, record);
	record_write(journal, record);
	return 0;
}

int journal_begin(struct journal *journal, uint64_t number)
{
	struct epoch *epoch;

	// what was dropped may still be on its way to the place that is next
	if ((journal->dropped > 0 && !MUTANT(REWIND_IGNORES_INFLIGHT)) || journal->epoch_count >= EPOCHS_MAX)
		return -EAGAIN;
	epoch = epoch_add(journal);
	if (!epoch)
		return -ENOMEM;
	epoch->commit.epoch = number;
	return 0;
}

static int open_filling(struct journal *journal, struct epoch *epoch, uint64_t frame)
{
	uint64_t room = record_bytes(frame) > journal->gather ? record_bytes(frame) : journal->gather;
	int error = ring_room(journal, epoch, record_bytes(frame));

	if (error)
		return error;
	while (journal->memory + room > journal->config.memory && record_evict(journal))
		;
	if (journal->memory + room > journal->config.memory && journal->busy > 0)
		return -EAGAIN;
	journal->filling = record_new(journal, epoch, RECORD_DATA, room);
	return journal->filling ? 0 : -ENOMEM;
}

// Whether the record that is being filled had better be written without this
// frame: no room in its memory, or none before the end of the ring.
static bool filled(const struct journal *journal, uint64_t frame)
{
	const struct journal_record *record = journal->filling;
	uint64_t left = ring_left(journal, journal->head.position);
	uint64_t now = record_bytes(record->payload), then = record_bytes(record->payload + frame);

	return then > record->room || (now <= left && then > left);
}

static int describe(struct journal *journal, int error, struct error *err)
{
	if (error == -ENOSPC)
		return fail(err, ENOSPC,
		            "epoch does not fit into the journal of %llu bytes; give the journal more space",
		            (unsigned long long)journal->ring_bytes);
	if (error == -ENOMEM)
		return fail(err, ENOMEM, "no memory for the journal");
	return error;
}

int journal_append(struct journal *journal, const struct frame *frame, uint32_t head, struct error *err)
{
	struct epoch *epoch = receiving(journal);
	uint64_t length = FRAME_HEADER_BYTES + (uint64_t)frame->length;
	struct journal_record *record;
	int error = 0;

	if (journal->filling && filled(journal, length))
		error = close_filling(journal);
	if (!error && !journal->filling)
		error = open_filling(journal, epoch, length);
	else if (!error)
		error = ring_room(journal, epoch, record_bytes(journal->filling->payload + length));
	if (error)
		return describe(journal, error, err);
	record = journal->filling;
	memcpy(record->data + RECORD_HEADER_BYTES + record->payload, frame->bytes, length);
	record->payload += (uint32_t)length;
	record->heads = record_heads(record->heads, frame->bytes, head);
	return 0;
}

int journal_commit(struct journal *journal, const struct commit *commit, struct error *err)
{
	struct epoch *epoch = receiving(journal);
	struct journal_record *record;
	int error = close_filling(journal);

	if (!error)
		error = ring_room(journal, epoch, 0);
	if (error)
		return describe(journal, error, err);
	record = record_new(journal, epoch, RECORD_COMMIT, RECORD_ALIGN);
	if (!record)
		return describe(journal, -ENOMEM, err);
	epoch->commit = *commit;
	epoch->commit.first_sequence = epoch->begin.sequence;
	epoch->commit.records = journal->head.sequence - epoch->begin.sequence;
	commit_put(record->data + RECORD_HEADER_BYTES, &epoch->commit);
	record->payload = COMMIT_BYTES;
	record_write(journal, record);
	epoch->end = journal->head;
	epoch->stage = EPOCH_COMMITTING;
	return 0;
}

void journal_drop(struct journal *journal)
{
	struct epoch *epoch = receiving(journal);

	if (epoch)
		drop_from(journal, epoch);
}

// Applying.

const struct commit *journal_next(const struct journal *journal)
{
	const struct epoch *epoch = journal->epochs;

	return epoch && epoch->stage == EPOCH_DURABLE ? &epoch->commit : NULL;
}

struct journal_record *journal_record(const struct journal *journal, struct journal_record *after)
{
	return after ? after->next : journal->epochs->first;
}

struct journal_record *journal_all(const struct journal *journal, struct journal_record *after)
{
	const struct epoch *epoch = after ? after->epoch->next : journal->epochs;

	if (after && after->next)
		return after->next;
	while (epoch && !epoch->first)
		epoch = epoch->next;
	return epoch ? epoch->first : NULL;
}

void journal_applied(struct journal *journal)
{
	struct epoch *epoch = journal->epochs;

	journal->epochs = epoch->next;
	if (!journal->epochs)
		journal->last_epoch = &journal->epochs;
	journal->tail = epoch->end;
	journal->applied = epoch->commit.epoch;
	if (epoch->commit.adopts)
		journal->generation = epoch->commit.lineage.generation;
	epoch_free(journal, epoch);
	superblock_want(journal);
}

// What others may ask.

bool journal_idle(const struct journal *journal)
{
	return journal->busy == 0 && !journal->flushing && !journal->superblock_busy &&
	       (!journal->superblock_wanted || journal->trouble);
}

void journal_stop(struct journal *journal)
{
	journal->stopping = true;
	journal->both_wanted = false;
	clock_cancel(journal->config.clock, &journal->superblock_timer);
	journal->superblock_retry = false;
}

uint64_t journal_durable(const struct journal *journal)
{
	return journal->durable;
}

uint64_t journal_newest(const struct journal *journal)
{
	uint64_t newest = journal->durable;

	for (const struct epoch *epoch = journal->epochs; epoch && epoch->stage != EPOCH_RECEIVING; epoch = epoch->next)
		newest = epoch->commit.epoch;
	return newest;
}

uint64_t journal_applied_epoch(const struct journal *journal)
{
	return journal->applied;
}

int64_t journal_durable_wall(const struct journal *journal)
{
	return journal->durable_wall;
}

uint64_t journal_used(const struct journal *journal)
{
	return journal->head.position - journal->tail.position;
}

uint64_t journal_largest(const struct journal *journal)
{
	uint64_t waste = journal->gather > FRAME_LIKELY_MAX ? journal->gather : FRAME_LIKELY_MAX;

	return journal->ring_bytes > waste ? (journal->ring_bytes - waste) / 8 * 7 : 0;
}
