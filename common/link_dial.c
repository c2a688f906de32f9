// SPDX-License-Identifier: Apache-2.0
// Connecting: one address after another until one takes the connection.
#include "link_internal.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct link_dialer *dialer_of(struct dialer *dialer)
{
	return (struct link_dialer *)dialer;
}

static void connected(struct op *op, int result, unsigned flags);

// Where the address was tried and why that did not do.
static void note(struct link_dialer *dialer, const struct net_candidate *target, int error)
{
	char text[NET_ADDRESS_MAX], numeric[NET_PEER_MAX];

	net_format(&dialer->address, text);
	net_text((const struct sockaddr *)&target->address, target->length, numeric);
	if (strcmp(text, numeric) == 0)
		snprintf(dialer->why, sizeof(dialer->why), "connect to %s: %s", text, strerror(error));
	else
		snprintf(dialer->why, sizeof(dialer->why), "connect to %s (%s): %s", text, numeric, strerror(error));
}

static bool resolve(struct link *link)
{
	struct link_dialer *dialer = link->dialer;
	struct error err;

	dialer->tried = 0;
	if (net_resolve(&dialer->address, dialer->candidates,
	                sizeof(dialer->candidates) / sizeof(dialer->candidates[0]), &dialer->count, &err) == 0)
		return true;
	dialer->link = NULL;
	link->dialer = NULL;
	link_fail(link, false, "%s", err.text);
	return false;
}

void link_connect_next(struct link *link)
{
	struct link_dialer *dialer = link->dialer;

	if (link->connecting)
		return;
	if (dialer->count == 0 && !resolve(link))
		return;
	while (dialer->tried < dialer->count) {
		struct io_uring_sqe *sqe;

		link->target = dialer->candidates[dialer->tried++];
		link->fd = socket(link->target.address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (link->fd < 0) {
			note(dialer, &link->target, errno);
			continue;
		}
		link->connect.done = connected;
		sqe = loop_sqe(link->links->loop, &link->connect);
		io_uring_prep_connect(sqe, link->fd, (struct sockaddr *)&link->target.address, link->target.length);
		link->connecting = true;
		clock_set(link->links->clock, &link->limit,
		          clock_now(link->links->clock) + LINK_CONNECT_SECONDS * NSEC_PER_SEC);
		return;
	}
	dialer->link = NULL;
	link->dialer = NULL;
	link_fail(link, false, "%s", dialer->why);
}

static void connected(struct op *op, int result, unsigned flags)
{
	struct link *link = OF(struct link, connect, op);

	(void)flags;
	link->connecting = false;
	if (link->state == LINK_CONNECTING && !link->user_gone) {
		if (result == 0) {
			link_begin(link);
		} else {
			// Only the limit cancels it while the user waits.
			note(link->dialer, &link->target, result == -ECANCELED ? ETIMEDOUT : -result);
			close(link->fd);
			link->fd = -1;
			link_connect_next(link);
		}
	}
	link_settle(link);
}

static void dialer_opened(void *user, struct channel *channel)
{
	struct dialer *dialer = user;

	dialer->opened(dialer->user, channel);
}

static void dialer_failed(void *user, const char *why)
{
	struct link_dialer *dialer = user;

	dialer->link = NULL;
	dialer->dialer.failed(dialer->dialer.user, why);
}

static void refused(struct timer *timer)
{
	struct link_dialer *dialer = OF(struct link_dialer, refuse, timer);

	dialer->dialer.failed(dialer->dialer.user, dialer->why);
}

static void dial(struct dialer *base)
{
	struct link_dialer *dialer = dialer_of(base);
	struct links *links = dialer->links;
	struct link *link;

	if (dialer->link || dialer->refuse.armed)
		return; // one at a time
	link = links->stopping ? NULL : link_new(links, TLS_CLIENT, dialer->key);
	if (!link) {
		snprintf(dialer->why, sizeof(dialer->why), "connect: %s",
		         links->stopping ? "shutting down" : "out of memory");
		clock_set(links->clock, &dialer->refuse, 0);
		return;
	}
	link->state = LINK_CONNECTING;
	link->waiter = (struct link_waiter){dialer_opened, dialer_failed, dialer};
	link->dialer = dialer;
	dialer->link = link;
	dialer->count = dialer->tried = 0;
	strcpy(dialer->why, "connect: the name has no address");
	clock_set(links->clock, &link->kick, 0);
}

static void cancel(struct dialer *base)
{
	struct link_dialer *dialer = dialer_of(base);

	clock_cancel(dialer->links->clock, &dialer->refuse);
	if (dialer->link)
		link_cancel(dialer->link);
}

static const struct dialer_ops dialer_ops = {dial, cancel};

struct dialer *link_dialer_new(struct links *links, const struct net_address *address,
                               const uint8_t key[FINGERPRINT_BYTES])
{
	struct link_dialer *dialer = calloc(1, sizeof(*dialer));

	if (!dialer)
		return NULL;
	dialer->dialer.ops = &dialer_ops;
	dialer->links = links;
	dialer->address = *address;
	memcpy(dialer->key, key, FINGERPRINT_BYTES);
	dialer->refuse.fire = refused;
	return &dialer->dialer;
}

void link_dialer_free(struct dialer *dialer)
{
	if (!dialer)
		return;
	cancel(dialer);
	free(dialer_of(dialer));
}
