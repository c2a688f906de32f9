// SPDX-License-Identifier: Apache-2.0
#include "receiver.h"
#include "standby.h"

#include "common/control.h"
#include "common/daemon.h"
#include "common/log.h"

#include <errno.h>

#define TELL_MS 5000

struct main_state {
	struct receiver receiver;
	struct daemon *daemon;
	bool control_stopped, links_stopping, links_stopped;
};

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

	if (!receiver->stopping || !hooks_idle(receiver->hooks) || receiver->listener ||
	    !TAILQ_EMPTY(&receiver->standbys) || !TAILQ_EMPTY(&receiver->joinings) || !TAILQ_EMPTY(&receiver->fences) ||
	    receiver->busy)
		return;
	if (!state->links_stopping) {
		state->links_stopping = true;
		links_stop(receiver->links, links_stopped, state);
	} else if (state->links_stopped && state->control_stopped) {
		daemon_end(state->daemon);
	}
}

static void control_stopped(void *user)
{
	struct main_state *state = user;

	state->control_stopped = true;
	receiver_settle(&state->receiver);
}

static void stop_others(void *user, char (*names)[NAME_MAX_LENGTH + 1], size_t count)
{
	struct receiver *receiver = user;
	struct standby *standby, *next;

	for (standby = TAILQ_FIRST(&receiver->standbys); standby; standby = next) {
		next = standby_next(standby);
		if (standby_find(receiver, standby_name(standby)) == standby &&
		    !config_listed(names, count, standby_name(standby)))
			standby_stop(standby, NULL, NULL);
	}
}

static void on_stop(void *user)
{
	struct main_state *state = user;
	struct receiver *receiver = &state->receiver;

	if (receiver->stopping)
		return;
	receiver->stopping = true;
	daemon_notify("STOPPING=1");
	log_event(LOG_LEVEL_INFO, "receiver-stopping", NULL);
	joinings_abort(receiver);
	hooks_stop(receiver->hooks);
	stop_others(receiver, NULL, 0);
	control_stop(receiver->control, control_stopped, state);
	listener_stop(receiver->listener);
}

static void on_reload(void *user)
{
	struct main_state *state = user;

	if (!state->receiver.stopping)
		(void)receiver_reload(&state->receiver);
}

static bool take_up(void *user, const char *name)
{
	struct receiver *receiver = user;
	struct standby *standby = standby_find(receiver, name);

	if (standby)
		standby_reload(standby);
	return standby || standby_start(receiver, name);
}

size_t receiver_reload(struct receiver *receiver)
{
	static const struct daemon_pairs pairs = {stop_others, take_up};

	return daemon_reload(&receiver->paths, &pairs, receiver);
}

static void keep_others(void *user, char (*names)[NAME_MAX_LENGTH + 1], size_t count)
{
	(void)user;
	(void)names;
	(void)count;
}

static bool take_up_new(void *user, const char *name)
{
	return standby_find(user, name) || standby_start(user, name);
}

size_t receiver_take_up(struct receiver *receiver)
{
	static const struct daemon_pairs pairs = {keep_others, take_up_new};

	return daemon_reload(&receiver->paths, &pairs, receiver);
}

static void hooks_done(void *user)
{
	receiver_settle(user);
}

static int set_up(void *user, struct daemon *daemon, const char *listen, struct error *err)
{
	struct main_state *state = user;
	struct receiver *receiver = &state->receiver;
	int result;

	state->daemon = daemon;
	receiver->loop = daemon_loop(daemon);
	TAILQ_INIT(&receiver->standbys);
	TAILQ_INIT(&receiver->joinings);
	TAILQ_INIT(&receiver->fences);
	receiver->hooks = hooks_new(receiver->loop, HOOK_NSEC, hooks_done, receiver);
	if (!receiver->hooks)
		return fail(err, ENOMEM, "start: out of memory");
	receiver->tls = daemon_tls(&receiver->paths, err);
	if (!receiver->tls)
		return -EIO;
	receiver->links = links_new(receiver->loop, receiver->tls);
	if (!receiver->links)
		return fail(err, ENOMEM, "listen: out of memory");
	result = listener_open(receiver, listen, err);
	if (!result)
		result = control_new(receiver->loop, receiver->paths.receiver_socket, receiver_control, receiver,
		                     &receiver->control, err);
	return result;
}

static void agent_told(void *user, int error, json_t *answer, const struct error *reason)
{
	struct receiver *receiver = user;

	(void)error;
	(void)answer;
	(void)reason;
	receiver->busy--;
	receiver_settle(receiver);
}

static void begin(void *user)
{
	struct main_state *state = user;
	struct receiver *receiver = &state->receiver;
	char listen[NET_ADDRESS_MAX];
	size_t pairs = receiver_reload(receiver);

	// Killed between a change of role and telling of it.
	if (control_ask_on(receiver->loop, receiver->paths.agent_socket, json_pack("{s:s}", "command", CONTROL_TAKE_UP),
	                   TELL_MS, receiver, agent_told) == 0)
		receiver->busy++;

	net_format(&receiver->listen, listen);
	log_event(LOG_LEVEL_INFO, "receiver-started", "version=%s root=%s listen=%s pairs=%zu", STEAD_VERSION,
	          receiver->paths.root[0] ? receiver->paths.root : "/", listen, pairs);
}

static json_t *status(void *user)
{
	struct main_state *state = user;

	return receiver_status(&state->receiver, NULL);
}

static void tear_down(void *user)
{
	struct main_state *state = user;
	struct receiver *receiver = &state->receiver;

	if (receiver->listener) // it did not come to running
		listener_stop(receiver->listener);
	while (receiver->listener && loop_run(receiver->loop) == 0)
		;
	control_free(receiver->control);
	hooks_free(receiver->hooks);
	links_free(receiver->links);
	tls_context_free(receiver->tls);
}

static const struct daemon_program program = {
        .name = "stead-receiver",
        .listen = NET_LISTEN_DEFAULT,
        .metrics = "127.0.0.1:7422",
        .stopped = "receiver-stopped",
        .set_up = set_up,
        .status = status,
        .begin = begin,
        .reload = on_reload,
        .stop = on_stop,
        .tear_down = tear_down,
        .help = "Usage: stead-receiver [--root DIR] [--listen ADDR] [--metrics ADDR]\n"
                "\n"
                "Takes what the primaries of this node's standby volumes send, makes it\n"
                "durable and applies it. Stays in the foreground; use `stead` to talk to it.\n"
                "\n"
                "  --root DIR      configuration in DIR/etc/stead, state in DIR/var/lib/stead,\n"
                "                  sockets in DIR/run/stead (default /)\n"
                "  --listen ADDR   HOST:PORT or [IPV6]:PORT to listen on (default [::]:7420)\n"
                "  --metrics ADDR  HOST:PORT of web page and metrics, or off (default\n"
                "                  127.0.0.1:7422)\n"
                "  --help          this text\n"
                "  --version       the version\n"
                "\n"
                "SIGHUP reloads the configuration, SIGTERM stops in order.\n",
};

int main(int argc, char **argv)
{
	struct main_state state = {0};

	return daemon_main(argc, argv, &program, &state.receiver.paths, &state);
}
