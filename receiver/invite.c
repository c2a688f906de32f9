// SPDX-License-Identifier: Apache-2.0
#include "invitation.h"
#include "receiver.h"
#include "standby.h"

#include "common/job.h"
#include "common/log.h"
#include "common/pairs.h"
#include "common/request.h"
#include "common/token.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#define EXPIRES_DEFAULT (3600 * NSEC_PER_SEC)

struct inviting {
	struct job job; // first
	struct receiver *receiver;
	struct control_call *call;
	struct invitation invitation;
	struct token token;
	char text[TOKEN_TEXT_MAX];
	int result;
	struct error reason;
};

// Where the primary is to reach us: what was said, or where we listen, or, when
// that is everywhere, this machine's name.
static int set_address(struct inviting *inviting)
{
	struct net_address address = inviting->receiver->listen;
	char text[NET_ADDRESS_MAX];

	if (inviting->invitation.config.listen[0]) {
		snprintf(text, sizeof(text), "%s", inviting->invitation.config.listen);
	} else {
		if ((!strcmp(address.host, "::") || !strcmp(address.host, "0.0.0.0")) &&
		    gethostname(address.host, sizeof(address.host) - 1) < 0)
			return fail(&inviting->reason, errno, "name of this machine: %s; give --listen HOST:PORT",
			            strerror(errno));
		net_format(&address, text);
	}
	if (strlen(text) >= sizeof(inviting->token.address))
		return fail(&inviting->reason, ENAMETOOLONG,
		            "address %s is too long for a token; give --listen HOST:PORT", text);
	strcpy(inviting->token.address, text);
	return 0;
}

static int prepare(struct inviting *inviting, json_t *request)
{
	struct pair_config *config = &inviting->invitation.config;
	uint64_t expires = EXPIRES_DEFAULT;
	const char *pair = request_pair(request, &inviting->reason);
	int result = pair ? 0 : -EINVAL;

	config_init(config);
	if (!result)
		result = request_volumes(request, config, &inviting->reason);
	if (!result)
		result = request_listen(request, config, &inviting->reason);
	if (!result)
		result = request_duration(request, "expires_ns", &expires, &inviting->reason);
	if (result < 0)
		return result;
	snprintf(config->name, sizeof(config->name), "%s", pair);
	result = config_check(config, &inviting->reason);
	if (!result)
		result = set_address(inviting);
	if (result < 0)
		return result;
	while (getrandom(inviting->token.secret, sizeof(inviting->token.secret), 0) != sizeof(inviting->token.secret))
		;
	// Rounded up: a token for a moment must live for it.
	inviting->token.expires = (int64_t)time(NULL) + (int64_t)((expires + NSEC_PER_SEC - 1) / NSEC_PER_SEC);
	snprintf(inviting->token.pair, sizeof(inviting->token.pair), "%s", pair);
	memcpy(inviting->token.fingerprint, tls_context_fingerprint(inviting->receiver->tls),
	       sizeof(inviting->token.fingerprint));
	memcpy(inviting->invitation.secret, inviting->token.secret, sizeof(inviting->token.secret));
	inviting->invitation.expires = inviting->token.expires;
	return token_encode(&inviting->token, inviting->text, &inviting->reason);
}

static void work(struct job *job)
{
	struct inviting *inviting = (struct inviting *)job;
	const struct paths *paths = &inviting->receiver->paths;
	const struct pair_config *config = &inviting->invitation.config;
	uint64_t bytes[VOLUMES_MAX] = {0};

	if (pair_exists(paths, config->name)) {
		inviting->result = fail(&inviting->reason, EEXIST,
		                        "pair %s exists on this node; remove it first: stead pair remove %s",
		                        config->name, config->name);
		return;
	}
	inviting->result = pair_check_volumes(paths, config->name, config->volumes, config->volume_count, bytes, false,
	                                      &inviting->reason);
	if (!inviting->result)
		inviting->result = invitation_save(paths, &inviting->invitation, &inviting->reason);
}

static void finish(struct inviting *inviting)
{
	struct receiver *receiver = inviting->receiver;

	if (inviting->result < 0) {
		control_refuse(inviting->call, inviting->reason.text);
	} else {
		log_event(LOG_LEVEL_INFO, "invited", "pair=%s address=%s", inviting->token.pair,
		          inviting->token.address);
		control_reply(inviting->call, json_pack("{s:s}", "token", inviting->text));
	}
	explicit_bzero(inviting, sizeof(*inviting));
	free(inviting);
	receiver->busy--;
	receiver_settle(receiver);
}

static void done(struct job *job)
{
	finish((struct inviting *)job);
}

void invite(struct receiver *receiver, struct control_call *call, json_t *request)
{
	struct inviting *inviting = calloc(1, sizeof(*inviting));

	if (!inviting) {
		control_refuse(call, "invite: out of memory");
		return;
	}
	inviting->receiver = receiver;
	inviting->call = call;
	inviting->job.work = work;
	inviting->job.done = done;
	inviting->result = prepare(inviting, request);
	if (inviting->result < 0) {
		control_refuse(call, inviting->reason.text);
		free(inviting);
		return;
	}
	receiver->busy++;
	if (job_start(receiver->loop, &inviting->job) < 0) {
		work(&inviting->job);
		finish(inviting);
	}
}
