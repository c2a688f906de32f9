// SPDX-License-Identifier: Apache-2.0
#include "listener.h"

#include "memory.h"
#include "simulation.h"

#include <stdlib.h>
#include <string.h>

struct greeting_message {
	struct message message;
	struct greeting *greeting;
	uint8_t body[WIRE_BODY_MAX];
};

struct greeting { // a connection that has not said for which pair it is
	struct greeting *next;
	struct node *node;
	struct channel *channel; // NULL: let go of
	struct greeting_message welcome, refuse;
	unsigned pending;
};

static void greeting_free(struct greeting *greeting)
{
	struct greeting **link = &greeting->node->greetings;

	while (*link != greeting)
		link = &(*link)->next;
	*link = greeting->next;
	free(greeting);
}

static void greeting_sent(struct message *message)
{
	struct greeting *greeting = ((struct greeting_message *)message)->greeting;

	if (--greeting->pending == 0 && !greeting->channel)
		greeting_free(greeting);
}

static void greeting_send(struct greeting *greeting, struct greeting_message *out, enum frame_type type, size_t length)
{
	out->greeting = greeting;
	out->message.type = type;
	out->message.body = out->body;
	out->message.body_length = length;
	out->message.done = greeting_sent;
	greeting->pending++;
	channel_send(greeting->channel, &out->message);
}

static void fill_hello(const struct node *node, struct wire_hello *hello)
{
	hello->version_min = hello->version_max = WIRE_VERSION;
	hello->pair = node->state.pair;
	hello->role = node->state.role;
	hello->lineage = node->state.lineage;
	hello->born = node->state.born;
	hello->untouched = node->state.untouched;
	hello->split = node->state.split;
	hello->local_bytes = node->state.local_bytes;
	hello->local_since = node->state.local_since;
	hello->volume_count = node->state.volume_count;
	for (unsigned v = 0; v < hello->volume_count; v++) {
		memcpy(hello->volumes[v].name, node->state.volumes[v].name, sizeof(hello->volumes[v].name));
		hello->volumes[v].bytes = node->state.volumes[v].bytes;
	}
}

// What a node that is a primary itself tells another primary.
static void greeting_refuse(struct greeting *greeting)
{
	struct wire_welcome *welcome = allocate(sizeof(*welcome));
	struct wire_refuse refuse = {REFUSAL_LINEAGE, "this node is a primary too"};

	fill_hello(greeting->node, &welcome->hello);
	greeting_send(greeting, &greeting->welcome, FRAME_WELCOME, wire_put_welcome(greeting->welcome.body, welcome));
	greeting_send(greeting, &greeting->refuse, FRAME_REFUSE, wire_put_refuse(greeting->refuse.body, &refuse));
	free(welcome);
}

// The peer was promoted over this node, which may not reach it by itself.
static void learn(struct node *node, const struct wire_hello *hello)
{
	struct standing mine = {.role = ROLE_PRIMARY, .lineage = node->state.lineage, .born = node->state.born};
	struct standing peers = wire_standing(hello, true);
	struct source_successor successor = {hello->lineage, hello->untouched};

	if (lineage_judge(&mine, &peers) != VERDICT_FENCED)
		return;
	node->told_newer = true;
	node->told_touched = !hello->untouched;
	source_fence(node->source, &successor, "the peer was promoted, and came here");
}

static void greeting_frame(void *user, const struct frame *frame)
{
	struct greeting *greeting = user;
	struct node *node = greeting->node;
	struct channel *channel = greeting->channel;
	struct wire_hello *hello = allocate(sizeof(*hello));

	if (frame->type == FRAME_HELLO && wire_get_hello(frame, hello) == 0 && !greeting->pending) {
		if (node->sink && node->opened && !node->stopping) {
			if (node->sim->plan.plain[node->index])
				hello->features = 0; // what is in force is what both know
			greeting_free(greeting);
			sink_attach(node->sink, channel, hello);
			free(hello);
			return;
		}
		if (node->source) {
			greeting_refuse(greeting);
			if (node->sim->plan.roles && !node->fenced && !node->stopping)
				learn(node, hello);
		}
	}
	free(hello);
	if (!greeting->pending) {
		greeting_free(greeting);
		channel_close(channel);
	}
}

static void greeting_closed(void *user, const char *why)
{
	struct greeting *greeting = user;

	(void)why;
	greeting->channel = NULL;
	if (!greeting->pending)
		greeting_free(greeting);
}

static const struct channel_events greeting_events = {greeting_frame, greeting_closed};

void listener_accept(struct sim_host *host, struct channel *channel)
{
	struct simulation *sim = (struct simulation *)host->network->user;
	struct node *node = &sim->nodes[host->index];
	struct greeting *greeting = allocate(sizeof(*greeting));

	greeting->node = node;
	greeting->channel = channel;
	greeting->next = node->greetings;
	node->greetings = greeting;
	channel->events = &greeting_events;
	channel->user = greeting;
}

void listener_clear(struct node *node)
{
	while (node->greetings)
		greeting_free(node->greetings);
}
