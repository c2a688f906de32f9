// SPDX-License-Identifier: Apache-2.0
// Names that nobody else draws: of pairs, generations, epochs, syncs.
#ifndef STEAD_ID_H
#define STEAD_ID_H

#include <stdbool.h>
#include <stdint.h>

struct id {
	uint8_t bytes[16]; // random; all zero: none
};

bool id_equal(const struct id *a, const struct id *b);
bool id_is_none(const struct id *id);
struct id id_random(uint64_t (*random)(void *user), void *user); // not none

#endif
