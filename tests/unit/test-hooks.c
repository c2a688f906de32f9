// SPDX-License-Identifier: Apache-2.0
// Hooks of a pair run one at a time and in order, know the facts, are ended
// when they take too long, and hold up neither the loop nor one another's pair.
#include "common/events.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define SHORT_LIMIT (2 * NSEC_PER_SEC) // enough for what does not hang, also on a busy machine

static char folder[] = "/tmp/stead-hooks.XXXXXX";
static char script[100], out[100];
static struct loop *loop;
static struct hooks *hooks;
static struct pair_config config;

static void idle(void *user)
{
	(void)user;
	loop_quit(loop);
}

static void write_script(const char *body)
{
	FILE *file = fopen(script, "w");

	assert_non_null(file);
	fprintf(file, "#!/bin/sh\n%s\n", body);
	assert_int_equal(fclose(file), 0);
	assert_int_equal(chmod(script, 0755), 0);
}

static const char *what_it_wrote(void)
{
	static char text[8192];
	FILE *file = fopen(out, "r");
	size_t length = file ? fread(text, 1, sizeof(text) - 1, file) : 0;

	if (file)
		fclose(file);
	text[length] = 0;
	return text;
}

static int begin_with(uint64_t limit)
{
	struct error err;

	snprintf(script, sizeof(script), "%s/hook", folder);
	snprintf(out, sizeof(out), "%s/out", folder);
	(void)unlink(out);
	setenv("OUT", out, 1); // must not reach the hook
	loop = loop_new(&err);
	assert_non_null(loop);
	hooks = hooks_new(loop, limit, idle, NULL);
	assert_non_null(hooks);
	config_init(&config);
	strcpy(config.name, "db");
	config.volume_count = 1;
	strcpy(config.volumes[0].name, "data");
	return 0;
}

static int begin(void **state)
{
	(void)state;
	return begin_with(HOOK_NSEC);
}

static int begin_impatient(void **state)
{
	(void)state;
	return begin_with(SHORT_LIMIT);
}

static int end(void **state)
{
	(void)state;
	hooks_free(hooks);
	loop_free(loop);
	return 0;
}

static char **environment(const char *value)
{
	char **list = calloc(3, sizeof(char *));

	assert_non_null(list);
	assert_true(asprintf(&list[0], "VALUE=%s", value) > 0);
	assert_true(asprintf(&list[1], "OUT=%s", out) > 0);
	return list;
}

static void they_run_in_order_and_one_at_a_time(void **state)
{
	char expected[1000] = "";

	(void)state;
	write_script("echo begin $VALUE >>$OUT; echo said; echo end $VALUE >>$OUT");
	for (int i = 0; i < 20; i++) {
		char number[20];

		snprintf(number, sizeof(number), "%d", i);
		snprintf(expected + strlen(expected), sizeof(expected) - strlen(expected), "begin %d\nend %d\n", i, i);
		hooks_run(hooks, "db", "any", script, environment(number));
	}
	assert_false(hooks_idle(hooks));
	assert_int_equal(loop_run(loop), 0);
	assert_true(hooks_idle(hooks));
	assert_string_equal(what_it_wrote(), expected);
}

// What waits behind it, and what it has started itself, goes on or ends.
static void one_that_takes_too_long_is_killed(void **state)
{
	(void)state;
	write_script("if [ $VALUE = slow ]; then sleep 1000 & wait; echo never >>$OUT; fi; echo $VALUE >>$OUT");
	hooks_run(hooks, "db", "any", script, environment("slow"));
	hooks_run(hooks, "db", "any", script, environment("next"));
	assert_int_equal(loop_run(loop), 0);
	assert_string_equal(what_it_wrote(), "next\n");
}

// Each pair has its own order: this one ends only because the other one runs.
static void another_pair_does_not_wait(void **state)
{
	char fifo[110];

	(void)state;
	snprintf(fifo, sizeof(fifo), "%s.fifo", out);
	(void)unlink(fifo);
	assert_int_equal(mkfifo(fifo, 0600), 0);
	write_script("if [ $VALUE = one ]; then read x <$OUT.fifo; else echo x >$OUT.fifo; fi; echo $VALUE >>$OUT");
	hooks_run(hooks, "db", "any", script, environment("one"));
	hooks_run(hooks, "web", "any", script, environment("two"));
	assert_int_equal(loop_run(loop), 0);
	assert_non_null(strstr(what_it_wrote(), "one\n"));
	assert_non_null(strstr(what_it_wrote(), "two\n"));
}

static void what_cannot_run_is_passed_over(void **state)
{
	(void)state;
	hooks_run(hooks, "db", "any", "/nonexistent/hook", environment("x"));
	hooks_run(hooks, "db", "any", folder, environment("x"));
	write_script("kill -9 $$");
	hooks_run(hooks, "db", "any", script, environment("x"));
	assert_int_equal(loop_run(loop), 0);
	assert_true(hooks_idle(hooks));
}

static void much_output_is_no_trouble(void **state)
{
	(void)state;
	write_script("head -c 300000 /dev/zero | tr '\\0' x; echo; seq 1000; echo done >>$OUT");
	hooks_run(hooks, "db", "any", script, environment("x"));
	assert_int_equal(loop_run(loop), 0);
	assert_string_equal(what_it_wrote(), "done\n");
}

static void stopping_ends_all_of_them(void **state)
{
	(void)state;
	write_script("sleep 1000; echo never >>$OUT");
	hooks_run(hooks, "db", "any", script, environment("a"));
	hooks_run(hooks, "db", "any", script, environment("b"));
	hooks_stop(hooks);
	hooks_run(hooks, "db", "any", script, environment("c"));
	assert_int_equal(loop_run(loop), 0);
	assert_true(hooks_idle(hooks));
	assert_string_equal(what_it_wrote(), "");
}

// -- events --

static struct pair_status status_of(enum rpo_state rpo, int64_t lag)
{
	struct pair_status status;

	status_init(&status, &config, ROLE_STANDBY);
	status.state = "replicating";
	status.reason = "link-down";
	status.rpo_state = rpo;
	status.lag = lag;
	status.promotable = 1;
	status.recovery_epoch = 42;
	return status;
}

static void the_facts_are_in_the_environment(void **state)
{
	struct pair_status status = status_of(RPO_BREACHED, 7500 * (int64_t)NSEC_PER_MSEC);
	char body[400];

	(void)state;
	snprintf(body, sizeof(body),
	         "echo \"$STEAD_EVENT $STEAD_PAIR $STEAD_ROLE $STEAD_STATE $STEAD_REASON $STEAD_LAG_SECONDS "
	         "$STEAD_RPO_SECONDS $STEAD_RPO_STATE $STEAD_RECOVERY_POINT_EPOCH $STEAD_PROMOTABLE $STEAD_TEXT "
	         "-$STEAD_ETA_SECONDS-$OUT-\" >>%s",
	         out);
	write_script(body);
	strcpy(config.hooks[HOOK_PEER_REFUSED], script);
	event_happened(hooks, HOOK_PEER_REFUSED, &status, "$(touch no) `x` \"y\"");
	event_happened(hooks, HOOK_CONNECTED, &status, NULL); // has none
	assert_int_equal(loop_run(loop), 0);
	assert_string_equal(what_it_wrote(), "peer-refused db standby replicating link-down 7.5 5 breached 42 true "
	                                     "$(touch no) `x` \"y\" ---\n");
}

static void a_breach_is_told_once_at_each_end(void **state)
{
	static const struct {
		uint64_t seconds;
		enum rpo_state rpo;
		bool connected;
	} steps[] = {
	        {1, RPO_BREACHED, false}, // not heard of since the start
	        {2, RPO_OK, true},        {3, RPO_AT_RISK, true}, {4, RPO_BREACHED, false}, {5, RPO_BREACHED, false},
	        {6, RPO_UNKNOWN, false},  {7, RPO_OK, true},      {8, RPO_OK, true},        {9, RPO_BREACHED, true},
	};
	static const enum rpo_state risks[] = {RPO_AT_RISK,  RPO_OK,      RPO_AT_RISK, RPO_AT_RISK,
	                                       RPO_AT_RISK,  RPO_OK,      RPO_AT_RISK, RPO_AT_RISK,
	                                       RPO_BREACHED, RPO_AT_RISK, RPO_AT_RISK, RPO_OK};
	struct event_watch watch = {0};
	char body[200];

	(void)state;
	snprintf(body, sizeof(body), "echo $STEAD_EVENT >>%s", out);
	write_script(body);
	strcpy(config.hooks[HOOK_ANY], script);
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		struct pair_status status = status_of(steps[i].rpo, 0);

		status.connected = steps[i].connected;
		event_watch(&watch, hooks, &status, steps[i].seconds * NSEC_PER_SEC);
	}
	assert_int_equal(loop_run(loop), 0);
	assert_string_equal(what_it_wrote(), "rpo-breached\nrpo-recovered\nrpo-breached\n");

	// a risk is told when it lasts, and its end, and after a breach only when it is there still
	(void)unlink(out);
	watch = (struct event_watch){0};
	for (size_t i = 0; i < sizeof(risks) / sizeof(risks[0]); i++) {
		struct pair_status status = status_of(risks[i], 0);

		status.connected = true;
		event_watch(&watch, hooks, &status, (i + 1) * RPO_WATCH_NSEC);
	}
	assert_int_equal(loop_run(loop), 0);
	assert_string_equal(what_it_wrote(), "rpo-at-risk\nrpo-recovered\nrpo-at-risk\nrpo-breached\nrpo-recovered\n"
	                                     "rpo-at-risk\nrpo-recovered\n");

	// nobody is heard for long after a start
	(void)unlink(out);
	watch = (struct event_watch){0};
	for (uint64_t i = 1; i <= 2; i++) {
		struct pair_status status = status_of(RPO_BREACHED, 0);

		event_watch(&watch, hooks, &status, i * EVENTS_SETTLE_NSEC);
	}
	assert_int_equal(loop_run(loop), 0);
	assert_string_equal(what_it_wrote(), "rpo-breached\n");
}

static void only_a_connection_that_was_ends(void **state)
{
	struct pair_status status = status_of(RPO_OK, 0);
	struct event_watch watch = {0};
	char body[200];

	(void)state;
	snprintf(body, sizeof(body), "echo $STEAD_EVENT >>%s", out);
	write_script(body);
	strcpy(config.hooks[HOOK_ANY], script);
	event_connected(&watch, hooks, false, &status, "refused");
	event_connected(&watch, hooks, true, &status, NULL);
	event_connected(&watch, hooks, false, &status, "gone");
	event_connected(&watch, hooks, false, &status, "refused");
	assert_int_equal(loop_run(loop), 0);
	assert_string_equal(what_it_wrote(), "connected\ndisconnected\n");
}

static int remove_folder(void **state)
{
	char command[100];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf %s", folder);
	return system(command);
}

static int make_folder(void **state)
{
	(void)state;
	return mkdtemp(folder) ? 0 : -1;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(they_run_in_order_and_one_at_a_time, begin, end),
	        cmocka_unit_test_setup_teardown(one_that_takes_too_long_is_killed, begin_impatient, end),
	        cmocka_unit_test_setup_teardown(another_pair_does_not_wait, begin, end),
	        cmocka_unit_test_setup_teardown(what_cannot_run_is_passed_over, begin, end),
	        cmocka_unit_test_setup_teardown(much_output_is_no_trouble, begin, end),
	        cmocka_unit_test_setup_teardown(stopping_ends_all_of_them, begin, end),
	        cmocka_unit_test_setup_teardown(the_facts_are_in_the_environment, begin, end),
	        cmocka_unit_test_setup_teardown(a_breach_is_told_once_at_each_end, begin, end),
	        cmocka_unit_test_setup_teardown(only_a_connection_that_was_ends, begin, end),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
