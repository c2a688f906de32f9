// SPDX-License-Identifier: Apache-2.0
// The two superblocks of the journal, written in turn, each followed by a flush
// of its own, so that at every moment one of them is whole.
#include "journal_impl.h"

#include <errno.h>
#include <string.h>

#define RETRY_DELAY NSEC_PER_SEC

static bool level(const struct journal *journal)
{
	for (unsigned i = 0; i < 2; i++) {
		const struct superblock_slot *slot = &journal->slots[i];

		if (!slot->valid || slot->tail != journal->tail.position || slot->applied != journal->applied)
			return false;
	}
	return true;
}

uint64_t ring_free_from(const struct journal *journal)
{
	uint64_t oldest = journal->tail.position;

	for (unsigned i = 0; i < 2; i++) {
		if (journal->slots[i].valid && journal->slots[i].tail < oldest)
			oldest = journal->slots[i].tail;
	}
	return oldest;
}

static struct journal *journal_of(struct disk_io *io)
{
	return (struct journal *)((char *)io - offsetof(struct journal, superblock_io));
}

static void retry(struct timer *timer)
{
	struct journal *journal = (struct journal *)((char *)timer - offsetof(struct journal, superblock_timer));

	journal->superblock_retry = false;
	superblock_write(journal);
}

// After an error the slot may hold anything. Nothing that was freed by its
// former content is lost: the next try goes to the same slot.
static void end(struct journal *journal, int error)
{
	journal->superblock_busy = false;
	if (error) {
		fail(&journal->trouble_text, -error, "write superblock of the journal at offset %u: %s",
		     journal->next_slot * SUPERBLOCK_BYTES, strerror(-error));
		journal->trouble = true;
		journal->superblock_wanted = true;
		if (!journal->stopping && !journal->recovery) {
			journal->superblock_retry = true;
			journal->superblock_timer.fire = retry;
			clock_set(journal->config.clock, &journal->superblock_timer,
			          clock_now(journal->config.clock) + RETRY_DELAY);
		}
	} else {
		journal->trouble = false;
		journal->slots[journal->next_slot] = journal->superblock_slot;
		journal->next_slot = !journal->next_slot;
		superblock_write(journal);
	}
	if (journal->recovery)
		recovery_superblock(journal, error);
	else
		journal->config.events->progress(journal->config.user);
}

static void flushed(struct disk_io *io, int error)
{
	struct journal *journal = journal_of(io);
	struct error err;

	if (error) {
		fail(&err, -error, "flush of the journal: %s", strerror(-error));
		commits_doubt(journal, error, &err);
	}
	end(journal, error ? error : journal->superblock_doubt ? -EIO : 0);
}

static void written(struct disk_io *io, int error)
{
	struct journal *journal = journal_of(io);

	if (error) {
		end(journal, error);
		return;
	}
	journal->superblock_io = (struct disk_io){.op = DISK_FLUSH, .done = flushed};
	disk_submit(journal->disk, &journal->superblock_io);
}

void superblock_write(struct journal *journal)
{
	struct superblock superblock;

	if (level(journal))
		journal->both_wanted = false;
	if (journal->superblock_busy || journal->superblock_retry ||
	    (!journal->superblock_wanted && !journal->both_wanted) || (journal->stopping && journal->trouble))
		return;
	journal->superblock_busy = true;
	journal->superblock_wanted = false;
	superblock = (struct superblock){
	        .sequence = ++journal->superblock_sequence,
	        .journal = journal->id,
	        .generation = journal->generation,
	        .ring_bytes = journal->ring_bytes,
	        .tail = journal->tail.position,
	        .tail_sequence = journal->tail.sequence,
	        .tail_chain = journal->tail.chain,
	        .applied = journal->applied,
	        .durable = journal->durable,
	        .durable_wall = journal->durable_wall,
	        .durable_sequence = journal->durable_sequence,
	        .durable_position = journal->durable_position,
	};
	superblock_put(journal->superblock, &superblock);
	journal->superblock_slot = (struct superblock_slot){true, superblock.tail, superblock.applied};
	journal->superblock_doubt = false;
	journal->superblock_io = (struct disk_io){
	        .op = DISK_WRITE,
	        .offset = (uint64_t)journal->next_slot * SUPERBLOCK_BYTES,
	        .length = SUPERBLOCK_BYTES,
	        .data = journal->superblock,
	        .done = written,
	};
	disk_submit(journal->disk, &journal->superblock_io);
}

void superblock_want(struct journal *journal)
{
	journal->superblock_wanted = true;
	superblock_write(journal);
}

bool journal_saved(const struct journal *journal)
{
	return !journal->superblock_busy && !journal->superblock_wanted && !journal->both_wanted;
}

bool journal_drained(struct journal *journal)
{
	if (journal->epochs || journal->dropped > 0)
		return false;
	journal->both_wanted = !level(journal);
	superblock_write(journal);
	return level(journal) && journal_saved(journal);
}

void journal_skip_to(struct journal *journal, uint64_t epoch, int64_t wall)
{
	journal->durable = epoch;
	journal->applied = epoch;
	journal->durable_wall = wall;
	journal->durable_sequence = journal->head.sequence;
	journal->durable_position = journal->head.position;
	journal->both_wanted = true; // nothing else says that this epoch was
	superblock_want(journal);
}

const char *journal_trouble(const struct journal *journal)
{
	return journal->trouble ? journal->trouble_text.text : NULL;
}
