// SPDX-License-Identifier: Apache-2.0
// The dialer of a pair that was never told where its peer is: a standby that
// was promoted, whose former primary gave no address.
#ifndef STEAD_NO_PEER_H
#define STEAD_NO_PEER_H

#include "common/channel.h"
#include "common/loop.h"

struct no_peer {
	struct dialer dialer;
	struct loop *loop;
	struct task task;
	bool posted, dialing;
};

void no_peer_init(struct no_peer *no_peer, struct loop *loop);

#endif
