// SPDX-License-Identifier: Apache-2.0
// observe: looks at a pair's status many times a second and costs next to
// nothing, where `stead status` would be a process each time.
//
//   observe SOCKET PAIR in-step [ORDER]   seconds from now, or from the order (resume), until
//                                         everything is durable on the standby
//   observe SOCKET PAIR lag SECONDS       the distribution of the lag over that time
//   observe SOCKET PAIR answers COUNT     of the time that so many answers took
//
// SOCKET is the control socket of the primary's agent. Prints one line of JSON.
#include "common/control.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define STEP_NSEC 2000000 // between two looks, for the end of something
#define LAG_NSEC 20000000 // and for a distribution
#define HANGS 600 // seconds

static const char *path, *pair;

static double now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static json_t *ask(const char *command)
{
	struct error err;
	json_t *reply;

	if (control_ask(path, json_pack("{s:s, s:s}", "command", command, "pair", pair), 10000, &reply, &err) == 0)
		return reply;
	fprintf(stderr, "observe: %s: %s\n", command, err.text);
	exit(1);
}

// The pair's status; the reply that it is part of is to be released.
static json_t *look(json_t **reply)
{
	json_t *status;

	*reply = ask(CONTROL_STATUS);
	status = json_array_get(json_object_get(*reply, "pairs"), 0);
	if (status)
		return status;
	fprintf(stderr, "observe: there is no pair %s\n", pair);
	exit(1);
}

static bool in_step(void)
{
	json_t *reply, *status = look(&reply);
	const char *state = json_string_value(json_object_get(status, "state"));
	json_t *lag = json_object_get(status, "lag_seconds"), *behind = json_object_get(status, "bytes_behind");
	bool yes = state && !strcmp(state, "replicating") && json_is_true(json_object_get(status, "connected")) &&
	           json_is_number(lag) && json_number_value(lag) == 0 && json_is_number(behind) &&
	           json_number_value(behind) == 0;

	json_decref(reply);
	return yes;
}

static void wait_ns(long ns)
{
	nanosleep(&(struct timespec){.tv_nsec = ns}, NULL);
}

static void until_in_step(const char *order)
{
	double began = now();

	if (order)
		json_decref(ask(order));
	while (!in_step()) {
		if (now() - began > HANGS) {
			fprintf(stderr, "observe: pair %s is not in step after %d s\n", pair, HANGS);
			exit(1);
		}
		wait_ns(STEP_NSEC);
	}
	printf("{\"seconds\": %.4f}\n", now() - began);
}

static int compare(const void *left, const void *right)
{
	double a = *(const double *)left, b = *(const double *)right;

	return (a > b) - (a < b);
}

static void distribution(double seconds)
{
	double end = now() + seconds;
	size_t most = (size_t)(seconds * 1e9 / LAG_NSEC) + 2, count = 0;
	double *lags = calloc(most, sizeof(*lags));

	while (lags && count < most && now() < end) {
		json_t *reply, *lag = json_object_get(look(&reply), "lag_seconds");

		// Not known: worse than any that is.
		lags[count++] = json_is_number(lag) ? json_number_value(lag) : HUGE_VAL;
		json_decref(reply);
		wait_ns(LAG_NSEC);
	}
	if (count == 0 || (qsort(lags, count, sizeof(*lags), compare), isinf(lags[count - 1]))) {
		fprintf(stderr, "observe: pair %s does not know its lag\n", pair);
		exit(1);
	}
	printf("{\"samples\": %zu, \"p50_s\": %.4f, \"p90_s\": %.4f, \"p99_s\": %.4f, \"max_s\": %.4f}\n", count,
	       lags[count / 2], lags[count * 9 / 10], lags[count * 99 / 100], lags[count - 1]);
	free(lags);
}

static void answer_times(unsigned count)
{
	double *ms = calloc(count, sizeof(*ms)), began;

	for (unsigned i = 0; ms && i < count; i++) {
		wait_ns(LAG_NSEC);
		began = now();
		json_decref(ask(CONTROL_STATUS));
		ms[i] = (now() - began) * 1e3;
	}
	if (!ms)
		exit(1);
	qsort(ms, count, sizeof(*ms), compare);
	printf("{\"samples\": %u, \"median_ms\": %.3f, \"most_ms\": %.3f}\n", count, ms[count / 2], ms[count - 1]);
	free(ms);
}

int main(int argc, char **argv)
{
	if (argc >= 4) {
		path = argv[1];
		pair = argv[2];
		if (!strcmp(argv[3], "in-step") && argc <= 5) {
			until_in_step(argv[4]);
			return 0;
		}
		if (!strcmp(argv[3], "lag") && argc == 5 && atof(argv[4]) > 0 && atof(argv[4]) <= 86400) {
			distribution(atof(argv[4]));
			return 0;
		}
		if (!strcmp(argv[3], "answers") && argc == 5 && atoi(argv[4]) > 0 && atoi(argv[4]) <= 100000) {
			answer_times((unsigned)atoi(argv[4]));
			return 0;
		}
	}
	fprintf(stderr, "usage: observe SOCKET PAIR in-step [ORDER] | lag SECONDS | answers COUNT\n");
	return 2;
}
