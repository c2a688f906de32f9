// SPDX-License-Identifier: Apache-2.0
#include "steps.h"

#include "engine.h"

#include <stdio.h>
#include <string.h>

enum kind {
	WRITE_FIRST,
	WRITE_SECOND,
	FLUSH,
	DIAL,
	SHIP,
	HAND_OVER,
	TELL_TAKEOVER,
	DEMOTE,
	RETURN, // by itself, nothing beyond
	GIVE_UP, // resync
	GIVE_UP_ALL, // resync --discard-local
	GIVE_WAY,
	PROMOTE,
	FORCE,
	SERVE, // without having met the peer
	TAKE_OVER,
	REFUSE_TAKEOVER,
	CRASH,
	POWER, // nothing is lost but the map
	POWER_FIRST, // and what the first block had not flushed
	POWER_SECOND,
	POWER_BOTH,
	RESTART,
	SNAPSHOT,
	NODE_KINDS,

	HELLO = NODE_KINDS,
	WELCOME,
	LETTER,
	ANSWER,
	SLOT_KINDS,

	BREAK = SLOT_KINDS,
	ROLL_BACK,
};

#define NODE_STEPS (NODE_KINDS * NODES)
#define SLOT_STEPS ((SLOT_KINDS - NODE_KINDS) * 2)
#define STEPS (NODE_STEPS + SLOT_STEPS + 2)

unsigned steps_count(void)
{
	return STEPS;
}

// A step is a kind and the node or slot that it is about.
static enum kind kind_of(unsigned step, unsigned *index)
{
	*index = step % 2;
	if (step < NODE_STEPS)
		return step / 2;
	if (step < NODE_STEPS + SLOT_STEPS)
		return NODE_KINDS + (step - NODE_STEPS) / 2;
	return step == STEPS - 2 ? BREAK : ROLL_BACK;
}

static bool primary(const struct node *node)
{
	return node->up && node->role == ROLE_PRIMARY;
}

static bool standby(const struct node *node)
{
	return node->up && node->role == ROLE_STANDBY;
}

static bool may_write(const struct world *world, const struct bounds *bounds, const struct node *node)
{
	return serves(node) && !node->drained && world->writes < bounds->writes;
}

static bool may_flush(const struct bounds *bounds, const struct node *node)
{
	blocks marked = node->open | node->frozen[0].bits | node->frozen[1].bits;

	return bounds->power && primary(node) &&
	       (memcmp(node->content, node->flushed, BLOCKS) != 0 || (!node->suspect && node->logged & ~marked));
}

static bool may_make_generation(const struct world *world, const struct bounds *bounds)
{
	return world->generations + 1 < GENERATIONS_MAX && world->promotions < bounds->promotions;
}

// What order_resync() of the receiver asks for.
static bool may_give_way(const struct world *world, const struct node *node, const struct node *peer)
{
	struct standing mine = world_standing(world, node), peers = world_standing(world, peer);
	enum verdict verdict = lineage_judge(&mine, &peers);

	return !node->yields && (verdict == VERDICT_DIVERGED || verdict == VERDICT_ROLLED_BACK);
}

static bool may_lose_power(const struct world *world, const struct bounds *bounds, const struct node *node, blocks lost)
{
	if (!primary(node) || !bounds->power || world->crashes == bounds->crashes)
		return false;
	for (unsigned i = 0; i < BLOCKS; i++)
		if (lost & (1u << i) && node->content[i] == node->flushed[i])
			return false;
	return true;
}

static bool node_may(const struct world *world, const struct bounds *bounds, enum kind kind, unsigned index)
{
	const struct node *node = &world->nodes[index];

	switch (kind) {
	case WRITE_FIRST:
	case WRITE_SECOND:
		return may_write(world, bounds, node);
	case FLUSH:
		return may_flush(bounds, node);
	case DIAL:
		return primary(node) && !node->fenced && !world->connections[0].stage;
	case SHIP:
		return may_ship(world, node);
	case HAND_OVER:
		return bounds->switchover && serves(node) && dry(world, node) &&
		       world->generations <= bounds->promotions;
	case TELL_TAKEOVER:
		return node->drained && ready(world, node);
	case DEMOTE:
		return bounds->orders && serves(node) && dry(world, node);
	case RETURN:
		return primary(node) && node->fenced && (node->handover || !behind(node));
	case GIVE_UP:
		return bounds->orders && primary(node) && node->fenced;
	case GIVE_UP_ALL:
		return bounds->orders && primary(node) && (node->fenced || node->apart);
	case GIVE_WAY:
		return bounds->orders && standby(node) && may_give_way(world, node, &world->nodes[!index]);
	case PROMOTE:
		return bounds->orders && standby(node) && may_make_generation(world, bounds);
	case FORCE:
		return bounds->orders && primary(node) &&
		       (node->fenced ? node->cut < EPOCHS_MAX && may_make_generation(world, bounds) : node->handover);
	case SERVE:
		return bounds->orders && primary(node) && !node->fenced && !node->handover && !node->serving;
	case TAKE_OVER:
		return node->asked && world->generations < GENERATIONS_MAX;
	case REFUSE_TAKEOVER:
		return node->asked;
	case CRASH:
		return node->up && world->crashes < bounds->crashes;
	case POWER:
	case POWER_FIRST:
	case POWER_SECOND:
	case POWER_BOTH:
		return may_lose_power(world, bounds, node, kind - POWER);
	case RESTART:
		return !node->up;
	case SNAPSHOT:
		return bounds->rollback && !world->rolled_back && !world->snapshot_of;
	default:
		return false;
	}
}

static void node_does(struct world *world, const struct bounds *bounds, enum kind kind, unsigned index)
{
	struct node *node = &world->nodes[index];

	switch (kind) {
	case WRITE_FIRST:
	case WRITE_SECOND:
		application_writes(world, node, kind - WRITE_FIRST);
		if (!bounds->power) // then it does not matter
			device_flushes(node);
		break;
	case FLUSH:
		device_flushes(node);
		break;
	case DIAL:
		dial(world, index);
		break;
	case SHIP:
		ship(world, node);
		break;
	case HAND_OVER:
		hand_over(node);
		break;
	case TELL_TAKEOVER:
		tell_takeover(world, node);
		break;
	case DEMOTE:
		demote(world, node);
		break;
	case RETURN:
	case GIVE_UP:
		give_up(world, node, false);
		break;
	case GIVE_UP_ALL:
		give_up(world, node, true);
		break;
	case GIVE_WAY:
		give_way(world, node);
		break;
	case PROMOTE:
		world->promotions++;
		promote(world, node);
		break;
	case FORCE:
		world->promotions += node->fenced;
		force(world, node);
		break;
	case SERVE:
		node->serving = 1;
		break;
	case TAKE_OVER:
		take_over(world, node);
		break;
	case REFUSE_TAKEOVER:
		decline(world, node);
		break;
	case CRASH:
		world->crashes++;
		crash(world, node);
		break;
	case RESTART:
		restart(node);
		break;
	case SNAPSHOT:
		take_snapshot(world, index);
		break;
	default:
		world->crashes++;
		power_fails(world, node, (blocks)(kind - POWER));
		break;
	}
}

static bool slot_may(const struct world *world, enum kind kind, unsigned slot)
{
	const struct connection *connection = &world->connections[slot];
	bool listens = world->nodes[!connection->dialer].up && !connection->listener_gone;
	bool dials = connection->stage && !connection->dialer_gone;

	switch (kind) {
	case HELLO:
		return connection->stage == STAGE_HELLO && listens;
	case WELCOME:
		return connection->stage == STAGE_WELCOME && dials;
	case LETTER:
		return connection->out[0].type && listens;
	default:
		return connection->stage == STAGE_OPEN && connection->back[0].type && dials;
	}
}

static void slot_does(struct world *world, enum kind kind, unsigned slot)
{
	struct connection *connection = &world->connections[slot];

	switch (kind) {
	case HELLO:
		hello_arrives(world, slot);
		break;
	case WELCOME:
		welcome_arrives(world, connection);
		break;
	case LETTER:
		letter_arrives(world, connection);
		break;
	default:
		answer_arrives(world, connection);
		break;
	}
}

bool step_make(struct world *world, const struct bounds *bounds, unsigned step)
{
	const struct connection *connection = &world->connections[0];
	unsigned index;
	enum kind kind = kind_of(step, &index);
	bool free_of_charge = connection->listener_gone || !world->nodes[!connection->dialer].up;

	violation = NULL;
	if (kind < NODE_KINDS) {
		if (!node_may(world, bounds, kind, index))
			return false;
		node_does(world, bounds, kind, index);
	} else if (kind < SLOT_KINDS) {
		if (!slot_may(world, kind, index))
			return false;
		slot_does(world, kind, index);
	} else if (kind == BREAK) {
		if (!connection->stage || (!free_of_charge && world->losses == bounds->losses))
			return false;
		world->losses += !free_of_charge;
		connection_breaks(world);
	} else {
		if (!world->snapshot_of)
			return false;
		roll_back(world);
	}
	return true;
}

void step_text(unsigned step, char *text, size_t size)
{
	static const char *const names[] = {
	        [WRITE_FIRST] = "the application writes block a on",
	        [WRITE_SECOND] = "the application writes block b on",
	        [FLUSH] = "flush of the device of",
	        [DIAL] = "HELLO is sent by",
	        [SHIP] = "an epoch is cut and sent by",
	        [HAND_OVER] = "drained, the handover is durable on",
	        [TELL_TAKEOVER] = "TAKEOVER is sent by",
	        [DEMOTE] = "stead demote on",
	        [RETURN] = "with nothing beyond, becomes standby:",
	        [GIVE_UP] = "stead resync on",
	        [GIVE_UP_ALL] = "stead resync --discard-local on the former primary",
	        [GIVE_WAY] = "stead resync --discard-local on the standby",
	        [PROMOTE] = "stead promote --force on the standby",
	        [FORCE] = "stead promote --force on the former primary",
	        [SERVE] = "start without peer:",
	        [TAKE_OVER] = "the daemon answers TAKEOVER by promoting",
	        [REFUSE_TAKEOVER] = "the daemon declines TAKEOVER on",
	        [CRASH] = "crash of",
	        [POWER] = "power failure of",
	        [POWER_FIRST] = "power failure, block a loses what was not flushed, of",
	        [POWER_SECOND] = "power failure, block b loses what was not flushed, of",
	        [POWER_BOTH] = "power failure, both blocks lose what was not flushed, of",
	        [RESTART] = "restart of",
	        [SNAPSHOT] = "snapshot of",
	        [HELLO] = "HELLO arrives",
	        [WELCOME] = "WELCOME arrives",
	        [LETTER] = "an epoch or TAKEOVER arrives",
	        [ANSWER] = "DURABLE or DECLINE arrives",
	        [BREAK] = "the connection breaks at the dialer's end",
	        [ROLL_BACK] = "the snapshot is brought back",
	};
	unsigned index;
	enum kind kind = kind_of(step, &index);

	if (kind < NODE_KINDS)
		snprintf(text, size, "%s %c", names[kind], 'A' + (int)index);
	else if (kind < SLOT_KINDS)
		snprintf(text, size, "%s%s", names[kind], index ? ", of the connection before" : "");
	else
		snprintf(text, size, "%s", names[kind]);
}
