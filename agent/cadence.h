// SPDX-License-Identifier: Apache-2.0
// When to cut: as late as the RPO allows, because what is overwritten within
// one epoch travels once; and early where waiting saves nothing. Pure: it is
// told what is behind and what shipping took, and says when.
#ifndef STEAD_CADENCE_H
#define STEAD_CADENCE_H

#include <stdbool.h>
#include <stdint.h>

struct cadence {
	uint64_t rpo; // ns
	uint64_t limit; // bytes a second that the wire may carry; 0: no limit
	double rate; // wire bytes a second while an epoch is shipped; 0: not known yet
	double ratio; // wire bytes for a byte of content
	double fixed; // ns that an epoch takes beside its bytes
	double spread; // how much longer than expected the slow ones take, as a share of that
	uint64_t seen; // bytes changed, at the last look
	uint64_t still; // clock_now() since when nothing changes
	uint64_t paused; // ns: how long that was, as far as was seen
	double pause; // ns: the longest from which writing came back, of late
};

// What is to be shipped, in bytes of content.
struct cadence_load {
	uint64_t open; // in the open set
	uint64_t opened; // clock_now() of its first change
	uint64_t changed; // written since ever: also what overwrites what is in the set
	uint64_t cut; // clock_now() of the last cut; 0: none
	uint64_t written; // since that cut
	uint64_t ahead; // ns that what was cut before is expected to take still
	bool busy; // an epoch is on its way
};

void cadence_init(struct cadence *cadence, uint64_t rpo, uint64_t limit);

// Wire bytes a second, as far as is known; 0: not.
double cadence_rate(const struct cadence *cadence);

// An epoch was shipped: content and wire bytes, and how long it took from its
// cut, or from the end of the one before, until it was durable, ns.
void cadence_shipped(struct cadence *cadence, uint64_t content, uint64_t wire, uint64_t took);

// Whether to cut now; if not, *again is when to ask the next time. Asked also
// whenever something has ended.
bool cadence_due(struct cadence *cadence, uint64_t now, const struct cadence_load *load, uint64_t *again);

// Expected time until so much content is durable on the standby, ns.
uint64_t cadence_estimate(const struct cadence *cadence, uint64_t content);

#endif
