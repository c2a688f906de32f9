// SPDX-License-Identifier: Apache-2.0
#include "agent.h"
#include "export.h"
#include "memory_guard.h"
#include "pair.h"

#include "common/control.h"
#include "common/daemon.h"
#include "common/log.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define TELL_MS 5000

struct main_state {
	struct agent agent;
	struct daemon *daemon;
	bool control_stopped;
};

static struct main_state *state_of(struct agent *agent)
{
	return (struct main_state *)agent;
}

void agent_settle(struct agent *agent)
{
	struct main_state *state = state_of(agent);

	if (agent->stopping && hooks_idle(agent->hooks) && state->control_stopped && TAILQ_EMPTY(&agent->pairs) &&
	    TAILQ_EMPTY(&agent->joins) && !agent->busy)
		daemon_end(state->daemon);
}

static void control_stopped(void *user)
{
	struct main_state *state = user;

	state->control_stopped = true;
	agent_settle(&state->agent);
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

static void on_stop(void *user)
{
	struct main_state *state = user;
	struct agent *agent = &state->agent;

	if (agent->stopping)
		return;
	agent->stopping = true;
	daemon_notify("STOPPING=1");
	log_event(LOG_LEVEL_INFO, "agent-stopping", NULL);
	joins_abort(agent);
	hooks_stop(agent->hooks);
	stop_others(agent, NULL, 0);
	control_stop(agent->control, control_stopped, state);
}

static void on_reload(void *user)
{
	struct main_state *state = user;

	if (!state->agent.stopping)
		(void)agent_reload(&state->agent);
}

static bool take_up(void *user, const char *name)
{
	struct agent *agent = user;
	struct pair *pair = pair_find(agent, name);

	if (pair)
		pair_reload(pair);
	return pair || pair_start(agent, name);
}

size_t agent_reload(struct agent *agent)
{
	static const struct daemon_pairs pairs = {stop_others, take_up};

	return daemon_reload(&agent->paths, &pairs, agent);
}

static void keep_others(void *user, char (*names)[NAME_MAX_LENGTH + 1], size_t count)
{
	(void)user;
	(void)names;
	(void)count;
}

static bool take_up_new(void *user, const char *name)
{
	return pair_find(user, name) || pair_start(user, name);
}

size_t agent_take_up(struct agent *agent)
{
	static const struct daemon_pairs pairs = {keep_others, take_up_new};

	return daemon_reload(&agent->paths, &pairs, agent);
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

static void hooks_done(void *user)
{
	agent_settle(user);
}

static int set_up(void *user, struct daemon *daemon, const char *listen, struct error *err)
{
	struct main_state *state = user;
	struct agent *agent = &state->agent;

	(void)listen;
	state->daemon = daemon;
	agent->loop = daemon_loop(daemon);
	TAILQ_INIT(&agent->pairs);
	TAILQ_INIT(&agent->joins);
	if (read_boot(&agent->boot, err) < 0)
		return -EIO;
	agent->hooks = hooks_new(agent->loop, HOOK_NSEC, hooks_done, agent);
	if (!agent->hooks)
		return fail(err, ENOMEM, "start: out of memory");
	agent->tls = daemon_tls(&agent->paths, err);
	if (!agent->tls)
		return -EIO;
	agent->buffers = buffers_new(agent->loop, EXPORT_MEMORY);
	if (!agent->buffers)
		return fail(err, ENOMEM, "allocate buffers: out of memory");
	return control_new(agent->loop, agent->paths.agent_socket, agent_control, agent, &agent->control, err);
}

static void receiver_told(void *user, int error, json_t *answer, const struct error *reason)
{
	struct agent *agent = user;

	(void)error;
	(void)answer;
	(void)reason;
	agent->busy--;
	agent_settle(agent);
}

static void begin(void *user)
{
	struct main_state *state = user;
	struct agent *agent = &state->agent;
	size_t pairs = agent_reload(agent);

	// Killed between a change of role and telling of it.
	if (control_ask_on(agent->loop, agent->paths.receiver_socket, json_pack("{s:s}", "command", CONTROL_TAKE_UP),
	                   TELL_MS, agent, receiver_told) == 0)
		agent->busy++;

	log_event(LOG_LEVEL_INFO, "agent-started", "version=%s root=%s pairs=%zu", STEAD_VERSION,
	          agent->paths.root[0] ? agent->paths.root : "/", pairs);
}

static json_t *status(void *user)
{
	struct main_state *state = user;

	return agent_status(&state->agent, NULL);
}

static void tear_down(void *user)
{
	struct main_state *state = user;
	struct agent *agent = &state->agent;

	control_free(agent->control);
	hooks_free(agent->hooks);
	buffers_free(agent->buffers);
	tls_context_free(agent->tls);
}

static const struct daemon_program program = {
        .name = "stead-agent",
        .metrics = "127.0.0.1:7421",
        .stopped = "agent-stopped",
        .set_up = set_up,
        .status = status,
        .begin = begin,
        .reload = on_reload,
        .stop = on_stop,
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
	struct main_state state = {0};

	memory_guard_early();
	return daemon_main(argc, argv, &program, &state.agent.paths, &state);
}
