// SPDX-License-Identifier: Apache-2.0
// What pair.c, pair_run.c and pair_stop.c share of a pair.
#ifndef STEAD_PAIR_IMPL_H
#define STEAD_PAIR_IMPL_H

#include "export.h"
#include "no_peer.h"
#include "pair.h"
#include "pair_files.h"
#include "report.h"

#include "common/error.h"
#include "common/events.h"
#include "common/job.h"
#include "common/link_thread.h"
#include "common/slots.h"
#include "receiver/redo.h"

enum pair_phase {
	PAIR_OPENING, // a job has the files
	PAIR_RUNNING,
	PAIR_FENCED, // found fenced at its start: nothing runs
	PAIR_REFUSED, // reason says why: nothing is open
	PAIR_STOPPING,
};

struct turn;

struct await {
	struct await *next;
	struct timer timer;
	struct pair *pair;
	void *user;
	void (*done)(void *user, int error, const struct error *reason);
};

struct pair {
	struct agent *agent;
	TAILQ_ENTRY(pair) entry;
	char name[NAME_MAX_LENGTH + 1];
	enum pair_phase phase;
	struct error reason;
	struct pair_files files;
	struct job job; // opening, closing
	int opened; // its result
	struct pair_files opening; // the job's alone while it opens, as is the next
	struct error opening_reason;

	struct slots *slots;
	struct redo *redo; // between the engine and its volumes; NULL: nothing is
	struct source *source;
	struct link_thread *links; // NULL with no_peer
	struct no_peer no_peer;
	struct export *exports[VOLUMES_MAX];
	bool exported[VOLUMES_MAX]; // it is open, and its link is there
	bool export_missing[VOLUMES_MAX]; // it should be, and could not be opened or was lost
	unsigned exports_opening, exports_closing;
	bool left_ended; // devices of a former process were looked for, to end them
	bool serving;
	bool serve; // asked for before it was open
	uint64_t bandwidth; // the limit at this time of day
	struct timer watch_timer; // adds up breaches of the RPO
	struct rpo_watch watch;
	struct event_watch events;
	struct await *awaits;
	char last_trouble[128]; // said once, not at every dial

	struct turn *turn; // its role is being changed
	char not_taken[REASON_MAX + 1]; // why the peer did not take over

	struct pair_successor successor; // as last heard
	unsigned saving; // of the state
	bool stop_wanted, engine_stopping, engine_stopped, links_stopping, redo_stopping, redo_stopped, clean;
	void (*gone)(void *user);
	void *gone_user;
};

// pair.c
// Makes files.state durable. The caller's saved() counts pair->saving down.
void pair_save(struct pair *pair, void *user, void (*saved)(void *user, int error));
void pair_reopen(struct pair *pair); // refused, with nothing open
void pair_opened(struct pair *pair, int error, const struct error *reason); // files, and what is to be redone

// pair_redo.c
int pair_redo_start(struct pair *pair, struct error *err); // ends with pair_opened()
struct disk *pair_disk(struct pair *pair, unsigned volume); // what the engine sees of it
bool pair_redoes(const struct pair *pair); // its volumes are not its own yet
bool pair_redo_busy(struct pair *pair); // stops it; calls pair_shut() when that is done
void pair_redo_report(const struct pair *pair, struct pair_status *status);

// pair_run.c
uint64_t pair_bandwidth(const struct pair *pair); // as the configuration has it now
void pair_keep_hours(struct pair *pair); // so that the engine has it
int pair_fenced(const struct pair *pair, struct error *reason); // -EPERM
void pair_answer(struct pair *pair, int error, const struct error *reason); // those who await
void pair_log_sides(const struct pair *pair); // of a divergence, for whoever has to decide

// notify.c
void pair_notify(struct pair *pair, enum source_event event, const char *text);
void pair_notify_paused(struct pair *pair, bool paused);

// turn.c
void turn_fenced(struct pair *pair); // it is durable that the peer was promoted
bool turn_found_fenced(struct pair *pair); // true: it is being opened as a whole
void turn_not_taken(struct pair *pair, const char *why);
void turn_wanted(struct pair *pair); // the standby asks for a switchover

// turn_stop.c
// One that the pair does not stop for yet cannot be carried out any more.
void turn_abandon(struct pair *pair, int error, const struct error *reason);
bool turn_busy(struct pair *pair); // the engine has stopped; calls pair_shut() when it is done with it
void turn_files(struct pair *pair); // instead of closing them. Blocks

// pair_exports.c
void pair_open_exports(struct pair *pair); // answers who awaits

// While the agent stops, devices that are in use are left to the next one. Else
// they end, those that a former process left too: who uses them has errors.
void pair_close_exports(struct pair *pair);

// pair_stop.c
void pair_shut(struct pair *pair); // phase is STOPPING: goes through the steps of stopping

#endif
