// SPDX-License-Identifier: Apache-2.0
#include "daemon.h"

#include "exporter.h"
#include "keys.h"
#include "lock.h"
#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define WAKE_MSEC 5000 // for the other daemon to answer

struct options {
	const char *root;
	const char *listen;
	const char *metrics;
};

// False when the program is to end with *status.
static bool parse(int argc, char **argv, const struct daemon_program *program, struct options *options, int *status)
{
	static const struct option longs[] = {
	        {"root", required_argument, NULL, 'r'},    {"listen", required_argument, NULL, 'l'},
	        {"metrics", required_argument, NULL, 'm'}, {"help", no_argument, NULL, 'h'},
	        {"version", no_argument, NULL, 'v'},       {NULL, 0, NULL, 0},
	};
	int option;

	*options = (struct options){"/", program->listen, program->metrics};
	*status = 2;
	opterr = 0;
	while ((option = getopt_long(argc, argv, ":", longs, NULL)) != -1) {
		switch (option) {
		case 'r':
			options->root = optarg;
			continue;
		case 'l':
			if (!program->listen)
				break;
			options->listen = optarg;
			continue;
		case 'm':
			options->metrics = optarg;
			continue;
		case 'h':
			fputs(program->help, stdout);
			*status = 0;
			return false;
		case 'v':
			printf("%s %s\n", program->name, STEAD_VERSION);
			*status = 0;
			return false;
		case ':':
			fprintf(stderr, "%s: option %s needs a value; see --help\n", program->name, argv[optind - 1]);
			return false;
		default:
			break;
		}
		fprintf(stderr, "%s: unknown option %s; see --help\n", program->name, argv[optind - 1]);
		return false;
	}
	if (optind < argc) {
		fprintf(stderr, "%s: takes no argument %s; see --help\n", program->name, argv[optind]);
		return false;
	}
	return true;
}

// The descriptor, or -EBUSY with the reason when another daemon of the name runs
// on this root.
static int lock_root(const struct paths *paths, const struct daemon_program *program, struct error *err)
{
	char path[PATHS_MAX + 64];
	int fd, result;

	snprintf(path, sizeof(path), "%s/%.40s.lock", paths->run, program->name);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return fail(err, errno, "open %s: %s", path, strerror(errno));
	if (lock_file(fd) == 0)
		return fd;
	result = fail(err, EBUSY, "%s runs already on root %s: %s is locked", program->name,
	              paths->root[0] ? paths->root : "/", path);
	close(fd);
	return result;
}

static void our_signals(sigset_t *set)
{
	sigemptyset(set);
	sigaddset(set, SIGTERM);
	sigaddset(set, SIGINT);
	sigaddset(set, SIGHUP);
}

// Before any thread is started: signals are read, not caught.
static void block_signals(void)
{
	sigset_t set;

	our_signals(&set);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
}

struct daemon {
	struct op op; // first: reads signals
	const struct daemon_program *program;
	void *user;
	const struct paths *paths;
	struct loop *loop;
	int fd; // -1: no signals are read
	struct signalfd_siginfo info;
	struct hooks *hooks;
	struct tls_context *tls;
	struct control *control;
	struct exporter *exporter;
	unsigned waking; // the other daemon has not answered
	bool stopping, control_stopped;
	bool over; // the program's part
	bool ending;
};

// The end: when nothing is under way any more.

static void quit(struct daemon *daemon)
{
	if (daemon->ending)
		return;
	daemon->ending = true;
	loop_cancel(daemon->loop, &daemon->op);
}

static void quit_when_idle(struct daemon *daemon)
{
	if (daemon->over && daemon->control_stopped && hooks_idle(daemon->hooks) && !daemon->waking)
		quit(daemon);
}

void daemon_end(struct daemon *daemon)
{
	daemon->over = true;
	quit_when_idle(daemon);
}

static void hooks_done(void *user)
{
	quit_when_idle(user);
}

static void control_stopped(void *user)
{
	struct daemon *daemon = user;

	daemon->control_stopped = true;
	quit_when_idle(daemon);
}

static void stop(struct daemon *daemon)
{
	if (daemon->stopping)
		return;
	daemon->stopping = true;
	daemon_notify("STOPPING=1");
	log_event(LOG_LEVEL_INFO, daemon->program->stopping, NULL);
	hooks_stop(daemon->hooks);
	daemon->program->stop(daemon->user);
	control_stop(daemon->control, control_stopped, daemon);
}

static void next_signal(struct daemon *daemon)
{
	io_uring_prep_read(loop_sqe(daemon->loop, &daemon->op), daemon->fd, &daemon->info, sizeof(daemon->info), 0);
}

static void signalled(struct op *op, int result, unsigned flags)
{
	struct daemon *daemon = (struct daemon *)op;

	(void)flags;
	if (daemon->ending) {
		close(daemon->fd);
		daemon->fd = -1;
		loop_quit(daemon->loop);
		return;
	}
	next_signal(daemon);
	if (result != (int)sizeof(daemon->info))
		return;
	if (daemon->info.ssi_signo != SIGHUP)
		stop(daemon);
	else if (!daemon->stopping)
		(void)daemon_reload(daemon);
}

static struct tls_context *make_tls(const struct paths *paths, struct error *err)
{
	struct keys *keys = keys_load(paths->state, err);
	struct tls_context *tls = keys ? tls_context_new(keys, err) : NULL;

	keys_free(keys);
	return tls;
}

static int start(struct daemon *daemon, struct error *err)
{
	sigset_t set;

	daemon->loop = loop_new(err);
	if (!daemon->loop)
		return -EIO;
	our_signals(&set);
	daemon->fd = signalfd(-1, &set, SFD_CLOEXEC);
	if (daemon->fd < 0)
		return fail(err, errno, "listen for signals: %s", strerror(errno));
	next_signal(daemon);
	daemon->hooks = hooks_new(daemon->loop, HOOK_NSEC, hooks_done, daemon);
	if (!daemon->hooks)
		return fail(err, ENOMEM, "start: out of memory");
	daemon->tls = make_tls(daemon->paths, err);
	return daemon->tls ? 0 : -EIO;
}

struct loop *daemon_loop(const struct daemon *daemon)
{
	return daemon->loop;
}

struct hooks *daemon_hooks(const struct daemon *daemon)
{
	return daemon->hooks;
}

struct tls_context *daemon_tls(const struct daemon *daemon)
{
	return daemon->tls;
}

int daemon_serve(struct daemon *daemon, const char *socket, control_handler handler, struct error *err)
{
	return control_new(daemon->loop, socket, handler, daemon->user, &daemon->control, err);
}

static void woken(void *user, int error, json_t *answer, const struct error *reason)
{
	struct daemon *daemon = user;

	(void)error;
	(void)answer;
	(void)reason;
	daemon->waking--;
	quit_when_idle(daemon);
}

void daemon_wake(struct daemon *daemon, const char *socket)
{
	json_t *request = json_pack("{s:s}", "command", CONTROL_TAKE_UP);

	if (control_ask_on(daemon->loop, socket, request, WAKE_MSEC, daemon, woken) == 0)
		daemon->waking++;
}

static int run(struct daemon *daemon, struct error *err)
{
	int result;

	daemon->program->begin(daemon->user);
	daemon_notify("READY=1");
	result = loop_run(daemon->loop);
	if (result < 0)
		return fail(err, -result, "run the event loop: %s", strerror(-result));
	log_event(LOG_LEVEL_INFO, daemon->program->stopped, NULL);
	return 0;
}

// Whatever it came to: after a stop in order nothing is left to end.
static void finish(struct daemon *daemon)
{
	if (daemon->fd >= 0) {
		quit(daemon);
		(void)loop_run(daemon->loop);
	}
	exporter_free(daemon->exporter);
	daemon->program->tear_down(daemon->user);
	control_free(daemon->control);
	hooks_free(daemon->hooks);
	tls_context_free(daemon->tls);
	loop_free(daemon->loop);
}

int daemon_main(int argc, char **argv, const struct daemon_program *program, struct paths *paths, void *user)
{
	struct daemon daemon = {.op = {signalled}, .program = program, .user = user, .paths = paths, .fd = -1};
	struct options options;
	struct error err;
	int status, lock = -1, result;

	if (!parse(argc, argv, program, &options, &status))
		return status;
	block_signals();
	result = paths_init(paths, options.root, &err);
	if (!result)
		result = paths_make(paths, &err);
	if (!result)
		lock = result = lock_root(paths, program, &err);
	if (lock >= 0) {
		result = start(&daemon, &err);
		if (!result)
			result = program->set_up(user, &daemon, options.listen, &err);
		if (!result)
			result = exporter_new(daemon.loop, program->name, options.metrics, program->status, user,
			                      &daemon.exporter, &err);
		if (!result)
			result = run(&daemon, &err);
	}
	if (result < 0)
		fprintf(stderr, "%s: %s\n", program->name, err.text);
	if (lock >= 0) {
		finish(&daemon);
		close(lock);
	}
	return result < 0;
}

static size_t take_up(struct daemon *daemon, bool reload)
{
	const struct daemon_pairs *pairs = &daemon->program->pairs;
	char(*names)[NAME_MAX_LENGTH + 1] = NULL;
	struct error err;
	size_t count = 0;

	if (config_list(daemon->paths->configs, &names, &count, &err) < 0) {
		log_event(LOG_LEVEL_ERROR, "reload-failed", "reason=%s", err.text);
		return 0;
	}
	if (reload)
		pairs->stop_others(daemon->user, names, count);
	for (size_t i = 0; i < count; i++)
		if (!pairs->take_up(daemon->user, names[i], reload))
			log_event(LOG_LEVEL_ERROR, "pair-refused", "pair=%s reason=%s", names[i], "out of memory");
	free(names);
	return count;
}

size_t daemon_reload(struct daemon *daemon)
{
	return take_up(daemon, true);
}

size_t daemon_take_up(struct daemon *daemon)
{
	return take_up(daemon, false);
}

void daemon_notify(const char *text)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd;

	if (!path || (path[0] != '/' && path[0] != '@') || strlen(path) >= sizeof(address.sun_path))
		return;
	memcpy(address.sun_path, path, strlen(path));
	if (path[0] == '@')
		address.sun_path[0] = 0; // abstract
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return;
	(void)sendto(fd, text, strlen(text), MSG_NOSIGNAL, (struct sockaddr *)&address,
	             (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path)));
	close(fd);
}

uint64_t daemon_random(void *unused)
{
	uint64_t value = 0;

	(void)unused;
	while (getrandom(&value, sizeof(value), 0) != sizeof(value))
		;
	return value;
}
