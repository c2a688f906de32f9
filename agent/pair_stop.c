// SPDX-License-Identifier: Apache-2.0
// Stopping a pair, one step after the other: each ends by calling pair_shut()
// again, which takes the next one that is due.
#include "pair.h"

#include "pair_impl.h"

#include "common/log.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

static void engine_stopped(void *user)
{
	struct pair *pair = user;

	pair->engine_stopping = false;
	pair->engine_stopped = true;
	pair_shut(pair);
}

static void links_stopped(void *user)
{
	struct pair *pair = user;

	pair->links = NULL;
	pair->links_stopping = false;
	pair_shut(pair);
}

static void close_work(struct job *job)
{
	struct pair *pair = (struct pair *)((char *)job - offsetof(struct pair, job));

	if (pair->turn)
		turn_files(pair);
	else
		pair_files_close(&pair->files, pair->clean);
}

static void finish(struct pair *pair)
{
	struct agent *agent = pair->agent;
	void (*gone)(void *user) = pair->gone;
	void *user = pair->gone_user;

	if (pair->opened != -EREMOTE)
		log_event(LOG_LEVEL_INFO, "pair-stopped", "pair=%s", pair->name);
	clock_cancel(loop_clock(agent->loop), &pair->watch_timer);
	TAILQ_REMOVE(&agent->pairs, pair, entry);
	free(pair);
	if (gone)
		gone(user);
	agent_settle(agent);
}

static void close_done(struct job *job)
{
	finish((struct pair *)((char *)job - offsetof(struct pair, job)));
}

// Clients first, then the engine with what they had under way, then the link
// with what the engine had under way, then the files.
void pair_shut(struct pair *pair)
{
	pair_close_exports(pair);
	if (pair->exports_closing || pair->saving || pair->engine_stopping || pair->links_stopping)
		return;
	if (pair->source && !pair->engine_stopped) {
		pair->engine_stopping = true;
		source_stop(pair->source, engine_stopped, pair);
		return;
	}
	if (pair->links) {
		pair->links_stopping = true;
		link_thread_stop(pair->links, links_stopped, pair);
		return;
	}
	if (turn_busy(pair))
		return;
	if (pair_redo_busy(pair))
		return;
	pair->clean = pair->source != NULL;
	if (pair->source)
		source_free(pair->source);
	redo_free(pair->redo);
	pair->redo = NULL;
	if (pair->slots)
		slots_free(pair->slots);
	pair->source = NULL;
	pair->slots = NULL;
	pair->job.work = close_work;
	pair->job.done = close_done;
	if (job_start(pair->agent->loop, &pair->job) < 0) {
		close_work(&pair->job);
		finish(pair);
	}
}

void pair_stop(struct pair *pair, void (*gone)(void *user), void *user)
{
	struct error reason;

	fail(&reason, ESHUTDOWN, "pair %s is stopping", pair->name);
	turn_abandon(pair, -ESHUTDOWN, &reason);
	pair->gone = gone;
	pair->gone_user = user;
	clock_cancel(loop_clock(pair->agent->loop), &pair->watch_timer);
	pair_answer(pair, -ESHUTDOWN, &reason);
	if (pair->phase == PAIR_OPENING) {
		pair->stop_wanted = true;
		return;
	}
	pair->serving = false;
	pair->phase = PAIR_STOPPING;
	pair_shut(pair);
}
