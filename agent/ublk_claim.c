// SPDX-License-Identifier: Apache-2.0
#include "ublk_claim.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <time.h>
#include <xxhash.h>

#define DEPTH 128
#define BUFFER_BYTES ((uint32_t)128 << 10)
#define ZERO_COPY (UBLK_F_SUPPORT_ZERO_COPY | UBLK_F_AUTO_BUF_REG | UBLK_F_USER_COPY)
#define TAKE_UP_SECONDS 30 // for the driver to notice that the former server is gone
#define TAKE_UP_RETRY_MSEC 20 // it tells nobody

uint64_t ublk_claim_tag(const char *id)
{
	return XXH3_64bits(id, strlen(id));
}

bool ublk_claim_zero_copy(const struct ublk_claim *claim)
{
	return (claim->info.flags & ZERO_COPY) == ZERO_COPY;
}

static int wait_for_former(struct ublk_claim *claim, struct ublk_control *control, struct error *err)
{
	static const struct timespec pause = {.tv_nsec = TAKE_UP_RETRY_MSEC * 1000000L};
	unsigned tries = TAKE_UP_SECONDS * 1000 / TAKE_UP_RETRY_MSEC;
	int result = ublk_recovery_begin(control, claim->info.dev_id);

	while (result == -EBUSY && tries--) {
		nanosleep(&pause, NULL);
		result = ublk_recovery_begin(control, claim->info.dev_id);
	}
	if (result == -EBUSY)
		return fail(err, EBUSY, "ublk: take /dev/ublkb%u up: process %d still serves it", claim->info.dev_id,
		            claim->info.ublksrv_pid);
	// -EINVAL: a process before us began the same and died: go on from there.
	if (result < 0 && result != -EINVAL)
		return fail(err, -result, "ublk: take /dev/ublkb%u up: %s", claim->info.dev_id, strerror(-result));
	return 0;
}

static int check_taken_up(const struct ublk_claim *claim, struct error *err)
{
	const struct ublk_dev_info *info = &claim->info;

	if (info->nr_hw_queues == 1 && info->queue_depth && info->queue_depth <= UBLK_DEPTH_MAX &&
	    info->max_io_buf_bytes && (info->flags & UBLK_F_USER_RECOVERY_REISSUE) &&
	    (!(info->flags & ZERO_COPY) || ublk_claim_zero_copy(claim)))
		return 0;
	return fail(err, EINVAL,
	            "ublk: take /dev/ublkb%u up: it is of a version of stead that this one does not know; "
	            "unmount it and start the agent again",
	            info->dev_id);
}

static int add(struct ublk_claim *claim, struct ublk_control *control, const struct export_config *config,
               uint64_t more)
{
	claim->info = (struct ublk_dev_info){
	        .nr_hw_queues = 1,
	        .queue_depth = DEPTH,
	        .max_io_buf_bytes = BUFFER_BYTES,
	        .dev_id = UINT32_MAX,
	        .flags = UBLK_F_USER_RECOVERY | UBLK_F_USER_RECOVERY_REISSUE | UBLK_F_CMD_IOCTL_ENCODE | more,
	        .ublksrv_flags = ublk_claim_tag(config->id),
	};
	return ublk_add(control, &claim->info);
}

static int make(struct ublk_claim *claim, struct ublk_control *control, const struct export_config *config, bool wanted,
                struct error *err)
{
	struct ublk_params params;
	int result;

	wanted &= (control->features & ZERO_COPY) == ZERO_COPY;
	result = add(claim, control, config, wanted ? ZERO_COPY : 0);
	// The driver may have each of them, but not all at once.
	if (wanted && result == 0 && !ublk_claim_zero_copy(claim))
		result = ublk_delete(control, claim->info.dev_id) < 0 ? -EOPNOTSUPP : -EINVAL;
	if (wanted && result == -EINVAL)
		result = add(claim, control, config, 0);
	if (result < 0)
		return fail(err, -result, "ublk: make a device: %s", strerror(-result));
	ublk_parameters(config->size, config->sector, claim->info.max_io_buf_bytes, ublk_claim_zero_copy(claim),
	                &params);
	result = ublk_set_params(control, claim->info.dev_id, &params);
	if (result == 0)
		return 0;
	(void)ublk_delete(control, claim->info.dev_id);
	return fail(err, -result, "ublk: the driver refuses a device of %" PRIu64 " bytes: %s", config->size,
	            strerror(-result));
}

int ublk_claim(struct ublk_control *control, const struct export_config *config, bool zero_copy,
               struct ublk_claim *claim, struct error *err)
{
	int result;

	claim->taken_up = ublk_find(control, ublk_claim_tag(config->id), &claim->info);
	if (claim->taken_up && claim->info.state == UBLK_STATE_DEAD) {
		(void)ublk_delete(control, claim->info.dev_id);
		claim->taken_up = false;
	}
	if (!claim->taken_up)
		return make(claim, control, config, zero_copy, err);
	result = check_taken_up(claim, err);
	return result < 0 ? result : wait_for_former(claim, control, err);
}
