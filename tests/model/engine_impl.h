// SPDX-License-Identifier: Apache-2.0
// What the files of the model's nodes share.
#ifndef STEAD_MODEL_ENGINE_IMPL_H
#define STEAD_MODEL_ENGINE_IMPL_H

#include "engine.h"

// connection.c
void letter_put(struct letter *letters, struct letter letter);
struct letter letter_get(struct letter *letters);
void connection_forget(struct connection *connection);
void connection_tidy(struct connection *connection); // forgets it if nothing of it can have an effect
void dialer_ends(struct world *world, struct node *node);
void listener_ends(struct world *world, const struct node *node);
void listener_dies(struct world *world, const struct node *node); // and what is on its way to it

// roles.c
void leaves_map(struct node *node);
void leaves_log(struct node *node);
void log_note(struct node *node);
void settle_sets(struct node *node, unsigned durable); // of epochs up to it: cleared; the others rejoin
void acknowledge(struct node *node, unsigned durable);
void fence(struct world *world, struct node *node, unsigned successor);
void no_takeover(struct connection *connection);

#endif
