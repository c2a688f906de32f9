// SPDX-License-Identifier: Apache-2.0
#include "standby.h"

#include "standby_impl.h"

#include "common/daemon.h"
#include "common/log.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define APPLY_MEMORY (UINT64_C(16) << 20)

const char *standby_name(const struct standby *standby)
{
	return standby->name;
}

const struct pair_config *standby_config(const struct standby *standby)
{
	return &standby->files.config;
}

const struct pair_state *standby_state(const struct standby *standby)
{
	return &standby->files.state;
}

struct standby *standby_next(struct standby *standby)
{
	return TAILQ_NEXT(standby, entry);
}

static bool findable(const struct standby *standby)
{
	return standby->phase != STANDBY_STOPPING && !standby->stop_wanted;
}

struct standby *standby_find(struct receiver *receiver, const char *name)
{
	struct standby *standby;

	TAILQ_FOREACH(standby, &receiver->standbys, entry)
	if (findable(standby) && !strcmp(standby->name, name))
		return standby;
	return NULL;
}

struct standby *standby_find_id(struct receiver *receiver, const struct id *pair)
{
	struct standby *standby;

	TAILQ_FOREACH(standby, &receiver->standbys, entry)
	if (findable(standby) && id_equal(&standby->files.state.pair, pair))
		return standby;
	return NULL;
}

static void answer(struct standby *standby, int error, const struct error *reason)
{
	void (*awaiter)(void *user, int error, const struct error *reason) = standby->awaiter;

	clock_cancel(loop_clock(standby->receiver->loop), &standby->await_timer);
	standby->awaiter = NULL;
	if (awaiter)
		awaiter(standby->await_user, error, reason);
}

static void await_due(struct timer *timer)
{
	struct standby *standby = (struct standby *)((char *)timer - offsetof(struct standby, await_timer));

	if (standby->phase == STANDBY_RUNNING)
		answer(standby, 0, NULL);
	else
		answer(standby, -EINVAL, &standby->reason);
}

void standby_await(struct standby *standby, void *user, void (*done)(void *user, int error, const struct error *reason))
{
	standby->awaiter = done;
	standby->await_user = user;
	if (standby->phase != STANDBY_OPENING)
		clock_set(loop_clock(standby->receiver->loop), &standby->await_timer, 0);
}

static void refuse(struct standby *standby)
{
	standby->phase = STANDBY_REFUSED;
	log_event(LOG_LEVEL_ERROR, "pair-refused", "pair=%s reason=%s", standby->name, standby->reason.text);
	answer(standby, -EINVAL, &standby->reason);
}

// -- stopping: the engine, then the files --

static void shut(struct standby *standby);

static void sink_gone(void *user)
{
	struct standby *standby = user;

	standby->sink_stopped = true;
	shut(standby);
}

static void close_work(struct job *job)
{
	standby_files_close(&((struct standby *)((char *)job - offsetof(struct standby, job)))->files);
}

static void close_done(struct job *job)
{
	struct standby *standby = (struct standby *)((char *)job - offsetof(struct standby, job));
	struct receiver *receiver = standby->receiver;
	void (*gone)(void *user) = standby->gone;
	void *user = standby->gone_user;

	if (standby->opened != -EREMOTE)
		log_event(LOG_LEVEL_INFO, "pair-stopped", "pair=%s", standby->name);
	clock_cancel(loop_clock(receiver->loop), &standby->watch_timer);
	clock_cancel(loop_clock(receiver->loop), &standby->await_timer);
	clock_cancel(loop_clock(receiver->loop), &standby->shut_timer);
	TAILQ_REMOVE(&receiver->standbys, standby, entry);
	free(standby);
	if (gone)
		gone(user);
	receiver_settle(receiver);
}

static void shut(struct standby *standby)
{
	standby->phase = STANDBY_STOPPING;
	if (standby->sink && standby->sink_started && !standby->sink_stopped) {
		sink_stop(standby->sink, sink_gone, standby);
		return;
	}
	if (standby->sink)
		sink_free(standby->sink);
	standby->sink = NULL;
	standby->job.work = close_work;
	standby->job.done = close_done;
	if (job_start(standby->receiver->loop, &standby->job) < 0) {
		close_work(&standby->job);
		close_done(&standby->job);
	}
}

static void shut_due(struct timer *timer)
{
	shut((struct standby *)((char *)timer - offsetof(struct standby, shut_timer)));
}

// The engine must not be stopped from within its own callbacks.
void standby_shut_later(struct standby *standby)
{
	standby->phase = STANDBY_STOPPING;
	clock_set(loop_clock(standby->receiver->loop), &standby->shut_timer, 0);
}

void standby_stop(struct standby *standby, void (*gone)(void *user), void *user)
{
	struct error reason;

	standby->gone = gone;
	standby->gone_user = user;
	clock_cancel(loop_clock(standby->receiver->loop), &standby->watch_timer);
	orders_stop(standby);
	fail(&reason, ESHUTDOWN, "pair %s is stopping", standby->name);
	answer(standby, -ESHUTDOWN, &reason);
	// What is opening or being promoted goes on to its end first.
	if (standby->phase == STANDBY_OPENING || standby->promoting)
		standby->stop_wanted = true;
	else
		standby_shut_later(standby);
}

// -- the engine's events --

static void recovered(struct standby *standby, const char *why)
{
	if (why) {
		fail(&standby->reason, EIO, "%s", why);
		refuse(standby); // the engine stays, to tell its status
	} else {
		standby->phase = STANDBY_RUNNING;
		log_event(LOG_LEVEL_INFO, "pair-started", "pair=%s role=standby volumes=%u", standby->name,
		          standby->files.state.volume_count);
		answer(standby, 0, NULL);
	}
}

static void event(void *user, enum sink_event event, uint64_t epoch, const char *text)
{
	static const struct {
		const char *name;
		enum log_level level;
		bool with_epoch;
	} lines[] = {
	        [SINK_CONNECTED] = {"connected", LOG_LEVEL_INFO, false},
	        [SINK_DISCONNECTED] = {"disconnected", LOG_LEVEL_WARNING, false},
	        [SINK_REFUSED] = {"peer-refused", LOG_LEVEL_ERROR, false},
	        [SINK_REJECTED] = {"epoch-rejected", LOG_LEVEL_ERROR, true},
	        [SINK_SYNC_STARTED] = {"sync-started", LOG_LEVEL_INFO, false},
	        [SINK_SYNC_DONE] = {"sync-done", LOG_LEVEL_INFO, false},
	        [SINK_DAMAGE_REPAIRED] = {"damage-repaired", LOG_LEVEL_WARNING, false},
	        [SINK_ADOPTED] = {"resync-done", LOG_LEVEL_INFO, true},
	        [SINK_TAKEOVER] = {"takeover", LOG_LEVEL_INFO, true},
	        [SINK_DECLINED] = {"switchover-declined", LOG_LEVEL_WARNING, false},
	};
	struct standby *standby = user;

	// DURABLE and APPLIED come several times a second: status has them.
	if ((unsigned)event < sizeof(lines) / sizeof(lines[0]) && lines[event].name) {
		const char *name = lines[event].name;

		if (lines[event].with_epoch && text)
			log_event(lines[event].level, name, "pair=%s epoch=%" PRIu64 " reason=%s", standby->name, epoch,
			          text);
		else if (lines[event].with_epoch)
			log_event(lines[event].level, name, "pair=%s epoch=%" PRIu64, standby->name, epoch);
		else if (text)
			log_event(lines[event].level, name, "pair=%s reason=%s", standby->name, text);
		else
			log_event(lines[event].level, name, "pair=%s", standby->name);
	}
	standby_notify(standby, event, text);
	orders_event(standby, event, text);
	if (event != SINK_OPENED)
		return;
	recovered(standby, text);
	if (standby->stop_wanted)
		standby_shut_later(standby);
}

// -- opening --

static void watch(struct timer *timer)
{
	struct standby *standby = (struct standby *)((char *)timer - offsetof(struct standby, watch_timer));
	struct clock *clock = loop_clock(standby->receiver->loop);
	struct pair_status status;

	standby_status(standby, &status);
	rpo_watch_sample(&standby->watch, status.lag);
	if (standby->phase == STANDBY_RUNNING)
		event_watch(&standby->events, standby->receiver->hooks, &status, clock_now(clock));
	clock_set(clock, timer, clock_now(clock) + RPO_WATCH_NSEC);
}

static void start_engine(struct standby *standby)
{
	struct standby_files *files = &standby->files;
	struct sink_config config = {
	        .clock = loop_clock(standby->receiver->loop),
	        .volume_count = files->state.volume_count,
	        .state = files->state_disk,
	        .map = files->map,
	        .journal = files->journal,
	        .apply_memory = APPLY_MEMORY,
	        .random = daemon_random,
	        .event = event,
	        .user = standby,
	};

	memcpy(config.volumes, files->volumes, sizeof(config.volumes));
	standby->sink = sink_new(&config);
	if (!standby->sink) {
		fail(&standby->reason, ENOMEM, "start pair %s: out of memory", standby->name);
		refuse(standby);
		return;
	}
	standby->sink_started = true;
	sink_start(standby->sink);
	watch(&standby->watch_timer);
}

static void open_work(struct job *job)
{
	struct standby *standby = (struct standby *)((char *)job - offsetof(struct standby, job));

	standby->opened = standby_files_open(standby->receiver->loop, &standby->receiver->paths, standby->name,
	                                     &standby->opening, &standby->opening_reason);
}

static void open_done(struct job *job)
{
	struct standby *standby = (struct standby *)((char *)job - offsetof(struct standby, job));

	standby->files = standby->opening;
	if (standby->opened == -EREMOTE) {
		fail(&standby->reason, EREMOTE, "pair %s: this node is its primary, not its standby", standby->name);
		answer(standby, -EREMOTE, &standby->reason);
		standby->stop_wanted = true;
	} else if (standby->opened < 0) {
		standby->reason = standby->opening_reason;
		refuse(standby);
	} else if (!standby->stop_wanted) {
		start_engine(standby);
		return;
	}
	if (standby->stop_wanted)
		shut(standby);
}

void standby_open(struct standby *standby)
{
	standby->phase = STANDBY_OPENING;
	standby->job.work = open_work;
	standby->job.done = open_done;
	if (job_start(standby->receiver->loop, &standby->job) < 0) {
		fail(&standby->reason, EAGAIN, "start pair %s: no thread", standby->name);
		refuse(standby);
	}
}

struct standby *standby_start(struct receiver *receiver, const char *name)
{
	struct standby *standby = calloc(1, sizeof(*standby));

	if (!standby)
		return NULL;
	standby->receiver = receiver;
	snprintf(standby->name, sizeof(standby->name), "%s", name);
	standby->watch_timer.fire = watch;
	standby->await_timer.fire = await_due;
	standby->shut_timer.fire = shut_due;
	standby->files.lock = -1;
	config_init(&standby->files.config);
	strcpy(standby->files.config.name, standby->name);
	TAILQ_INSERT_TAIL(&receiver->standbys, standby, entry);
	standby_open(standby);
	return standby;
}
