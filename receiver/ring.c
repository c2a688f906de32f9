// SPDX-License-Identifier: Apache-2.0
// The ring of the journal: space, and records that are written to it and read
// back.
#include "journal_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define GATHER_MAX (UINT64_C(1) << 20)
#define GATHER_MIN (UINT64_C(16) << 10)

void place_advance(struct place *place, uint64_t length)
{
	memmove(place->before + 1, place->before, sizeof(place->before) - sizeof(place->before[0]));
	place->before[0] = (uint16_t)(length / RECORD_ALIGN);
	place->position += length;
	place->sequence++;
}

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

int ring_room(struct journal *journal, const struct epoch *epoch, uint64_t bytes)
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

static void forget_data(struct journal *journal, struct journal_record *record)
{
	if (record->data)
		journal->memory -= record->room;
	free(record->data);
	record->data = NULL;
}

void record_free(struct journal *journal, struct journal_record *record)
{
	forget_data(journal, record);
	free(record);
}

// Records.

struct journal_record *record_add(struct epoch *epoch, const struct place *place, const struct record_header *header)
{
	struct journal_record *record = calloc(1, sizeof(*record));

	if (!record)
		return NULL;
	record->type = RECORD_DATA;
	record->epoch = epoch;
	record->position = place->position;
	record->sequence = place->sequence;
	record->payload = header->payload;
	record->heads = header->heads;
	*epoch->last = record;
	epoch->last = &record->next;
	return record;
}

// Content that was written and is not in use can be read back. The newest is
// needed last.
bool record_evict(struct journal *journal)
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

	while (journal->memory + bytes > journal->config.memory && record_evict(journal))
		;
	data = aligned_alloc(RECORD_ALIGN, bytes);
	while (!data && record_evict(journal))
		data = aligned_alloc(RECORD_ALIGN, bytes);
	if (data)
		journal->memory += bytes;
	return data;
}

struct journal_record *record_new(struct journal *journal, struct epoch *epoch, enum record_type type, uint64_t room)
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
		epoch_reject(journal, epoch, error, &err);
	commit_advance(journal);
	journal->config.events->progress(journal->config.user);
}

void record_write(struct journal *journal, struct journal_record *record)
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
	        .heads = record->heads,
	};

	memcpy(header.before, journal->head.before, sizeof(header.before));
	memset(record->data + RECORD_HEADER_BYTES + record->payload, 0, length - RECORD_HEADER_BYTES - record->payload);
	record->position = journal->head.position;
	record->sequence = journal->head.sequence;
	journal->head.chain = record_put(record->data, &header);
	place_advance(&journal->head, record->type == RECORD_PAD ? ring_left(journal, record->position) : length);
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
void record_trim(struct journal *journal, struct journal_record *record)
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

uint64_t journal_frames_offset(const struct journal *journal, const struct journal_record *record, uint32_t *length)
{
	*length = record->payload;
	return ring_offset(journal, record->position) + RECORD_HEADER_BYTES;
}

uint64_t journal_heads(const struct journal_record *record)
{
	return record->heads;
}
