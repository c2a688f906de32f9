// SPDX-License-Identifier: Apache-2.0
// Content that tells where it came from: every grain of a write carries the
// write's number and the grain's own place, and what fills the rest follows
// from these, so that a misplaced, mixed or damaged grain is noticed.
#ifndef STEAD_SIM_STAMP_H
#define STEAD_SIM_STAMP_H

#include <stdint.h>

#define STAMP_ZERO 0 // all zeroes
#define STAMP_BAD UINT32_MAX // nothing that a write has made

// A grain is a multiple of 16 bytes.
void stamp_fill(uint8_t *grain, unsigned bytes, uint32_t write, unsigned volume, uint64_t place);
uint32_t stamp_read(const uint8_t *grain, unsigned bytes, unsigned volume, uint64_t place);

#endif
