// SPDX-License-Identifier: Apache-2.0
// A pair that runs: its peer, its promotion, reloading, telling of it.
#include "standby.h"

#include "report.h"
#include "standby_impl.h"

#include "common/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void standby_reload(struct standby *standby)
{
	struct pair_config *config = &standby->files.config, new;
	char path[PATHS_MAX];
	struct error err;

	if (standby->phase == STANDBY_REFUSED && !standby->sink && standby->files.lock < 0) {
		standby_open(standby);
		return;
	}
	if (standby->phase != STANDBY_RUNNING)
		return;
	if (config_read(path_config(&standby->receiver->paths, standby->name, path), &new, &err) < 0) {
		log_event(LOG_LEVEL_ERROR, "config-rejected", "pair=%s reason=%s", standby->name, err.text);
		return;
	}
	config->rpo = new.rpo;
	config->rto = new.rto;
	memcpy(config->peer, new.peer, sizeof(config->peer));
	memcpy(config->hooks, new.hooks, sizeof(config->hooks));
	log_event(LOG_LEVEL_INFO, "config-reloaded", "pair=%s", standby->name);
}

void standby_attach(struct standby *standby, struct channel *channel, const struct wire_hello *hello)
{
	if (standby->phase == STANDBY_RUNNING)
		sink_attach(standby->sink, channel, hello);
	else
		refuse_channel(standby->receiver, channel, REFUSAL_BUSY, standby->name,
		               standby->phase == STANDBY_REFUSED ? standby->reason.text : "the standby is starting");
}

struct promotion {
	struct standby *standby;
	void *user;
	void (*done)(void *user, int error, const struct error *reason);
};

static void promoted(void *user, int error, const struct error *reason)
{
	struct promotion *promotion = user;
	struct standby *standby = promotion->standby;

	standby->promoting--;
	promotion->done(promotion->user, error, reason);
	if (standby->stop_wanted)
		standby_shut_later(standby);
	free(promotion);
}

int standby_promote(struct standby *standby, bool force, void *user,
                    void (*done)(void *user, int error, const struct error *reason), struct error *err)
{
	struct promotion *promotion;

	if (standby->phase != STANDBY_RUNNING || standby->promoting)
		return fail(err, EAGAIN, "promote pair %s: %s", standby->name,
		            standby->promoting                  ? "it is just being promoted"
		            : standby->phase == STANDBY_REFUSED ? standby->reason.text
		                                                : "it is starting; try again");
	promotion = malloc(sizeof(*promotion));
	if (!promotion)
		return fail(err, ENOMEM, "promote pair %s: out of memory", standby->name);
	*promotion = (struct promotion){standby, user, done};
	standby->promoting++;
	sink_promote(standby->sink, force, promotion, promoted);
	return 0;
}

bool standby_sink(struct standby *standby, struct sink_status *status)
{
	if (!standby->sink)
		return false;
	sink_status(standby->sink, status);
	return status->opened;
}

void standby_status(struct standby *standby, struct pair_status *status)
{
	struct sink_status sink;

	if (standby->sink) {
		sink_status(standby->sink, &sink);
		report_sink(&standby->files.config, &sink, loop_clock(standby->receiver->loop), &standby->watch,
		            status);
		if (standby->phase == STANDBY_REFUSED)
			status->reason = standby->reason.text;
		return;
	}
	status_init(status, &standby->files.config, ROLE_STANDBY);
	status->generation = standby->files.state.lineage.generation;
	if (standby->phase == STANDBY_OPENING) {
		status->role = 0; // its state is not read yet
		status->reason = "opening";
	} else if (standby->phase == STANDBY_REFUSED) {
		status->state = "refused";
		status->reason = standby->reason.text;
	}
}
