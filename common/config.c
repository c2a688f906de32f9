// SPDX-License-Identifier: Apache-2.0
#include "config.h"
#include "clock.h"
#include "config_value.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const char *const exports[] = {
        [EXPORT_AUTO] = "auto", [EXPORT_UBLK] = "ublk", [EXPORT_NBD] = "nbd", [EXPORT_SOCKET] = "socket"};

const char *export_name(enum export_kind kind)
{
	return exports[kind];
}

int export_parse(const char *text, enum export_kind *kind, struct error *err)
{
	for (unsigned i = 0; i < sizeof(exports) / sizeof(exports[0]); i++) {
		if (!strcmp(text, exports[i])) {
			*kind = (enum export_kind)i;
			return 0;
		}
	}
	return fail(err, EINVAL, "export '%s' is not known; use auto, ublk, nbd or socket", text);
}

const char *hook_name(enum hook_event event)
{
	static const char *const names[HOOK_EVENTS] = {
	        [HOOK_ANY] = "any",
	        [HOOK_CONNECTED] = "connected",
	        [HOOK_DISCONNECTED] = "disconnected",
	        [HOOK_SERVING] = "serving",
	        [HOOK_PROMOTED] = "promoted",
	        [HOOK_DEMOTED] = "demoted",
	        [HOOK_SPLIT_BRAIN] = "split-brain",
	        [HOOK_DIVERGED] = "diverged",
	        [HOOK_PEER_REFUSED] = "peer-refused",
	        [HOOK_RPO_AT_RISK] = "rpo-at-risk",
	        [HOOK_RPO_BREACHED] = "rpo-breached",
	        [HOOK_RPO_RECOVERED] = "rpo-recovered",
	        [HOOK_SYNC_STARTED] = "sync-started",
	        [HOOK_SYNC_DONE] = "sync-done",
	        [HOOK_RESYNC_DONE] = "resync-done",
	        [HOOK_PAUSED] = "paused",
	        [HOOK_RESUMED] = "resumed",
	};

	return names[event];
}

void config_init(struct pair_config *config)
{
	memset(config, 0, sizeof(*config));
	config->rpo = 5 * NSEC_PER_SEC;
	config->rto = 60 * NSEC_PER_SEC;
	config->capture_memory = UINT64_C(64) << 20;
	config->spill = UINT64_C(1) << 30;
	config->journal = UINT64_C(4) << 30;
}

static int check_volumes(const struct pair_config *config, struct error *err)
{
	if (config->volume_count == 0 || config->volume_count > VOLUMES_MAX)
		return fail(err, EINVAL, "a pair has 1 to %d volumes, not %u", VOLUMES_MAX, config->volume_count);
	for (unsigned i = 0; i < config->volume_count; i++) {
		const struct config_volume *volume = &config->volumes[i];
		int error = value_name("volume", volume->name, err);

		if (!error)
			error = value_path(volume->path, err);
		if (error)
			return error;
		for (unsigned j = 0; j < i; j++) {
			if (!strcmp(config->volumes[j].name, volume->name))
				return fail(err, EINVAL, "volume %s is given twice", volume->name);
			if (!strcmp(config->volumes[j].path, volume->path))
				return fail(err, EINVAL, "volumes %s and %s have the same path %s",
				            config->volumes[j].name, volume->name, volume->path);
		}
	}
	return 0;
}

int config_check(const struct pair_config *config, struct error *err)
{
	int error = value_name("pair", config->name, err);

	for (unsigned key = 0; !error && key < pair_key_count; key++)
		error = pair_key_check(&pair_keys[key], config, err);
	for (int event = 0; !error && event < HOOK_EVENTS; event++)
		if (config->hooks[event][0])
			error = value_path(config->hooks[event], err);
	if (!error)
		error = hours_check(config->hours, config->hours_count, err);
	if (!error)
		error = check_volumes(config, err);
	return error;
}
