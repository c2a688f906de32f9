// SPDX-License-Identifier: Apache-2.0
// `stead`: the command that people and scripts use. It decides nothing: it
// reads what is asked, asks the daemons, and prints what they say.
#include "ctl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Two words where the first is the name of a group.
static const struct command *const commands[] = {
        &command_invite,  &command_join,         &command_remove,     &command_status, &command_check,
        &command_promote, &command_demote,       &command_switchover, &command_resync, &command_pause,
        &command_resume,  &command_config_check, &command_estimate,
};
#define COMMANDS (sizeof(commands) / sizeof(commands[0]))

enum {
	OPTION_HELP = COMMAND_OPTION + 1000,
	OPTION_ROOT,
	OPTION_VERSION,
};

static const struct option common_options[] = {
        {"root", required_argument, NULL, OPTION_ROOT},
        {"help", no_argument, NULL, OPTION_HELP},
        {"version", no_argument, NULL, OPTION_VERSION},
};
#define COMMON_OPTIONS (sizeof(common_options) / sizeof(common_options[0]))
#define OPTIONS_MAX 16

// Of one command, or of a whole group, or of all.
static void print_commands(const char *group)
{
	size_t length = group ? strlen(group) : 0;

	for (size_t i = 0; i < COMMANDS; i++)
		if (!group || (!strncmp(commands[i]->name, group, length) && commands[i]->name[length] == ' '))
			printf("  stead %-14s %s\n", commands[i]->name, commands[i]->brief);
}

static int print_help(const char *group)
{
	if (group)
		printf("Usage: stead [--root DIR] %s COMMAND ...\n\n", group);
	else
		printf("Usage: stead [--root DIR] COMMAND ...\n\n"
		       "Keeps a standby copy of block volumes on another machine, seconds behind.\n\n");
	print_commands(group);
	printf("\n"
	       "  --root DIR   the node below DIR: DIR/etc/stead, DIR/var/lib/stead,\n"
	       "               DIR/run/stead (default /)\n"
	       "  --help       this text, or that of a command\n"
	       "  --version    the version\n"
	       "\n"
	       "Exit code 0: done, 1: refused or failed, 2: wrong usage.\n");
	return EXIT_DONE;
}

static const char *command_list(const char *group, char *list, size_t size)
{
	size_t length = group ? strlen(group) : 0, used = 0;

	*list = '\0';
	for (size_t i = 0; i < COMMANDS; i++) {
		if (group && (strncmp(commands[i]->name, group, length) != 0 || commands[i]->name[length] != ' '))
			continue;
		snprintf(list + used, size - used, "%s%s", used ? ", " : "", commands[i]->name);
		used = strlen(list);
	}
	return list;
}

// The command whose name the arguments begin with; *words is how many of them
// it took. group is the first word where that alone is none.
static const struct command *find_command(int count, char **arguments, int *words, const char **group)
{
	*group = NULL;
	for (size_t i = 0; i < COMMANDS; i++) {
		const char *name = commands[i]->name;
		const char *space = strchr(name, ' ');
		size_t first = space ? (size_t)(space - name) : strlen(name);

		if (strlen(arguments[0]) != first || strncmp(name, arguments[0], first) != 0)
			continue;
		*words = space ? 2 : 1;
		if (!space || (count > 1 && !strcmp(arguments[1], space + 1)))
			return commands[i];
		*group = arguments[0];
	}
	return NULL;
}

static bool has_option(const struct option *options, const char *name, size_t length)
{
	for (; options && options->name; options++)
		if (strlen(options->name) == length && !strncmp(options->name, name, length))
			return true;
	return false;
}

// An option that another command has is a frequent mistake: roles differ.
static int unknown_option(const struct command *command, const struct option *options, const char *option)
{
	const char *name = option + strspn(option, "-");
	size_t length = strcspn(name, "=");

	if (optopt > 0 && optopt < COMMAND_OPTION)
		return misuse("%s: unknown option -%c; see stead %s --help", command->name, optopt, command->name);
	if (has_option(options, name, length))
		return misuse("%s: --%.*s takes no value", command->name, (int)length, name);
	for (size_t i = 0; i < COMMANDS; i++)
		if (has_option(commands[i]->options, name, length))
			return misuse("%s has no --%.*s; stead %s has it", command->name, (int)length, name,
			              commands[i]->name);
	return misuse("%s: unknown option %s; see stead %s --help", command->name, option, command->name);
}

static int missing_value(const struct command *command, const char *option)
{
	return misuse("%s: %s needs a value; see stead %s --help", command->name, option, command->name);
}

static void join_options(const struct command *command, struct option *options)
{
	size_t count = 0;

	for (const struct option *option = command->options; option && option->name; option++)
		if (count < OPTIONS_MAX)
			options[count++] = *option;
	memcpy(options + count, common_options, sizeof(common_options));
	memset(options + count + COMMON_OPTIONS, 0, sizeof(*options));
}

#define GO_ON (-1)

// GO_ON with what the options left over, or the exit code.
static int take_options(const struct command *command, struct context *context, int *count, char ***arguments)
{
	struct option options[OPTIONS_MAX + COMMON_OPTIONS + 1];
	struct error err;
	int option, code;

	join_options(command, options);
	optind = 0; // begin anew
	while ((option = getopt_long(*count, *arguments, ":", options, NULL)) != -1) {
		if (option == OPTION_HELP) {
			fputs(command->help, stdout);
			return EXIT_DONE;
		}
		if (option == OPTION_VERSION)
			return misuse("--version stands alone: stead --version");
		if (option == '?')
			return unknown_option(command, options, (*arguments)[optind - 1]);
		if (option == ':')
			return missing_value(command, (*arguments)[optind - 1]);
		if (option == OPTION_ROOT) {
			context->root = optarg;
			continue;
		}
		code = command->option(option, optarg);
		if (code)
			return code;
	}
	*count -= optind;
	*arguments += optind;
	if (*count < command->least)
		return misuse("%s: %s; see stead %s --help", command->name, command->missing, command->name);
	if (*count > command->most)
		return misuse("%s: '%s' is one argument too many; see stead %s --help", command->name,
		              (*arguments)[command->most], command->name);
	if (paths_init(&context->paths, context->root, &err))
		return refuse("%s", err.text);
	return GO_ON;
}

static int run_command(const struct command *command, struct context *context, int count, char **arguments)
{
	int code;

	if (command->plugin)
		complain_as(stdout, command->plugin);
	code = take_options(command, context, &count, &arguments);
	if (code == GO_ON)
		return command->run(context, count, arguments);
	return code && command->plugin ? EXIT_UNKNOWN : code;
}

static int choose_command(struct context *context, int count, char **arguments)
{
	const struct command *command;
	const char *group;
	char list[400];
	int words = 1;

	command = find_command(count, arguments, &words, &group);
	if (command)
		return run_command(command, context, count - words + 1, arguments + words - 1);
	if (group && count > 1 && !strcmp(arguments[1], "--help"))
		return print_help(group);
	if (group && (count == 1 || arguments[1][0] == '-'))
		return misuse("%s what? There are %s", group, command_list(group, list, sizeof(list)));
	if (group)
		return misuse("no command %s %s; there are %s", group, arguments[1],
		              command_list(group, list, sizeof(list)));
	if (!strcmp(arguments[0], "help"))
		return print_help(NULL);
	return misuse("no command %s in this version; there are %s", arguments[0],
	              command_list(NULL, list, sizeof(list)));
}

int main(int argc, char **argv)
{
	struct context context = {.root = "/"};
	struct option options[COMMON_OPTIONS + 1] = {0};
	int option, code = -1;

	memcpy(options, common_options, sizeof(common_options));
	opterr = 0;
	while (code < 0 && (option = getopt_long(argc, argv, "+:", options, NULL)) != -1) {
		if (option == OPTION_HELP) {
			code = print_help(NULL);
		} else if (option == OPTION_VERSION) {
			printf("stead %s\n", STEAD_VERSION);
			code = EXIT_DONE;
		} else if (option == OPTION_ROOT) {
			context.root = optarg;
		} else if (option == ':') {
			code = misuse("%s needs a value; see stead --help", argv[optind - 1]);
		} else {
			code = misuse("unknown option %s before the command; see stead --help", argv[optind - 1]);
		}
	}
	if (code < 0 && optind == argc)
		code = misuse("no command; see stead --help");
	if (code < 0)
		code = choose_command(&context, argc - optind, argv + optind);
	if (fflush(stdout) != 0 && code == EXIT_DONE)
		code = refuse("write to standard output: no space, or nobody reads it");
	return code;
}
