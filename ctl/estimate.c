// SPDX-License-Identifier: Apache-2.0
// estimate
#include "common/units.h"
#include "ctl.h"
#include "demand.h"
#include "writes.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define SECOND UINT64_C(1000000000)
#define SHORTEST SECOND

static uint64_t duration = 600 * SECOND;
static volatile sig_atomic_t interrupted;

struct measuring {
	struct demand *demand;
	uint64_t unplaced; // bytes, of writes whose place is not known
	uint64_t begin, end; // CLOCK_MONOTONIC, ns
};

static uint64_t monotonic(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * SECOND + (uint64_t)ts.tv_nsec;
}

static void interrupt(int signal)
{
	(void)signal;
	interrupted = 1;
}

static void took(void *user, uint64_t now, uint64_t offset, uint64_t length)
{
	struct measuring *measuring = user;

	if (offset == UINT64_MAX)
		measuring->unplaced += length;
	else
		demand_write(measuring->demand, now, offset, length);
}

static void show_progress(const struct measuring *measuring)
{
	char past[UNITS_TEXT_MAX], all[UNITS_TEXT_MAX], size[UNITS_TEXT_MAX];
	uint64_t now = monotonic();

	if (!isatty(STDERR_FILENO))
		return;
	fprintf(stderr, "\r%s of %s, %s written so far; Ctrl-C ends it early \033[K",
	        human_duration((now - measuring->begin) / SECOND * SECOND, past, sizeof(past)),
	        human_duration(duration, all, sizeof(all)),
	        human_size(demand_written(measuring->demand) + measuring->unplaced, size, sizeof(size)));
}

static int measure(struct writes *writes, struct measuring *measuring, struct error *err)
{
	const struct sigaction action = {.sa_handler = interrupt};
	struct sigaction former;
	int result = 0;

	sigaction(SIGINT, &action, &former);
	measuring->begin = measuring->end = monotonic();
	while (!result && !interrupted && measuring->end < measuring->begin + duration) {
		uint64_t next = measuring->end + SECOND, last = measuring->begin + duration;

		result = writes_take(writes, next < last ? next : last, measuring, took, err);
		measuring->end = monotonic();
		show_progress(measuring);
	}
	if (isatty(STDERR_FILENO))
		fprintf(stderr, "\r\033[K");
	sigaction(SIGINT, &former, NULL);
	return result;
}

static const char *per_second(uint64_t bytes, char *text)
{
	size_t length = strlen(human_size(bytes, text, UNITS_TEXT_MAX));

	snprintf(text + length, UNITS_TEXT_MAX, "/s");
	return text;
}

static void print_demand(struct measuring *measuring)
{
	uint64_t largest = 0;
	char a[2 * UNITS_TEXT_MAX], b[2 * UNITS_TEXT_MAX], c[UNITS_TEXT_MAX], d[UNITS_TEXT_MAX];

	printf("\n%-6s  %-16s  %-16s  %s\n", "RPO", "ON AVERAGE", "AT THE PEAK", "LARGEST EPOCH");
	for (unsigned i = 0; i < DEMAND_RPOS; i++) {
		struct demand_figures figures;

		demand_figures(measuring->demand, measuring->end, i, &figures);
		if (!figures.epochs) {
			printf("%-6s  not known: measure for at least %s\n", human_duration(figures.rpo, c, sizeof(c)),
			       human_duration(figures.rpo / 4, d, sizeof(d)));
			continue;
		}
		printf("%-6s  %-16s  %-16s  %s\n", human_duration(figures.rpo, c, sizeof(c)),
		       per_second(figures.mean, a), per_second(figures.peak, b),
		       human_size(figures.largest, d, sizeof(d)));
		largest = figures.largest > largest ? figures.largest : largest;
	}
	printf("\nA link that carries the average keeps up in the long run; one that carries the peak\n"
	       "holds the RPO at every moment of what was measured. Both before compression, with\n"
	       "what is overwritten within an epoch counted once.\n");
	printf("Journal on the standby: at least %s. Spill file on the primary: %s.\n",
	       human_size(2 * largest, a, UNITS_TEXT_MAX), human_size(largest, b, UNITS_TEXT_MAX));
}

static void print_counted(const struct measuring *measuring, double seconds)
{
	char a[2 * UNITS_TEXT_MAX];

	printf("\nThe block tracepoints are not here (mount -t tracefs none /sys/kernel/tracing, as\n"
	       "root): what is overwritten cannot be told from what is new. A link of at most\n"
	       "%s keeps up at any RPO, before compression; how much less does at a longer\n"
	       "one is not known.\n",
	       per_second((uint64_t)((double)measuring->unplaced / seconds), a));
}

static int estimate(struct context *context, int count, char **arguments)
{
	struct measuring measuring = {0};
	struct writes *writes;
	char size[UNITS_TEXT_MAX], written[UNITS_TEXT_MAX], past[UNITS_TEXT_MAX];
	uint64_t bytes, lost;
	struct error err;
	bool traced;
	int result;

	(void)context;
	(void)count;
	if (writes_open(arguments[0], &writes, &bytes, &traced, &err) < 0)
		return refuse("%s", err.text);
	measuring.demand = demand_new(bytes, monotonic());
	result = measuring.demand ? measure(writes, &measuring, &err) : fail(&err, ENOMEM, "out of memory");
	lost = writes_lost(writes);
	writes_close(writes);
	if (result < 0) {
		demand_free(measuring.demand);
		return refuse("%s", err.text);
	}
	printf("%s, %s: %s written in %s.\n", arguments[0], human_size(bytes, size, sizeof(size)),
	       human_size(demand_written(measuring.demand) + measuring.unplaced, written, sizeof(written)),
	       human_duration((measuring.end - measuring.begin) / (SECOND / 10) * (SECOND / 10), past, sizeof(past)));
	if (lost)
		printf("The kernel dropped %" PRIu64 " events, which are missing in the figures.\n", lost);
	if (traced)
		print_demand(&measuring);
	else
		print_counted(&measuring, (double)(measuring.end - measuring.begin) / (double)SECOND);
	demand_free(measuring.demand);
	return EXIT_DONE;
}

static int estimate_option(int option, const char *value)
{
	(void)option;
	if (parse_duration(value, &duration) < 0 || duration < SHORTEST)
		return misuse("estimate: --for %s is no time of at least 1s, as 30s or 10m", value);
	return EXIT_DONE;
}

static const struct option estimate_options[] = {
        {"for", required_argument, NULL, COMMAND_OPTION},
        {0},
};

const struct command command_estimate = {
        .name = "estimate",
        .brief = "what replicating a live device or file would need",
        .help = "Usage: stead estimate DEVICE|FILE [--for 10m]\n"
                "\n"
                "Watches the writes that a live device or file gets, without standing in their\n"
                "way, and says which bandwidth an RPO of 1 s, 5 s, 30 s and 5 min needs, and how\n"
                "large journal and spill file should be. Uses the block tracepoints of the kernel\n"
                "where they are, else the counters of the device, which know of no overwriting.\n"
                "Of a file the place on its disk is asked once: what is added to it is not seen.\n"
                "\n"
                "  --for TIME  how long (default 10m); Ctrl-C ends it early and tells so far\n",
        .options = estimate_options,
        .least = 1,
        .most = 1,
        .missing = "which device or file?",
        .option = estimate_option,
        .run = estimate,
};
