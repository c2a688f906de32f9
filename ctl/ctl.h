// SPDX-License-Identifier: Apache-2.0
// What the subcommands of `stead` share.
#ifndef STEAD_CTL_H
#define STEAD_CTL_H

#include "common/config.h"
#include "common/error.h"
#include "common/paths.h"

#include <getopt.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

enum exit_code {
	EXIT_DONE = 0,
	EXIT_REFUSED = 1, // refused or failed
	EXIT_USAGE = 2, // wrong usage

	// of a monitoring plugin
	EXIT_OK = 0,
	EXIT_WARNING = 1,
	EXIT_CRITICAL = 2,
	EXIT_UNKNOWN = 3,
};

struct context {
	const char *root;
	struct paths paths; // of root
};

#define COMMAND_OPTION 1000 // val of a command's first option: no character

struct command {
	const char *name; // "status", "pair invite"
	const char *brief; // for the list of commands
	const char *help; // all of --help
	const struct option *options; // beside --root and --help
	int least, most; // arguments
	const char *missing; // what to say when there are fewer
	const char *plugin; // for a monitoring plugin: complaints are its one line on stdout, after this, with code 3

	// One option (its val), then all arguments. Exit codes; DONE: go on.
	int (*option)(int option, const char *value);
	int (*run)(struct context *context, int count, char **arguments);
};

extern const struct command command_invite, command_join, command_remove, command_status, command_promote,
        command_demote, command_switchover, command_resync, command_pause, command_resume, command_check,
        command_config_check, command_estimate;

// One line on stderr, or where complain_as() says. The word of each is its exit
// code.
void complain_as(FILE *stream, const char *prefix);
int refuse(const char *format, ...) __attribute__((format(printf, 1, 2)));
int misuse(const char *format, ...) __attribute__((format(printf, 1, 2)));

// Text out of a daemon or a file, for a terminal: control characters as ?.
// Returns text.
char *printable(char *text);

// USAGE where it cannot be one; REFUSED: there is none of that name, and what
// else should be known.
int check_pair_name(const char *name);
int unknown_pair(struct context *context, const char *name, const char *also);

// Whether this node has the pair at all; the daemon says the rest. Exit codes.
int check_pair(struct context *context, const char *pair);

// A size or a time from JSON for people, "-" where it is null. Returns text.
#define CELL_MAX 40
char *size_cell(json_t *value, char text[CELL_MAX]);
char *seconds_cell(json_t *value, char text[CELL_MAX]);

// --volume NAME=PATH, any number of times. Exit codes.
int volume_option(const char *value);
json_t *volume_options(void); // new reference; of what was given
unsigned volume_option_count(void);

#endif
