// SPDX-License-Identifier: Apache-2.0
#include "view.h"
#include "common/reason.h"
#include "ctl.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define COLUMNS 80
#define BAR 16
#define WIDE_NAME 22 // beside longer ones one column has no room

enum tone {
	TONE_PLAIN,
	TONE_GOOD,
	TONE_CAREFUL,
	TONE_BAD,
};

struct word {
	const char *word;
	enum tone tone;
};

static const struct word states[] = {
        {"waiting", TONE_CAREFUL}, {"full-sync", TONE_CAREFUL}, {"resync", TONE_CAREFUL},  {"replicating", TONE_GOOD},
        {"paused", TONE_CAREFUL},  {"diverged", TONE_BAD},      {"split-brain", TONE_BAD}, {"refused", TONE_BAD},
        {"demoted", TONE_BAD},     {"ok", TONE_GOOD},           {"at-risk", TONE_CAREFUL}, {"breached", TONE_BAD},
};

static enum tone tone_of(const char *word)
{
	for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++)
		if (!strcmp(states[i].word, word))
			return states[i].tone;
	return TONE_PLAIN;
}

bool view_colours(void)
{
	return isatty(STDOUT_FILENO) && !getenv("NO_COLOR");
}

static const char *text_of(json_t *object, const char *key, const char *otherwise)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : otherwise;
}

// Padded to width, so that the colour does not count.
static void put_word(FILE *out, const char *word, int width, bool colour)
{
	static const char *const codes[] = {"", "\033[32m", "\033[33m", "\033[1;31m"};
	enum tone tone = colour ? tone_of(word) : TONE_PLAIN;

	fprintf(out, "%s%-*s%s", codes[tone], width, word, tone ? "\033[0m" : "");
}

static int percent(json_t *sync)
{
	double done = json_number_value(json_object_get(sync, "done_bytes"));
	double total = json_number_value(json_object_get(sync, "total_bytes"));

	if (total <= 0 || done < 0)
		return 0;
	return done >= total ? 100 : (int)(done * 100 / total);
}

static void put_progress(FILE *out, json_t *pair)
{
	json_t *sync = json_object_get(pair, "sync");
	char done[CELL_MAX], total[CELL_MAX], eta[CELL_MAX];
	int part = percent(sync) * BAR / 100;

	fprintf(out, "[%.*s%.*s] %d%%  %s of %s", part, "################", BAR - part, "................",
	        percent(sync), size_cell(json_object_get(sync, "done_bytes"), done),
	        size_cell(json_object_get(sync, "total_bytes"), total));
	if (json_is_number(json_object_get(pair, "eta_seconds")))
		fprintf(out, ", %s left", seconds_cell(json_object_get(pair, "eta_seconds"), eta));
	fprintf(out, "\n");
}

// A daemon that refuses gives a sentence for a reason: wrapped at words.
static void put_reason(FILE *out, const char *reason, int indent)
{
	const char *meaning = reason_meaning(reason);
	int column = indent;

	if (meaning) {
		fprintf(out, "%s: %s\n", reason, meaning);
		return;
	}
	while (*reason) {
		int length = (int)strcspn(reason, " ");

		if (column > indent && column + length >= COLUMNS) {
			fprintf(out, "\n%*s", indent, "");
			column = indent;
		}
		column += fprintf(out, "%s%.*s", column > indent ? " " : "", length, reason);
		reason += length;
		reason += strspn(reason, " ");
	}
	fprintf(out, "\n");
}

// "1.5 GiB" to "1.5G", "2 min 5 s" to "2m5s": a table has 80 columns only.
static const char *compact(char *text)
{
	char *to = text;

	for (const char *from = text; *from; from++) {
		if (!strncmp(from, "iB", 2) || !strncmp(from, "in", 2))
			from++;
		else if (*from != ' ')
			*to++ = *from;
	}
	*to = '\0';
	return text;
}

// Late, and on its way to be in step again.
static void put_catching_up(FILE *out, json_t *pair)
{
	json_t *eta = json_object_get(pair, "eta_seconds");
	char left[CELL_MAX];

	if (strcmp(text_of(pair, "rpo_state", "ok"), "ok") != 0 && json_number_value(eta) > 0)
		fprintf(out, "  catching up, %s left\n", seconds_cell(eta, left));
}

static void table_row(FILE *out, json_t *pair, int width, bool colour)
{
	char lag[CELL_MAX], age[CELL_MAX], behind[CELL_MAX];
	json_t *point = json_object_get(pair, "recovery_point");
	const char *reason = text_of(pair, "reason", NULL);

	fprintf(out, "%-*s  %-7s  ", width, text_of(pair, "pair", "?"), text_of(pair, "role", "-"));
	put_word(out, text_of(pair, "state", "-"), 11, colour);
	fprintf(out, "  %-6s  ", compact(seconds_cell(json_object_get(pair, "lag_seconds"), lag)));
	put_word(out, text_of(pair, "rpo_state", "-"), 8, colour);
	fprintf(out, "  %-6s", compact(seconds_cell(json_object_get(point, "age_seconds"), age)));
	if (width <= WIDE_NAME)
		fprintf(out, "  %s", compact(size_cell(json_object_get(pair, "bytes_behind"), behind)));
	fprintf(out, "\n");
	if (json_is_object(json_object_get(pair, "sync"))) {
		fprintf(out, "  ");
		put_progress(out, pair);
	} else {
		put_catching_up(out, pair);
	}
	if (reason) {
		fprintf(out, "  ");
		put_reason(out, reason, 2);
	}
}

void view_table(FILE *out, json_t *pairs, bool colour)
{
	int width = 4;
	json_t *pair;
	size_t i;

	json_array_foreach(pairs, i, pair)
	{
		int length = (int)strlen(text_of(pair, "pair", "?"));

		width = length > width ? length : width;
	}
	fprintf(out, "%-*s  %-7s  %-11s  %-6s  %-8s  %-6s%s\n", width, "PAIR", "ROLE", "STATE", "LAG", "RPO", "POINT",
	        width <= WIDE_NAME ? "  BEHIND" : "");
	json_array_foreach(pairs, i, pair)
	{
		table_row(out, pair, width, colour);
	}
}

static void view_side(FILE *out, const char *label, json_t *side)
{
	char size[CELL_MAX];

	fprintf(out, "  %-8s %s of its own", label, size_cell(json_object_get(side, "bytes"), size));
	if (json_is_string(json_object_get(side, "since")))
		fprintf(out, ", the oldest of %s", text_of(side, "since", ""));
	if (json_is_string(json_object_get(side, "promoted")))
		fprintf(out, "; promoted %s", text_of(side, "promoted", ""));
	fprintf(out, "\n");
}

static void view_divergence(FILE *out, json_t *pair)
{
	json_t *divergence = json_object_get(pair, "divergence");

	if (!json_is_object(divergence))
		return;
	fprintf(out, "diverged\n");
	view_side(out, "here", json_object_get(divergence, "here"));
	view_side(out, "peer", json_object_get(divergence, "peer"));
	fprintf(out, "  to go on, on the node that is to be overwritten: stead resync %s%s\n",
	        text_of(pair, "pair", "PAIR"),
	        strcmp(text_of(pair, "state", ""), "split-brain") == 0 ? " --discard-local" : "");
}

static void view_lag(FILE *out, json_t *pair, bool colour)
{
	char lag[CELL_MAX], rpo[CELL_MAX], breached[CELL_MAX];
	json_t *total = json_object_get(pair, "breach_seconds_total");

	if (!json_is_string(json_object_get(pair, "rpo_state")))
		return;
	fprintf(out, "lag        %s of %s at most, ", seconds_cell(json_object_get(pair, "lag_seconds"), lag),
	        seconds_cell(json_object_get(pair, "rpo_seconds"), rpo));
	put_word(out, text_of(pair, "rpo_state", "not known"), 0, colour);
	if (json_number_value(total) > 0)
		fprintf(out, "; breached for %s in all", seconds_cell(total, breached));
	fprintf(out, "\n");
}

static void view_point(FILE *out, json_t *pair)
{
	json_t *point = json_object_get(pair, "recovery_point"), *promotable = json_object_get(pair, "promotable");
	char age[CELL_MAX];

	fprintf(out, "recovery   ");
	if (json_is_object(point)) {
		fprintf(out, "epoch %lld", (long long)json_integer_value(json_object_get(point, "epoch")));
		if (json_is_string(json_object_get(point, "time")))
			fprintf(out, " of %s, %s old", text_of(point, "time", ""),
			        seconds_cell(json_object_get(point, "age_seconds"), age));
	} else {
		fprintf(out, "%s", json_is_false(promotable) ? "no point yet" : "not known");
	}
	if (json_is_boolean(promotable))
		fprintf(out, "; %spromotable", json_is_true(promotable) ? "" : "not ");
	fprintf(out, "\n");
}

static const char *number_cell(json_t *value, char text[CELL_MAX])
{
	if (json_is_integer(value))
		snprintf(text, CELL_MAX, "%lld", (long long)json_integer_value(value));
	else
		snprintf(text, CELL_MAX, "-");
	return text;
}

static void view_traffic(FILE *out, json_t *pair)
{
	json_t *epoch = json_object_get(pair, "epoch"), *eta = json_object_get(pair, "eta_seconds");
	char a[CELL_MAX], b[CELL_MAX], c[CELL_MAX];

	fprintf(out, "epoch      open %s, durable %s, applied %s\n", number_cell(json_object_get(epoch, "open"), a),
	        number_cell(json_object_get(epoch, "durable"), b), number_cell(json_object_get(epoch, "applied"), c));
	fprintf(out, "behind     %s", size_cell(json_object_get(pair, "bytes_behind"), a));
	if (json_is_number(eta) && json_number_value(eta) == 0)
		fprintf(out, ", in step");
	else if (json_is_number(eta) && !json_is_object(json_object_get(pair, "sync")))
		fprintf(out, ", %s to go", seconds_cell(eta, b));
	else if (json_is_null(eta) && json_is_true(json_object_get(pair, "connected")) &&
	         !strcmp(text_of(pair, "role", ""), "primary") && strcmp(text_of(pair, "rpo_state", "ok"), "ok") != 0)
		fprintf(out, ", not converging at this rate");
	fprintf(out, "\nrates      %s/s changed", size_cell(json_object_get(pair, "change_bytes_per_second"), a));
	fprintf(out, ", %s/s shipped, %s on the wire\n", size_cell(json_object_get(pair, "ship_bytes_per_second"), b),
	        size_cell(json_object_get(pair, "wire_bytes_total"), c));
}

static void view_volumes(FILE *out, json_t *pair)
{
	char size[CELL_MAX], dirty[CELL_MAX];
	json_t *volume;
	size_t i;

	json_array_foreach(json_object_get(pair, "volumes"), i, volume)
	{
		const char *device = text_of(volume, "device", NULL);
		json_t *changed = json_object_get(volume, "dirty_bytes");

		fprintf(out, "volume     %s, %s", text_of(volume, "name", "?"),
		        size_cell(json_object_get(volume, "bytes"), size));
		if (json_integer_value(changed) > 0)
			fprintf(out, ", %s not yet durable on the standby", size_cell(changed, dirty));
		fprintf(out, "\n  stored   %s\n", text_of(volume, "path", "?"));
		if (device)
			fprintf(out, "  use      %s (%s)\n", device, text_of(volume, "export", "?"));
	}
}

void view_pair(FILE *out, json_t *pair, bool colour)
{
	const char *reason = text_of(pair, "reason", NULL);

	fprintf(out, "pair       %s, %s on %s\n", text_of(pair, "pair", "?"), text_of(pair, "role", "role not known"),
	        text_of(pair, "node", "?"));
	fprintf(out, "state      ");
	put_word(out, text_of(pair, "state", "?"), 0, colour);
	fprintf(out, "\n");
	if (reason) {
		fprintf(out, "reason     ");
		put_reason(out, reason, 11);
	}
	if (json_is_object(json_object_get(pair, "sync"))) {
		fprintf(out, "sync       ");
		put_progress(out, pair);
	}
	fprintf(out, "peer       %s, %s\n", text_of(pair, "peer", "-"),
	        json_is_true(json_object_get(pair, "connected")) ? "connected" : "not connected");
	view_divergence(out, pair);
	view_lag(out, pair, colour);
	view_point(out, pair);
	view_traffic(out, pair);
	view_volumes(out, pair);
	if (json_is_string(json_object_get(pair, "generation")))
		fprintf(out, "generation %s\n", text_of(pair, "generation", ""));
}
