// SPDX-License-Identifier: Apache-2.0
// What the parts of redo.h share: redo.c (the disks and what waits for them),
// redo_open.c (log and index), redo_jobs.c (regions that are being redone),
// redo_region.c (the blocks of one). redo_soon() has everything looked at again
// that may go on.
#ifndef STEAD_REDO_IMPL_H
#define STEAD_REDO_IMPL_H

#include "common/bitmap.h"
#include "common/intent.h"
#include "journal.h"
#include "redo.h"
#include "redo_frames.h"
#include "redo_index.h"

#define JOBS_MAX 16
#define PIECES_MAX 64
#define CONTENTS_MAX 32 // frames in memory

enum job_stage {
	JOB_FREE,
	JOB_REDOING,
	JOB_UNFLUSHED, // redone, waits for a flush to begin
	JOB_FLUSHING,
	JOB_UNLOGGED, // flushed
	JOB_LOGGING,
	JOB_FAILED, // until those who wait were told
};

// A region that is being redone, or taken over for good.
struct job {
	struct redo *redo;
	enum job_stage stage;
	unsigned volume;
	uint64_t region;
	bool logs; // for somebody who writes
	uint64_t next; // block that is looked at next
	unsigned pieces; // of it that are being written
	int error;
	struct error reason;
	struct waiter logged; // waits for the log
};

// Blocks that are being written.
struct piece {
	struct disk_io io;
	struct job *job; // NULL: free
	struct redo_content *content; // NULL: zeroes
};

struct flush {
	struct disk_io io;
	struct redo *redo;
	unsigned volume;
	bool busy;
	struct disk_io *waiting, *under_way; // flushes of the application, linked by next
};

struct wrapped {
	struct disk disk; // first
	struct redo *redo;
	struct disk *raw;
	uint64_t bytes;
	char name[NAME_MAX_LENGTH + 1];
	bool no_unmap;
	struct flush flush;
	struct bitmap owed; // regions with blocks from the journal, not in the log
	struct bitmap pending; // of these, those to be redone
	struct bitmap unflushed; // redone since the last flush began
	struct bitmap flushing; // redone before, while one is under way
	struct bitmap failed; // could not be redone lately
};

struct redo {
	struct redo_config config;
	unsigned count;
	struct wrapped volumes[VOLUMES_MAX];
	struct intent *log;
	struct journal *journal; // while it is opened
	struct redo_scan *scan; // likewise
	struct timer scan_due;
	bool opening, opened;
	struct redo_index *index; // NULL: not open, or released
	struct redo_frames *frames;

	struct job jobs[JOBS_MAX];
	struct piece pieces[PIECES_MAX];
	unsigned walked; // volume
	uint64_t walked_region;
	struct timer retry; // of what failed in the background

	struct disk_io *parked, **last_parked; // requests that wait, linked by next
	struct timer soon;
	bool soon_set, again, pumping;

	uint64_t total; // regions
	bool finished, told;
	bool released;
	bool trouble;
	struct error trouble_text;
	bool stopping;
	void (*stopped)(void *user);
	void *stopped_user;
};

static inline struct wrapped *wrapped_of(const struct job *job)
{
	return &job->redo->volumes[job->volume];
}

// redo.c
void redo_soon(struct redo *redo); // from the loop
void redo_pump(struct redo *redo); // now; not from within disk_submit()
void redo_troubled(struct redo *redo, const struct error *err);

// redo_open.c
void redo_open(struct redo *redo);
bool redo_opening(const struct redo *redo);
void scan_free(struct redo_scan *scan);

// redo_jobs.c
// Whether the region is redone and, if it logs, taken over for good. If not it
// will be; *failed is the job that could not, for now.
bool job_want(struct redo *redo, unsigned volume, uint64_t region, bool logs, struct job **failed);
void jobs_advance(struct redo *redo);
void jobs_forget_failed(struct redo *redo); // those who wait were told
bool jobs_idle(const struct redo *redo);
void flush_join(struct redo *redo, unsigned volume, struct disk_io *io);
void job_error(struct job *job, int error, const struct error *err); // the first one counts

// redo_region.c
// Writes more of it. True when that is over: the job has an error, or the volume
// everything that the journal has of the region.
bool region_redo(struct job *job);

#endif
