// SPDX-License-Identifier: Apache-2.0
#include "stamp.h"

#include "rng.h"

#include <string.h>

// Every third write compresses well, the others do not.
static uint64_t lane(uint64_t base, uint32_t write, unsigned index)
{
	return write % 3 == 0 ? base : (base + index) * UINT64_C(0x9e3779b97f4a7c15) ^ (base >> 29);
}

void stamp_fill(uint8_t *grain, unsigned bytes, uint32_t write, unsigned volume, uint64_t place)
{
	uint64_t head = (uint64_t)write << 32 | place;
	uint64_t base = rng_mix(head ^ (uint64_t)volume << 56);

	if (write == STAMP_ZERO) {
		memset(grain, 0, bytes);
		return;
	}
	memcpy(grain, &head, 8);
	for (unsigned i = 1; i < bytes / 8; i++) {
		uint64_t value = lane(base, write, i);

		memcpy(grain + i * 8, &value, 8);
	}
}

static int is_zero(const uint8_t *grain, unsigned bytes)
{
	static const uint8_t zeroes[512];

	return memcmp(grain, zeroes, bytes) == 0;
}

uint32_t stamp_read(const uint8_t *grain, unsigned bytes, unsigned volume, uint64_t place)
{
	uint64_t head, value, base, wrong = 0;
	uint32_t write;

	memcpy(&head, grain, 8);
	write = (uint32_t)(head >> 32);
	if (!head)
		return is_zero(grain, bytes) ? STAMP_ZERO : STAMP_BAD;
	if (!write || (uint32_t)head != place)
		return STAMP_BAD;
	base = rng_mix(head ^ (uint64_t)volume << 56);
	for (unsigned i = 1; i < bytes / 8; i++) {
		memcpy(&value, grain + i * 8, 8);
		wrong |= value ^ lane(base, write, i);
	}
	return wrong ? STAMP_BAD : write;
}
