// SPDX-License-Identifier: Apache-2.0
// check: one pair by the convention of monitoring plugins
#include "common/reason.h"
#include "found.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define SERVICE "STEAD "

static const char *text_of(json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

static bool is_one_of(const char *word, const char *const *words)
{
	for (; *words; words++)
		if (!strcmp(word, *words))
			return true;
	return false;
}

// Whether what was promised is held, and if so, whether it will be.
static int judge(json_t *pair)
{
	static const char *const bad[] = {"refused", "split-brain", "diverged", NULL};
	static const char *const lost[] = {"daemon-down", "not-loaded", "config-invalid", "not-exported", NULL};
	const char *state = text_of(pair, "state"), *rpo = text_of(pair, "rpo_state"), *role = text_of(pair, "role");

	if (is_one_of(state, bad) || is_one_of(text_of(pair, "reason"), lost) || !strcmp(rpo, "breached"))
		return EXIT_CRITICAL;
	if (!strcmp(state, "waiting") && !strcmp(role, "primary"))
		return EXIT_CRITICAL; // its volumes are not served
	if (!strcmp(state, "demoted") || !strcmp(rpo, "at-risk") || *text_of(pair, "reason") ||
	    !json_is_true(json_object_get(pair, "connected")))
		return EXIT_WARNING;
	return strcmp(rpo, "ok") != 0 ? EXIT_UNKNOWN : EXIT_OK;
}

struct line {
	char text[2000];
	size_t length;
};

static void __attribute__((format(printf, 2, 3))) add(struct line *line, const char *format, ...)
{
	size_t room = sizeof(line->text) - line->length;
	va_list args;
	int length;

	va_start(args, format);
	length = vsnprintf(line->text + line->length, room, format, args);
	va_end(args);
	if (length > 0)
		line->length += (size_t)length < room ? (size_t)length : room - 1;
}

static void tell(struct line *line, json_t *pair)
{
	json_t *point = json_object_get(pair, "recovery_point"), *sync = json_object_get(pair, "sync");
	const char *reason = text_of(pair, "reason"), *meaning = reason_meaning(reason);
	char lag[CELL_MAX], rpo[CELL_MAX], age[CELL_MAX], done[CELL_MAX], total[CELL_MAX];

	add(line, "%s: %s%s%s", text_of(pair, "pair"), text_of(pair, "role"), *text_of(pair, "role") ? " " : "",
	    text_of(pair, "state"));
	if (json_is_number(json_object_get(pair, "lag_seconds")))
		add(line, ", lag %s of %s", seconds_cell(json_object_get(pair, "lag_seconds"), lag),
		    seconds_cell(json_object_get(pair, "rpo_seconds"), rpo));
	if (*text_of(pair, "rpo_state"))
		add(line, ", RPO %s", text_of(pair, "rpo_state"));
	if (json_is_number(json_object_get(point, "age_seconds")))
		add(line, ", recovery point %s old", seconds_cell(json_object_get(point, "age_seconds"), age));
	else if (json_is_false(json_object_get(pair, "promotable")))
		add(line, ", not promotable");
	if (json_is_object(sync))
		add(line, ", %s of %s looked through", size_cell(json_object_get(sync, "done_bytes"), done),
		    size_cell(json_object_get(sync, "total_bytes"), total));
	if (*reason)
		add(line, ", %s%s%s", reason, meaning ? ": " : "", meaning ? meaning : "");
}

// U, where the convention has it, for what is not known.
static void measure(struct line *line, const char *label, json_t *value, const char *unit)
{
	if (json_is_integer(value))
		add(line, " %s=%lld%s", label, (long long)json_integer_value(value), unit);
	else if (json_is_number(value))
		add(line, " %s=%.12g%s", label, json_number_value(value), unit);
	else
		add(line, " %s=U", label);
}

static void tell_measures(struct line *line, json_t *pair)
{
	json_t *point = json_object_get(pair, "recovery_point"), *rpo = json_object_get(pair, "rpo_seconds");

	measure(line, "lag", json_object_get(pair, "lag_seconds"), "s");
	if (json_is_number(rpo))
		add(line, ";%.12g;%.12g;0", json_number_value(rpo) * 3 / 4, json_number_value(rpo));
	measure(line, "point", json_object_get(point, "age_seconds"), "s");
	measure(line, "breached", json_object_get(pair, "breach_seconds_total"), "s");
	measure(line, "behind", json_object_get(pair, "bytes_behind"), "B");
	measure(line, "changed", json_object_get(pair, "change_bytes_per_second"), "B");
	measure(line, "shipped", json_object_get(pair, "ship_bytes_per_second"), "B");
	measure(line, "wire", json_object_get(pair, "wire_bytes_total"), "c");
}

static int check(struct context *context, int count, char **arguments)
{
	static const char *const words[] = {"OK", "WARNING", "CRITICAL", "UNKNOWN"};
	struct line text = {"", 0}, measures = {"", 0};
	struct found found = {0};
	int code = check_pair_name(arguments[0]);
	json_t *pair;

	(void)count;
	if (!code)
		code = found_find(context, arguments[0], ASK_SOON, &found);
	if (code) {
		json_decref(found.pairs);
		return EXIT_UNKNOWN;
	}
	pair = json_array_get(found.pairs, 0);
	code = judge(pair);
	tell(&text, pair);
	tell_measures(&measures, pair);
	for (char *at = printable(text.text); (at = strchr(at, '|')); at++)
		*at = '/'; // begins the measures
	printf(SERVICE "%s - %s |%s\n", words[code], text.text, measures.text);
	json_decref(found.pairs);
	return code;
}

const struct command command_check = {
        .name = "check",
        .brief = "one line and exit code for monitoring",
        .help = "Usage: stead check PAIR\n"
                "\n"
                "For Nagios, Icinga and the like: one line with performance data, and the exit\n"
                "code. Ask it on both nodes.\n"
                "\n"
                "  0  OK        the RPO is held\n"
                "  1  WARNING   it is at risk, or something keeps the pair from its normal state\n"
                "  2  CRITICAL  it is breached, the volumes are not served, or somebody must act\n"
                "  3  UNKNOWN   it cannot be told; also wrong usage\n"
                "\n"
                "  --root DIR  the node below DIR (default /)\n",
        .least = 1,
        .most = 1,
        .missing = "which pair? stead status lists them",
        .plugin = SERVICE "UNKNOWN - ",
        .run = check,
};
