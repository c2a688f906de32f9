// SPDX-License-Identifier: Apache-2.0
#include "agent.h"
#include "export.h"
#include "memory_guard.h"
#include "pair.h"

#include "common/daemon.h"
#include "common/log.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

void agent_settle(struct agent *agent)
{
	if (agent->stopping && TAILQ_EMPTY(&agent->pairs) && TAILQ_EMPTY(&agent->joins) && !agent->busy)
		daemon_end(agent->daemon);
}

static void stop_others(void *user, char (*names)[NAME_MAX_LENGTH + 1], size_t count)
{
	struct agent *agent = user;
	struct pair *pair, *next;

	for (pair = TAILQ_FIRST(&agent->pairs); pair; pair = next) {
		next = pair_next(pair);
		if (pair_find(agent, pair_name(pair)) == pair && !config_listed(names, count, pair_name(pair)))
			pair_stop(pair, NULL, NULL);
	}
}

static bool take_up(void *user, const char *name, bool reload)
{
	struct pair *pair = pair_find(user, name);

	if (pair && reload)
		pair_reload(pair);
	return pair || pair_start(user, name);
}

static void stop(void *user)
{
	struct agent *agent = user;

	agent->stopping = true;
	joins_abort(agent);
	stop_others(agent, NULL, 0);
	agent_settle(agent);
}

// Tells a process crash, which the map survives, from a power failure.
static int read_boot(struct id *boot, struct error *err)
{
	static const char path[] = "/proc/sys/kernel/random/boot_id";
	char text[64] = "";
	FILE *stream = fopen(path, "re");
	unsigned digits = 0;

	if (!stream || !fgets(text, sizeof(text), stream)) {
		int error = errno;

		if (stream)
			fclose(stream);
		return fail(err, error ? error : EIO, "read %s: %s", path, strerror(error));
	}
	fclose(stream);
	memset(boot, 0, sizeof(*boot));
	for (const char *at = text; *at && digits < 32; at++) {
		static const char hexadecimal[] = "0123456789abcdef";
		const char *digit = strchr(hexadecimal, *at);

		if (!digit)
			continue;
		boot->bytes[digits / 2] |= (uint8_t)((digit - hexadecimal) << (digits % 2 ? 0 : 4));
		digits++;
	}
	return digits == 32 ? 0 : fail(err, EINVAL, "read %s: it is no boot id", path);
}

static int set_up(void *user, struct daemon *daemon, const char *listen, struct error *err)
{
	struct agent *agent = user;

	(void)listen;
	agent->daemon = daemon;
	agent->loop = daemon_loop(daemon);
	agent->hooks = daemon_hooks(daemon);
	agent->tls = daemon_tls(daemon);
	TAILQ_INIT(&agent->pairs);
	TAILQ_INIT(&agent->joins);
	if (read_boot(&agent->boot, err) < 0)
		return -EIO;
	agent->buffers = buffers_new(agent->loop, EXPORT_MEMORY);
	if (!agent->buffers)
		return fail(err, ENOMEM, "allocate buffers: out of memory");
	return daemon_serve(daemon, agent->paths.agent_socket, agent_control, err);
}

static void begin(void *user)
{
	struct agent *agent = user;
	size_t pairs = daemon_reload(agent->daemon);

	daemon_wake(agent->daemon, agent->paths.receiver_socket);
	log_event(LOG_LEVEL_INFO, "agent-started", "version=%s root=%s pairs=%zu", STEAD_VERSION,
	          agent->paths.root[0] ? agent->paths.root : "/", pairs);
}

static json_t *status(void *user)
{
	return agent_status(user, NULL);
}

static void tear_down(void *user)
{
	struct agent *agent = user;

	buffers_free(agent->buffers);
}

static const struct daemon_program program = {
        .name = "stead-agent",
        .metrics = "127.0.0.1:7421",
        .stopping = "agent-stopping",
        .stopped = "agent-stopped",
        .pairs = {stop_others, take_up},
        .set_up = set_up,
        .status = status,
        .begin = begin,
        .stop = stop,
        .tear_down = tear_down,
        .help = "Usage: stead-agent [--root DIR] [--metrics ADDR]\n"
                "\n"
                "Serves and replicates the volumes of the pairs that this node is the primary\n"
                "of. Stays in the foreground; use `stead` to talk to it.\n"
                "\n"
                "  --root DIR      configuration in DIR/etc/stead, state in DIR/var/lib/stead,\n"
                "                  sockets in DIR/run/stead (default /)\n"
                "  --metrics ADDR  HOST:PORT of web page and metrics, or off (default\n"
                "                  127.0.0.1:7421)\n"
                "  --help          this text\n"
                "  --version       the version\n"
                "\n"
                "SIGHUP reloads the configuration, SIGTERM stops in order.\n",
};

int main(int argc, char **argv)
{
	struct agent agent = {0};

	memory_guard_early();
	return daemon_main(argc, argv, &program, &agent.paths, &agent);
}
