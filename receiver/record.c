// SPDX-License-Identifier: Apache-2.0
#include "record.h"

#include "common/bytes.h"
#include "common/codec.h"
#include "common/fields.h"

#include <errno.h>
#include <string.h>
#include <xxhash.h>

#define SUPERBLOCK_MAGIC "STEADJNL"
#define RECORD_MAGIC "STEADREC"
#define JOURNAL_VERSION 1
#define CHECKED_FROM 16 // magic and checksum come first

void superblock_put(uint8_t *slot, const struct superblock *superblock)
{
	struct writer writer = writer_begin(slot);

	memset(slot, 0, SUPERBLOCK_BYTES);
	write_bytes(&writer, SUPERBLOCK_MAGIC, 8);
	write_u64(&writer, 0);
	write_u32(&writer, JOURNAL_VERSION);
	write_u32(&writer, 0);
	write_u64(&writer, superblock->sequence);
	write_id(&writer, &superblock->journal);
	write_id(&writer, &superblock->generation);
	write_u64(&writer, superblock->ring_bytes);
	write_u64(&writer, superblock->tail);
	write_u64(&writer, superblock->tail_sequence);
	write_u64(&writer, superblock->tail_chain);
	write_u64(&writer, superblock->applied);
	write_u64(&writer, superblock->durable);
	write_u64(&writer, (uint64_t)superblock->durable_wall);
	write_u64(&writer, superblock->durable_sequence);
	write_u64(&writer, superblock->durable_position);
	put_u64(slot + 8, XXH3_64bits(slot + CHECKED_FROM, SUPERBLOCK_BYTES - CHECKED_FROM));
}

int superblock_get(const uint8_t *slot, struct superblock *superblock)
{
	struct reader reader = reader_begin(slot, SUPERBLOCK_BYTES);
	uint64_t checksum = XXH3_64bits(slot + CHECKED_FROM, SUPERBLOCK_BYTES - CHECKED_FROM);

	reader_demand(&reader, memcmp(read_bytes(&reader, 8), SUPERBLOCK_MAGIC, 8) == 0);
	reader_demand(&reader, read_u64(&reader) == checksum);
	reader_demand(&reader, read_u32(&reader) == JOURNAL_VERSION);
	read_zeroes(&reader, 4);
	superblock->sequence = read_u63(&reader);
	superblock->journal = read_some_id(&reader);
	superblock->generation = read_id(&reader);
	superblock->ring_bytes = read_u63(&reader);
	superblock->tail = read_u63(&reader);
	superblock->tail_sequence = read_u63(&reader);
	superblock->tail_chain = read_u64(&reader);
	superblock->applied = read_u63(&reader);
	superblock->durable = read_u63(&reader);
	superblock->durable_wall = (int64_t)read_u64(&reader);
	superblock->durable_sequence = read_u63(&reader);
	superblock->durable_position = read_u63(&reader);
	read_zeroes(&reader, reader.left);
	reader_demand(&reader, superblock->sequence > 0);
	reader_demand(&reader, superblock->ring_bytes > 0 && superblock->ring_bytes % RECORD_ALIGN == 0);
	reader_demand(&reader, superblock->tail % RECORD_ALIGN == 0);
	reader_demand(&reader, superblock->applied <= superblock->durable);
	reader_demand(&reader, superblock->tail_sequence <= superblock->durable_sequence);
	reader_demand(&reader, superblock->durable_position % RECORD_ALIGN == 0);
	reader_demand(&reader, superblock->tail <= superblock->durable_position);
	return reader_end(&reader) ? 0 : -EILSEQ;
}

uint64_t record_put(uint8_t *bytes, const struct record_header *header)
{
	struct writer writer = writer_begin(bytes);
	uint64_t chain;

	write_bytes(&writer, RECORD_MAGIC, 8);
	write_u64(&writer, 0);
	write_u32(&writer, header->type);
	write_u32(&writer, header->payload);
	write_id(&writer, &header->journal);
	write_u64(&writer, header->sequence);
	write_u64(&writer, header->chain);
	write_u64(&writer, header->epoch);
	write_u64(&writer, header->checksum);
	write_u64(&writer, header->heads);
	for (unsigned i = 0; i < RECORD_BEFORE; i++)
		write_u16(&writer, header->before[i]);
	write_zeroes(&writer, RECORD_HEADER_BYTES - writer_length(&writer));
	chain = XXH3_64bits(bytes + CHECKED_FROM, RECORD_HEADER_BYTES - CHECKED_FROM);
	put_u64(bytes + 8, chain);
	return chain;
}

int record_get(const uint8_t *bytes, struct record_header *header, uint64_t *chain)
{
	struct reader reader = reader_begin(bytes, RECORD_HEADER_BYTES);
	uint32_t type;

	*chain = XXH3_64bits(bytes + CHECKED_FROM, RECORD_HEADER_BYTES - CHECKED_FROM);
	reader_demand(&reader, memcmp(read_bytes(&reader, 8), RECORD_MAGIC, 8) == 0);
	reader_demand(&reader, read_u64(&reader) == *chain);
	type = read_u32(&reader);
	header->payload = read_u32(&reader);
	header->journal = read_some_id(&reader);
	header->sequence = read_u63(&reader);
	header->chain = read_u64(&reader);
	header->epoch = read_u63(&reader);
	header->checksum = read_u64(&reader);
	header->heads = read_u64(&reader);
	for (unsigned i = 0; i < RECORD_BEFORE; i++)
		header->before[i] = read_u16(&reader);
	read_zeroes(&reader, reader.left);
	reader_demand(&reader, type >= RECORD_DATA && type <= RECORD_PAD);
	reader_demand(&reader, type != RECORD_COMMIT || header->payload == COMMIT_BYTES);
	reader_demand(&reader, type != RECORD_PAD || header->payload == 0);
	reader_demand(&reader, type == RECORD_DATA || header->heads == 0);
	header->type = type;
	return reader_end(&reader) ? 0 : -EILSEQ;
}

uint64_t record_checksum(const uint8_t *payload, size_t length)
{
	return XXH3_64bits(payload, length);
}

uint64_t record_heads(uint64_t heads, const uint8_t *head, size_t length)
{
	return epoch_digest(heads, XXH3_64bits(head, length));
}

void commit_put(uint8_t *payload, const struct commit *commit)
{
	struct writer writer = writer_begin(payload);

	write_u64(&writer, commit->epoch);
	write_u64(&writer, commit->base);
	write_u64(&writer, (uint64_t)commit->cut_wall);
	write_u64(&writer, commit->completes);
	write_id(&writer, &commit->sync);
	write_u64(&writer, commit->first_sequence);
	write_u64(&writer, commit->records);
	write_u64(&writer, commit->frames);
	write_u64(&writer, commit->digest);
	write_u64(&writer, commit->adopts);
	if (commit->adopts) {
		write_u64(&writer, (uint64_t)commit->born);
		write_lineage(&writer, &commit->lineage);
	}
	write_zeroes(&writer, COMMIT_BYTES - writer_length(&writer));
}

int commit_get(const uint8_t *payload, size_t length, struct commit *commit)
{
	struct reader reader = reader_begin(payload, length);
	uint64_t completes, adopts;

	memset(commit, 0, sizeof(*commit));
	commit->epoch = read_u63(&reader);
	commit->base = read_u63(&reader);
	commit->cut_wall = (int64_t)read_u64(&reader);
	completes = read_u64(&reader);
	commit->sync = read_id(&reader);
	commit->first_sequence = read_u63(&reader);
	commit->records = read_u63(&reader);
	commit->frames = read_u63(&reader);
	commit->digest = read_u64(&reader);
	adopts = read_u64(&reader);
	reader_demand(&reader, length == COMMIT_BYTES && completes <= 1 && adopts <= 1);
	commit->completes = completes == 1;
	commit->adopts = adopts == 1;
	if (commit->adopts && !reader.bad) {
		commit->born = (int64_t)read_u63(&reader);
		read_lineage(&reader, &commit->lineage);
	}
	read_zeroes(&reader, reader.left);
	return reader_end(&reader) ? 0 : -EILSEQ;
}
