// SPDX-License-Identifier: Apache-2.0
#include "live.h"
#include "curve.h"
#include "found.h"
#include "view.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define ANSWER_MS 2000
#define TRACE_SECONDS 600
#define TRACES_MAX 256
#define CURVE_ROWS 10

struct trace {
	char name[NAME_MAX_LENGTH + 1];
	double lags[TRACE_SECONDS]; // the newest last
	unsigned count;
};

struct live {
	struct context *context;
	const char *name; // NULL: all
	int signals;
	struct termios before;
	bool raw; // before is what to go back to
	struct trace *traces;
	unsigned trace_count;
};

// -- the terminal --

static void put(const char *text)
{
	fputs(text, stdout);
	fflush(stdout);
}

// The other screen, without cursor; keys are not shown.
static void enter(struct live *live)
{
	struct termios raw;

	live->raw = tcgetattr(STDIN_FILENO, &live->before) == 0;
	if (live->raw) {
		raw = live->before;
		raw.c_lflag &= ~(tcflag_t)(ECHO | ICANON);
		tcsetattr(STDIN_FILENO, TCSANOW, &raw);
	}
	put("\033[?1049h\033[?25l\033[?7l"); // and lines are cut, not wrapped
}

static void leave(struct live *live)
{
	put("\033[0m\033[?7h\033[?25h\033[?1049l");
	if (live->raw)
		tcsetattr(STDIN_FILENO, TCSANOW, &live->before);
}

static struct winsize size_of_terminal(void)
{
	struct winsize size = {0};

	(void)ioctl(STDOUT_FILENO, TIOCGWINSZ, &size);
	if (!size.ws_row)
		size.ws_row = 24;
	if (!size.ws_col)
		size.ws_col = 80;
	return size;
}

// -- what there is to see --

static struct trace *trace_of(struct live *live, const char *name)
{
	struct trace *grown;

	for (unsigned i = 0; i < live->trace_count; i++)
		if (!strcmp(live->traces[i].name, name))
			return &live->traces[i];
	if (live->trace_count == TRACES_MAX)
		return NULL;
	grown = realloc(live->traces, (live->trace_count + 1) * sizeof(*grown));
	if (!grown)
		return NULL;
	live->traces = grown;
	grown += live->trace_count++;
	*grown = (struct trace){.count = 0};
	snprintf(grown->name, sizeof(grown->name), "%s", name);
	return grown;
}

static void remember(struct live *live, json_t *pairs)
{
	json_t *pair;
	size_t i;

	json_array_foreach(pairs, i, pair)
	{
		const char *name = json_string_value(json_object_get(pair, "pair"));
		json_t *lag = json_object_get(pair, "lag_seconds");
		struct trace *trace = name ? trace_of(live, name) : NULL;

		if (!trace)
			continue;
		if (trace->count == TRACE_SECONDS)
			memmove(trace->lags, trace->lags + 1, --trace->count * sizeof(trace->lags[0]));
		trace->lags[trace->count++] = json_is_number(lag) ? json_number_value(lag) : -1;
	}
}

// One curve for one pair, and as many as there is room for where there are more.
static void put_curves(struct live *live, FILE *out, json_t *pairs, struct winsize size, unsigned used)
{
	unsigned rows = live->name ? CURVE_ROWS : CURVE_ROWS_MIN + 1, room;
	json_t *pair;
	size_t i;

	json_array_foreach(pairs, i, pair)
	{
		const char *name = json_string_value(json_object_get(pair, "pair"));
		double rpo = json_number_value(json_object_get(pair, "rpo_seconds"));
		struct trace *trace = name ? trace_of(live, name) : NULL;

		room = size.ws_row > used + 3 ? size.ws_row - used - 3 : 0; // a title, and the line under it
		if (!trace || rpo <= 0 || room < CURVE_ROWS_MIN)
			continue;
		if (rows > room)
			rows = room;
		if (live->name)
			fprintf(out, "\n");
		else
			fprintf(out, "%s\n", name);
		curve_draw(out, trace->lags, trace->count, rpo, size.ws_col, rows, view_colours());
		used += rows + 2;
	}
}

static unsigned lines_of(const char *text)
{
	unsigned lines = 0;

	for (; (text = strchr(text, '\n')); text++)
		lines++;
	return lines;
}

// As many lines as the terminal has: the cursor stays in the last one.
static void show(const char *text, struct winsize size)
{
	unsigned left = size.ws_row;

	printf("\033[H");
	while (*text && left-- > 0) {
		int length = (int)strcspn(text, "\n");

		printf("\033[K%.*s%s", length, text, left ? "\r\n" : "");
		text += length + (text[length] == '\n');
	}
	printf("\033[J");
	fflush(stdout);
}

static void draw(struct live *live, json_t *pairs, const char *complaint)
{
	struct winsize size = size_of_terminal();
	char *text = NULL;
	size_t length;
	FILE *out = open_memstream(&text, &length);

	if (!out)
		return;
	if (live->name)
		view_pair(out, json_array_get(pairs, 0), view_colours());
	else if (json_array_size(pairs) == 0)
		fprintf(out, "No pairs yet. On the standby: stead pair invite --help\n");
	else
		view_table(out, pairs, view_colours());
	if (*complaint)
		fprintf(out, "%s", complaint);
	fflush(out);
	put_curves(live, out, pairs, size, lines_of(text));
	fclose(out);
	show(text, size);
	free(text);
}

// What cannot be told now is said on the screen: the daemon may come back.
static int look(struct live *live, struct found *found, char **complaint)
{
	size_t length;
	FILE *out = open_memstream(complaint, &length);
	int code;

	if (!out)
		return EXIT_REFUSED;
	complain_as(out, "stead: ");
	code = found_find(live->context, live->name, ANSWER_MS, found);
	complain_as(NULL, "stead: ");
	fclose(out);
	return code;
}

// -- waiting --

// Back from ctrl-Z, the terminal as it was meanwhile.
static void suspend(struct live *live)
{
	leave(live);
	raise(SIGSTOP);
	enter(live);
}

static bool ends(struct live *live, struct pollfd *ready)
{
	struct signalfd_siginfo info;
	char key;

	if (ready[1].revents && (read(STDIN_FILENO, &key, 1) != 1 || key == 'q'))
		return true;
	if (!ready[0].revents || read(live->signals, &info, sizeof(info)) != (ssize_t)sizeof(info))
		return false;
	if (info.ssi_signo == SIGTSTP)
		suspend(live);
	return info.ssi_signo != SIGTSTP && info.ssi_signo != SIGWINCH;
}

// Until the next second, or something happens. False: the end.
static bool await(struct live *live, struct timespec *next)
{
	struct pollfd ready[2] = {{.fd = live->signals, .events = POLLIN},
	                          {.fd = live->raw ? STDIN_FILENO : -1, .events = POLLIN}};
	struct timespec now;
	int64_t left;

	clock_gettime(CLOCK_MONOTONIC, &now);
	left = (next->tv_sec - now.tv_sec) * 1000 + (next->tv_nsec - now.tv_nsec) / 1000000;
	if (left <= 0) {
		*next = now;
		left = 0;
	}
	if (poll(ready, 2, (int)left) > 0)
		return !ends(live, ready);
	next->tv_sec++;
	return true;
}

static int run(struct live *live, struct found *found)
{
	struct timespec next;
	char *complaint = NULL;
	bool again = true;

	clock_gettime(CLOCK_MONOTONIC, &next);
	next.tv_sec++;
	remember(live, found->pairs);
	while (again && !ferror(stdout)) {
		time_t second = next.tv_sec;
		struct found newer = {0};

		draw(live, found->pairs, complaint ? complaint : "");
		again = await(live, &next);
		if (!again || next.tv_sec == second)
			continue;
		free(complaint);
		complaint = NULL;
		if (look(live, &newer, &complaint) == EXIT_DONE) {
			remember(live, newer.pairs);
			json_decref(found->pairs);
			*found = newer;
		} else {
			json_decref(newer.pairs);
		}
	}
	free(complaint);
	return ferror(stdout) ? EXIT_REFUSED : EXIT_DONE;
}

int live(struct context *context, const char *name)
{
	struct live live = {.context = context, .name = name};
	struct found found = {0};
	sigset_t signals;
	int code = found_find(context, name, ASK_SOON, &found);

	sigemptyset(&signals);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGHUP);
	sigaddset(&signals, SIGTSTP);
	sigaddset(&signals, SIGWINCH);
	if (!code) {
		sigprocmask(SIG_BLOCK, &signals, NULL);
		live.signals = signalfd(-1, &signals, SFD_CLOEXEC);
		if (live.signals < 0)
			code = refuse("listen for signals: %s", strerror(errno));
	}
	if (!code) {
		enter(&live);
		code = run(&live, &found);
		leave(&live);
		close(live.signals);
	}
	free(live.traces);
	json_decref(found.pairs);
	return code;
}
