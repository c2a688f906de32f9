// SPDX-License-Identifier: Apache-2.0
// What there is to redo: the log says which regions are taken over already, the
// frames of the journal say what they touch. Of a frame only its head is read,
// of many records at once; content is read and checked when it is redone. Heads
// have a checksum in the header of their record: where it does not match, nobody
// knows what the record touches, and nothing is served.
#include "redo_impl.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define READERS 32
#define ALIGN UINT64_C(4096)
#define WINDOW_LIKELY (UINT64_C(8) << 10)
#define WINDOW_MAX (UINT64_C(24) << 10) // any head, wherever it begins

_Static_assert(ALIGN + FRAME_HEADER_BYTES + BLOCKS_BODY_MAX <= WINDOW_MAX, "a window holds the head of any frame");

// Goes through the frames of one record.
struct reader {
	struct disk_io io;
	struct redo_scan *scan;
	uint64_t at, end; // on the disk: the next frame, and where the last one ends
	bool over;
	struct journal_record *record;
	uint64_t heads; // of the frames so far
	struct redo_part part;
	uint8_t *window;
};

struct redo_scan {
	struct redo *redo;
	struct journal_record *record; // the last that a reader was given
	struct reader readers[READERS]; // count of them are in use, from first on, in the order of their records
	unsigned first, count, reading;
	int error;
	struct error reason;
};

static const struct journal_events journal_events;

bool redo_opening(const struct redo *redo)
{
	return redo->opening;
}

void scan_free(struct redo_scan *scan)
{
	if (!scan)
		return;
	for (unsigned i = 0; i < READERS; i++) {
		redo_part_clear(&scan->readers[i].part);
		free(scan->readers[i].window);
	}
	free(scan);
}

static void answer(struct redo *redo, int error, const struct error *err)
{
	redo->opening = false;
	redo->opened = !error;
	redo_soon(redo); // to walk, or to be stopped
	redo->config.events->opened(redo->config.user, error, err);
}

// What the log has was written to since, or may have been.
static void mark_regions(struct redo *redo, unsigned volume)
{
	struct wrapped *wrapped = &redo->volumes[volume];
	uint64_t size = redo->config.region_blocks;
	struct redo_segment segment;

	for (uint64_t from = 0; redo_index_next(redo->index, volume, from, &segment);
	     from = segment.first + segment.count) {
		uint64_t first = segment.first / size, last = (segment.first + segment.count - 1) / size;

		bitmap_set(&wrapped->owed, first, last - first + 1);
		bitmap_set(&wrapped->pending, first, last - first + 1);
	}
	for (uint64_t region = intent_next(redo->log, volume, 0); region != BITMAP_NONE;
	     region = intent_next(redo->log, volume, region + 1)) {
		bitmap_clear(&wrapped->owed, region, 1);
		bitmap_clear(&wrapped->pending, region, 1);
	}
	redo->total += wrapped->pending.count;
}

static void scanned(struct redo *redo, int error, const struct error *reason)
{
	struct error err;

	if (error)
		err = *reason;
	else if ((error = redo_index_seal(redo->index)))
		fail(&err, -error, "no memory for an index of the journal");
	scan_free(redo->scan);
	journal_free(redo->journal);
	redo->scan = NULL;
	redo->journal = NULL;
	for (unsigned i = 0; !error && i < redo->count; i++)
		mark_regions(redo, i);
	answer(redo, error, error ? &err : NULL);
}

static void scan_error(struct redo_scan *scan, int error, const struct error *err)
{
	if (scan->error)
		return;
	scan->error = error;
	scan->reason = *err;
}

static void scan_advance(struct redo_scan *scan);

// Takes the frames whose heads are in the window. 0, -EAGAIN when the one at
// reader->at is not in it as a whole, or what is wrong with that. -EILSEQ: they
// are not those that were written.
static int take_heads(struct reader *reader)
{
	struct redo *redo = reader->scan->redo;
	const struct pair_state *state = redo->config.state;
	uint64_t window_end = reader->io.offset + reader->io.length;
	int error = 0;

	while (!error && reader->at < reader->end) {
		const uint8_t *bytes = reader->window + (reader->at - reader->io.offset);
		uint64_t there = reader->end < window_end ? reader->end : window_end;
		struct wire_blocks blocks;
		uint64_t length;

		if (reader->at >= window_end)
			return -EAGAIN;
		error = wire_peek_blocks(bytes, there - reader->at, &blocks);
		if (error)
			return error == -EAGAIN && there == reader->end ? -EBADMSG : error;
		length = (uint64_t)FRAME_HEADER_BYTES + (uint64_t)frame_payload_length(bytes, FRAME_PAYLOAD_MAX);
		if (length > reader->end - reader->at || blocks_fit(&blocks, state->volumes, state->volume_count))
			return -EBADMSG;
		error = redo_part_add(&reader->part, reader->at, (uint32_t)length, &blocks);
		reader->heads = record_heads(reader->heads, bytes, (size_t)(blocks.payload - bytes));
		reader->at += length;
	}
	if (!error && reader->heads != journal_heads(reader->record))
		return -EILSEQ;
	return error;
}

static void read_window(struct reader *reader, uint64_t most);

static void window_read(struct disk_io *io, int error)
{
	struct reader *reader = (struct reader *)((char *)io - offsetof(struct reader, io));
	struct redo_scan *scan = reader->scan;
	uint64_t before = reader->at;
	struct error err;

	scan->reading--;
	if (error) {
		fail(&err, -error, "read journal at offset %" PRIu64 ": %s", io->offset, strerror(-error));
		scan_error(scan, error, &err);
		scan_advance(scan);
		return;
	}
	error = take_heads(reader);
	if (error == -EAGAIN) {
		read_window(reader, reader->at == before ? WINDOW_MAX : WINDOW_LIKELY);
		return;
	}
	if (error == -ENOMEM)
		fail(&err, ENOMEM, "no memory for an index of the journal");
	else if (error == -EILSEQ)
		fail(&err, EILSEQ,
		     "journal is damaged: record at offset %" PRIu64
		     ": heads of its frames do not match their checksum",
		     journal_offset(scan->redo->journal, reader->record));
	else if (error)
		error = fail(&err, EILSEQ, "journal is damaged: frame at offset %" PRIu64 ": its head is malformed",
		             reader->at);
	if (error)
		scan_error(scan, error, &err);
	reader->over = true;
	scan_advance(scan);
}

static void read_window(struct reader *reader, uint64_t most)
{
	uint64_t begin = reader->at & ~(ALIGN - 1), end = (reader->end + ALIGN - 1) & ~(ALIGN - 1);

	reader->scan->reading++;
	reader->io = (struct disk_io){
	        .op = DISK_READ,
	        .offset = begin,
	        .length = end - begin < most ? end - begin : most,
	        .data = reader->window,
	        .done = window_read,
	};
	disk_submit(reader->scan->redo->config.journal, &reader->io);
}

// False: no record is left, or none is wanted any more.
static bool next_record(struct redo_scan *scan)
{
	struct reader *reader = &scan->readers[(scan->first + scan->count) % READERS];
	struct journal *journal = scan->redo->journal;
	struct journal_record *record = scan->error ? NULL : journal_all(journal, scan->record);
	struct error err;
	uint32_t length;

	if (!record)
		return false;
	if (!reader->window)
		reader->window = aligned_alloc(ALIGN, WINDOW_MAX);
	if (!reader->window) {
		scan_error(scan, fail(&err, ENOMEM, "no memory to read the journal"), &err);
		return false;
	}
	scan->record = record;
	scan->count++;
	reader->scan = scan;
	reader->at = journal_frames_offset(journal, record, &length);
	reader->end = reader->at + length;
	reader->over = false;
	reader->record = record;
	reader->heads = 0;
	read_window(reader, WINDOW_LIKELY);
	return true;
}

// Frames are numbered in the order of their records.
static void scan_advance(struct redo_scan *scan)
{
	struct redo *redo = scan->redo;
	struct error err;

	while (scan->count > 0 && scan->readers[scan->first].over) {
		int error = redo_index_take(redo->index, &scan->readers[scan->first].part);

		if (error)
			scan_error(scan, fail(&err, -error, "index of the journal: %s", strerror(-error)), &err);
		scan->first = (scan->first + 1) % READERS;
		scan->count--;
	}
	while (scan->count < READERS && next_record(scan))
		;
	if (scan->error ? scan->reading == 0 : scan->count == 0)
		scanned(redo, scan->error, &scan->reason);
}

static void scan_due(struct timer *timer)
{
	struct redo *redo = (struct redo *)((char *)timer - offsetof(struct redo, scan_due));
	struct error err;

	redo->scan = calloc(1, sizeof(*redo->scan));
	if (!redo->scan) {
		answer(redo, fail(&err, ENOMEM, "no memory to read the journal"), &err);
		return;
	}
	redo->scan->redo = redo;
	scan_advance(redo->scan);
}

static void journal_opened(void *user, int error, const struct error *err, const char *repaired)
{
	struct redo *redo = user;

	(void)repaired; // and told when it was opened before
	if (error) {
		answer(redo, error, err);
		return;
	}
	// not from within the journal, which is freed when there is nothing to scan
	redo->scan_due.fire = scan_due;
	clock_set(redo->config.clock, &redo->scan_due, clock_now(redo->config.clock));
}

static void ignore_durable(void *user, const struct commit *commit)
{
	(void)user;
	(void)commit;
}

static void ignore_rejected(void *user, uint64_t epoch, int error, const struct error *err)
{
	(void)user;
	(void)epoch;
	(void)error;
	(void)err;
}

static void ignore_progress(void *user)
{
	(void)user;
}

// Nothing is added to this journal.
static const struct journal_events journal_events = {
        .opened = journal_opened,
        .durable = ignore_durable,
        .rejected = ignore_rejected,
        .progress = ignore_progress,
};

static uint64_t no_random(void *user)
{
	(void)user;
	return 0;
}

static void open_journal(struct redo *redo)
{
	const struct journal_config config = {
	        .disk = redo->config.journal,
	        .clock = redo->config.clock,
	        .random = no_random, // nothing is made
	        .events = &journal_events,
	        .user = redo,
	};
	struct error err;
	int error;

	redo->journal = journal_new(&config);
	error = redo->journal ? journal_open_promoted(redo->journal, redo->config.state->promoted_epoch, &err)
	                      : fail(&err, ENOMEM, "no memory to read the journal");
	if (error)
		answer(redo, error, &err);
}

// A log that is empty was never written to since the promotion. Its first page,
// durable before any region is in it, tells the difference ever after.
static void log_loaded(void *user, int error)
{
	const struct intent_facts begun = {.cut = 1};
	struct redo *redo = user;
	struct error err;

	if (error && error != -ENOENT) {
		if (error == -EILSEQ)
			fail(&err, EILSEQ, "redo log is damaged, or of another promotion");
		else
			fail(&err, -error, "read redo log: %s", strerror(-error));
		answer(redo, error, &err);
		return;
	}
	if (error)
		intent_note(redo->log, &begun);
	open_journal(redo);
}

void redo_open(struct redo *redo)
{
	redo->opening = true;
	intent_load(redo->log, log_loaded, redo);
}
