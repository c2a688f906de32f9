// SPDX-License-Identifier: Apache-2.0
// What the two daemons have in common: the way from main() to the loop, one
// daemon of each kind for a root, signals, the pairs that are configured, and
// telling systemd.
#ifndef STEAD_DAEMON_H
#define STEAD_DAEMON_H

#include "config.h"
#include "loop.h"
#include "paths.h"
#include "tls.h"

#include <jansson.h>
#include <stdbool.h>

struct daemon;

struct daemon_program {
	const char *name; // stead-agent
	const char *help; // for --help
	const char *listen; // default of --listen; NULL: there is no such option
	const char *metrics; // default of --metrics
	const char *stopped; // the event that is the last

	// Opens what the daemon serves with. 0 or -errno with the reason.
	int (*set_up)(void *user, struct daemon *daemon, const char *listen, struct error *err);

	// Of all pairs: a new array of status_json().
	json_t *(*status)(void *user);

	// Takes the pairs up and says that it runs.
	void (*begin)(void *user);

	void (*reload)(void *user); // on SIGHUP
	void (*stop)(void *user); // on SIGTERM and SIGINT: leads to daemon_end()

	// Always: after the loop, after a set_up() that failed half-way, and
	// where it did not come to that.
	void (*tear_down)(void *user);
};

// All of main(). The paths are made before set_up(). Returns the exit code:
// 0, 1 when it could not run, 2 for wrong usage.
int daemon_main(int argc, char **argv, const struct daemon_program *program, struct paths *paths, void *user);

// Valid until tear_down() has returned.
struct loop *daemon_loop(const struct daemon *daemon);

// Nothing is under way any more: the loop ends. Further calls do nothing.
void daemon_end(struct daemon *daemon);

// For TLS with this node's own key.
struct tls_context *daemon_tls(const struct paths *paths, struct error *err);

// stop_others() stops every pair that is run and not named; take_up() starts
// one, or loads it again when it is run, and is false without memory.
struct daemon_pairs {
	void (*stop_others)(void *user, char (*names)[NAME_MAX_LENGTH + 1], size_t count);
	bool (*take_up)(void *user, const char *name);
};

// Runs what is configured, and that alone. Returns the number of pairs
// configured; 0 too where that cannot be told, and then nothing changes.
size_t daemon_reload(const struct paths *paths, const struct daemon_pairs *pairs, void *user);

// READY=1 and the like, where systemd asked for it.
void daemon_notify(const char *text);

// For ids and keys.
uint64_t daemon_random(void *unused);

#endif
