// SPDX-License-Identifier: Apache-2.0
// Regions that are redone: for requests that wait, and one after another in the
// background. Those that are written to are taken over for good.
#include "redo_impl.h"

#include "common/mutant.h"

#include <errno.h>
#include <string.h>

#define WALKED_MAX 4 // regions redone at once in the background
#define WALKED_BUSY 1 // while requests wait
#define RETRY_DELAY NSEC_PER_SEC

static struct job *find_job(struct redo *redo, unsigned volume, uint64_t region)
{
	for (unsigned i = 0; i < JOBS_MAX; i++) {
		struct job *job = &redo->jobs[i];

		if (job->stage != JOB_FREE && job->volume == volume && job->region == region)
			return job;
	}
	return NULL;
}

static struct job *free_job(struct redo *redo)
{
	for (unsigned i = 0; i < JOBS_MAX; i++)
		if (redo->jobs[i].stage == JOB_FREE)
			return &redo->jobs[i];
	return NULL;
}

static void log_woke(struct waiter *waiter)
{
	struct job *job = (struct job *)((char *)waiter - offsetof(struct job, logged));

	job->stage = JOB_UNLOGGED;
	redo_soon(job->redo);
}

static enum job_stage first_stage(const struct wrapped *wrapped, uint64_t region)
{
	if (bitmap_test(&wrapped->pending, region))
		return JOB_REDOING;
	if (MUTANT(REDO_NOT_FLUSHED))
		return JOB_UNLOGGED;
	if (bitmap_test(&wrapped->unflushed, region))
		return JOB_UNFLUSHED;
	return bitmap_test(&wrapped->flushing, region) ? JOB_FLUSHING : JOB_UNLOGGED;
}

bool job_want(struct redo *redo, unsigned volume, uint64_t region, bool logs, struct job **failed)
{
	struct wrapped *wrapped = &redo->volumes[volume];
	struct job *job;

	if (!bitmap_test(logs ? &wrapped->owed : &wrapped->pending, region))
		return true;
	job = find_job(redo, volume, region);
	if (job) {
		job->logs |= logs;
		if (job->stage == JOB_FAILED)
			*failed = job;
		return false;
	}
	job = free_job(redo);
	if (!job)
		return false; // one that ends has everybody ask again
	*job = (struct job){
	        .redo = redo,
	        .stage = first_stage(wrapped, region),
	        .volume = volume,
	        .region = region,
	        .logs = logs,
	        .next = region * redo->config.region_blocks,
	        .logged = {.wake = log_woke},
	};
	redo->again = true;
	return false;
}

static void job_over(struct job *job)
{
	job->stage = JOB_FREE;
	job->redo->again = true;
}

void job_error(struct job *job, int error, const struct error *err)
{
	if (job->error)
		return;
	job->error = error;
	job->reason = *err;
}

static void walk_later(struct timer *timer)
{
	struct redo *redo = (struct redo *)((char *)timer - offsetof(struct redo, retry));

	for (unsigned i = 0; i < redo->count; i++)
		bitmap_clear_all(&redo->volumes[i].failed);
	redo_pump(redo);
}

// The walk leaves it alone for a while; a request that needs it tries at once.
static void put_off(struct redo *redo, unsigned volume, uint64_t region)
{
	bitmap_set(&redo->volumes[volume].failed, region, 1);
	if (redo->stopping)
		return;
	redo->retry.fire = walk_later;
	clock_set(redo->config.clock, &redo->retry, clock_now(redo->config.clock) + RETRY_DELAY);
}

static void job_fail(struct job *job)
{
	job->stage = JOB_FAILED;
	job->redo->again = true;
	if (bitmap_test(&wrapped_of(job)->pending, job->region))
		put_off(job->redo, job->volume, job->region);
	redo_troubled(job->redo, &job->reason);
}

void jobs_forget_failed(struct redo *redo)
{
	for (unsigned i = 0; i < JOBS_MAX; i++)
		if (redo->jobs[i].stage == JOB_FAILED)
			job_over(&redo->jobs[i]);
}

static void redo_region(struct job *job)
{
	struct wrapped *wrapped = wrapped_of(job);

	if (!region_redo(job))
		return;
	if (job->error) {
		job_fail(job);
		return;
	}
	bitmap_clear(&wrapped->pending, job->region, 1);
	bitmap_clear(&wrapped->failed, job->region, 1);
	bitmap_set(&wrapped->unflushed, job->region, 1);
	job->redo->again = true;
	if (job->logs)
		job->stage = first_stage(wrapped, job->region);
	else
		job_over(job);
}

// Taking over.

static void log_region(struct job *job)
{
	struct redo *redo = job->redo;
	struct error err;
	int error = 0;

	if (!MUTANT(REDO_REGION_NOT_LOGGED)) {
		if (intent_noted_cut(redo->log) == 0) { // its first page is not there yet
			if (intent_busy(redo->log))
				return;
			intent_retry(redo->log);
			error = -EIO;
		} else {
			error = intent_pass(redo->log, job->volume, job->region * redo->config.region_blocks, 1,
			                    &job->logged);
		}
	}
	if (error == -EAGAIN) {
		job->stage = JOB_LOGGING;
	} else if (error) {
		fail(&err, -error, "write to the redo log: %s", strerror(-error));
		job_error(job, error, &err);
		job_fail(job);
	} else {
		bitmap_clear(&wrapped_of(job)->owed, job->region, 1);
		job_over(job);
	}
}

// Flushes: those of the application are made here too, to learn when one fails,
// which the device says only once.

static void end_flushing(struct redo *redo, unsigned volume, int error)
{
	struct wrapped *wrapped = &redo->volumes[volume];
	struct error err;

	if (error)
		fail(&err, -error, "redo: flush of volume %s: %s", wrapped->name, strerror(-error));
	// what was redone since the flush before may be lost
	for (uint64_t region = error ? bitmap_next(&wrapped->flushing, 0) : BITMAP_NONE; region != BITMAP_NONE;
	     region = bitmap_next(&wrapped->flushing, region + 1)) {
		bitmap_set(&wrapped->pending, region, 1);
		put_off(redo, volume, region);
	}
	bitmap_clear_all(&wrapped->flushing);
	for (unsigned i = 0; i < JOBS_MAX; i++) {
		struct job *job = &redo->jobs[i];

		if (job->stage != JOB_FLUSHING || job->volume != volume)
			continue;
		job->stage = JOB_UNLOGGED;
		if (!error)
			continue;
		job_error(job, error, &err);
		job_fail(job);
	}
}

static void flush_done(struct disk_io *io, int error)
{
	struct flush *flush = (struct flush *)((char *)io - offsetof(struct flush, io));
	struct redo *redo = flush->redo;
	struct disk_io *application = flush->under_way, *next;

	flush->busy = false;
	flush->under_way = NULL;
	end_flushing(redo, flush->volume, error);
	for (; application; application = next) {
		next = application->next;
		application->done(application, error);
	}
	redo_pump(redo);
}

static void flush_begin(struct redo *redo, unsigned volume)
{
	struct wrapped *wrapped = &redo->volumes[volume];
	struct flush *flush = &wrapped->flush;

	if (flush->busy)
		return;
	flush->busy = true;
	flush->under_way = flush->waiting;
	flush->waiting = NULL;
	for (uint64_t region = bitmap_next(&wrapped->unflushed, 0); region != BITMAP_NONE;
	     region = bitmap_next(&wrapped->unflushed, region + 1))
		bitmap_set(&wrapped->flushing, region, 1);
	bitmap_clear_all(&wrapped->unflushed);
	for (unsigned i = 0; i < JOBS_MAX; i++)
		if (redo->jobs[i].stage == JOB_UNFLUSHED && redo->jobs[i].volume == volume)
			redo->jobs[i].stage = JOB_FLUSHING;
	flush->io = (struct disk_io){.op = DISK_FLUSH, .done = flush_done};
	disk_submit(wrapped->raw, &flush->io);
}

void flush_join(struct redo *redo, unsigned volume, struct disk_io *io)
{
	struct flush *flush = &redo->volumes[volume].flush;

	io->next = flush->waiting;
	flush->waiting = io;
	flush_begin(redo, volume);
}

// The background.

static void walk(struct redo *redo)
{
	unsigned most = redo->parked ? WALKED_BUSY : WALKED_MAX, under_way = 0, wraps = 0;
	struct job *failed;

	for (unsigned i = 0; i < JOBS_MAX; i++)
		under_way += redo->jobs[i].stage == JOB_REDOING;
	while (under_way < most && wraps < 2 && !redo->stopping && free_job(redo)) {
		struct wrapped *wrapped = &redo->volumes[redo->walked];
		uint64_t region = bitmap_next(&wrapped->pending, redo->walked_region);

		if (region == BITMAP_NONE) {
			redo->walked_region = 0;
			if (++redo->walked == redo->count) {
				redo->walked = 0;
				wraps++;
			}
			continue;
		}
		redo->walked_region = region + 1;
		if (bitmap_test(&wrapped->failed, region) || find_job(redo, redo->walked, region))
			continue;
		(void)job_want(redo, redo->walked, region, false, &failed);
		under_way++;
	}
}

static void finish(struct redo *redo)
{
	bool all = true;

	for (unsigned i = 0; i < redo->count; i++)
		if (redo->volumes[i].pending.count)
			return;
	for (unsigned i = 0; i < redo->count; i++) {
		struct wrapped *wrapped = &redo->volumes[i];

		if (wrapped->unflushed.count && !redo->stopping)
			flush_begin(redo, i);
		all = all && !wrapped->unflushed.count && !wrapped->flushing.count;
	}
	if (!all)
		return;
	redo->finished = true;
	redo->trouble = false;
}

void jobs_advance(struct redo *redo)
{
	walk(redo);
	for (unsigned i = 0; i < JOBS_MAX; i++) {
		struct job *job = &redo->jobs[i];

		if (job->stage == JOB_REDOING)
			redo_region(job);
		if (job->stage == JOB_UNFLUSHED)
			flush_begin(redo, job->volume);
		if (job->stage == JOB_UNLOGGED)
			log_region(job);
	}
	for (unsigned i = 0; i < redo->count; i++)
		if (redo->volumes[i].flush.waiting)
			flush_begin(redo, i);
	if (!redo->finished)
		finish(redo);
}

bool jobs_idle(const struct redo *redo)
{
	for (unsigned i = 0; i < JOBS_MAX; i++)
		if (redo->jobs[i].stage != JOB_FREE)
			return false;
	for (unsigned i = 0; i < redo->count; i++)
		if (redo->volumes[i].flush.busy)
			return false;
	return true;
}
