// SPDX-License-Identifier: Apache-2.0
// What the nodes do: the rules of agent/ and receiver/, one step each. The
// judgement is the real one.
#ifndef STEAD_MODEL_ENGINE_H
#define STEAD_MODEL_ENGINE_H

#include "world.h"

// Why the step that was made must not be possible; NULL: it may.
extern const char *violation;

// The connection of a slot, or NULL when there is none.
struct connection *connection_of(struct world *world, unsigned slot);
struct node *dialer_of(struct world *world, const struct connection *connection);
struct node *listener_of(struct world *world, const struct connection *connection);

// Whether the node is a primary whose session with a standby is open.
bool ready(const struct world *world, const struct node *node);
// Whether its standby has all there is.
bool dry(const struct world *world, const struct node *node);
bool behind(const struct node *node); // it may hold what its peer does not

// The primary.
void application_writes(struct world *world, struct node *node, unsigned block);
void device_flushes(struct node *node); // and regions leave the log
void dial(struct world *world, unsigned index);
bool may_ship(const struct world *world, const struct node *node);
void ship(struct world *world, struct node *node);
void hand_over(struct node *node);
void tell_takeover(struct world *world, struct node *node);

// Orders.
void demote(struct world *world, struct node *node);
void give_up(struct world *world, struct node *node, bool discard); // resync on a former primary
void give_way(struct world *world, struct node *node); // resync on a standby
void promote(struct world *world, struct node *node);
void force(struct world *world, struct node *node);
void take_over(struct world *world, struct node *node); // what a TAKEOVER asked for
void decline(struct world *world, struct node *node);

// What arrives.
void hello_arrives(struct world *world, unsigned slot);
void welcome_arrives(struct world *world, struct connection *connection);
void letter_arrives(struct world *world, struct connection *connection);
void answer_arrives(struct world *world, struct connection *connection);

// What fails.
void connection_breaks(struct world *world); // at the dialer's end
void crash(struct world *world, struct node *node);
void power_fails(struct world *world, struct node *node, blocks lost);
void restart(struct node *node);
void take_snapshot(struct world *world, unsigned index);
void roll_back(struct world *world);

#endif
