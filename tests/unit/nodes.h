// SPDX-License-Identifier: Apache-2.0
// Identities for tests, made in memory-backed directories and thrown away.
#ifndef STEAD_TEST_NODES_H
#define STEAD_TEST_NODES_H

#include "common/keys.h"
#include "common/tls.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct node {
	struct keys *keys;
	struct tls_context *tls;
};

static inline struct node node_new(void)
{
	char directory[] = "/tmp/stead-node-XXXXXX", command[64];
	struct node node = {NULL, NULL};

	if (!mkdtemp(directory))
		abort();
	node.keys = keys_load(directory, NULL);
	if (node.keys)
		node.tls = tls_context_new(node.keys, NULL);
	snprintf(command, sizeof(command), "rm -rf %s", directory);
	if (system(command) || !node.tls)
		abort();
	return node;
}

static inline void node_free(struct node *node)
{
	tls_context_free(node->tls);
	keys_free(node->keys);
}

static inline void node_feed(struct tls *tls, const void *bytes, size_t length)
{
	void *room = tls_input(tls, length);

	if (!room && length > 0)
		abort();
	if (length > 0)
		memcpy(room, bytes, length);
	tls_feed(tls, length);
}

#endif
