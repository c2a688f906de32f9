// SPDX-License-Identifier: Apache-2.0
// stead-sim: runs seeds, and says how to see again what went wrong.
#include "common/mutant.h"
#include "common/wire.h"
#include "mutants.h"
#include "runner.h"
#include "simulation.h"

#include <getopt.h>
#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] = "usage: stead-sim [--seed N | --seeds FROM..TO | --seeds-file FILE] [OPTION]...\n"
                            "\n"
                            "Runs both engines over simulated disks, network and time, one run a seed.\n"
                            "\n"
                            "  --seed N           one run\n"
                            "  --seeds FROM..TO   FROM, FROM + 1, ... TO\n"
                            "  --seeds-file FILE  the first word of each line; # begins a comment\n"
                            "  --trace            print every event\n"
                            "  --jobs N           processes, 1 without it\n"
                            "  --mutant NAME      with a deliberate defect\n"
                            "  --list-mutants     print their names\n"
                            "  --check-mutants    find for each defect a seed that catches it\n";

struct options {
	struct run_list list;
	bool trace;
	unsigned jobs;
	bool check_mutants;
};

static int misuse(const char *what, const char *value)
{
	fprintf(stderr, "stead-sim: %s: %s\n%s", what, value, usage);
	return 2;
}

static bool number(const char *text, uint64_t *value)
{
	char *end;

	*value = strtoull(text, &end, 10);
	return *text >= '0' && *text <= '9' && !*end;
}

static bool range(const char *text, struct run_list *list)
{
	char *dots = strstr(text, "..");
	char from[32];

	if (!dots || (size_t)(dots - text) >= sizeof(from))
		return false;
	memcpy(from, text, (size_t)(dots - text));
	from[dots - text] = '\0';
	return number(from, &list->from) && number(dots + 2, &list->to) && list->from <= list->to;
}

static int list_mutants(void)
{
	for (unsigned i = 1; mutant_name(i); i++)
		puts(mutant_name(i));
	return 0;
}

static int parse(int argc, char **argv, struct options *options)
{
	static const struct option known[] = {
	        {"seed", required_argument, NULL, 's'},
	        {"seeds", required_argument, NULL, 'S'},
	        {"seeds-file", required_argument, NULL, 'f'},
	        {"trace", no_argument, NULL, 't'},
	        {"jobs", required_argument, NULL, 'j'},
	        {"mutant", required_argument, NULL, 'm'},
	        {"list-mutants", no_argument, NULL, 'l'},
	        {"check-mutants", no_argument, NULL, 'c'},
	        {"help", no_argument, NULL, 'h'},
	        {0},
	};
	uint64_t value;
	int c;

	while ((c = getopt_long(argc, argv, "", known, NULL)) != -1) {
		switch (c) {
		case 's':
			if (!number(optarg, &options->list.from))
				return misuse("--seed takes a number", optarg);
			options->list.to = options->list.from;
			break;
		case 'S':
			if (!range(optarg, &options->list))
				return misuse("--seeds takes FROM..TO", optarg);
			break;
		case 'f':
			if (!run_list_read(&options->list, optarg))
				return misuse("cannot read seeds", optarg);
			break;
		case 't':
			options->trace = true;
			break;
		case 'j':
			if (!number(optarg, &value) || value < 1 || value > RUN_JOBS_MAX)
				return misuse("--jobs takes a number from 1 to 64", optarg);
			options->jobs = (unsigned)value;
			break;
		case 'm':
			if (!mutant_select(optarg))
				return misuse("unknown mutant, or built without mutants", optarg);
			break;
		case 'l':
			exit(list_mutants());
		case 'c':
			options->check_mutants = true;
			break;
		case 'h':
			fputs(usage, stdout);
			exit(0);
		default:
			fputs(usage, stderr);
			return 2;
		}
	}
	return optind < argc ? misuse("unexpected argument", argv[optind]) : 0;
}

int main(int argc, char **argv)
{
	struct options options = {.list = {.to = 1999}, .jobs = 1};
	int rc = parse(argc, argv, &options);

	if (rc)
		return rc;
	if (options.trace)
		setvbuf(stdout, NULL, _IOLBF, 0); // all of it is there when the run dies
	// Engines come and go thousands of times: their buffers stay in the process.
	mallopt(M_MMAP_THRESHOLD, 64 << 20);
	mallopt(M_TRIM_THRESHOLD, 512 << 20);
	if (options.check_mutants)
		rc = mutants_check(options.list.to, options.jobs);
	else
		rc = run_seeds(&options.list, options.trace, options.jobs);
	free(options.list.seeds);
	return rc;
}
