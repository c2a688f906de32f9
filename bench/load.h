// SPDX-License-Identifier: Apache-2.0
// What the parts of the load generator share: load.c decides what is asked for
// and when, and takes the time; a target carries it out.
#ifndef STEAD_BENCH_LOAD_H
#define STEAD_BENCH_LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DEPTH_MAX 1024

enum load_op {
	LOAD_READ,
	LOAD_WRITE,
	LOAD_FLUSH,
};

struct load_slot {
	enum load_op op;
	uint64_t offset;
	uint32_t length;
	void *data; // of a WRITE, page aligned; nobody looks at what is read
	uint64_t due; // ns; latency counts from here
};

struct load;

// Each function that fails says why and ends the process: there is nothing to
// measure then.
struct load_target {
	void (*open)(struct load *load, const char *where);
	void (*put)(struct load *load, unsigned slot); // it goes out with the next run()
	// Sends what was put and calls load_done() for what has come back; waits for
	// at least one of these until then (ns of now_ns(), 0: does not wait,
	// UINT64_MAX: as long as it takes).
	void (*run)(struct load *load, uint64_t until);
	void (*close)(struct load *load);
};
extern const struct load_target file_target, nbd_target;

struct load {
	unsigned depth; // slots
	unsigned connections; // slot i is on connection i % connections
	uint64_t size; // bytes, found by open()
	uint32_t block;
	bool writes;
	struct load_slot slots[DEPTH_MAX];
	uint8_t *scratch; // block bytes for each slot, page aligned: where a target may read to
	void *target; // its own
};

uint64_t now_ns(void);
void load_done(struct load *load, unsigned slot, int error); // error: 0 or an errno
void complain(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

#endif
