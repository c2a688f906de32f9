// SPDX-License-Identifier: Apache-2.0
// The writes that a live device or file gets, seen from outside: by the block
// layer's tracepoints, or where there are none by its counters.
#ifndef STEAD_WRITES_H
#define STEAD_WRITES_H

#include "common/error.h"

#include <stdbool.h>
#include <stdint.h>

struct writes;

// 0 or -errno with the reason. *traced: each write is told; else only how many
// bytes, without their place.
int writes_open(const char *path, struct writes **writes, uint64_t *bytes, bool *traced, struct error *err);
void writes_close(struct writes *writes);

// Waits until the deadline (CLOCK_MONOTONIC, ns) or a signal, and tells of the
// writes until then: now() is CLOCK_MONOTONIC at each; offset is UINT64_MAX
// where it is not known. 0 or -errno with the reason.
int writes_take(struct writes *writes, uint64_t deadline, void *user,
                void (*took)(void *user, uint64_t now, uint64_t offset, uint64_t length), struct error *err);

// Events that the kernel dropped because they were not taken in time.
uint64_t writes_lost(const struct writes *writes);

#endif
