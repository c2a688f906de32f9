// SPDX-License-Identifier: Apache-2.0
// What the two daemons have in common: options, one of each for a root,
// signals, and telling systemd.
#ifndef STEAD_DAEMON_H
#define STEAD_DAEMON_H

#include "loop.h"
#include "paths.h"

#include <stdbool.h>

struct daemon_program {
	const char *name; // stead-agent
	const char *help; // for --help
	const char *listen; // default of --listen; NULL: there is no such option
};

struct daemon_options {
	const char *root;
	const char *listen;
};

// False when the program is to end with *status.
bool daemon_parse(int argc, char **argv, const struct daemon_program *program, struct daemon_options *options,
                  int *status);

// Opens DIR/run/stead/NAME.lock; the descriptor, or -EBUSY with the reason when
// another daemon of the name runs on this root.
int daemon_lock(const struct paths *paths, const struct daemon_program *program, struct error *err);

// To be called before any thread is started: signals are read, not caught.
void daemon_block_signals(void);

struct daemon_signals;

// stop() on SIGTERM and SIGINT, reload() on SIGHUP, on the loop's thread.
struct daemon_signals *daemon_signals_new(struct loop *loop, void (*stop)(void *user), void (*reload)(void *user),
                                          void *user, struct error *err);

// Calls stopped() when nothing of it is under way and it is freed.
void daemon_signals_stop(struct daemon_signals *signals, void (*stopped)(void *user), void *user);

// READY=1 and the like, where systemd asked for it.
void daemon_notify(const char *text);

// For ids and keys.
uint64_t daemon_random(void *unused);

#endif
