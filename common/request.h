// SPDX-License-Identifier: Apache-2.0
// The fields that several control requests share, checked.
#ifndef STEAD_REQUEST_H
#define STEAD_REQUEST_H

#include "config.h"
#include "error.h"

#include <jansson.h>

// The name of a pair, valid; NULL with the reason.
const char *request_pair(json_t *request, struct error *err);

// volumes: [{name, path}], at least one, no name twice. 0 or -EINVAL.
int request_volumes(json_t *request, struct pair_config *config, struct error *err);

// listen, where it is given: HOST:PORT. 0 or -EINVAL.
int request_listen(json_t *request, struct pair_config *config, struct error *err);

// A number of nanoseconds, where it is given: at least 1. 0 or
// -EINVAL.
int request_duration(json_t *request, const char *key, uint64_t *ns, struct error *err);

#endif
