// SPDX-License-Identifier: Apache-2.0
#include "pair.h"

#include "pair_impl.h"
#include "turn_impl.h"

#include "common/daemon.h"
#include "common/log.h"
#include "common/net.h"
#include "common/state_file.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define BUSY_MSEC 5000
#define BUSY_RETRY_MSEC 50

const char *pair_name(const struct pair *pair)
{
	return pair->name;
}

const struct pair_config *pair_config(const struct pair *pair)
{
	return &pair->files.config;
}

uint64_t pair_volume_bytes(const struct pair *pair, unsigned volume)
{
	return pair->files.state.volumes[volume].bytes;
}

const char *pair_device(const struct pair *pair, unsigned volume, char *out)
{
	return path_device(&pair->agent->paths, pair->name, pair->files.config.volumes[volume].name, out);
}

struct pair *pair_next(struct pair *pair)
{
	return TAILQ_NEXT(pair, entry);
}

struct pair *pair_find(struct agent *agent, const char *name)
{
	struct pair *pair;

	TAILQ_FOREACH(pair, &agent->pairs, entry)
	if (pair->phase != PAIR_STOPPING && !pair->stop_wanted && !strcmp(pair->name, name))
		return pair;
	return NULL;
}

static void refuse(struct pair *pair, const struct error *reason)
{
	pair->reason = *reason;
	pair->phase = PAIR_REFUSED;
	log_event(LOG_LEVEL_ERROR, "pair-refused", "pair=%s reason=%s", pair->name, reason->text);
	pair_answer(pair, -EINVAL, reason);
	turn_abandon(pair, -EINVAL, reason);
}

static void serve(struct pair *pair)
{
	char path[PATHS_MAX];

	pair->serving = true;
	if (pair->files.serve) // carried out; the next start asks the peer again
		(void)unlink(path_pair_file(&pair->agent->paths, pair->name, FILE_SERVE, path));
	pair->files.serve = false;
	pair_open_exports(pair);
}

// -- fencing --

void pair_save(struct pair *pair, void *user, void (*saved)(void *user, int error))
{
	uint8_t payload[STATE_ENCODED_MAX];

	pair->saving++;
	slots_save(pair->slots, payload, state_encode(&pair->files.state, payload), user, saved);
}

static void fence_kept(void *user, int error)
{
	struct pair *pair = user;

	if (error < 0)
		log_event(LOG_LEVEL_ERROR, "fence-not-kept", "pair=%s reason=%s", pair->name, strerror(-error));
	pair->saving--;
	if (pair->phase == PAIR_STOPPING)
		pair_shut(pair);
	else
		turn_fenced(pair);
}

// The engine has stopped serving already; that it must never begin again has
// to outlive this process.
static void fence(struct pair *pair)
{
	struct pair_state *state = &pair->files.state;
	struct source_status status;
	struct error reason;

	source_status(pair->source, &status);
	pair->serving = false;
	state->fenced = true;
	state->split = status.split;
	state->handover = false;
	state->local_bytes = status.handed ? 0 : status.bytes_behind;
	state->local_since = status.oldest;
	pair_save(pair, pair, fence_kept);
	pair_close_exports(pair);
	pair_answer(pair, pair_fenced(pair, &reason), &reason);
}

static void touch_kept(void *user, int error)
{
	struct pair *pair = user;

	pair->saving--;
	if (error < 0) {
		pair->files.state.untouched = true;
		log_event(LOG_LEVEL_ERROR, "state-not-kept", "pair=%s reason=%s", pair->name, strerror(-error));
	}
	if (pair->phase == PAIR_STOPPING)
		pair_shut(pair);
	else
		source_touched(pair->source, error);
}

static void touch(struct pair *pair)
{
	pair->files.state.untouched = false;
	pair_save(pair, pair, touch_kept);
}

// -- the engine's events --

// The same trouble at every dial is told once.
static bool is_new(struct pair *pair, const char *text)
{
	if (!strncmp(pair->last_trouble, text, sizeof(pair->last_trouble) - 1))
		return false;
	snprintf(pair->last_trouble, sizeof(pair->last_trouble), "%s", text);
	return true;
}

static void event(void *user, enum source_event event, uint64_t epoch, const char *text)
{
	static const struct {
		const char *name;
		enum log_level level;
		bool with_epoch;
	} lines[] = {
	        [SOURCE_CONNECTED] = {"connected", LOG_LEVEL_INFO, false},
	        [SOURCE_DISCONNECTED] = {"disconnected", LOG_LEVEL_WARNING, false},
	        [SOURCE_SERVING] = {"serving", LOG_LEVEL_INFO, false},
	        [SOURCE_FENCED] = {"fenced", LOG_LEVEL_ERROR, false},
	        [SOURCE_NOT_TAKEN] = {"not-taken", LOG_LEVEL_WARNING, false},
	        [SOURCE_REFUSED] = {"peer-refused", LOG_LEVEL_ERROR, false},
	        [SOURCE_WIDENED] = {"widened", LOG_LEVEL_WARNING, true},
	        [SOURCE_SYNC_STARTED] = {"sync-started", LOG_LEVEL_INFO, false},
	        [SOURCE_SYNC_DONE] = {"sync-done", LOG_LEVEL_INFO, false},
	        [SOURCE_MAP_DAMAGED] = {"map-damaged", LOG_LEVEL_WARNING, false},
	};
	struct pair *pair = user;

	if (event == SOURCE_CONNECTED)
		pair->last_trouble[0] = 0;
	else if ((event == SOURCE_DISCONNECTED || event == SOURCE_REFUSED) && text && !is_new(pair, text))
		return;
	// CUT and DURABLE come several times a second: status has them.
	if ((unsigned)event < sizeof(lines) / sizeof(lines[0]) && lines[event].name) {
		const char *name = lines[event].name;

		if (lines[event].with_epoch)
			log_event(lines[event].level, name, "pair=%s epoch=%" PRIu64 " reason=%s", pair->name, epoch,
			          text);
		else if (text && event == SOURCE_CONNECTED)
			log_event(lines[event].level, name, "pair=%s peer=%s", pair->name, text);
		else if (text)
			log_event(lines[event].level, name, "pair=%s reason=%s", pair->name, text);
		else
			log_event(lines[event].level, name, "pair=%s", pair->name);
	}
	if (event == SOURCE_SERVING)
		serve(pair);
	else if (event == SOURCE_FENCED)
		fence(pair);
	else if (event == SOURCE_TOUCHED)
		touch(pair);
	else if (event == SOURCE_NOT_TAKEN)
		turn_not_taken(pair, text);
	else if (event == SOURCE_SWITCHOVER_WANTED)
		turn_wanted(pair);
	if (event == SOURCE_FENCED || event == SOURCE_REFUSED)
		pair_log_sides(pair);
	pair_notify(pair, event, text);
}

// -- opening --

static int start_link(struct pair *pair, struct dialer **dialer, struct error *err)
{
	struct net_address address;
	int result;

	if (!pair->files.config.peer[0] || pair->files.state.fenced) {
		no_peer_init(&pair->no_peer, pair->agent->loop);
		*dialer = &pair->no_peer.dialer;
		return 0;
	}
	result = net_parse(pair->files.config.peer, NET_PORT_DEFAULT, &address, err);
	if (result < 0)
		return result;
	pair->links = link_thread_start(pair->agent->loop, pair->agent->tls, &address, pair->files.state.peer_key, err);
	if (!pair->links)
		return -ENOMEM;
	*dialer = link_thread_dialer(pair->links);
	return 0;
}

static int start_engine(struct pair *pair, struct error *err)
{
	struct pair_files *files = &pair->files;
	struct source_config config = {
	        .clock = loop_clock(pair->agent->loop),
	        .volume_count = files->state.volume_count,
	        .state = &files->state,
	        .map = files->map,
	        .boot = pair->agent->boot,
	        .intent = files->intent,
	        .region_blocks = SOURCE_REGION_BLOCKS,
	        .spill = files->spill,
	        .spill_bytes = files->spill ? files->spill->size : 0,
	        .capture_memory = files->config.capture_memory,
	        .rpo = files->config.rpo,
	        .bandwidth = pair->bandwidth = pair_bandwidth(pair),
	        .in_place = files->config.journal_full == JOURNAL_FULL_INCONSISTENT,
	        .start_without_peer = files->config.start_without_peer,
	        .random = daemon_random,
	        .event = event,
	        .user = pair,
	};
	int result = start_link(pair, &config.dialer, err);

	if (result < 0)
		return result;
	for (unsigned i = 0; i < config.volume_count; i++)
		config.volumes[i] = (struct source_volume){pair_disk(pair, i), files->state.volumes[i].bytes};
	pair->slots = slots_new(files->state_disk, 0, STATE_SLOT_KIND_PAIR);
	pair->source = source_new(&config);
	if (!pair->slots || !pair->source)
		return fail(err, ENOMEM, "start pair %s: out of memory", pair->name);
	return pair_files_opened(files, err);
}

static void watch(struct timer *timer)
{
	struct pair *pair = (struct pair *)((char *)timer - offsetof(struct pair, watch_timer));
	struct clock *clock = loop_clock(pair->agent->loop);
	struct pair_status status;

	pair_status(pair, &status);
	rpo_watch_sample(&pair->watch, status.lag);
	event_watch(&pair->events, pair->agent->hooks, &status, clock_now(clock));
	if (pair->source)
		pair_keep_hours(pair);
	clock_set(clock, timer, clock_now(clock) + RPO_WATCH_NSEC);
}

// The engine reads the state itself only at source_new(); saving it needs to
// know which slot is the newest.
static void state_loaded(void *user, int error, const void *payload, size_t length, bool damaged)
{
	struct pair *pair = user;
	struct error err;

	(void)payload;
	(void)length;
	if (error < 0)
		log_event(LOG_LEVEL_ERROR, "state-unreadable", "pair=%s reason=%s", pair->name, strerror(-error));
	else if (damaged)
		log_event(LOG_LEVEL_WARNING, "state-repaired", "pair=%s", pair->name);
	pair->phase = PAIR_RUNNING;
	if (!pair->files.state.fenced) { // a turn that it was opened for was not for this state
		fail(&err, EAGAIN, "pair %s: its role was changed meanwhile", pair->name);
		turn_abandon(pair, -EAGAIN, &err);
	}
	log_event(LOG_LEVEL_INFO, "pair-started", "pair=%s role=primary volumes=%u peer=%s", pair->name,
	          pair->files.state.volume_count, pair->files.config.peer);
	source_start(pair->source);
	if (pair->files.state.paused)
		source_pause(pair->source, true);
	if (pair->serve || pair->files.serve)
		source_serve(pair->source);
	watch(&pair->watch_timer);
	if (pair->stop_wanted) {
		pair->phase = PAIR_STOPPING;
		pair_shut(pair);
	} else if (pair->turn) {
		turn_stop(pair->turn);
	}
}

// A volume is held until the last request of a process that was killed has
// reached it, and nobody tells when that is.
static void open_work(struct job *job)
{
	static const struct timespec pause = {.tv_nsec = BUSY_RETRY_MSEC * 1000000L};
	struct pair *pair = (struct pair *)((char *)job - offsetof(struct pair, job));

	for (unsigned tries = BUSY_MSEC / BUSY_RETRY_MSEC; tries; tries--) {
		pair->opened = pair_files_open(pair->agent->loop, &pair->agent->paths, pair->name, &pair->agent->boot,
		                               pair->turn != NULL, &pair->opening, &pair->opening_reason);
		if (pair->opened != -EBUSY && pair->opened != -EWOULDBLOCK)
			return;
		nanosleep(&pause, NULL);
	}
}

void pair_opened(struct pair *pair, int error, const struct error *reason)
{
	struct error err;

	if (error < 0) {
		refuse(pair, reason);
	} else if (pair->files.state.fenced && !pair->turn && turn_found_fenced(pair)) {
		return;
	} else if (pair->files.state.fenced && !pair->turn) {
		pair->phase = PAIR_FENCED;
		pair_close_exports(pair);
		pair_answer(pair, pair_fenced(pair, &err), &err);
		log_event(LOG_LEVEL_WARNING, "pair-demoted", "pair=%s reason=%s", pair->name, err.text);
	} else if (!pair->stop_wanted && start_engine(pair, &err) < 0) {
		refuse(pair, &err);
	} else if (!pair->stop_wanted) {
		slots_load(pair->slots, pair, state_loaded);
		return;
	}
	if (pair->stop_wanted) {
		pair->phase = PAIR_STOPPING;
		pair_shut(pair);
	}
}

static void open_done(struct job *job)
{
	struct pair *pair = (struct pair *)((char *)job - offsetof(struct pair, job));
	struct error err;
	int result = pair->opened;

	pair->files = pair->opening;
	if (result == -EREMOTE) {
		fail(&err, EREMOTE, "pair %s: this node is its standby, not its primary", pair->name);
		pair_answer(pair, -EREMOTE, &err);
		turn_abandon(pair, -EREMOTE, &err);
		pair->stop_wanted = true;
	}
	if (result < 0) {
		err = pair->opening_reason;
	} else if (pair->files.state.redo && !pair->stop_wanted) {
		result = pair_redo_start(pair, &err);
		if (!result)
			return;
	}
	if (result == -EREMOTE) {
		pair->phase = PAIR_STOPPING;
		pair_shut(pair);
	} else {
		pair_opened(pair, result, &err);
	}
}

void pair_reopen(struct pair *pair)
{
	struct error err;

	pair->phase = PAIR_OPENING;
	pair->job.work = open_work;
	pair->job.done = open_done;
	if (job_start(pair->agent->loop, &pair->job) < 0) {
		fail(&err, EAGAIN, "start pair %s: no thread", pair->name);
		refuse(pair, &err);
	}
}

struct pair *pair_start(struct agent *agent, const char *name)
{
	struct pair *pair = calloc(1, sizeof(*pair));

	if (!pair)
		return NULL;
	pair->agent = agent;
	snprintf(pair->name, sizeof(pair->name), "%s", name);
	pair->watch_timer.fire = watch;
	pair->files.lock = pair->files.map_fd = -1;
	config_init(&pair->files.config);
	strcpy(pair->files.config.name, pair->name);
	TAILQ_INSERT_TAIL(&agent->pairs, pair, entry);
	pair_reopen(pair);
	return pair;
}

void pair_serve(struct pair *pair)
{
	pair->serve = true;
	if (pair->phase == PAIR_RUNNING)
		source_serve(pair->source);
}
