// SPDX-License-Identifier: Apache-2.0
// What standby.c and standby_run.c share of a pair.
#ifndef STEAD_STANDBY_IMPL_H
#define STEAD_STANDBY_IMPL_H

#include "standby.h"
#include "standby_files.h"

#include "common/events.h"
#include "common/job.h"

enum standby_phase {
	STANDBY_OPENING, // a job has the files, or the engine recovers
	STANDBY_RUNNING,
	STANDBY_REFUSED, // reason says why
	STANDBY_STOPPING,
};

struct standby {
	struct receiver *receiver;
	TAILQ_ENTRY(standby) entry;
	char name[NAME_MAX_LENGTH + 1];
	enum standby_phase phase;
	struct error reason;
	struct standby_files files;
	struct job job; // opening, closing
	int opened; // its result
	struct standby_files opening; // the job's alone while it opens, as is the next
	struct error opening_reason;
	struct sink *sink;
	bool sink_started, sink_stopped;
	struct timer watch_timer; // adds up breaches of the RPO
	struct rpo_watch watch;
	struct event_watch events;
	struct timer await_timer; // tells what is so already
	struct timer shut_timer; // stops, from outside of the engine
	void (*awaiter)(void *user, int error, const struct error *reason);
	void *await_user;
	unsigned promoting; // or what else must end before it stops
	struct control_call *switchover; // that waits for the primary
	struct timer switchover_timer;
	bool stop_wanted;
	void (*gone)(void *user);
	void *gone_user;
};

// standby.c
void standby_open(struct standby *standby); // nothing is open
void standby_shut_later(struct standby *standby);

// notify.c
void standby_notify(struct standby *standby, enum sink_event event, const char *text);

// orders.c
void orders_event(struct standby *standby, enum sink_event event, const char *text);
void orders_stop(struct standby *standby);

#endif
