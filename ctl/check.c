// SPDX-License-Identifier: Apache-2.0
// config check
#include "ctl.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int check_file(const char *file, struct pair_config *config)
{
	struct error err;

	if (config_read(file, config, &err))
		return refuse("%s", err.text);
	printf("%s: ok, pair %s with %u volume%s\n", file, config->name, config->volume_count,
	       config->volume_count == 1 ? "" : "s");
	return EXIT_DONE;
}

// A path may be in one pair only.
static int check_between(const struct pair_config *one, const struct pair_config *other)
{
	for (unsigned i = 0; i < one->volume_count; i++)
		for (unsigned j = 0; j < other->volume_count; j++)
			if (!strcmp(one->volumes[i].path, other->volumes[j].path))
				return refuse("%s is a volume of pair %s and of pair %s; it can be in one only",
				              one->volumes[i].path, other->name, one->name);
	return EXIT_DONE;
}

static int check_all(struct context *context)
{
	char(*names)[NAME_MAX_LENGTH + 1];
	struct pair_config *configs;
	int code = EXIT_DONE;
	size_t count, good = 0;
	struct error err;

	if (config_list(context->paths.configs, &names, &count, &err))
		return refuse("%s", err.text);
	configs = calloc(count ? count : 1, sizeof(*configs));
	if (!configs)
		code = refuse("out of memory");
	for (size_t i = 0; configs && i < count; i++) {
		char file[PATHS_MAX];

		if (check_file(path_config(&context->paths, names[i], file), &configs[good])) {
			code = EXIT_REFUSED;
			continue;
		}
		for (size_t j = 0; j < good; j++)
			code |= check_between(&configs[good], &configs[j]);
		good++;
	}
	if (configs && count == 0)
		printf("%s: no pairs\n", context->paths.configs);
	free(configs);
	free(names);
	return code;
}

static int check(struct context *context, int count, char **arguments)
{
	struct pair_config config;

	return count ? check_file(arguments[0], &config) : check_all(context);
}

const struct command command_config_check = {
        .name = "config check",
        .brief = "check the configuration of all pairs, or one file",
        .help = "Usage: stead config check [FILE]\n"
                "\n"
                "Reads FILE, or the files of all pairs of this node, and says what is wrong with\n"
                "them and in which line. Needs no daemon and changes nothing.\n"
                "\n"
                "  --root DIR  the node below DIR (default /)\n",
        .most = 1,
        .run = check,
};
