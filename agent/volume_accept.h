// SPDX-License-Identifier: Apache-2.0
// stead volume accept, on the primary: a volume is taken as it is now, and all
// of the pair is compared with the standby.
#ifndef STEAD_VOLUME_ACCEPT_H
#define STEAD_VOLUME_ACCEPT_H

#include "pair.h"

// Answers the call; also for a pair that is refused.
void volume_accept(struct pair *pair, struct control_call *call);

#endif
