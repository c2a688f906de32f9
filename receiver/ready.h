// SPDX-License-Identifier: Apache-2.0
#ifndef STEAD_READY_H
#define STEAD_READY_H

#include "receiver.h"
#include "standby.h"

// Asks a job whether the pair's files have the room that this node needs as its
// primary, making what is missing. 0: answer() follows, never from within; the
// standby may be gone then. -ENOMEM, -EAGAIN: it does not.
int ready_ask(struct receiver *receiver, const struct standby *standby, void *user,
              void (*answer)(void *user, int error, const struct error *reason));

#endif
