// SPDX-License-Identifier: Apache-2.0
// Before anything is given up for it: whether this node has the room that its
// files need as the primary's.
#include "ready.h"

#include "common/job.h"
#include "common/room.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct asking {
	struct job job; // first
	struct receiver *receiver;
	char name[NAME_MAX_LENGTH + 1];
	struct pair_state state;
	uint64_t journal;
	int result;
	struct error reason;
	void *user;
	void (*done)(void *user, int error, const struct error *reason);
};

static void work(struct job *job)
{
	struct asking *asking = (struct asking *)job;

	asking->result =
	        room_reserve(&asking->receiver->paths, asking->name, &asking->state, asking->journal, &asking->reason);
}

static void done(struct job *job)
{
	struct asking *asking = (struct asking *)job;
	struct receiver *receiver = asking->receiver;

	asking->done(asking->user, asking->result, &asking->reason);
	free(asking);
	receiver->busy--;
	receiver_settle(receiver);
}

int ready_ask(struct receiver *receiver, const struct standby *standby, void *user,
              void (*answer)(void *user, int error, const struct error *reason))
{
	struct asking *asking = calloc(1, sizeof(*asking));

	if (!asking)
		return -ENOMEM;
	asking->job.work = work;
	asking->job.done = done;
	asking->receiver = receiver;
	strcpy(asking->name, standby_name(standby));
	asking->state = *standby_state(standby);
	asking->journal = standby_config(standby)->journal;
	asking->user = user;
	asking->done = answer;
	if (job_start(receiver->loop, &asking->job) < 0) {
		free(asking);
		return -EAGAIN;
	}
	receiver->busy++;
	return 0;
}
