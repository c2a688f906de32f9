// SPDX-License-Identifier: Apache-2.0
// This node is the primary of a pair in its files, and a peer that proved its
// key shows a newer generation: it was promoted over us. The node's agent, which
// may not reach the peer by itself, is told to stop serving at once; where no
// agent runs, the state is marked for the next one.
#include "receiver.h"

#include "common/job.h"
#include "common/log.h"
#include "common/pairs.h"
#include "common/state_file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define AGENT_MS 20000

struct fence {
	TAILQ_ENTRY(fence) entry;
	struct receiver *receiver;
	struct job job;
	char name[NAME_MAX_LENGTH + 1];
	bool known; // it was before
	int result;
	struct error reason;
};

static void finish(struct fence *fence)
{
	struct receiver *receiver = fence->receiver;

	if (fence->result < 0)
		log_event(LOG_LEVEL_ERROR, "fence-not-told", "pair=%s reason=%s", fence->name, fence->reason.text);
	else if (!fence->known)
		log_event(LOG_LEVEL_ERROR, "fenced", "pair=%s reason=%s", fence->name, "the peer was promoted");
	TAILQ_REMOVE(&receiver->fences, fence, entry);
	free(fence);
	receiver_settle(receiver);
}

// Under the pair's lock: an agent that starts meanwhile keeps us out, and
// learns of it when the peer comes again.
static void mark_work(struct job *job)
{
	struct fence *fence = (struct fence *)((char *)job - offsetof(struct fence, job));
	const struct paths *paths = &fence->receiver->paths;
	char path[PATHS_MAX];
	struct pair_state state;
	int lock = fence->result = pair_lock(paths, fence->name, &fence->reason);

	if (lock < 0)
		return;
	path_pair_file(paths, fence->name, FILE_STATE, path);
	fence->result = state_file_read(path, &state, &fence->reason);
	if (!fence->result && state.role == ROLE_PRIMARY && !state.fenced) {
		state.fenced = true;
		fence->result = state_file_write(path, &state, &fence->reason);
	}
	close(lock);
}

static void mark_done(struct job *job)
{
	finish((struct fence *)((char *)job - offsetof(struct fence, job)));
}

static void answered(void *user, int error, json_t *reply, const struct error *reason)
{
	struct fence *fence = user;

	(void)reply;
	if (error == -ENOTCONN) {
		fence->job.work = mark_work;
		fence->job.done = mark_done;
		if (job_start(fence->receiver->loop, &fence->job) < 0) {
			mark_work(&fence->job);
			mark_done(&fence->job);
		}
		return;
	}
	fence->result = error;
	if (error < 0)
		fence->reason = *reason;
	finish(fence);
}

void fence_pair(struct receiver *receiver, const char *name, const struct pair_state *state,
                const struct wire_hello *hello)
{
	const struct ancestor *left = lineage_find(&hello->lineage, &state->lineage.generation);
	struct fence *fence, *other;

	TAILQ_FOREACH(other, &receiver->fences, entry)
	if (!strcmp(other->name, name))
		return;
	fence = calloc(1, sizeof(*fence));
	if (!fence)
		return; // the peer comes again
	fence->receiver = receiver;
	fence->known = state->fenced;
	snprintf(fence->name, sizeof(fence->name), "%s", name);
	TAILQ_INSERT_TAIL(&receiver->fences, fence, entry);
	if (control_ask_on(receiver->loop, receiver->paths.agent_socket,
	                   json_pack("{s:s,s:s,s:b,s:I,s:b,s:I,s:I,s:I}", "command", CONTROL_PAIR_FENCE, "pair", name,
	                             "forked", !left, "epoch", (json_int_t)(left ? left->epoch : 0), "untouched",
	                             hello->untouched, "bytes", (json_int_t)hello->local_bytes, "since",
	                             (json_int_t)hello->local_since, "born", (json_int_t)hello->born),
	                   AGENT_MS, fence, answered) < 0) {
		fence->result = fail(&fence->reason, ENOMEM, "out of memory");
		finish(fence);
	}
}
