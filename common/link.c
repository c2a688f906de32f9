// SPDX-License-Identifier: Apache-2.0
#include "link_internal.h"

#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const struct channel_ops channel_ops;
static void trust(struct link_channel *channel);
static void kicked(struct timer *timer);
static void limit_passed(struct timer *timer);

static struct link *link_of(struct channel *channel)
{
	return (struct link *)channel;
}

static void kick(struct link *link)
{
	if (!link->kick.armed)
		clock_set(link->links->clock, &link->kick, 0);
}

void link_set_limit(struct link *link, uint64_t from, unsigned seconds)
{
	clock_set(link->links->clock, &link->limit, from + seconds * NSEC_PER_SEC);
}

struct link *link_new(struct links *links, enum tls_side side, const uint8_t *key)
{
	struct link *link = calloc(1, sizeof(*link));

	if (!link)
		return NULL;
	link->tls = tls_new(links->tls, side, key);
	if (!link->tls) {
		free(link);
		return NULL;
	}
	link->base.channel.ops = &channel_ops;
	link->base.trust = trust;
	link->links = links;
	link->fd = -1;
	effort_init(&link->effort);
	link->trusted = key != NULL;
	link->queue_end = &link->queue;
	link->batch_end = &link->batch;
	link->sent_end = &link->sent;
	link->kick.fire = kicked;
	link->limit.fire = limit_passed;
	link->receive.done = link_received;
	link->send.done = link_sent;
	link->next = links->first;
	if (link->next)
		link->next->previous = link;
	links->first = link;
	return link;
}

static void free_link(struct link *link)
{
	struct links *links = link->links;

	clock_cancel(links->clock, &link->kick);
	clock_cancel(links->clock, &link->limit);
	if (link->previous)
		link->previous->next = link->next;
	else
		links->first = link->next;
	if (link->next)
		link->next->previous = link->previous;
	if (link->fd >= 0)
		close(link->fd);
	tls_free(link->tls);
	encoder_free(link->encoder);
	free(link->frame);
	free(link->plain);
	free(link);
	if (links->stopping && !links->first)
		clock_set(links->clock, &links->stop_timer, 0);
}

void link_cut(struct link *link)
{
	link->graceful = false;
	link->output_over = link->input_over = true;
	if (link->fd >= 0)
		(void)shutdown(link->fd, SHUT_RDWR);
	if (link->connecting)
		loop_cancel(link->links->loop, &link->connect);
	if (link->receiving)
		loop_cancel(link->links->loop, &link->receive);
	if (link->sending)
		loop_cancel(link->links->loop, &link->send);
}

void link_end(struct link *link, bool graceful)
{
	struct clock *clock = link->links->clock;

	link->state = LINK_ENDING;
	link->graceful = graceful;
	if (graceful)
		link_set_limit(link, clock_now(clock), LINK_LINGER_SECONDS);
	else
		clock_cancel(clock, &link->limit);
	if (!graceful)
		link_cut(link);
}

void link_fail(struct link *link, bool graceful, const char *format, ...)
{
	struct link_waiter waiter = link->waiter;
	bool opened = link->state == LINK_OPEN, told = link->user_gone;
	char why[400];
	va_list args;

	if (link->state == LINK_ENDING)
		return;
	link->dialer = NULL;
	va_start(args, format);
	vsnprintf(why, sizeof(why), format, args);
	va_end(args);

	if (opened && graceful)
		tls_shutdown(link->tls);
	link_end(link, graceful);
	link_finish_all(link);
	if (told || link->user_gone)
		return;
	link->user_gone = true;
	if (opened)
		link->base.channel.events->closed(link->base.channel.user, why);
	else
		waiter.failed(waiter.user, why);
}

// --- ending

static void pump_ending(struct link *link)
{
	if (link->graceful) {
		link_flush(link);
		if (!link->sending && !link->output_over) {
			link->output_over = true;
			(void)shutdown(link->fd, SHUT_WR);
		}
		// Closing with bytes unread would reset the connection, and take
		// from the peer what it has not read yet.
		link_submit_receive(link);
	}
}

void link_settle(struct link *link)
{
	if (link->state != LINK_ENDING || !link->user_gone)
		return;
	pump_ending(link);
	if (link->connecting || link->receiving || link->sending || link->kick.armed)
		return;
	if (link->queue || link->batch || link->sent)
		kick(link);
	else
		free_link(link);
}

static void kicked(struct timer *timer)
{
	struct link *link = OF(struct link, kick, timer);

	switch (link->state) {
	case LINK_CONNECTING:
		if (link->user_gone)
			link_end(link, false);
		else
			link_connect_next(link);
		break;
	case LINK_HANDSHAKE:
		if (link->user_gone)
			link_end(link, false);
		else
			link_pump_handshake(link);
		break;
	case LINK_OPEN:
		if (link->user_gone) {
			link_say_farewell(link);
			link_finish_all(link);
			break;
		}
		link_pump_send(link);
		link_pump_receive(link);
		break;
	case LINK_ENDING:
		link_finish_all(link);
		break;
	}
	link_settle(link);
}

static void limit_passed(struct timer *timer)
{
	struct link *link = OF(struct link, limit, timer);
	uint64_t now = clock_now(link->links->clock);

	switch (link->state) {
	case LINK_CONNECTING:
		loop_cancel(link->links->loop, &link->connect);
		break;
	case LINK_HANDSHAKE:
		link_fail(link, false, "TLS handshake: no answer within %d s", LINK_HANDSHAKE_SECONDS);
		break;
	case LINK_OPEN:
		if (!link->trusted)
			link_fail(link, true, "the peer did not introduce itself within %d s", LINK_STRANGER_SECONDS);
		else if (!link->receiving)
			link_set_limit(link, now, LINK_SILENCE_SECONDS); // it is we who do not listen
		else if (now >= link->heard + LINK_SILENCE_SECONDS * NSEC_PER_SEC)
			link_fail(link, false, "the peer was silent for %d s", LINK_SILENCE_SECONDS);
		else
			link_set_limit(link, link->heard, LINK_SILENCE_SECONDS);
		break;
	case LINK_ENDING:
		link_cut(link);
		break;
	}
	link_settle(link);
}

// --- what the user calls

static void channel_send_message(struct channel *channel, struct message *message)
{
	struct link *link = link_of(channel);

	message->wire_bytes = 0;
	link_append(&link->queue_end, message);
	kick(link);
}

static void channel_set_hold(struct channel *channel, bool hold)
{
	struct link *link = link_of(channel);

	if (link->held && !hold) {
		link->heard = clock_now(link->links->clock);
		kick(link);
	}
	link->held = hold;
}

static void channel_drop(struct channel *channel)
{
	struct link *link = link_of(channel);

	link->user_gone = true;
	kick(link);
}

static const struct channel_ops channel_ops = {channel_send_message, channel_set_hold, channel_drop};

static void trust(struct link_channel *channel)
{
	struct link *link = link_of(&channel->channel);

	if (link->trusted)
		return;
	link->trusted = true;
	if (link->state == LINK_OPEN)
		link_set_limit(link, link->heard, LINK_SILENCE_SECONDS);
}

void link_trust(struct channel *channel)
{
	struct link_channel *base = (struct link_channel *)channel;

	base->trust(base);
}

const uint8_t *link_exporter(const struct channel *channel)
{
	return ((const struct link_channel *)channel)->exporter;
}

void link_set_finished(struct channel *channel, void (*finished)(void *user, struct message *message), void *user)
{
	struct link *link = link_of(channel);

	link->finished = finished;
	link->finished_user = user;
}

struct link *link_accept(struct links *links, int fd, const struct link_waiter *waiter)
{
	struct link *link = links->stopping ? NULL : link_new(links, TLS_SERVER, NULL);

	if (!link) {
		close(fd);
		return NULL;
	}
	link->waiter = *waiter;
	link->fd = fd;
	link_begin(link);
	return link;
}

void link_cancel(struct link *link)
{
	if (link->dialer)
		link->dialer->link = NULL;
	link->dialer = NULL;
	link->user_gone = true;
	kick(link);
}

// --- the set of links

static void all_stopped(struct timer *timer)
{
	struct links *links = OF(struct links, stop_timer, timer);

	if (!links->first)
		links->stopped(links->stopped_user);
}

struct links *links_new(struct loop *loop, struct tls_context *tls)
{
	struct links *links = calloc(1, sizeof(*links));

	if (!links)
		return NULL;
	links->loop = loop;
	links->clock = loop_clock(loop);
	links->tls = tls;
	links->stop_timer.fire = all_stopped;
	return links;
}

void links_stop(struct links *links, void (*stopped)(void *user), void *user)
{
	links->stopping = true;
	links->stopped = stopped;
	links->stopped_user = user;
	for (struct link *link = links->first; link; link = link->next)
		if (link->state == LINK_CONNECTING || link->state == LINK_HANDSHAKE)
			link_cancel(link);
	if (!links->first)
		clock_set(links->clock, &links->stop_timer, 0);
}

void links_free(struct links *links)
{
	free(links);
}
