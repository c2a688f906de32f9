// SPDX-License-Identifier: Apache-2.0
// What the journal does at the start: choose a superblock, have the chain of
// records followed from its tail, judge what it holds.
#include "journal_impl.h"

#include "scan.h"

#include "common/mutant.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RING_MIN (UINT64_C(64) << 10)

struct recovery {
	struct journal *journal;
	bool fresh;
	uint64_t base; // of a new journal
	bool promoted; // to be redone, up to this epoch
	uint64_t epoch;
	struct superblock superblock;
	struct disk_io io;
	uint8_t *superblocks; // both, as read
	struct scan scan;

	bool damaged;
	char repaired[160];
};

void recovery_free(struct recovery *recovery)
{
	if (!recovery)
		return;
	scan_clear(&recovery->scan);
	free(recovery->superblocks);
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

// A journal that never held anything. The superblocks that were there are only
// good for their numbers.
static void make_new(struct recovery *recovery)
{
	struct journal *journal = recovery->journal;

	journal->id = id_random(journal->config.random, journal->config.random_user);
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

// The pair's state says already what an epoch in the journal began.
static bool adopted(const struct journal *journal)
{
	for (const struct epoch *epoch = journal->epochs; epoch; epoch = epoch->next)
		if (epoch->commit.adopts && id_equal(&epoch->commit.lineage.generation, &journal->generation))
			return true;
	return false;
}

// What it says is lost, and what it had to hold.
static void give_up_chain(struct recovery *recovery, const char *loss)
{
	const struct scan *scan = &recovery->scan;
	struct error err;

	fail(&err, EILSEQ, "journal is damaged: record %" PRIu64 " at offset %" PRIu64 ": %s: %s", scan->at.sequence,
	     ring_offset(recovery->journal, scan->at.position), scan->broken, loss);
	give_up(recovery, &err);
}

// The chain has come to its end. What the superblock calls durable must be in
// it; everything complete beyond is kept, too.
static void chain_ended(void *user)
{
	struct recovery *recovery = user;
	struct journal *journal = recovery->journal;
	const struct superblock *superblock = &recovery->superblock;
	const struct scan *scan = &recovery->scan;
	char loss[100];
	struct error err;

	if (scan->error) {
		finish(recovery, scan->error, &scan->reason);
		return;
	}
	if (journal->head.sequence < superblock->durable_sequence) {
		snprintf(loss, sizeof(loss), "epoch %" PRIu64 " is lost, though %" PRIu64 " was durable",
		         scan->last + 1, superblock->durable);
		give_up_chain(recovery, loss);
		return;
	}
	if (recovery->promoted && scan->last != recovery->epoch) {
		snprintf(loss, sizeof(loss), "it ends with epoch %" PRIu64 ", must hold those up to %" PRIu64,
		         scan->last, recovery->epoch);
		give_up_chain(recovery, loss);
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

static void start_scan(struct recovery *recovery)
{
	struct journal *journal = recovery->journal;
	const struct superblock *superblock = &recovery->superblock;
	struct error err;

	journal->id = superblock->journal;
	ring_resize(journal, superblock->ring_bytes);
	journal->tail = (struct place){
	        .position = superblock->tail, .sequence = superblock->tail_sequence, .chain = superblock->tail_chain};
	journal->applied = superblock->applied;
	journal->durable_wall = superblock->durable_wall;
	recovery->scan = (struct scan){
	        .journal = journal,
	        .vouched = recovery->promoted ? superblock->durable_sequence : 0,
	        .durable_position = superblock->durable_position,
	        .bounded = recovery->promoted,
	        .until = recovery->epoch,
	        .ended = chain_ended,
	        .user = recovery,
	};
	if (scan_start(&recovery->scan) < 0) {
		fail(&err, ENOMEM, "no memory to read the journal");
		finish(recovery, -ENOMEM, &err);
	}
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
	bool blank0 = blank(recovery->superblocks), blank1 = blank(recovery->superblocks + SUPERBLOCK_BYTES);

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
		journal->slots[i].valid = superblock_get(recovery->superblocks + i * SUPERBLOCK_BYTES, &found[i]) == 0;
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
	if (!journal->slots[!newest].valid && !blank(recovery->superblocks + !newest * SUPERBLOCK_BYTES)) {
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
		recovery->superblocks = aligned_alloc(RECORD_ALIGN, RING_OFFSET);
	}
	if (!recovery || !recovery->superblocks) {
		recovery_free(recovery);
		return fail(err, ENOMEM, "no memory to read the journal");
	}
	recovery->journal = journal;
	journal->recovery = recovery;
	recovery->io = (struct disk_io){
	        .op = DISK_READ,
	        .length = RING_OFFSET,
	        .data = recovery->superblocks,
	        .done = superblocks_read,
	};
	disk_submit(journal->disk, &recovery->io);
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
