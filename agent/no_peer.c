// SPDX-License-Identifier: Apache-2.0
#include "no_peer.h"

#include <stddef.h>

static void fail_dial(struct task *task)
{
	struct no_peer *no_peer = (struct no_peer *)((char *)task - offsetof(struct no_peer, task));

	no_peer->posted = false;
	if (!no_peer->dialing)
		return;
	no_peer->dialing = false;
	no_peer->dialer.failed(no_peer->dialer.user,
	                       "the address of the peer is not known: set peer in its configuration");
}

static void dial(struct dialer *dialer)
{
	struct no_peer *no_peer = (struct no_peer *)dialer;

	no_peer->dialing = true;
	if (!no_peer->posted) {
		no_peer->posted = true;
		loop_post(no_peer->loop, &no_peer->task);
	}
}

static void cancel(struct dialer *dialer)
{
	((struct no_peer *)dialer)->dialing = false;
}

void no_peer_init(struct no_peer *no_peer, struct loop *loop)
{
	static const struct dialer_ops ops = {dial, cancel};

	*no_peer = (struct no_peer){.dialer = {.ops = &ops}, .loop = loop, .task = {fail_dial, NULL}};
}
