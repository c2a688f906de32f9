// SPDX-License-Identifier: Apache-2.0
#include "export.h"

#include "device_use.h"
#include "export_choice.h"
#include "export_socket.h"
#include "memory_guard.h"
#include "nbd_device.h"
#include "ublk_device.h"

#include "common/job.h"
#include "common/paths.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECTOR 512
#define REOPEN_NSEC (2 * NSEC_PER_SEC) // between attempts

struct export
{
	struct loop *loop;
	struct export_config config; // strings are those below
	char id[EXPORT_ID_MAX], path[PATHS_MAX], name[NAME_MAX_LENGTH + 1], description[NAME_MAX_LENGTH + 1];

	struct job job;
	enum export_kind kind;
	struct error why;
	int result; // of the choice
	struct error reason;

	bool settled; // opened, or not
	bool known; // opened() was called: from now on presence() is
	bool failure_told; // of opening it again
	struct timer reopen;
	struct socket_export *socket;
	struct ublk_device *ublk;
	struct nbd_device *nbd;

	bool closing;
	enum export_end end;
	struct task gone;
	export_opened_fn *opened;
	void (*closed)(void *user);
	void *user, *closed_user;
};

static const struct device_kind {
	enum export_kind kind;
	int (*probe)(struct error *reason);
	bool (*find)(const char *id, char name[32]);
	int (*end)(const char *id, struct error *err);
} kinds[] = {
        {EXPORT_UBLK, ublk_device_probe, ublk_device_find, ublk_device_end},
        {EXPORT_NBD, nbd_device_probe, nbd_device_find, nbd_device_end},
};
#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

int export_probe(enum export_kind kind, struct error *reason)
{
	for (unsigned i = 0; i < KINDS; i++)
		if (kinds[i].kind == kind)
			return kinds[i].probe(reason);
	return 0;
}

// -- devices of a volume --

int export_in_use(const char *id, struct error *reason)
{
	for (unsigned i = 0; i < KINDS; i++) {
		char name[32];

		if (kinds[i].find(id, name) && device_use(name, reason) < 0)
			return -EBUSY;
	}
	return 0;
}

int export_end_left(const char *id, struct error *err)
{
	int result = 0;

	for (unsigned i = 0; i < KINDS; i++) {
		char name[32];
		int ended = kinds[i].find(id, name) ? kinds[i].end(id, err) : 0;

		result = result ? result : ended;
	}
	return result;
}

// -- the choice --

static int check_size(const struct export_config *config, struct error *err)
{
	if (config->size % config->sector == 0)
		return 0;
	return fail(err, EINVAL, "a size of %" PRIu64 " bytes is no multiple of %" PRIu32 ", as a device needs",
	            config->size, config->sector);
}

static void learn(const struct export *export, const struct device_kind *kind, struct export_facts *facts)
{
	enum export_kind wanted = export->config.kind;
	char name[32];

	facts->there = kind->find(export->id, name);
	if (wanted != EXPORT_AUTO && wanted != kind->kind)
		return;
	facts->works = check_size(&export->config, &facts->why_not);
	if (!facts->works)
		facts->works = kind->probe(&facts->why_not);
}

// A device of a kind that is not wanted any more may still be mounted.
static int end_others(const struct export *export, const struct export_facts *facts, struct error *err)
{
	for (unsigned i = 0; i < KINDS; i++) {
		struct error why;
		char name[32];
		int result = 0;

		if (kinds[i].kind == export->kind || !facts[i].there || !kinds[i].find(export->id, name))
			continue;
		if (device_use(name, &why) < 0)
			result = fail(err, EBUSY, "export %s as %s: %s; unmount it first, or set export = %s",
			              export->name, export_name(export->kind), why.text, export_name(kinds[i].kind));
		else
			result = kinds[i].end(export->id, err);
		if (result < 0)
			return result;
	}
	return 0;
}

static void choose_work(struct job *job)
{
	struct export *export = (struct export *)((char *)job - offsetof(struct export, job));
	struct export_facts facts[KINDS] = {{0}};

	for (unsigned i = 0; i < KINDS; i++)
		learn(export, &kinds[i], &facts[i]);
	export->kind = export_choose(export->config.kind, &facts[0], &facts[1], &export->why);
	for (unsigned i = 0; i < KINDS; i++) {
		if (kinds[i].kind != export->kind || !facts[i].works)
			continue;
		export->result =
		        fail(&export->reason, -facts[i].works, "export %s: %s", export->name, facts[i].why_not.text);
		return;
	}
	export->result = end_others(export, facts, &export->reason);
}

// -- opening --

static void vanish(struct task *task)
{
	struct export *export = (struct export *)((char *)task - offsetof(struct export, gone));
	void (*closed)(void *user) = export->closed;
	void *user = export->closed_user;

	free(export);
	closed(user);
}

static void impl_closed(void *user)
{
	struct export *export = user;

	export->gone = (struct task){vanish, NULL};
	loop_post(export->loop, &export->gone);
}

static void close_impl(struct export *export)
{
	if (export->ublk)
		ublk_device_close(export->ublk, export->end, impl_closed, export);
	else if (export->nbd)
		nbd_device_close(export->nbd, export->end, impl_closed, export);
	else if (export->socket)
		socket_export_close(export->socket, impl_closed, export);
	else
		impl_closed(export);
}

static void tell_reopened(struct export *export, int error, const struct error *reason);

static void impl_opened(void *user, int error, const struct error *reason)
{
	struct export *export = user;

	export->settled = true;
	if (error < 0) { // it is gone
		export->ublk = NULL;
		export->nbd = NULL;
	}
	if (export->closing) {
		close_impl(export);
		return;
	}
	if (export->known) {
		tell_reopened(export, error, reason);
		return;
	}
	export->known = true;
	export->opened(export->user, export, error, reason);
	if (error < 0)
		free(export);
}

// -- when somebody else ends it --

static void open_impl(struct export *export);

static void reopen_fire(struct timer *timer)
{
	struct export *export = (struct export *)((char *)timer - offsetof(struct export, reopen));

	export->settled = false;
	open_impl(export);
}

// Said once why it fails, not at every attempt.
static void tell_reopened(struct export *export, int error, const struct error *reason)
{
	struct clock *clock = loop_clock(export->loop);

	if (error == 0 || !export->failure_told)
		export->config.presence(export->user, export, error == 0, error < 0 ? reason->text : NULL);
	export->failure_told = error < 0;
	if (error < 0)
		clock_set(clock, &export->reopen, clock_now(clock) + REOPEN_NSEC);
}

static void ublk_remains_gone(void *user)
{
	struct export *export = user;

	export->ublk = NULL;
	if (export->closing)
		impl_closed(export);
	else
		open_impl(export);
}

// Whoever has it open has errors already. What is left of it goes, and then
// there is another one.
static void ublk_lost(void *user)
{
	struct export *export = user;

	export->config.presence(export->user, export, false, "somebody stopped or deleted it; it is made again");
	export->settled = false;
	ublk_device_close(export->ublk, EXPORT_END, ublk_remains_gone, export);
}

static void nbd_presence(void *user, bool there, const char *why)
{
	struct export *export = user;

	export->config.presence(export->user, export, there, why);
}

static void open_impl(struct export *export)
{
	struct error *err = &export->reason;
	bool begun = true;

	switch (export->kind) {
	case EXPORT_UBLK:
		memory_guard();
		export->ublk = ublk_device_open(export->loop, &export->config, impl_opened, ublk_lost, export, err);
		begun = export->ublk != NULL;
		break;
	case EXPORT_NBD:
		memory_guard();
		export->nbd = nbd_device_open(export->loop, &export->config, impl_opened, nbd_presence, export, err);
		begun = export->nbd != NULL;
		break;
	default:
		export->socket = socket_export_open(export->loop, &export->config, err);
		impl_opened(export, export->socket ? 0 : -EINVAL, err);
	}
	if (!begun)
		impl_opened(export, -ENOMEM, err);
}

static void chosen(struct job *job)
{
	struct export *export = (struct export *)((char *)job - offsetof(struct export, job));

	if (export->result < 0 || export->closing)
		impl_opened(export, export->result, &export->reason);
	else
		open_impl(export);
}

struct export *export_open(struct loop *loop, const struct export_config *config, export_opened_fn *opened, void *user,
                           struct error *err)
{
	struct export *export = calloc(1, sizeof(*export));

	if (!export) {
		fail(err, ENOMEM, "export %s: out of memory", config->name);
		return NULL;
	}
	export->loop = loop;
	export->config = *config;
	snprintf(export->id, sizeof(export->id), "%s", config->id);
	snprintf(export->path, sizeof(export->path), "%s", config->path);
	snprintf(export->name, sizeof(export->name), "%s", config->name);
	snprintf(export->description, sizeof(export->description), "%s",
	         config->description ? config->description : "");
	export->config.id = export->id;
	export->config.path = export->path;
	export->config.name = export->name;
	export->config.description = export->description;
	if (export->config.sector < SECTOR)
		export->config.sector = SECTOR;
	export->opened = opened;
	export->user = user;
	export->reopen.fire = reopen_fire;
	export->job.work = choose_work;
	export->job.done = chosen;
	if (job_start(loop, &export->job) == 0)
		return export;
	free(export);
	fail(err, EAGAIN, "export %s: no thread", config->name);
	return NULL;
}

enum export_kind export_kind(const struct export *export)
{
	return export->kind;
}

const char *export_target(const struct export *export)
{
	if (export->ublk)
		return ublk_device_path(export->ublk);
	if (export->nbd)
		return nbd_device_path(export->nbd);
	return export->kind == EXPORT_SOCKET ? export->path : "none";
}

const char *export_why(const struct export *export)
{
	return export->why.text;
}

bool export_zero_copy(const struct export *export)
{
	return export->ublk && ublk_device_zero_copy(export->ublk);
}

void export_close(struct export *export, enum export_end end, void (*closed)(void *user), void *user)
{
	export->closing = true;
	export->end = end;
	export->closed = closed;
	export->closed_user = user;
	clock_cancel(loop_clock(export->loop), &export->reopen);
	if (export->settled)
		close_impl(export);
}
