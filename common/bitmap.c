// SPDX-License-Identifier: Apache-2.0
#include "bitmap.h"

#include "mutant.h"
#include "store.h"

#include <errno.h>
#include <stdlib.h>

#define SUMMARY_WORDS_PER_SUM (BITMAP_WORDS_PER_SUM / 64) // of level 1

uint64_t bitmap_words(uint64_t bits)
{
	return (bits + 63) / 64;
}

uint64_t bitmap_sum_words(uint64_t bits)
{
	return (bitmap_words(bits) + BITMAP_WORDS_PER_SUM - 1) / BITMAP_WORDS_PER_SUM;
}

// A different odd factor for each word, so that words that change places, or
// change alike, do not cancel out.
static uint64_t factor(const struct bitmap *bitmap, uint64_t index)
{
	uint64_t x = (index + 1) * UINT64_C(0x9e3779b97f4a7c15) + bitmap->key;

	x ^= x >> 29;
	x *= UINT64_C(0xbf58476d1ce4e5b9);
	return x | 1;
}

static int make_summaries(struct bitmap *bitmap)
{
	uint64_t words = bitmap_words(bitmap->bits);

	bitmap->words[0] = words;
	bitmap->levels = 1;
	while (words > 1) {
		words = bitmap_words(words);
		bitmap->words[bitmap->levels] = words;
		bitmap->level[bitmap->levels] = calloc(words, sizeof(uint64_t));
		if (!bitmap->level[bitmap->levels])
			return -ENOMEM;
		bitmap->levels++;
	}
	return 0;
}

int bitmap_init(struct bitmap *bitmap, uint64_t bits)
{
	*bitmap = (struct bitmap){.bits = bits};
	bitmap->level[0] = calloc(bitmap_words(bits), sizeof(uint64_t));
	if (!bitmap->level[0] || make_summaries(bitmap) < 0) {
		bitmap_destroy(bitmap);
		return -ENOMEM;
	}
	return 0;
}

void bitmap_destroy(struct bitmap *bitmap)
{
	for (unsigned i = bitmap->borrowed ? 1 : 0; i < BITMAP_LEVELS; i++)
		free(bitmap->level[i]);
	*bitmap = (struct bitmap){0};
}

static void summarise(struct bitmap *bitmap, uint64_t index, bool any)
{
	for (unsigned i = 1; i < bitmap->levels; i++) {
		uint64_t *word = &bitmap->level[i][index / 64];
		uint64_t bit = UINT64_C(1) << (index % 64);

		if (any) {
			if (*word & bit)
				return;
			*word |= bit;
		} else {
			*word &= ~bit;
			if (*word)
				return;
		}
		index /= 64;
	}
}

static bool part_empty(const struct bitmap *bitmap, uint64_t part)
{
	uint64_t index = part * SUMMARY_WORDS_PER_SUM, end = index + SUMMARY_WORDS_PER_SUM;

	if (bitmap->levels == 1)
		return bitmap->count == 0;
	for (; index < end && index < bitmap->words[1]; index++)
		if (bitmap->level[1][index])
			return false;
	return true;
}

// The sum 0 says that the part is empty, and that nobody has to look at it. Where
// it came to that by chance it must not match.
static uint64_t told_sum(const struct bitmap *bitmap, uint64_t part, uint64_t sum)
{
	return sum || part_empty(bitmap, part) ? sum : 1;
}

// A process that dies between the two stores leaves a sum that does not match,
// and the part is taken as changed. That sum is never 0: it is set before the
// first member, and becomes 0 after the last one has gone.
static void store_summed(struct bitmap *bitmap, uint64_t index, uint64_t word, uint64_t change)
{
	uint64_t part = index / BITMAP_WORDS_PER_SUM;
	uint64_t sum = told_sum(bitmap, part, bitmap->sums[part] + change * factor(bitmap, index));

	if (sum && !MUTANT(WORD_BEFORE_SUM)) {
		store_word(&bitmap->sums[part], sum);
		store_word(&bitmap->level[0][index], word);
	} else {
		store_word(&bitmap->level[0][index], word);
		store_word(&bitmap->sums[part], sum);
	}
}

static void put_word(struct bitmap *bitmap, uint64_t index, uint64_t word)
{
	uint64_t old = bitmap->level[0][index];

	if (old == word)
		return;
	bitmap->count += (uint64_t)__builtin_popcountll(word) - (uint64_t)__builtin_popcountll(old);
	if (!old || !word)
		summarise(bitmap, index, word != 0);
	if (bitmap->sums)
		store_summed(bitmap, index, word, word - old);
	else
		bitmap->level[0][index] = word;
}

// The bits of word index that lie below bits.
static uint64_t valid_mask(const struct bitmap *bitmap, uint64_t index)
{
	uint64_t left = bitmap->bits - index * 64;

	return left >= 64 ? UINT64_MAX : (UINT64_C(1) << left) - 1;
}

static bool sum_matches(const struct bitmap *bitmap, uint64_t part, uint64_t begin, uint64_t end)
{
	uint64_t sum = 0;

	for (uint64_t i = begin; i < end; i++) {
		if (bitmap->level[0][i] & ~valid_mask(bitmap, i))
			return false;
		sum += bitmap->level[0][i] * factor(bitmap, i);
	}
	return sum == bitmap->sums[part];
}

// All of a part becomes members. Its sum does not match before the last of them
// is there, or what matched it was all that there had been.
static void fill_part(struct bitmap *bitmap, uint64_t part, uint64_t begin, uint64_t end)
{
	uint64_t sum = 0;

	for (uint64_t i = begin; i < end; i++) {
		store_word(&bitmap->level[0][i], valid_mask(bitmap, i));
		sum += bitmap->level[0][i] * factor(bitmap, i);
	}
	store_word(&bitmap->sums[part], sum ? sum : 1);
}

// Brings one part's summaries and count up to its words.
static void adopt_part(struct bitmap *bitmap, uint64_t part, unsigned *damaged)
{
	uint64_t begin = part * BITMAP_WORDS_PER_SUM, end = begin + BITMAP_WORDS_PER_SUM;

	if (end > bitmap_words(bitmap->bits))
		end = bitmap_words(bitmap->bits);
	if (!sum_matches(bitmap, part, begin, end)) {
		(*damaged)++;
		fill_part(bitmap, part, begin, end);
	}
	for (uint64_t i = begin; i < end; i++) {
		if (!bitmap->level[0][i])
			continue;
		bitmap->count += (uint64_t)__builtin_popcountll(bitmap->level[0][i]);
		summarise(bitmap, i, true);
	}
}

int bitmap_adopt(struct bitmap *bitmap, uint64_t bits, uint64_t *words, uint64_t *sums, uint64_t key, unsigned *damaged)
{
	*bitmap = (struct bitmap){.bits = bits, .sums = sums, .key = key, .borrowed = true};
	bitmap->level[0] = words;
	if (make_summaries(bitmap) < 0) {
		bitmap_destroy(bitmap);
		return -ENOMEM;
	}
	// A part whose sum is 0 is empty, and is not read: it would only be brought
	// into memory.
	for (uint64_t part = 0; part < bitmap_sum_words(bits); part++)
		if (sums[part])
			adopt_part(bitmap, part, damaged);
	return 0;
}

bool bitmap_test(const struct bitmap *bitmap, uint64_t bit)
{
	return bitmap->level[0][bit / 64] >> (bit % 64) & 1;
}

// Calls for the mask of each word that the range touches.
static void for_words(struct bitmap *bitmap, uint64_t first, uint64_t count, bool value)
{
	uint64_t end = first + count;

	for (uint64_t i = first / 64; first < end; i++) {
		uint64_t from = first % 64;
		uint64_t n = end - first < 64 - from ? end - first : 64 - from;
		uint64_t mask = (n == 64 ? UINT64_MAX : (UINT64_C(1) << n) - 1) << from;
		uint64_t old = bitmap->level[0][i];

		put_word(bitmap, i, value ? old | mask : old & ~mask);
		first += n;
	}
}

void bitmap_set(struct bitmap *bitmap, uint64_t first, uint64_t count)
{
	for_words(bitmap, first, count, true);
}

void bitmap_clear(struct bitmap *bitmap, uint64_t first, uint64_t count)
{
	for_words(bitmap, first, count, false);
}

void bitmap_clear_all(struct bitmap *bitmap)
{
	for (uint64_t bit = bitmap_next(bitmap, 0); bit != BITMAP_NONE; bit = bitmap_next(bitmap, bit))
		put_word(bitmap, bit / 64, 0);
}

uint64_t bitmap_next(const struct bitmap *bitmap, uint64_t from)
{
	uint64_t first = from / 64;
	unsigned i = 0;

	// A word that is empty, as the level above knows, may lie in memory that was
	// never touched: looking at it would bring it in.
	if (bitmap->levels > 1 && first < bitmap->words[0] && !(bitmap->level[1][first / 64] >> (first % 64) & 1)) {
		from = first + 1;
		i = 1;
	}
	// Up until a word has something at or after the position ...
	for (;; i++) {
		uint64_t index = from / 64, word;

		if (i == bitmap->levels || index >= bitmap->words[i])
			return BITMAP_NONE;
		word = bitmap->level[i][index] >> (from % 64);
		if (word) {
			from += (uint64_t)__builtin_ctzll(word);
			break;
		}
		from = index + 1;
	}
	// ... and down along the first bits.
	while (i-- > 0)
		from = from * 64 + (uint64_t)__builtin_ctzll(bitmap->level[i][from]);
	return from;
}

uint64_t bitmap_run(const struct bitmap *bitmap, uint64_t first, uint64_t max)
{
	uint64_t end = max < bitmap->bits - first ? first + max : bitmap->bits;
	uint64_t bit = first;

	while (bit < end) {
		uint64_t clear = ~bitmap->level[0][bit / 64] >> (bit % 64);

		if (clear) {
			bit += (uint64_t)__builtin_ctzll(clear);
			break;
		}
		bit = (bit / 64 + 1) * 64;
	}
	return (bit < end ? bit : end) - first;
}

uint64_t bitmap_word(const struct bitmap *bitmap, uint64_t index)
{
	return bitmap->level[0][index];
}

void bitmap_or_word(struct bitmap *bitmap, uint64_t index, uint64_t word)
{
	put_word(bitmap, index, bitmap->level[0][index] | (word & valid_mask(bitmap, index)));
}
