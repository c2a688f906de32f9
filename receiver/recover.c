// SPDX-License-Identifier: Apache-2.0
// What the journal does at the start: choose a superblock, follow the chain of
// records from its tail, keep the complete epochs, drop what came after them.
#include "journal_impl.h"

#include "ahead.h"

#include "common/codec.h"
#include "common/mutant.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RING_MIN (UINT64_C(64) << 10)
#define HEADERS_WINDOW (UINT64_C(16) << 10) // read at once where only headers are looked at

struct recovery {
	struct journal *journal;
	bool fresh;
	uint64_t base; // of a new journal
	bool promoted; // to be redone, up to this epoch
	uint64_t epoch;
	struct superblock superblock;
	struct disk_io io;
	uint8_t *window; // what was read last
	uint64_t window_at; // its position
	uint64_t window_length;
	struct ahead *ahead; // NULL: none
	bool reading; // the window
	bool ended; // the scan, but for what is read ahead
	int read_error;
	struct error read_reason;
	char broken[80]; // why the chain ended
	int error; // why it was not followed to its end; 0: it was

	struct place at;
	struct epoch *partial; // not committed as far as was read
	uint64_t frames, digest; // of it
	uint64_t last; // epoch

	bool damaged;
	char repaired[160];
};

static void scan(struct recovery *recovery);

void recovery_free(struct recovery *recovery)
{
	if (!recovery)
		return;
	ahead_free(recovery->ahead);
	free(recovery->window);
	free(recovery);
}

static void finish(struct recovery *recovery, int error, const struct error *err)
{
	struct journal *journal = recovery->journal;

	journal->recovery = NULL;
	journal->config.events->opened(journal->config.user, error, err, recovery->damaged ? recovery->repaired : NULL);
	recovery_free(recovery);
}

static void give_up(struct recovery *recovery, const struct error *err)
{
	finish(recovery, -EILSEQ, err);
}

static struct recovery *recovery_of(struct disk_io *io)
{
	return (struct recovery *)((char *)io - offsetof(struct recovery, io));
}

static void read_window(struct recovery *recovery, uint64_t offset, uint64_t length,
                        void (*done)(struct disk_io *io, int error))
{
	recovery->window_length = length;
	recovery->io = (struct disk_io){
	        .op = DISK_READ,
	        .offset = offset,
	        .length = length,
	        .data = recovery->window,
	        .done = done,
	};
	disk_submit(recovery->journal->disk, &recovery->io);
}

// The superblocks are written until both are valid and say the same.
static void settle(struct recovery *recovery)
{
	struct journal *journal = recovery->journal;

	journal->both_wanted = true;
	superblock_write(journal);
	if (!journal->superblock_busy)
		finish(recovery, 0, NULL);
}

void recovery_superblock(struct journal *journal, int error)
{
	if (error)
		finish(journal->recovery, error, &journal->trouble_text);
	else if (!journal->superblock_busy)
		finish(journal->recovery, 0, NULL);
}

static void make_id(struct journal *journal)
{
	uint64_t words[2];

	words[0] = journal->config.random(journal->config.random_user);
	words[1] = journal->config.random(journal->config.random_user) | 1;
	memcpy(journal->id.bytes, words, sizeof(words));
}

// A journal that never held anything. The superblocks that were there are only
// good for their numbers.
static void make_new(struct recovery *recovery)
{
	struct journal *journal = recovery->journal;

	make_id(journal);
	ring_resize(journal, (journal->disk->size - RING_OFFSET) & ~(uint64_t)(RECORD_ALIGN - 1));
	journal->tail = (struct place){.sequence = 1};
	journal->head = journal->tail;
	journal->applied = recovery->base;
	journal->durable = recovery->base;
	journal->durable_wall = 0;
	journal->durable_sequence = 1;
	journal->durable_position = 0;
	journal->slots[0].valid = false;
	journal->slots[1].valid = false;
	settle(recovery);
}

// What has been read may be younger than the last flush, when only a process
// died: the peer is going to be told that it is durable.
static void chain_flushed(struct disk_io *io, int error)
{
	struct recovery *recovery = recovery_of(io);
	struct journal *journal = recovery->journal;
	uint64_t ring_bytes = (journal->disk->size - RING_OFFSET) & ~(uint64_t)(RECORD_ALIGN - 1);
	struct error err;

	if (error) {
		fail(&err, -error, "flush of the journal: %s", strerror(-error));
		finish(recovery, error, &err);
		return;
	}
	if (journal->head.position == journal->tail.position && journal->ring_bytes != ring_bytes) {
		ring_resize(journal, ring_bytes);
		journal->slots[0].valid = false;
		journal->slots[1].valid = false;
	}
	if (MUTANT(REPLAY_FROM_WRONG_EPOCH) && journal->epochs)
		journal_applied(journal);
	if (journal->slots[0].valid && journal->slots[1].valid)
		finish(recovery, 0, NULL);
	else
		settle(recovery);
}

static void take_partial_away(struct recovery *recovery)
{
	struct journal *journal = recovery->journal;
	struct epoch **link = &journal->epochs;

	if (!recovery->partial)
		return;
	while (*link != recovery->partial)
		link = &(*link)->next;
	*link = NULL;
	journal->last_epoch = link;
	journal->head = recovery->partial->begin;
	epoch_free(journal, recovery->partial);
}

// The pair's state says already what an epoch in the journal began.
static bool adopted(const struct journal *journal)
{
	for (const struct epoch *epoch = journal->epochs; epoch; epoch = epoch->next)
		if (epoch->commit.adopts && id_equal(&epoch->commit.lineage.generation, &journal->generation))
			return true;
	return false;
}

// The chain has come to its end. What the superblock calls durable must be in
// it; everything complete beyond is kept, too.
static void chain_ended(struct recovery *recovery)
{
	struct journal *journal = recovery->journal;
	const struct superblock *superblock = &recovery->superblock;
	struct error err;

	recovery->ended = true;
	if (recovery->ahead && !ahead_idle(recovery->ahead))
		return;
	if (recovery->read_error) {
		finish(recovery, recovery->read_error, &recovery->read_reason);
		return;
	}
	take_partial_away(recovery);
	if (recovery->error) {
		fail(&err, ENOMEM, "no memory for the records of the journal");
		finish(recovery, recovery->error, &err);
		return;
	}
	if (journal->head.sequence < superblock->durable_sequence) {
		fail(&err, EILSEQ,
		     "journal is damaged: record %" PRIu64 " at offset %" PRIu64 ": %s: epoch %" PRIu64
		     " is lost, though %" PRIu64 " was durable",
		     recovery->at.sequence, ring_offset(journal, recovery->at.position), recovery->broken,
		     recovery->last + 1, superblock->durable);
		give_up(recovery, &err);
		return;
	}
	if (recovery->promoted && recovery->last != recovery->epoch) {
		fail(&err, EILSEQ,
		     "journal is damaged: record %" PRIu64 " at offset %" PRIu64 ": %s: it ends with epoch %" PRIu64
		     ", must hold those up to %" PRIu64,
		     recovery->at.sequence, ring_offset(journal, recovery->at.position), recovery->broken,
		     recovery->last, recovery->epoch);
		give_up(recovery, &err);
		return;
	}
	if (recovery->promoted)
		journal->generation = superblock->generation; // of a former life of this node, whichever
	journal->durable_sequence = journal->head.sequence;
	journal->durable_position = journal->head.position;
	if (!id_equal(&superblock->generation, &journal->generation) && !adopted(journal)) {
		if (!journal->epochs) {
			make_new(recovery);
			return;
		}
		fail(&err, EILSEQ, "journal holds epochs of another generation, up to %" PRIu64, journal->durable);
		give_up(recovery, &err);
		return;
	}
	recovery->io = (struct disk_io){.op = DISK_FLUSH, .done = chain_flushed};
	disk_submit(journal->disk, &recovery->io);
}

static bool broken(struct recovery *recovery, const char *why)
{
	snprintf(recovery->broken, sizeof(recovery->broken), "%s", why);
	return false;
}

static bool no_memory(struct recovery *recovery)
{
	recovery->error = -ENOMEM;
	return false;
}

static bool take_frames(struct recovery *recovery, const uint8_t *at, uint32_t left)
{
	while (left > 0) {
		struct frame frame;
		int64_t payload = left < FRAME_HEADER_BYTES ? -EBADMSG : frame_payload_length(at, FRAME_PAYLOAD_MAX);

		if (payload < 0 || (uint64_t)payload > left - FRAME_HEADER_BYTES)
			return false;
		if (frame_check(at, FRAME_HEADER_BYTES + (size_t)payload, &frame) || frame.type != FRAME_BLOCKS)
			return false;
		recovery->frames++;
		recovery->digest = epoch_digest(recovery->digest, frame_checksum(&frame));
		at += FRAME_HEADER_BYTES + payload;
		left -= FRAME_HEADER_BYTES + (uint32_t)payload;
	}
	return true;
}

// Whether the record was checked when it came, by what the superblock says.
static bool vouched(const struct recovery *recovery)
{
	return recovery->promoted && recovery->at.sequence < recovery->superblock.durable_sequence;
}

static bool commit_fits(const struct recovery *recovery, const struct commit *commit)
{
	const struct epoch *epoch = recovery->partial;

	return commit->epoch == epoch->commit.epoch && commit->epoch > recovery->last &&
	       commit->base == recovery->last && commit->first_sequence == epoch->begin.sequence &&
	       commit->records == recovery->at.sequence - epoch->begin.sequence &&
	       (vouched(recovery) || (commit->frames == recovery->frames && commit->digest == recovery->digest));
}

// One record whose header and payload are sound. False: the chain ends before
// it. next is where the record after it begins.
static bool take_record(struct recovery *recovery, const struct record_header *header, const uint8_t *payload,
                        const struct place *next)
{
	struct journal *journal = recovery->journal;
	struct commit commit;

	if (!recovery->partial) {
		recovery->partial = epoch_add(journal);
		if (!recovery->partial)
			return no_memory(recovery);
		recovery->partial->begin = recovery->at;
		recovery->partial->commit.epoch = header->epoch;
		recovery->frames = 0;
		recovery->digest = 0;
	}
	if (header->epoch != recovery->partial->commit.epoch)
		return broken(recovery, "epoch changes without a commit");
	if (header->type == RECORD_DATA) {
		if (!vouched(recovery) && !take_frames(recovery, payload, header->payload) &&
		    !MUTANT(JOURNAL_CHECKSUM_IGNORED))
			return broken(recovery, "a frame in it does not check");
		if (!record_add(recovery->partial, &recovery->at, header->payload))
			return no_memory(recovery);
	} else if (header->type == RECORD_COMMIT) {
		if (commit_get(payload, header->payload, &commit))
			return broken(recovery, "commit is malformed");
		if (!commit_fits(recovery, &commit) && !MUTANT(JOURNAL_CHECKSUM_IGNORED))
			return broken(recovery, "commit does not match the records before it");
		recovery->partial->commit = commit;
		recovery->partial->stage = EPOCH_DURABLE;
		recovery->partial->end = *next;
		recovery->partial = NULL;
		recovery->last = commit.epoch;
		journal->durable = commit.epoch;
		journal->durable_wall = commit.cut_wall;
	}
	recovery->at = *next;
	journal->head = *next;
	return true;
}

static void window_read(struct disk_io *io, int error)
{
	struct recovery *recovery = recovery_of(io);

	if (error) {
		recovery->read_error = fail(&recovery->read_reason, -error, "read journal at offset %" PRIu64 ": %s",
		                            io->offset, strerror(-error));
		chain_ended(recovery);
		return;
	}
	recovery->reading = false;
	scan(recovery);
}

static void ahead_ready(void *user)
{
	struct recovery *recovery = user;

	if (recovery->ended)
		chain_ended(recovery);
	else if (!recovery->reading)
		scan(recovery);
}

// length bytes of the ring from where the scan is; NULL: they are being read.
static const uint8_t *look(struct recovery *recovery, uint64_t length)
{
	uint64_t position = recovery->at.position, left = ring_left(recovery->journal, position);
	uint64_t window = vouched(recovery) ? HEADERS_WINDOW : RECORD_MAX;
	const uint8_t *page;
	bool coming;

	if (position >= recovery->window_at && position + length <= recovery->window_at + recovery->window_length)
		return recovery->window + (position - recovery->window_at);
	if (recovery->ahead && length == RECORD_ALIGN && vouched(recovery)) {
		page = ahead_page(recovery->ahead, position, &coming);
		if (page || coming)
			return page;
	}
	recovery->reading = true;
	recovery->window_at = position;
	read_window(recovery, ring_offset(recovery->journal, position), left < window ? left : window, window_read);
	return NULL;
}

// Whether a record that continues the chain begins here; bytes is its header.
static bool header_fits(struct recovery *recovery, const uint8_t *bytes, struct record_header *header,
                        struct place *next)
{
	struct journal *journal = recovery->journal;
	uint64_t left = ring_left(journal, recovery->at.position), length;

	if (record_get(bytes, header, &next->chain))
		return broken(recovery, "header does not check");
	if (!id_equal(&header->journal, &journal->id) || header->sequence != recovery->at.sequence ||
	    (header->chain != recovery->at.chain && !MUTANT(JOURNAL_CHECKSUM_IGNORED)))
		return broken(recovery, "it does not continue the chain");
	length = header->type == RECORD_PAD ? left : record_bytes(header->payload);
	next->position = recovery->at.position;
	next->sequence = recovery->at.sequence;
	memcpy(next->before, header->before, sizeof(next->before));
	place_advance(next, length);
	if (length > RECORD_MAX && header->type != RECORD_PAD)
		return broken(recovery, "it is longer than a record can be");
	if (length > left || next->position - journal->tail.position > journal->ring_bytes)
		return broken(recovery, "it is longer than the room for it");
	return true;
}

static void scan(struct recovery *recovery)
{
	const struct journal *journal = recovery->journal;

	for (;;) {
		struct record_header header;
		struct place next;
		const uint8_t *bytes;
		bool known;

		if (recovery->promoted && recovery->last == recovery->epoch && !recovery->partial) {
			broken(recovery, "nothing follows it");
			break;
		}
		if (recovery->at.position - journal->tail.position >= journal->ring_bytes) {
			broken(recovery, "the ring is full");
			break;
		}
		bytes = look(recovery, RECORD_ALIGN);
		if (!bytes)
			return;
		if (!header_fits(recovery, bytes, &header, &next))
			break;
		known = header.type == RECORD_DATA && vouched(recovery);
		bytes = look(recovery,
		             known || header.type == RECORD_PAD ? RECORD_ALIGN : record_bytes(header.payload));
		if (!bytes)
			return;
		if (!known && header.checksum != record_checksum(bytes + RECORD_HEADER_BYTES, header.payload) &&
		    !MUTANT(JOURNAL_CHECKSUM_IGNORED)) {
			broken(recovery, "payload does not match its checksum");
			break;
		}
		if (!take_record(recovery, &header, bytes + RECORD_HEADER_BYTES, &next))
			break;
	}
	chain_ended(recovery);
}

static void start_scan(struct recovery *recovery)
{
	struct journal *journal = recovery->journal;
	const struct superblock *superblock = &recovery->superblock;

	journal->id = superblock->journal;
	ring_resize(journal, superblock->ring_bytes);
	journal->tail = (struct place){
	        .position = superblock->tail, .sequence = superblock->tail_sequence, .chain = superblock->tail_chain};
	journal->head = journal->tail;
	journal->applied = superblock->applied;
	journal->durable = superblock->applied;
	journal->durable_wall = superblock->durable_wall;
	recovery->at = journal->tail;
	recovery->last = superblock->applied;
	recovery->window_length = 0;
	if (recovery->promoted)
		recovery->ahead = ahead_new(journal, ahead_ready, recovery);
	if (!recovery->ahead || !ahead_start(recovery->ahead, superblock->tail, superblock->durable_position))
		scan(recovery);
}

static bool blank(const uint8_t *slot)
{
	for (unsigned i = 0; i < SUPERBLOCK_BYTES; i++) {
		if (slot[i] != 0)
			return false;
	}
	return true;
}

// Two superblocks of which none is valid are a journal that was just being
// made, if one of them was never written; nothing was durable then.
static void none_valid(struct recovery *recovery)
{
	struct error err;
	bool blank0 = blank(recovery->window), blank1 = blank(recovery->window + SUPERBLOCK_BYTES);

	if (!blank0 && !blank1) {
		fail(&err, EILSEQ,
		     "journal is damaged: neither of its superblocks, at offsets 0 and %d, matches its checksum",
		     SUPERBLOCK_BYTES);
		give_up(recovery, &err);
	} else if (!recovery->fresh) {
		fail(&err, EILSEQ, "journal is empty, though the pair has been in use: its durable epochs are lost");
		give_up(recovery, &err);
	} else {
		make_new(recovery);
	}
}

static void choose(struct recovery *recovery)
{
	struct journal *journal = recovery->journal;
	struct superblock found[2];
	struct error err;
	unsigned newest;

	for (unsigned i = 0; i < 2; i++) {
		journal->slots[i].valid = superblock_get(recovery->window + i * SUPERBLOCK_BYTES, &found[i]) == 0;
		journal->slots[i].tail = found[i].tail;
		journal->slots[i].applied = found[i].applied;
		if (!journal->slots[i].valid)
			found[i].sequence = 0;
	}
	newest = found[1].sequence > found[0].sequence;
	if (found[newest].sequence == 0) {
		none_valid(recovery);
		return;
	}
	if (!journal->slots[!newest].valid && !blank(recovery->window + !newest * SUPERBLOCK_BYTES)) {
		recovery->damaged = true;
		snprintf(recovery->repaired, sizeof(recovery->repaired),
		         "superblock of the journal at offset %u was damaged, the one at offset %u was used",
		         !newest * SUPERBLOCK_BYTES, newest * SUPERBLOCK_BYTES);
	}
	recovery->superblock = found[newest];
	journal->superblock_sequence = found[newest].sequence;
	journal->next_slot = !newest;
	if (found[newest].ring_bytes > journal->disk->size - RING_OFFSET) {
		fail(&err, EILSEQ, "journal is cut short: it has %" PRIu64 " bytes, its superblock says %" PRIu64,
		     journal->disk->size, found[newest].ring_bytes + RING_OFFSET);
		give_up(recovery, &err);
		return;
	}
	start_scan(recovery);
}

static void superblocks_read(struct disk_io *io, int error)
{
	struct recovery *recovery = recovery_of(io);
	struct error err;

	if (error) {
		fail(&err, -error, "read superblocks of the journal: %s", strerror(-error));
		finish(recovery, error, &err);
		return;
	}
	choose(recovery);
}

static int begin(struct journal *journal, const struct recovery *what, struct error *err)
{
	struct recovery *recovery;

	if (journal->disk->size < RING_OFFSET + RING_MIN)
		return fail(err, EINVAL, "journal has %" PRIu64 " bytes, must have at least %" PRIu64,
		            journal->disk->size, RING_OFFSET + RING_MIN);
	recovery = malloc(sizeof(*recovery));
	if (recovery) {
		*recovery = *what;
		recovery->window = aligned_alloc(RECORD_ALIGN, RECORD_MAX);
	}
	if (!recovery || !recovery->window) {
		recovery_free(recovery);
		return fail(err, ENOMEM, "no memory to read the journal");
	}
	recovery->journal = journal;
	journal->recovery = recovery;
	read_window(recovery, 0, RING_OFFSET, superblocks_read);
	return 0;
}

int journal_open(struct journal *journal, const struct id *generation, bool fresh, uint64_t base, struct error *err)
{
	const struct recovery what = {.fresh = fresh, .base = base};

	journal->generation = *generation;
	return begin(journal, &what, err);
}

int journal_open_promoted(struct journal *journal, uint64_t epoch, struct error *err)
{
	const struct recovery what = {.promoted = true, .epoch = epoch};

	return begin(journal, &what, err);
}
