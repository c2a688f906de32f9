// SPDX-License-Identifier: Apache-2.0
// A set of numbers with summary levels above the bits: level 0 has one bit a
// member, each higher level one bit for each non-zero word below it, so that
// the next member is found in a few steps however far away it is.
//
//   level 2                  1                    1 word
//   level 1       1          0          1         64 words
//   level 0   0..0110..0   0..00      1..1        4096 words
//
// Level 0 may lie in memory of the caller that outlives the process, with a
// checksum word for each 512 words, kept up with every change: whichever store
// is the last, who adopts it finds what was there before the change or after it,
// or all of those 512 words as members. Everything else is allocated zeroed, so
// that untouched parts of large sets cost nothing.
#ifndef STEAD_BITMAP_H
#define STEAD_BITMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BITMAP_LEVELS 7
#define BITMAP_BITS_MAX (UINT64_C(1) << 6 * BITMAP_LEVELS)
#define BITMAP_NONE UINT64_MAX
#define BITMAP_WORDS_PER_SUM 512

struct bitmap {
	uint64_t bits; // members are 0 to bits - 1
	uint64_t count; // members
	unsigned levels;
	uint64_t *level[BITMAP_LEVELS];
	uint64_t words[BITMAP_LEVELS]; // of each level
	uint64_t *sums; // NULL: none
	uint64_t key; // of the sums; odd
	bool borrowed; // level 0 and sums are the caller's
};

// Words of level 0, and of sums, for so many bits.
uint64_t bitmap_words(uint64_t bits);
uint64_t bitmap_sum_words(uint64_t bits);

// An empty set. 0 or -ENOMEM.
int bitmap_init(struct bitmap *bitmap, uint64_t bits);

// A set over words and sums that are there already. Parts whose sum does not
// match become all members; *damaged counts them. 0 or -ENOMEM.
int bitmap_adopt(struct bitmap *bitmap, uint64_t bits, uint64_t *words, uint64_t *sums, uint64_t key,
                 unsigned *damaged);

void bitmap_destroy(struct bitmap *bitmap);

bool bitmap_test(const struct bitmap *bitmap, uint64_t bit);
void bitmap_set(struct bitmap *bitmap, uint64_t first, uint64_t count);
void bitmap_clear(struct bitmap *bitmap, uint64_t first, uint64_t count);
void bitmap_clear_all(struct bitmap *bitmap); // costs what it holds

// The first member at or after from, or BITMAP_NONE.
uint64_t bitmap_next(const struct bitmap *bitmap, uint64_t from);

// How many members follow one another from first on, at most max.
uint64_t bitmap_run(const struct bitmap *bitmap, uint64_t first, uint64_t max);

// 64 members at a time, those of bits 64 * index and up.
uint64_t bitmap_word(const struct bitmap *bitmap, uint64_t index);
void bitmap_or_word(struct bitmap *bitmap, uint64_t index, uint64_t word);

#endif
