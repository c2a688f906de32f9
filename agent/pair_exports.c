// SPDX-License-Identifier: Apache-2.0
// What a pair's volumes are used through.
#include "pair_impl.h"

#include "common/log.h"
#include "common/status.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// What a volume's device is found by: another pair of the same name, or another
// node on this machine, has another.
static const char *volume_id(const struct pair *pair, unsigned volume, char out[EXPORT_ID_MAX])
{
	char id[ID_TEXT_MAX], path[PATHS_MAX];

	id_text(&pair->files.state.pair, id);
	snprintf(out, EXPORT_ID_MAX, "stead %s %s", id,
	         path_device(&pair->agent->paths, pair->name, pair->files.state.volumes[volume].name, path));
	return out;
}

// -- opening --

// The stable name points to what was made. Something else of that name is not
// ours to replace.
static int make_link(const char *target, const char *path, struct error *err)
{
	char temporary[PATHS_MAX + 8], there[PATHS_MAX];

	if (readlink(path, there, sizeof(there)) < 0 && errno == EINVAL)
		return fail(err, EEXIST, "make link %s: something else is in the way; remove it", path);
	snprintf(temporary, sizeof(temporary), "%s.new", path);
	(void)unlink(temporary);
	if (symlink(target, temporary) < 0 || rename(temporary, path) < 0)
		return fail(err, errno, "make link %s: %s", path, strerror(errno));
	return 0;
}

static void export_failed(struct pair *pair, unsigned volume, const struct error *reason)
{
	pair->export_missing[volume] = true;
	log_event(LOG_LEVEL_ERROR, "export-failed", "pair=%s volume=%s reason=%s", pair->name,
	          pair->files.config.volumes[volume].name, reason->text);
	pair_answer(pair, -EINVAL, reason);
}

static unsigned volume_of(const struct pair *pair, const struct export *export)
{
	unsigned volume = 0;

	while (pair->exports[volume] != export)
		volume++;
	return volume;
}

static void publish(struct pair *pair, unsigned volume)
{
	const struct export *export = pair->exports[volume];
	char link[PATHS_MAX];
	struct error err;

	if (make_link(export_target(export), pair_device(pair, volume, link), &err) < 0) {
		export_failed(pair, volume, &err);
	} else {
		pair->exported[volume] = true;
		pair->export_missing[volume] = false;
		log_event(LOG_LEVEL_INFO, "exported", "pair=%s volume=%s export=%s device=%s zero-copy=%s reason=%s",
		          pair->name, pair->files.config.volumes[volume].name, export_name(export_kind(export)),
		          export_target(export), export_zero_copy(export) ? "yes" : "no", export_why(export));
	}
}

static void opened(void *user, struct export *export, int error, const struct error *reason)
{
	struct pair *pair = user;
	unsigned volume = volume_of(pair, export);

	pair->exports_opening--;
	if (error < 0) {
		pair->exports[volume] = NULL;
		export_failed(pair, volume, reason);
	} else {
		publish(pair, volume);
	}
	if (!pair->exports_opening)
		pair_answer(pair, 0, NULL);
}

// Nothing behind the link is worse than no link.
static void presence(void *user, struct export *export, bool there, const char *why)
{
	struct pair *pair = user;
	unsigned volume = volume_of(pair, export);
	char path[PATHS_MAX];

	if (there) {
		publish(pair, volume);
		return;
	}
	log_event(LOG_LEVEL_ERROR, "export-lost", "pair=%s volume=%s device=%s reason=%s", pair->name,
	          pair->files.config.volumes[volume].name, export_target(export), why);
	if (pair->exported[volume])
		(void)unlink(pair_device(pair, volume, path));
	pair->exported[volume] = false;
	pair->export_missing[volume] = true;
}

static int open_export(struct pair *pair, unsigned volume, struct error *err)
{
	const struct config_volume *configured = &pair->files.config.volumes[volume];
	char socket[PATHS_MAX], id[EXPORT_ID_MAX];
	const struct export_config config = {
	        .kind = configured->export,
	        .id = volume_id(pair, volume, id),
	        .path = path_export(&pair->agent->paths, pair->name, configured->name, socket),
	        .name = configured->name,
	        .description = pair->name,
	        .size = pair->files.state.volumes[volume].bytes,
	        .sector = pair->files.volumes[volume]->align,
	        .volume = volume,
	        .source = pair->source,
	        .presence = presence,
	        .buffers = pair->agent->buffers,
	};

	pair->exports[volume] = export_open(pair->agent->loop, &config, opened, pair, err);
	return pair->exports[volume] ? 0 : -ENOMEM;
}

void pair_open_exports(struct pair *pair)
{
	struct error err;

	if (pair->exports_closing) // then export_closed() comes here
		return;
	pair->left_ended = false;
	for (unsigned i = 0; i < pair->files.state.volume_count; i++) {
		if (pair->exports[i])
			continue;
		if (open_export(pair, i, &err) < 0)
			export_failed(pair, i, &err);
		else
			pair->exports_opening++;
	}
	if (!pair->exports_opening)
		pair_answer(pair, 0, NULL);
}

// -- closing --

static void closed_one(struct pair *pair)
{
	pair->exports_closing--;
	if (pair->phase == PAIR_STOPPING)
		pair_shut(pair);
	else if (!pair->exports_closing && pair->serving)
		pair_open_exports(pair);
}

static void export_closed(void *user)
{
	closed_one(user);
}

// Work on the devices of a pair's volumes, whichever process made them.
struct devices_work {
	struct job job; // first
	unsigned count;
	char ids[VOLUMES_MAX][EXPORT_ID_MAX];
	int result;
	struct error reason;
	void *user;
	void (*done)(void *user, int error, const struct error *reason);
};

static struct devices_work *devices_work_new(const struct pair *pair, bool with_open)
{
	struct devices_work *work = calloc(1, sizeof(*work));

	for (unsigned i = 0; work && i < pair->files.state.volume_count; i++)
		if (with_open || !pair->exports[i])
			volume_id(pair, i, work->ids[work->count++]);
	return work;
}

static void end_left_work(struct job *job)
{
	struct devices_work *work = (struct devices_work *)job;

	for (unsigned i = 0; i < work->count; i++) {
		int result = export_end_left(work->ids[i], &work->reason);

		work->result = work->result ? work->result : result;
	}
}

static void end_left_done(struct job *job)
{
	struct devices_work *work = (struct devices_work *)job;
	struct pair *pair = work->user;

	if (work->result < 0)
		log_event(LOG_LEVEL_ERROR, "device-not-ended", "pair=%s reason=%s", pair->name, work->reason.text);
	free(work);
	closed_one(pair);
}

static void remove_left_links(const struct pair *pair)
{
	for (unsigned i = 0; i < pair->files.state.volume_count; i++) {
		char path[PATHS_MAX], target[PATHS_MAX];

		path_device(&pair->agent->paths, pair->name, pair->files.state.volumes[i].name, path);
		if (!pair->exports[i] && readlink(path, target, sizeof(target)) >= 0)
			(void)unlink(path);
	}
}

// A device that a former process left, and that no process will serve any more:
// who waits for it must not wait for ever.
static void end_left(struct pair *pair)
{
	struct devices_work *work = pair->left_ended ? NULL : devices_work_new(pair, false);

	if (!pair->left_ended)
		remove_left_links(pair);
	pair->left_ended = true;
	if (!work || !work->count) {
		free(work);
		return;
	}
	work->user = pair;
	work->job.work = end_left_work;
	work->job.done = end_left_done;
	pair->exports_closing++;
	if (job_start(pair->agent->loop, &work->job) < 0) {
		pair->exports_closing--;
		free(work);
	}
}

void pair_close_exports(struct pair *pair)
{
	bool leave = pair->agent->stopping && !pair->files.state.fenced;
	char path[PATHS_MAX];

	pair->exports_opening = 0;
	memset(pair->export_missing, 0, sizeof(pair->export_missing));
	if (!leave)
		end_left(pair);
	for (unsigned i = 0; i < VOLUMES_MAX; i++) {
		if (!pair->exports[i])
			continue;
		if (pair->exported[i])
			(void)unlink(pair_device(pair, i, path));
		pair->exports_closing++;
		export_close(pair->exports[i], leave ? EXPORT_LEAVE : EXPORT_END, export_closed, pair);
		pair->exports[i] = NULL;
		pair->exported[i] = false;
	}
}

// -- whether they are in use --

static void use_work(struct job *job)
{
	struct devices_work *work = (struct devices_work *)job;

	for (unsigned i = 0; i < work->count && !work->result; i++)
		work->result = export_in_use(work->ids[i], &work->reason);
}

static void use_done(struct job *job)
{
	struct devices_work *work = (struct devices_work *)job;

	work->done(work->user, work->result, &work->reason);
	free(work);
}

int pair_check_unused(const struct pair *pair, void *user,
                      void (*done)(void *user, int error, const struct error *reason))
{
	struct devices_work *work = devices_work_new(pair, true);

	if (!work)
		return -ENOMEM;
	work->user = user;
	work->done = done;
	work->job.work = use_work;
	work->job.done = use_done;
	if (job_start(pair->agent->loop, &work->job) == 0)
		return 0;
	free(work);
	return -EAGAIN;
}
