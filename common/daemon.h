// SPDX-License-Identifier: Apache-2.0
// What the two daemons have in common: the way from main() to the loop and back,
// one daemon of each kind for a root, signals, the control socket, hooks, the
// pairs that are configured, and telling systemd.
#ifndef STEAD_DAEMON_H
#define STEAD_DAEMON_H

#include "config.h"
#include "control.h"
#include "hooks.h"
#include "loop.h"
#include "paths.h"
#include "tls.h"

#include <jansson.h>
#include <stdbool.h>

struct daemon;

struct daemon_pairs {
	// Stops every pair that is run and not named.
	void (*stop_others)(void *user, char (*names)[NAME_MAX_LENGTH + 1], size_t count);
	// Starts the pair; one that is run it loads again, if reload is set. False
	// without memory.
	bool (*take_up)(void *user, const char *name, bool reload);
};

struct daemon_program {
	const char *name; // stead-agent
	const char *help; // for --help
	const char *listen; // default of --listen; NULL: there is no such option
	const char *metrics; // default of --metrics
	const char *stopping, *stopped; // events: of a stop the first, and the last there is
	struct daemon_pairs pairs;

	// Opens what the daemon serves with, and calls daemon_serve() when that may
	// be used. 0 or -errno with the reason.
	int (*set_up)(void *user, struct daemon *daemon, const char *listen, struct error *err);

	// Of all pairs: a new array of status_json().
	json_t *(*status)(void *user);

	// Takes the pairs up and says that it runs.
	void (*begin)(void *user);

	// On SIGTERM and SIGINT, once: stops the pairs and what else is the
	// program's own, which leads to daemon_end().
	void (*stop)(void *user);

	// Always: after the loop, after a set_up() that failed half-way, and
	// where it did not come to that.
	void (*tear_down)(void *user);
};

// All of main(). The paths are made before set_up(). Returns the exit code:
// 0, 1 when it could not run, 2 for wrong usage.
int daemon_main(int argc, char **argv, const struct daemon_program *program, struct paths *paths, void *user);

// From set_up() on, until tear_down() has returned.
struct loop *daemon_loop(const struct daemon *daemon);
struct hooks *daemon_hooks(const struct daemon *daemon);
struct tls_context *daemon_tls(const struct daemon *daemon); // with this node's own key

// Answers at the control socket, until the daemon stops.
int daemon_serve(struct daemon *daemon, const char *socket, control_handler handler, struct error *err);

// Has the other daemon of this node, if there is one, take up what it does not
// run: one of the two may have been killed between a change of role and telling
// of it.
void daemon_wake(struct daemon *daemon, const char *socket);

// Nothing of the program's own is under way any more, nor will be: the loop ends
// when that holds for the rest, too. Further calls do nothing.
void daemon_end(struct daemon *daemon);

// Runs what is configured, and that alone: what runs is loaded again. Returns
// the number of pairs configured; 0 too where that cannot be told, and then
// nothing changes.
size_t daemon_reload(struct daemon *daemon);

// Only starts what is configured and not run. Returns the same.
size_t daemon_take_up(struct daemon *daemon);

// READY=1 and the like, where systemd asked for it.
void daemon_notify(const char *text);

// For ids and keys.
uint64_t daemon_random(void *unused);

#endif
