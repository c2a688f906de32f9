// SPDX-License-Identifier: Apache-2.0
#include "request.h"

#include "control.h"
#include "fields.h"
#include "net.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

const char *request_pair(json_t *request, struct error *err)
{
	const char *pair = control_text(request, "pair", err);

	if (pair && !name_valid(pair)) {
		fail(err, EINVAL,
		     "pair name %.64s is not valid: up to %d of A-Z a-z 0-9 . _ -, the first a letter or digit", pair,
		     NAME_MAX_LENGTH);
		return NULL;
	}
	return pair;
}

static int one_volume(json_t *item, struct pair_config *config, struct error *err)
{
	struct config_volume *volume = &config->volumes[config->volume_count];
	const char *name = control_text(item, "name", err);
	const char *path = name ? control_text(item, "path", err) : NULL;

	if (!path)
		return -EINVAL;
	if (!name_valid(name))
		return fail(
		        err, EINVAL,
		        "volume name %.64s is not valid: up to %d of A-Z a-z 0-9 . _ -, the first a letter or digit",
		        name, NAME_MAX_LENGTH);
	if (strlen(path) >= sizeof(volume->path))
		return fail(err, EINVAL, "volume %s: path is longer than %zu bytes", name, sizeof(volume->path) - 1);
	for (unsigned i = 0; i < config->volume_count; i++)
		if (!strcmp(config->volumes[i].name, name))
			return fail(err, EINVAL, "volume %s is given twice; each has a name of its own", name);
	snprintf(volume->name, sizeof(volume->name), "%s", name);
	snprintf(volume->path, sizeof(volume->path), "%s", path);
	volume->export = EXPORT_AUTO;
	config->volume_count++;
	return 0;
}

int request_volumes(json_t *request, struct pair_config *config, struct error *err)
{
	json_t *volumes = json_object_get(request, "volumes"), *item;
	size_t i;

	config->volume_count = 0;
	if (!json_is_array(volumes) || json_array_size(volumes) == 0)
		return fail(err, EINVAL, "no volume is given; give each as --volume NAME=PATH");
	if (json_array_size(volumes) > VOLUMES_MAX)
		return fail(err, EINVAL, "%zu volumes are given; a pair has at most %d", json_array_size(volumes),
		            VOLUMES_MAX);
	json_array_foreach(volumes, i, item)
	{
		int result = one_volume(item, config, err);

		if (result < 0)
			return result;
	}
	return 0;
}

int request_listen(json_t *request, struct pair_config *config, struct error *err)
{
	struct net_address address;
	const char *listen;

	if (!json_object_get(request, "listen"))
		return 0;
	listen = control_text(request, "listen", err);
	if (!listen)
		return -EINVAL;
	if (strlen(listen) >= sizeof(config->listen))
		return fail(err, EINVAL, "listen address %.100s... is too long; give HOST:PORT", listen);
	if (net_parse(listen, 0, &address, err) < 0)
		return -EINVAL;
	if (!address.port)
		return fail(err, EINVAL, "listen address %s has no port; give HOST:PORT", listen);
	snprintf(config->listen, sizeof(config->listen), "%s", listen);
	return 0;
}

int request_duration(json_t *request, const char *key, uint64_t *ns, struct error *err)
{
	json_t *value = json_object_get(request, key);

	if (!value)
		return 0;
	if (!json_is_integer(value) || json_integer_value(value) <= 0)
		return fail(err, EINVAL, "%s is not a time of at least 1 ns", key);
	*ns = (uint64_t)json_integer_value(value);
	return 0;
}
