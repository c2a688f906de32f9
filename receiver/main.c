// SPDX-License-Identifier: Apache-2.0
#include "receiver.h"
#include "standby.h"

#include "common/daemon.h"
#include "common/log.h"

#include <errno.h>

static void links_stopped(void *user)
{
	struct receiver *receiver = user;

	daemon_end(receiver->daemon);
}

// Pairs and strangers first, then the links that they used.
void receiver_settle(struct receiver *receiver)
{
	if (!receiver->stopping || receiver->links_stopping || receiver->listener ||
	    !TAILQ_EMPTY(&receiver->standbys) || !TAILQ_EMPTY(&receiver->joinings) || !TAILQ_EMPTY(&receiver->fences) ||
	    receiver->busy)
		return;
	receiver->links_stopping = true;
	links_stop(receiver->links, links_stopped, receiver);
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

static bool take_up(void *user, const char *name, bool reload)
{
	struct standby *standby = standby_find(user, name);

	if (standby && reload)
		standby_reload(standby);
	return standby || standby_start(user, name);
}

static void stop(void *user)
{
	struct receiver *receiver = user;

	receiver->stopping = true;
	joinings_abort(receiver);
	stop_others(receiver, NULL, 0);
	listener_stop(receiver->listener);
}

static int set_up(void *user, struct daemon *daemon, const char *listen, struct error *err)
{
	struct receiver *receiver = user;
	int result;

	receiver->daemon = daemon;
	receiver->loop = daemon_loop(daemon);
	receiver->hooks = daemon_hooks(daemon);
	receiver->tls = daemon_tls(daemon);
	TAILQ_INIT(&receiver->standbys);
	TAILQ_INIT(&receiver->joinings);
	TAILQ_INIT(&receiver->fences);
	receiver->links = links_new(receiver->loop, receiver->tls);
	if (!receiver->links)
		return fail(err, ENOMEM, "listen: out of memory");
	result = listener_open(receiver, listen, err);
	return result < 0 ? result : daemon_serve(daemon, receiver->paths.receiver_socket, receiver_control, err);
}

static void begin(void *user)
{
	struct receiver *receiver = user;
	char listen[NET_ADDRESS_MAX];
	size_t pairs = daemon_reload(receiver->daemon);

	daemon_wake(receiver->daemon, receiver->paths.agent_socket);
	net_format(&receiver->listen, listen);
	log_event(LOG_LEVEL_INFO, "receiver-started", "version=%s root=%s listen=%s pairs=%zu", STEAD_VERSION,
	          receiver->paths.root[0] ? receiver->paths.root : "/", listen, pairs);
}

static json_t *status(void *user)
{
	return receiver_status(user, NULL);
}

static void tear_down(void *user)
{
	struct receiver *receiver = user;

	if (receiver->listener) // it did not come to running
		listener_stop(receiver->listener);
	while (receiver->listener && loop_run(receiver->loop) == 0)
		;
	links_free(receiver->links);
}

static const struct daemon_program program = {
        .name = "stead-receiver",
        .listen = NET_LISTEN_DEFAULT,
        .metrics = "127.0.0.1:7422",
        .stopping = "receiver-stopping",
        .stopped = "receiver-stopped",
        .pairs = {stop_others, take_up},
        .set_up = set_up,
        .status = status,
        .begin = begin,
        .stop = stop,
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
	struct receiver receiver = {0};

	return daemon_main(argc, argv, &program, &receiver.paths, &receiver);
}
