// SPDX-License-Identifier: Apache-2.0
#include "agent.h"
#include "export.h"
#include "pair.h"

#include "common/daemon.h"
#include "common/keys.h"
#include "common/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct daemon_program program = {
        .name = "stead-agent",
        .help = "Usage: stead-agent [--root DIR]\n"
                "\n"
                "Serves and replicates the volumes of the pairs that this node is the primary\n"
                "of. Stays in the foreground. It listens on unix sockets only; use `stead` to\n"
                "talk to it.\n"
                "\n"
                "  --root DIR  configuration in DIR/etc/stead, state in DIR/var/lib/stead,\n"
                "              sockets in DIR/run/stead (default /)\n"
                "  --help      this text\n"
                "  --version   the version\n"
                "\n"
                "SIGHUP reloads the configuration, SIGTERM stops in order.\n",
};

struct main_state {
	struct agent agent;
	struct daemon_signals *signals;
	bool control_stopped, signals_stopping;
};

static struct main_state *state_of(struct agent *agent)
{
	return (struct main_state *)agent;
}

static void quit(void *user)
{
	struct main_state *state = user;

	loop_quit(state->agent.loop);
}

void agent_settle(struct agent *agent)
{
	struct main_state *state = state_of(agent);

	if (!agent->stopping || !state->control_stopped || state->signals_stopping || !TAILQ_EMPTY(&agent->pairs) ||
	    !TAILQ_EMPTY(&agent->joins) || agent->busy)
		return;
	state->signals_stopping = true;
	daemon_signals_stop(state->signals, quit, state);
}

static void control_stopped(void *user)
{
	struct main_state *state = user;

	state->control_stopped = true;
	agent_settle(&state->agent);
}

static void on_stop(void *user)
{
	struct main_state *state = user;
	struct agent *agent = &state->agent;
	struct pair *pair, *next;

	if (agent->stopping)
		return;
	agent->stopping = true;
	daemon_notify("STOPPING=1");
	log_event(LOG_LEVEL_INFO, "agent-stopping", NULL);
	joins_abort(agent);
	for (pair = TAILQ_FIRST(&agent->pairs); pair; pair = next) {
		next = pair_next(pair);
		if (pair_find(agent, pair_name(pair)) == pair)
			pair_stop(pair, NULL, NULL);
	}
	control_stop(agent->control, control_stopped, state);
}

static void on_reload(void *user)
{
	struct main_state *state = user;

	if (!state->agent.stopping)
		(void)agent_reload(&state->agent);
}

static bool listed(char (*names)[NAME_MAX_LENGTH + 1], size_t count, const char *name)
{
	for (size_t i = 0; i < count; i++)
		if (!strcmp(names[i], name))
			return true;
	return false;
}

size_t agent_reload(struct agent *agent)
{
	char(*names)[NAME_MAX_LENGTH + 1] = NULL;
	struct pair *pair, *next;
	struct error err;
	size_t count = 0;

	if (config_list(agent->paths.configs, &names, &count, &err) < 0) {
		log_event(LOG_LEVEL_ERROR, "reload-failed", "reason=%s", err.text);
		return 0;
	}
	for (pair = TAILQ_FIRST(&agent->pairs); pair; pair = next) {
		next = pair_next(pair);
		if (pair_find(agent, pair_name(pair)) == pair && !listed(names, count, pair_name(pair)))
			pair_stop(pair, NULL, NULL);
	}
	for (size_t i = 0; i < count; i++) {
		pair = pair_find(agent, names[i]);
		if (pair)
			pair_reload(pair);
		else if (!pair_start(agent, names[i]))
			log_event(LOG_LEVEL_ERROR, "pair-refused", "pair=%s reason=%s", names[i], "out of memory");
	}
	free(names);
	return count;
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

static int set_up(struct main_state *state, struct error *err)
{
	struct agent *agent = &state->agent;
	struct keys *keys;

	TAILQ_INIT(&agent->pairs);
	TAILQ_INIT(&agent->joins);
	if (read_boot(&agent->boot, err) < 0)
		return -EIO;
	keys = keys_load(agent->paths.state, err);
	if (!keys)
		return -EIO;
	agent->tls = tls_context_new(keys, err);
	keys_free(keys);
	if (!agent->tls)
		return -EIO;
	agent->loop = loop_new(err);
	if (!agent->loop)
		return -EIO;
	agent->buffers = buffers_new(agent->loop, EXPORT_MEMORY);
	if (!agent->buffers)
		return fail(err, ENOMEM, "allocate buffers: out of memory");
	state->signals = daemon_signals_new(agent->loop, on_stop, on_reload, state, err);
	if (!state->signals)
		return -EIO;
	return control_new(agent->loop, agent->paths.agent_socket, agent_control, agent, &agent->control, err);
}

static void signals_gone(void *user)
{
	quit(user);
}

static void tear_down(struct main_state *state)
{
	struct agent *agent = &state->agent;

	// Only after a set-up that failed: else it was stopped and is freed.
	if (state->signals && !state->signals_stopping) {
		daemon_signals_stop(state->signals, signals_gone, state);
		(void)loop_run(agent->loop);
	}
	control_free(agent->control);
	buffers_free(agent->buffers);
	loop_free(agent->loop);
	tls_context_free(agent->tls);
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
	result = paths_init(&state.agent.paths, options.root, &err);
	if (!result)
		result = paths_make(&state.agent.paths, &err);
	if (!result)
		lock = result = daemon_lock(&state.agent.paths, &program, &err);
	if (result >= 0)
		result = set_up(&state, &err);
	if (!result) {
		size_t pairs = agent_reload(&state.agent);

		log_event(LOG_LEVEL_INFO, "agent-started", "version=%s root=%s pairs=%zu", STEAD_VERSION,
		          state.agent.paths.root[0] ? state.agent.paths.root : "/", pairs);
		daemon_notify("READY=1");
		result = loop_run(state.agent.loop);
		if (result < 0)
			fail(&err, -result, "run the event loop: %s", strerror(-result));
	}
	if (result < 0)
		fprintf(stderr, "%s: %s\n", program.name, err.text);
	else
		log_event(LOG_LEVEL_INFO, "agent-stopped", NULL);
	tear_down(&state);
	if (lock >= 0)
		close(lock);
	return result < 0;
}
