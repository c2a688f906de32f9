// SPDX-License-Identifier: Apache-2.0
// What replication of a volume would need, from the writes that it gets: for
// each RPO how many different blocks change within one epoch. Pure.
#ifndef STEAD_DEMAND_H
#define STEAD_DEMAND_H

#include <stdint.h>

struct demand;

#define DEMAND_RPOS 4

struct demand_figures {
	uint64_t rpo; // ns
	uint64_t epochs; // measured to their end
	uint64_t mean; // bytes a second on the wire that carry all of it, before compression
	uint64_t peak; // that carry also the largest epoch in time
	uint64_t largest; // bytes of the largest epoch
};

// Of a volume of so many bytes; measuring begins at begin, ns. NULL without
// memory.
struct demand *demand_new(uint64_t bytes, uint64_t begin);
void demand_free(struct demand *demand);

// A write at a time that is not before that of the last one.
void demand_write(struct demand *demand, uint64_t now, uint64_t offset, uint64_t length);

// Epochs that have ended by now count. rpo is the index.
void demand_figures(struct demand *demand, uint64_t now, unsigned rpo, struct demand_figures *figures);

uint64_t demand_written(const struct demand *demand); // bytes

#endif
