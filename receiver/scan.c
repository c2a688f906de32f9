// SPDX-License-Identifier: Apache-2.0
#include "scan.h"

#include "ahead.h"
#include "stored.h"

#include "common/codec.h"
#include "common/mutant.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HEADERS_WINDOW (UINT64_C(16) << 10) // read at once where only headers are looked at

static void follow(struct scan *scan);

void scan_clear(struct scan *scan)
{
	ahead_free(scan->ahead);
	free(scan->window);
	scan->ahead = NULL;
	scan->window = NULL;
}

static void take_partial_away(struct scan *scan)
{
	struct journal *journal = scan->journal;
	struct epoch **link = &journal->epochs;

	if (!scan->partial)
		return;
	while (*link != scan->partial)
		link = &(*link)->next;
	*link = NULL;
	journal->last_epoch = link;
	journal->head = scan->partial->begin;
	epoch_free(journal, scan->partial);
	scan->partial = NULL;
}

static void end(struct scan *scan)
{
	scan->over = true;
	if (scan->ahead && !ahead_idle(scan->ahead))
		return;
	take_partial_away(scan);
	scan->ended(scan->user);
}

static bool broken(struct scan *scan, const char *why)
{
	snprintf(scan->broken, sizeof(scan->broken), "%s", why);
	return false;
}

static bool no_memory(struct scan *scan)
{
	scan->error = fail(&scan->reason, ENOMEM, "no memory for the records of the journal");
	return false;
}

static bool take_frames(struct scan *scan, const uint8_t *at, uint32_t left)
{
	while (left > 0) {
		struct frame frame;
		uint32_t bytes;

		if (stored_frame(at, left, &frame) || frame.type != FRAME_BLOCKS)
			return false;
		scan->frames++;
		scan->digest = epoch_digest(scan->digest, frame_checksum(&frame));
		bytes = FRAME_HEADER_BYTES + frame.length;
		at += bytes;
		left -= bytes;
	}
	return true;
}

// Whether the record was checked when it came, by what the superblock says.
static bool vouched(const struct scan *scan)
{
	return scan->at.sequence < scan->vouched;
}

static bool commit_fits(const struct scan *scan, const struct commit *commit)
{
	const struct epoch *epoch = scan->partial;

	return commit->epoch == epoch->commit.epoch && commit->epoch > scan->last && commit->base == scan->last &&
	       commit->first_sequence == epoch->begin.sequence &&
	       commit->records == scan->at.sequence - epoch->begin.sequence &&
	       (vouched(scan) || (commit->frames == scan->frames && commit->digest == scan->digest));
}

// One record whose header and payload are sound. False: the chain ends before
// it. next is where the record after it begins.
static bool take_record(struct scan *scan, const struct record_header *header, const uint8_t *payload,
                        const struct place *next)
{
	struct journal *journal = scan->journal;
	struct commit commit;

	if (!scan->partial) {
		scan->partial = epoch_add(journal);
		if (!scan->partial)
			return no_memory(scan);
		scan->partial->begin = scan->at;
		scan->partial->commit.epoch = header->epoch;
		scan->frames = 0;
		scan->digest = 0;
	}
	if (header->epoch != scan->partial->commit.epoch)
		return broken(scan, "epoch changes without a commit");
	if (header->type == RECORD_DATA) {
		if (!vouched(scan) && !take_frames(scan, payload, header->payload) && !MUTANT(JOURNAL_CHECKSUM_IGNORED))
			return broken(scan, "a frame in it does not check");
		if (!record_add(scan->partial, &scan->at, header))
			return no_memory(scan);
	} else if (header->type == RECORD_COMMIT) {
		if (commit_get(payload, header->payload, &commit))
			return broken(scan, "commit is malformed");
		if (!commit_fits(scan, &commit) && !MUTANT(JOURNAL_CHECKSUM_IGNORED))
			return broken(scan, "commit does not match the records before it");
		scan->partial->commit = commit;
		scan->partial->stage = EPOCH_DURABLE;
		scan->partial->end = *next;
		scan->partial = NULL;
		scan->last = commit.epoch;
		journal->durable = commit.epoch;
		journal->durable_wall = commit.cut_wall;
	}
	scan->at = *next;
	journal->head = *next;
	return true;
}

static void window_read(struct disk_io *io, int error)
{
	struct scan *scan = (struct scan *)((char *)io - offsetof(struct scan, io));

	if (error) {
		scan->error = fail(&scan->reason, -error, "read journal at offset %" PRIu64 ": %s", io->offset,
		                   strerror(-error));
		end(scan);
		return;
	}
	scan->reading = false;
	follow(scan);
}

static void ahead_ready(void *user)
{
	struct scan *scan = user;

	if (scan->over)
		end(scan);
	else if (!scan->reading)
		follow(scan);
}

// length bytes of the ring from where the scan is; NULL: they are being read.
static const uint8_t *look(struct scan *scan, uint64_t length)
{
	uint64_t position = scan->at.position, left = ring_left(scan->journal, position);
	uint64_t window = vouched(scan) ? HEADERS_WINDOW : RECORD_MAX;
	const uint8_t *page;
	bool coming;

	if (position >= scan->window_at && position + length <= scan->window_at + scan->window_length)
		return scan->window + (position - scan->window_at);
	if (scan->ahead && length == RECORD_ALIGN && vouched(scan)) {
		page = ahead_page(scan->ahead, position, &coming);
		if (page || coming)
			return page;
	}
	scan->reading = true;
	scan->window_at = position;
	scan->window_length = left < window ? left : window;
	scan->io = (struct disk_io){
	        .op = DISK_READ,
	        .offset = ring_offset(scan->journal, position),
	        .length = scan->window_length,
	        .data = scan->window,
	        .done = window_read,
	};
	disk_submit(scan->journal->disk, &scan->io);
	return NULL;
}

// Whether a record that continues the chain begins here; bytes is its header.
static bool header_fits(struct scan *scan, const uint8_t *bytes, struct record_header *header, struct place *next)
{
	struct journal *journal = scan->journal;
	uint64_t left = ring_left(journal, scan->at.position), length;

	if (record_get(bytes, header, &next->chain))
		return broken(scan, "header does not check");
	if (!id_equal(&header->journal, &journal->id) || header->sequence != scan->at.sequence ||
	    (header->chain != scan->at.chain && !MUTANT(JOURNAL_CHECKSUM_IGNORED)))
		return broken(scan, "it does not continue the chain");
	length = header->type == RECORD_PAD ? left : record_bytes(header->payload);
	next->position = scan->at.position;
	next->sequence = scan->at.sequence;
	memcpy(next->before, header->before, sizeof(next->before));
	place_advance(next, length);
	if (length > RECORD_MAX && header->type != RECORD_PAD)
		return broken(scan, "it is longer than a record can be");
	if (length > left || next->position - journal->tail.position > journal->ring_bytes)
		return broken(scan, "it is longer than the room for it");
	return true;
}

static void follow(struct scan *scan)
{
	const struct journal *journal = scan->journal;

	for (;;) {
		struct record_header header;
		struct place next;
		const uint8_t *bytes;
		bool known;

		if (scan->bounded && scan->last == scan->until && !scan->partial) {
			broken(scan, "nothing follows it");
			break;
		}
		if (scan->at.position - journal->tail.position >= journal->ring_bytes) {
			broken(scan, "the ring is full");
			break;
		}
		bytes = look(scan, RECORD_ALIGN);
		if (!bytes)
			return;
		if (!header_fits(scan, bytes, &header, &next))
			break;
		known = header.type == RECORD_DATA && vouched(scan);
		bytes = look(scan, known || header.type == RECORD_PAD ? RECORD_ALIGN : record_bytes(header.payload));
		if (!bytes)
			return;
		if (!known && header.checksum != record_checksum(bytes + RECORD_HEADER_BYTES, header.payload) &&
		    !MUTANT(JOURNAL_CHECKSUM_IGNORED)) {
			broken(scan, "payload does not match its checksum");
			break;
		}
		if (!take_record(scan, &header, bytes + RECORD_HEADER_BYTES, &next))
			break;
	}
	end(scan);
}

int scan_start(struct scan *scan)
{
	struct journal *journal = scan->journal;

	scan->window = aligned_alloc(RECORD_ALIGN, RECORD_MAX);
	if (!scan->window)
		return -ENOMEM;
	journal->head = scan->at = journal->tail;
	scan->last = journal->durable = journal->applied;
	if (scan->vouched > 0)
		scan->ahead = ahead_new(journal, ahead_ready, scan);
	if (!scan->ahead || !ahead_start(scan->ahead, journal->tail.position, scan->durable_position))
		follow(scan);
	return 0;
}
