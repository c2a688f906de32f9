// SPDX-License-Identifier: Apache-2.0
// The HTTP port of a daemon: its metrics and the web page, once a second as
// they are.
#ifndef STEAD_EXPORTER_H
#define STEAD_EXPORTER_H

#include "error.h"
#include "loop.h"

#include <jansson.h>

struct exporter;

// program is the name of the daemon. address: HOST:PORT, or "off": then there
// is none, and no failure. status tells of all pairs: a new array of
// status_json(). A port that cannot be had is said in the log. 0, -EINVAL for
// what is no address, with the reason, or -ENOMEM.
int exporter_new(struct loop *loop, const char *program, const char *address, json_t *(*status)(void *user), void *user,
                 struct exporter **exporter, struct error *err);
void exporter_free(struct exporter *exporter); // NULL: does nothing

#endif
