// SPDX-License-Identifier: Apache-2.0
// The chain of a journal's records, followed from its tail: the complete epochs
// in it become the journal's, head and durable epoch with them.
#ifndef STEAD_SCAN_H
#define STEAD_SCAN_H

#include "journal_impl.h"

#include "common/error.h"

#include <stdbool.h>
#include <stdint.h>

struct ahead;

struct scan {
	struct journal *journal; // its tail, applied epoch and ring are known
	uint64_t vouched; // DATA before this sequence was checked when it came: headers will do; 0: none
	uint64_t durable_position; // where that is
	bool bounded; // nothing after the epoch until is looked at
	uint64_t until;
	void (*ended)(void *user);
	void *user;

	// What came of it, when it has ended.
	struct place at; // where the chain ends, and why
	char broken[80];
	uint64_t last; // complete epoch
	int error; // not followed to its end: -errno, and why; 0: it was
	struct error reason;

	// Its own.
	struct disk_io io;
	uint8_t *window; // what was read last
	uint64_t window_at; // its position
	uint64_t window_length;
	struct ahead *ahead; // NULL: none
	bool reading; // the window
	bool over; // but for what is read ahead
	struct epoch *partial; // not committed as far as was read
	uint64_t frames, digest; // of it
};

// ended() follows, perhaps at once. -ENOMEM: it does not.
int scan_start(struct scan *scan);
void scan_clear(struct scan *scan); // ended or never started, or to play a crash

#endif
