// SPDX-License-Identifier: Apache-2.0
// A durable set of regions. As the write-intent log: which regions may differ
// between the nodes after a power failure of the primary, when the change map
// cannot be trusted. As the redo log (receiver/redo.h): which regions a new
// primary has taken over from the journal for good; these never leave it.
//
// A region is durably in the log before the first write to it is handed to the
// disk. It leaves the log only after its blocks are durable on the standby and
// a flush of the device that began after its last write has completed: before
// that, the standby may hold a write that the primary can still lose.
//
// The log is a bitmap of regions in pages of 4 KiB, each kept in two slots that
// are written in turn, so that a torn write leaves the former page. Writers
// that need the same page share one write of it.
#ifndef STEAD_INTENT_H
#define STEAD_INTENT_H

#include "block.h"
#include "disk.h"
#include "lineage.h"
#include "waiter.h"

#include <stdbool.h>
#include <stdint.h>

struct intent;

struct intent_config {
	struct disk *disk; // intent_bytes() of it from offset 0
	struct id generation; // what was logged in another one does not count
	uint32_t region_blocks;
	unsigned volume_count;
	uint64_t blocks[VOLUMES_MAX];
	void (*wrote)(void *user); // a write of a page has ended
	void *user;
};

// What else must survive a power failure of the primary; in the first page.
struct intent_facts {
	uint64_t cut; // the last epoch that was cut
	uint64_t acknowledged; // the last that the standby had called durable then
	bool suspect; // changes were forgotten: all blocks are to be compared
};

uint64_t intent_bytes(unsigned volume_count, const uint64_t *blocks, uint32_t region_blocks);

// NULL without memory.
struct intent *intent_new(const struct intent_config *config);
void intent_free(struct intent *intent);

// Reads the log; done() gets 0; -ENOENT when there is none; -EILSEQ when a page
// is damaged or of another generation; or the read's error. After an error any
// region may have been active, and the log is empty. Nothing else may be called
// before.
void intent_load(struct intent *intent, void (*done)(void *user, int error), void *user);

// Writes the facts into the log. noted: what is durable in it.
void intent_note(struct intent *intent, const struct intent_facts *facts);
void intent_retry(struct intent *intent); // what could not be written
const struct intent_facts *intent_facts(const struct intent *intent);
uint64_t intent_noted_cut(const struct intent *intent);
uint64_t intent_noted_acknowledged(const struct intent *intent);

// The first logged region at or after from; UINT64_MAX: none.
uint64_t intent_next(const struct intent *intent, unsigned volume, uint64_t from);
bool intent_empty(const struct intent *intent);

// Whether all regions of the blocks are in the log. If not they will be, and
// the waiter is woken when that was tried; -EAGAIN: it waits now; 0; or the
// error of the log's disk, whereupon the write must not be made.
int intent_pass(struct intent *intent, unsigned volume, uint64_t first, uint64_t count, struct waiter *waiter);

// The blocks were written, or may have been.
void intent_written(struct intent *intent, unsigned volume, uint64_t first, uint64_t count);

// A flush of every device begins, and has completed. One at a time.
void intent_flush_begins(struct intent *intent);
void intent_flushed(struct intent *intent, bool ok);

// Takes regions out of the log that were flushed and of which clean() says that
// the standby has their blocks. The pages are written some time.
void intent_release(struct intent *intent, bool (*clean)(void *user, unsigned volume, uint64_t first, uint64_t count),
                    void *user);

// Whether a flush would let regions go.
bool intent_wants_flush(const struct intent *intent);

bool intent_busy(const struct intent *intent); // a page is being written

#endif
