// SPDX-License-Identifier: Apache-2.0
// status --watch on a terminal.
#ifndef STEAD_CTL_LIVE_H
#define STEAD_CTL_LIVE_H

#include "ctl.h"

// Again each second, until ctrl-C or q, which is how it ends well. Exit codes.
int live(struct context *context, const char *name);

#endif
