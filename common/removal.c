// SPDX-License-Identifier: Apache-2.0
#include "removal.h"

#include "job.h"
#include "log.h"
#include "pairs.h"

#include <stdio.h>
#include <stdlib.h>

struct removal {
	struct job job; // first
	struct removal_plan plan;
	char name[NAME_MAX_LENGTH + 1];
	int result;
	struct error reason;
};

static void erase_work(struct job *job)
{
	struct removal *removal = (struct removal *)job;
	const struct removal_plan *plan = &removal->plan;

	removal->result = pair_erase(plan->paths, removal->name, &removal->reason);
	if (!removal->result && plan->erase_more)
		removal->result = plan->erase_more(plan->paths, removal->name, &removal->reason);
}

static void erase_done(struct job *job)
{
	struct removal *removal = (struct removal *)job;
	struct removal_plan plan = removal->plan;

	if (removal->result < 0) {
		control_refuse(plan.call, removal->reason.text);
	} else {
		log_event(LOG_LEVEL_INFO, "pair-removed", "pair=%s", removal->name);
		control_reply(plan.call, json_pack("{s:s}", "pair", removal->name));
	}
	free(removal);
	plan.over(plan.user);
}

struct removal *removal_new(const struct removal_plan *plan, const char *pair)
{
	struct removal *removal = malloc(sizeof(*removal));

	if (!removal)
		return NULL;
	*removal = (struct removal){.job = {.work = erase_work, .done = erase_done}, .plan = *plan};
	snprintf(removal->name, sizeof(removal->name), "%s", pair);
	return removal;
}

void removal_start(void *user)
{
	struct removal *removal = user;

	if (job_start(removal->plan.loop, &removal->job) < 0) {
		erase_work(&removal->job);
		erase_done(&removal->job);
	}
}
