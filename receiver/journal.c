// SPDX-License-Identifier: Apache-2.0
#include "journal_impl.h"

#include "common/mutant.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define GATHER_MAX (UINT64_C(1) << 20)
#define GATHER_MIN (UINT64_C(16) << 10)
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

static void forget_data(struct journal *journal, struct journal_record *record)
{
	if (record->data)
		journal->memory -= record->room;
	free(record->data);
	record->data = NULL;
}

static void record_free(struct journal *journal, struct journal_record *record)
{
	forget_data(journal, record);
	free(record);
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

// The ring.

uint64_t ring_offset(const struct journal *journal, uint64_t position)
{
	return RING_OFFSET + position % journal->ring_bytes;
}

uint64_t ring_left(const struct journal *journal, uint64_t position)
{
	return journal->ring_bytes - position % journal->ring_bytes;
}

void ring_resize(struct journal *journal, uint64_t ring_bytes)
{
	uint64_t gather = GATHER_MAX;

	if (gather > journal->config.memory / 4)
		gather = journal->config.memory / 4;
	if (gather > ring_bytes / 16)
		gather = ring_bytes / 16;
	if (gather < GATHER_MIN)
		gather = GATHER_MIN;
	journal->ring_bytes = ring_bytes;
	journal->gather = gather & ~(uint64_t)(RECORD_ALIGN - 1);
}

// Whether a record of so many bytes and a COMMIT behind it have room.
static int ring_room(struct journal *journal, const struct epoch *epoch, uint64_t bytes)
{
	uint64_t end = journal->head.position, left = ring_left(journal, end);

	if (bytes > left)
		end += left;
	end += bytes + RECORD_ALIGN;
	if (end - epoch->begin.position > journal->ring_bytes)
		return -ENOSPC;
	if (end - ring_free_from(journal) <= journal->ring_bytes)
		return 0;
	journal->both_wanted = true;
	superblock_write(journal);
	return -EAGAIN;
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

static void reject(struct journal *journal, struct epoch *epoch, int error, const struct error *err)
{
	uint64_t number = epoch->commit.epoch;

	drop_from(journal, epoch);
	journal->config.events->rejected(journal->config.user, number, error, err);
}

// Records.

struct journal_record *record_add(struct epoch *epoch, const struct place *place, uint32_t payload)
{
	struct journal_record *record = calloc(1, sizeof(*record));

	if (!record)
		return NULL;
	record->type = RECORD_DATA;
	record->epoch = epoch;
	record->position = place->position;
	record->sequence = place->sequence;
	record->payload = payload;
	*epoch->last = record;
	epoch->last = &record->next;
	return record;
}

// Content that was written and is not in use can be read back. The newest is
// needed last.
static bool evict(struct journal *journal)
{
	struct journal_record *victim = NULL;

	for (struct epoch *epoch = journal->epochs; epoch; epoch = epoch->next) {
		for (struct journal_record *record = epoch->first; record; record = record->next) {
			if (record->data && !record->busy && !record->pinned)
				victim = record;
		}
	}
	if (victim)
		forget_data(journal, victim);
	return victim != NULL;
}

static uint8_t *take_memory(struct journal *journal, uint64_t bytes)
{
	uint8_t *data;

	while (journal->memory + bytes > journal->config.memory && evict(journal))
		;
	data = aligned_alloc(RECORD_ALIGN, bytes);
	while (!data && evict(journal))
		data = aligned_alloc(RECORD_ALIGN, bytes);
	if (data)
		journal->memory += bytes;
	return data;
}

static struct journal_record *record_new(struct journal *journal, struct epoch *epoch, enum record_type type,
                                         uint64_t room)
{
	struct journal_record *record = calloc(1, sizeof(*record));

	if (!record)
		return NULL;
	record->data = take_memory(journal, room);
	if (!record->data) {
		free(record);
		return NULL;
	}
	record->journal = journal;
	record->epoch = epoch;
	record->type = type;
	record->room = (uint32_t)room;
	return record;
}

static void commit_advance(struct journal *journal);

static void set_busy(struct journal *journal, struct journal_record *record)
{
	record->busy = true;
	record->next_busy = journal->inflight;
	journal->inflight = record;
	journal->busy++;
}

static void clear_busy(struct journal *journal, struct journal_record *record)
{
	struct journal_record **link = &journal->inflight;

	while (*link != record)
		link = &(*link)->next_busy;
	*link = record->next_busy;
	record->busy = false;
	journal->busy--;
}

static void record_written(struct disk_io *io, int error)
{
	struct journal_record *record = (struct journal_record *)((char *)io - offsetof(struct journal_record, io));
	struct journal *journal = record->journal;
	struct epoch *epoch = record->epoch;
	struct error err;

	if (error)
		fail(&err, -error, "write to the journal at offset %llu: %s", (unsigned long long)io->offset,
		     strerror(-error));
	clear_busy(journal, record);
	if (!epoch)
		journal->dropped--;
	else
		epoch->writing--;
	if (!epoch || record->type != RECORD_DATA)
		record_free(journal, record);
	if (epoch && error)
		reject(journal, epoch, error, &err);
	commit_advance(journal);
	journal->config.events->progress(journal->config.user);
}

// Gives the record its place at the head of the ring and begins to write it.
static void record_write(struct journal *journal, struct journal_record *record)
{
	struct epoch *epoch = record->epoch;
	uint64_t length = record->type == RECORD_PAD ? RECORD_ALIGN : record_bytes(record->payload);
	struct record_header header = {
	        .type = record->type,
	        .payload = record->payload,
	        .journal = journal->id,
	        .sequence = journal->head.sequence,
	        .chain = journal->head.chain,
	        .epoch = epoch->commit.epoch,
	        .checksum = record_checksum(record->data + RECORD_HEADER_BYTES, record->payload),
	};

	memset(record->data + RECORD_HEADER_BYTES + record->payload, 0, length - RECORD_HEADER_BYTES - record->payload);
	record->position = journal->head.position;
	record->sequence = journal->head.sequence;
	journal->head.chain = record_put(record->data, &header);
	journal->head.sequence++;
	journal->head.position += record->type == RECORD_PAD ? ring_left(journal, record->position) : length;
	if (record->type == RECORD_DATA) {
		*epoch->last = record;
		epoch->last = &record->next;
	}
	epoch->writing++;
	set_busy(journal, record);
	record->io = (struct disk_io){
	        .op = DISK_WRITE,
	        .offset = ring_offset(journal, record->position),
	        .length = length,
	        .data = record->data,
	        .done = record_written,
	};
	disk_submit(journal->disk, &record->io);
}

// Small epochs must not fill the memory with air.
static void trim(struct journal *journal, struct journal_record *record)
{
	uint64_t length = record_bytes(record->payload);
	uint8_t *data;

	if (length > record->room / 2)
		return;
	data = aligned_alloc(RECORD_ALIGN, length);
	if (!data)
		return;
	memcpy(data, record->data, RECORD_HEADER_BYTES + record->payload);
	free(record->data);
	record->data = data;
	journal->memory -= record->room - length;
	record->room = (uint32_t)length;
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
	trim(journal, record);
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
	while (journal->memory + room > journal->config.memory && evict(journal))
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

int journal_append(struct journal *journal, const struct frame *frame, struct error *err)
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

// From written to durable.

void commits_doubt(struct journal *journal, int error, const struct error *err)
{
	struct epoch *epoch = journal->epochs;

	while (epoch && epoch->stage == EPOCH_DURABLE)
		epoch = epoch->next;
	if (epoch)
		reject(journal, epoch, error, err);
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
		journal->config.events->durable(journal->config.user, &epoch->commit);
		superblock_want(journal);
	}
	commit_advance(journal);
	journal->config.events->progress(journal->config.user);
}

// One flush for as many epochs as are written by now, in their order.
static void commit_advance(struct journal *journal)
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

const uint8_t *journal_frames(struct journal_record *record, uint32_t *length)
{
	if (!record->data || record->busy)
		return NULL;
	record->pinned = true;
	*length = record->payload;
	return record->data + RECORD_HEADER_BYTES;
}

static void record_read(struct disk_io *io, int error)
{
	struct journal_record *record = (struct journal_record *)((char *)io - offsetof(struct journal_record, io));
	struct journal *journal = record->journal;
	struct record_header header;
	struct error err;
	uint64_t chain;

	clear_busy(journal, record);
	if (error) {
		fail(&err, -error, "read record of the journal at offset %llu: %s", (unsigned long long)io->offset,
		     strerror(-error));
	} else if (record_get(record->data, &header, &chain) || header.sequence != record->sequence ||
	           header.payload != record->payload ||
	           header.checksum != record_checksum(record->data + RECORD_HEADER_BYTES, header.payload)) {
		error = fail(&err, EILSEQ, "record %llu of the journal at offset %llu: checksum does not match",
		             (unsigned long long)record->sequence, (unsigned long long)io->offset);
	}
	if (error)
		forget_data(journal, record);
	record->loaded_done(record->loaded_user, error, &err);
}

int journal_load(struct journal *journal, struct journal_record *record, void *user,
                 void (*done)(void *user, int error, const struct error *err))
{
	uint64_t length = record_bytes(record->payload);

	record->data = take_memory(journal, length);
	if (!record->data)
		return -ENOMEM;
	record->room = (uint32_t)length;
	record->journal = journal;
	record->loaded_user = user;
	record->loaded_done = done;
	set_busy(journal, record);
	record->io = (struct disk_io){
	        .op = DISK_READ,
	        .offset = ring_offset(journal, record->position),
	        .length = length,
	        .data = record->data,
	        .done = record_read,
	};
	disk_submit(journal->disk, &record->io);
	return 0;
}

void journal_release(struct journal *journal, struct journal_record *record)
{
	record->pinned = false;
	forget_data(journal, record);
}

uint64_t journal_offset(const struct journal *journal, const struct journal_record *record)
{
	return ring_offset(journal, record->position);
}

void journal_applied(struct journal *journal)
{
	struct epoch *epoch = journal->epochs;

	journal->epochs = epoch->next;
	if (!journal->epochs)
		journal->last_epoch = &journal->epochs;
	journal->tail = epoch->end;
	journal->applied = epoch->commit.epoch;
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
