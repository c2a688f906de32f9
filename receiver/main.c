// SPDX-License-Identifier: Apache-2.0
#include "receiver.h"
#include "standby.h"

#include "common/daemon.h"
#include "common/keys.h"
#include "common/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct daemon_program program = {
        .name = "stead-receiver",
        .listen = NET_LISTEN_DEFAULT,
        .help = "Usage: stead-receiver [--root DIR] [--listen ADDR]\n"
                "\n"
                "Takes what the primaries of this node's standby volumes send, makes it\n"
                "durable and applies it. Stays in the foreground; use `stead` to talk to it.\n"
                "\n"
                "  --root DIR     configuration in DIR/etc/stead, state in DIR/var/lib/stead,\n"
                "                 sockets in DIR/run/stead (default /)\n"
                "  --listen ADDR  HOST:PORT or [IPV6]:PORT to listen on (default [::]:7420)\n"
                "  --help         this text\n"
                "  --version      the version\n"
                "\n"
                "SIGHUP reloads the configuration, SIGTERM stops in order.\n",
};

struct main_state {
	struct receiver receiver;
	struct daemon_signals *signals;
	bool control_stopped, links_stopping, links_stopped, signals_stopping;
};

static void quit(void *user)
{
	struct main_state *state = user;

	loop_quit(state->receiver.loop);
}

static void links_stopped(void *user)
{
	struct main_state *state = user;

	state->links_stopped = true;
	receiver_settle(&state->receiver);
}

// Pairs and strangers first, then the links that they used.
void receiver_settle(struct receiver *receiver)
{
	struct main_state *state = (struct main_state *)receiver;

	if (!receiver->stopping || receiver->listener || !TAILQ_EMPTY(&receiver->standbys) ||
	    !TAILQ_EMPTY(&receiver->joinings) || !TAILQ_EMPTY(&receiver->fences) || receiver->busy)
		return;
	if (!state->links_stopping) {
		state->links_stopping = true;
		links_stop(receiver->links, links_stopped, state);
	} else if (state->links_stopped && state->control_stopped && !state->signals_stopping) {
		state->signals_stopping = true;
		daemon_signals_stop(state->signals, quit, state);
	}
}

static void control_stopped(void *user)
{
	struct main_state *state = user;

	state->control_stopped = true;
	receiver_settle(&state->receiver);
}

static void on_stop(void *user)
{
	struct main_state *state = user;
	struct receiver *receiver = &state->receiver;
	struct standby *standby, *next;

	if (receiver->stopping)
		return;
	receiver->stopping = true;
	daemon_notify("STOPPING=1");
	log_event(LOG_LEVEL_INFO, "receiver-stopping", NULL);
	joinings_abort(receiver);
	for (standby = TAILQ_FIRST(&receiver->standbys); standby; standby = next) {
		next = standby_next(standby);
		if (standby_find(receiver, standby_name(standby)) == standby)
			standby_stop(standby, NULL, NULL);
	}
	control_stop(receiver->control, control_stopped, state);
	listener_stop(receiver->listener);
}

static void on_reload(void *user)
{
	struct main_state *state = user;

	if (!state->receiver.stopping)
		(void)receiver_reload(&state->receiver);
}

static bool listed(char (*names)[NAME_MAX_LENGTH + 1], size_t count, const char *name)
{
	for (size_t i = 0; i < count; i++)
		if (!strcmp(names[i], name))
			return true;
	return false;
}

size_t receiver_reload(struct receiver *receiver)
{
	char(*names)[NAME_MAX_LENGTH + 1] = NULL;
	struct standby *standby, *next;
	struct error err;
	size_t count = 0;

	if (config_list(receiver->paths.configs, &names, &count, &err) < 0) {
		log_event(LOG_LEVEL_ERROR, "reload-failed", "reason=%s", err.text);
		return 0;
	}
	for (standby = TAILQ_FIRST(&receiver->standbys); standby; standby = next) {
		next = standby_next(standby);
		if (standby_find(receiver, standby_name(standby)) == standby &&
		    !listed(names, count, standby_name(standby)))
			standby_stop(standby, NULL, NULL);
	}
	for (size_t i = 0; i < count; i++) {
		standby = standby_find(receiver, names[i]);
		if (standby)
			standby_reload(standby);
		else if (!standby_start(receiver, names[i]))
			log_event(LOG_LEVEL_ERROR, "pair-refused", "pair=%s reason=%s", names[i], "out of memory");
	}
	free(names);
	return count;
}

static int set_up(struct main_state *state, const char *listen, struct error *err)
{
	struct receiver *receiver = &state->receiver;
	struct keys *keys = keys_load(receiver->paths.state, err);
	int result;

	TAILQ_INIT(&receiver->standbys);
	TAILQ_INIT(&receiver->joinings);
	TAILQ_INIT(&receiver->fences);
	if (!keys)
		return -EIO;
	receiver->tls = tls_context_new(keys, err);
	keys_free(keys);
	if (!receiver->tls)
		return -EIO;
	receiver->loop = loop_new(err);
	if (!receiver->loop)
		return -EIO;
	receiver->links = links_new(receiver->loop, receiver->tls);
	if (!receiver->links)
		return fail(err, ENOMEM, "listen: out of memory");
	state->signals = daemon_signals_new(receiver->loop, on_stop, on_reload, state, err);
	if (!state->signals)
		return -EIO;
	result = listener_open(receiver, listen, err);
	if (!result)
		result = control_new(receiver->loop, receiver->paths.receiver_socket, receiver_control, receiver,
		                     &receiver->control, err);
	if (result < 0 && receiver->listener)
		listener_stop(receiver->listener);
	return result;
}

// Also after a set-up that failed half-way.
static void tear_down(struct main_state *state)
{
	struct receiver *receiver = &state->receiver;

	if (state->signals && !state->signals_stopping) {
		daemon_signals_stop(state->signals, quit, state);
		while (state->signals && loop_run(receiver->loop) == 0 && receiver->listener)
			;
	}
	control_free(receiver->control);
	links_free(receiver->links);
	loop_free(receiver->loop);
	tls_context_free(receiver->tls);
}

int main(int argc, char **argv)
{
	struct main_state state = {0};
	struct daemon_options options;
	struct error err;
	int status, lock = -1, result;

	if (!daemon_parse(argc, argv, &program, &options, &status))
		return status;
	daemon_block_signals();
	result = paths_init(&state.receiver.paths, options.root, &err);
	if (!result)
		result = paths_make(&state.receiver.paths, &err);
	if (!result)
		lock = result = daemon_lock(&state.receiver.paths, &program, &err);
	if (result >= 0)
		result = set_up(&state, options.listen, &err);
	if (!result) {
		char listen[NET_ADDRESS_MAX];
		size_t pairs = receiver_reload(&state.receiver);

		net_format(&state.receiver.listen, listen);
		log_event(LOG_LEVEL_INFO, "receiver-started", "version=%s root=%s listen=%s pairs=%zu", STEAD_VERSION,
		          state.receiver.paths.root[0] ? state.receiver.paths.root : "/", listen, pairs);
		daemon_notify("READY=1");
		result = loop_run(state.receiver.loop);
		if (result < 0)
			fail(&err, -result, "run the event loop: %s", strerror(-result));
	}
	if (result < 0)
		fprintf(stderr, "%s: %s\n", program.name, err.text);
	else
		log_event(LOG_LEVEL_INFO, "receiver-stopped", NULL);
	tear_down(&state);
	if (lock >= 0)
		close(lock);
	return result < 0;
}
