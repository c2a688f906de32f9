// SPDX-License-Identifier: Apache-2.0
// A process that changes the map may die after any of its stores. So one does
// it instruction by instruction, and after each of its stores the map is opened
// as the next process would open it: nothing that was marked may be missing.
#include "common/map.h"
#include "common/mutant.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

// cmocka.h needs these before it
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define SKIPPED 77
#define KEY 99
#define OWED_MAX 8
#define PART_BLOCKS (BITMAP_WORDS_PER_SUM * 64)

enum mutant mutant_active = MUTANT_NONE;

struct owed {
	uint64_t block; // of volume 0
	uint64_t epoch; // until that is acknowledged
};

struct fixture {
	struct map_identity identity;
	size_t bytes;
	uint8_t *memory, *last, *seen; // shared with the process that dies; as it was; a copy to be opened
	struct map map;

	// what every process that comes after must find
	struct owed owed[OWED_MAX];
	unsigned owed_count;
	uint64_t cut; // at least
	int64_t oldest; // at most; 0: nothing is said
	bool may_distrust; // or nothing, and know it
	uint64_t again; // a block that is written again
};

static int setup(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));

	fixture->identity = (struct map_identity){
	        .pair = {{1}}, .generation = {{2}}, .boot = {{3}}, .volume_count = 2, .blocks = {40000, 70}};
	fixture->bytes = map_bytes(2, fixture->identity.blocks);
	fixture->memory = mmap(NULL, fixture->bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(fixture->memory != MAP_FAILED);
	fixture->last = malloc(fixture->bytes);
	fixture->seen = aligned_alloc(4096, fixture->bytes);
	*state = fixture;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *fixture = *state;

	mutant_active = MUTANT_NONE;
	map_destroy(&fixture->map);
	munmap(fixture->memory, fixture->bytes);
	free(fixture->last);
	free(fixture->seen);
	free(fixture);
	return 0;
}

static void begin(struct fixture *fixture)
{
	unsigned damaged;

	assert_int_equal(map_open(&fixture->map, fixture->memory, &fixture->identity, KEY, &damaged), 0);
	fixture->map.suspect = false;
	map_save(&fixture->map);
}

static struct change_set *make_set(struct fixture *fixture, unsigned index, enum set_state state, uint64_t epoch)
{
	struct change_set *set = &fixture->map.sets[index];

	set->state = state;
	set->epoch = epoch;
	map_save(&fixture->map);
	return set;
}

static void owe(struct fixture *fixture, struct change_set *set, uint64_t block)
{
	bitmap_set(&set->dirty[0], block, 1);
	fixture->owed[fixture->owed_count++] = (struct owed){block, set->epoch};
}

static bool marked(const struct map *map, uint64_t block)
{
	for (unsigned i = 0; i < MAP_SETS; i++)
		if (bitmap_next(&map->sets[i].dirty[0], block) == block)
			return true;
	return false;
}

static const char *judge_lag(const struct fixture *fixture, const struct map *map)
{
	int64_t oldest = 0;

	for (unsigned i = 0; i < MAP_SETS; i++) {
		const struct change_set *set = &map->sets[i];

		if (set->state != SET_FREE && set->oldest && (!oldest || set->oldest < oldest))
			oldest = set->oldest;
	}
	return fixture->oldest && (!oldest || oldest > fixture->oldest) ? "the oldest write has become younger" : NULL;
}

static const char *judge_map(const struct fixture *fixture, struct map *map)
{
	if (map->suspect)
		return fixture->may_distrust ? NULL : "the map is suspect";
	if (map->cut < fixture->cut)
		return "a cut was forgotten";
	for (unsigned i = 0; i < fixture->owed_count; i++)
		if (!marked(map, fixture->owed[i].block) &&
		    (!fixture->owed[i].epoch || map->acknowledged < fixture->owed[i].epoch))
			return "a mark is missing";
	for (unsigned i = 0; i < MAP_SETS; i++) {
		struct bitmap *dirty = &map->sets[i].dirty[0];

		bitmap_set(dirty, fixture->again, 1);
		if (bitmap_next(dirty, fixture->again) != fixture->again)
			return "a block that is written again is not marked";
	}
	return judge_lag(fixture, map);
}

// Opens what the process left, as the next one does. NULL: it is right.
static const char *judge(struct fixture *fixture)
{
	struct map map;
	unsigned damaged;
	const char *why;

	memcpy(fixture->seen, fixture->last, fixture->bytes);
	if (!map_trusted(fixture->seen, &fixture->identity))
		return fixture->may_distrust ? NULL : "the map is not trusted";
	assert_int_equal(map_open(&map, fixture->seen, &fixture->identity, KEY, &damaged), 0);
	why = judge_map(fixture, &map);
	map_destroy(&map);
	return why;
}

// Lets another process do it, which dies after each of its stores. NULL: all that
// they leave is right; moments counts them.
static const char *die_everywhere(struct fixture *fixture, void (*act)(struct fixture *fixture), unsigned *moments)
{
	const char *why = NULL;
	int status;
	pid_t child = fork();

	assert_true(child >= 0);
	if (child == 0) {
		if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0)
			_exit(SKIPPED);
		raise(SIGSTOP);
		act(fixture);
		_exit(0);
	}
	memcpy(fixture->last, fixture->memory, fixture->bytes);
	*moments = 0;
	while (waitpid(child, &status, 0) == child && WIFSTOPPED(status)) {
		if (memcmp(fixture->last, fixture->memory, fixture->bytes) != 0) {
			memcpy(fixture->last, fixture->memory, fixture->bytes);
			++*moments;
			if (!why)
				why = judge(fixture);
		}
		if (ptrace(PTRACE_SINGLESTEP, child, NULL, NULL) < 0)
			break;
	}
	if (WIFEXITED(status) && WEXITSTATUS(status) == SKIPPED)
		skip();
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	return why;
}

static void expect_right(struct fixture *fixture, void (*act)(struct fixture *fixture))
{
	unsigned moments;
	const char *why = die_everywhere(fixture, act, &moments);

	if (why)
		fail_msg("%s", why);
	assert_true(moments >= 1);
}

// -- marks --

static void mark_again(struct fixture *fixture)
{
	bitmap_set(&fixture->map.sets[1].dirty[0], fixture->again, 1);
}

static void test_first_mark(void **state)
{
	struct fixture *fixture = *state;

	begin(fixture);
	make_set(fixture, 1, SET_OPEN, 0);
	fixture->again = 100;
	expect_right(fixture, mark_again);
}

static void test_mark_beside_others(void **state)
{
	struct fixture *fixture = *state;
	struct change_set *set;

	begin(fixture);
	set = make_set(fixture, 1, SET_OPEN, 0);
	owe(fixture, set, 100);
	owe(fixture, set, 5000);
	fixture->again = 101;
	expect_right(fixture, mark_again);
}

static void mark_run(struct fixture *fixture)
{
	bitmap_set(&fixture->map.sets[1].dirty[0], PART_BLOCKS - 70, 140);
}

static void test_marks_of_two_parts(void **state)
{
	struct fixture *fixture = *state;

	begin(fixture);
	owe(fixture, make_set(fixture, 1, SET_OPEN, 0), 3);
	fixture->again = PART_BLOCKS;
	expect_right(fixture, mark_run);
}

static void clear_some(struct fixture *fixture)
{
	bitmap_clear(&fixture->map.sets[1].dirty[0], 200, 300);
}

static void test_some_leave(void **state)
{
	struct fixture *fixture = *state;
	struct change_set *set;

	begin(fixture);
	set = make_set(fixture, 1, SET_FROZEN, 7);
	owe(fixture, set, 199);
	bitmap_set(&set->dirty[0], 200, 300);
	owe(fixture, set, 500);
	fixture->again = 250;
	expect_right(fixture, clear_some);
}

static void test_all_leave(void **state)
{
	struct fixture *fixture = *state;

	begin(fixture);
	bitmap_set(&make_set(fixture, 1, SET_FROZEN, 7)->dirty[0], 200, 300);
	fixture->again = 250;
	expect_right(fixture, clear_some);
}

// A sum that is 0 by chance: the factor of the second word is inverted.
static void test_sum_of_nothing(void **state)
{
	struct fixture *fixture = *state;
	struct change_set *set;
	struct bitmap *dirty;
	uint64_t first, second, inverse;

	begin(fixture);
	set = make_set(fixture, 1, SET_OPEN, 0);
	dirty = &set->dirty[0];
	bitmap_or_word(dirty, 0, 1);
	first = dirty->sums[0];
	bitmap_clear_all(dirty);
	bitmap_or_word(dirty, 1, 1);
	second = inverse = dirty->sums[0];
	for (unsigned i = 0; i < 6; i++)
		inverse *= 2 - second * inverse;
	owe(fixture, set, 0);
	bitmap_or_word(dirty, 1, (0 - first * inverse) & ~dirty->level[0][1]);
	fixture->again = 70;
	memcpy(fixture->last, fixture->memory, fixture->bytes);
	assert_null(judge(fixture));
}

// -- records and sets --

static void save(struct fixture *fixture)
{
	fixture->map.cut = 9;
	fixture->map.sets[1].oldest = 20;
	map_save(&fixture->map);
}

static void test_save(void **state)
{
	struct fixture *fixture = *state;
	struct change_set *set;

	begin(fixture);
	fixture->map.cut = fixture->cut = 8;
	set = make_set(fixture, 1, SET_FROZEN, 8);
	set->oldest = fixture->oldest = 20;
	map_save(&fixture->map);
	owe(fixture, set, 100);
	expect_right(fixture, save);
}

static void release(struct fixture *fixture)
{
	fixture->map.acknowledged = 7;
	set_release(&fixture->map, &fixture->map.sets[1]);
}

static void prepare_release(struct fixture *fixture)
{
	struct change_set *set;

	begin(fixture);
	fixture->map.acknowledged = 6;
	set = make_set(fixture, 1, SET_FROZEN, 7);
	owe(fixture, set, 100);
	owe(fixture, set, 20000);
	owe(fixture, set, 39999);
	owe(fixture, make_set(fixture, 2, SET_OPEN, 0), 100);
	fixture->again = 20000;
}

static void test_release(void **state)
{
	prepare_release(*state);
	expect_right(*state, release);
}

static void merge(struct fixture *fixture)
{
	struct map *map = &fixture->map;
	unsigned volume = 0;
	uint64_t index = 0;

	while (!set_merge(map, &map->sets[2], &map->sets[1], &volume, &index))
		;
	set_release(map, &map->sets[1]);
}

static void prepare_merge(struct fixture *fixture)
{
	struct change_set *from, *into;

	begin(fixture);
	from = make_set(fixture, 1, SET_FROZEN, 0);
	into = make_set(fixture, 2, SET_OPEN, 0);
	owe(fixture, from, 100);
	owe(fixture, from, 20000);
	owe(fixture, into, 101);
	from->oldest = fixture->oldest = 5;
	into->oldest = 9;
	map_save(&fixture->map);
	fixture->again = 100;
}

static void test_merge(void **state)
{
	prepare_merge(*state);
	expect_right(*state, merge);
}

// -- opening and closing --

static void format(struct fixture *fixture)
{
	unsigned damaged;

	(void)map_open(&fixture->map, fixture->memory, &fixture->identity, KEY, &damaged);
	fixture->map.suspect = false;
	fixture->map.cut = 41;
	map_save(&fixture->map);
}

static void test_format(void **state)
{
	struct fixture *fixture = *state;

	fixture->may_distrust = true;
	fixture->cut = 41;
	expect_right(fixture, format);
}

static void open_again(struct fixture *fixture)
{
	unsigned damaged;

	(void)map_open(&fixture->map, fixture->memory, &fixture->identity, KEY, &damaged);
	map_save(&fixture->map);
}

static void test_repair(void **state)
{
	struct fixture *fixture = *state;
	struct change_set *set;

	begin(fixture);
	set = make_set(fixture, 1, SET_FROZEN, 7);
	owe(fixture, set, 100);
	owe(fixture, set, 20000);
	set->dirty[0].level[0][77] ^= 4;
	map_destroy(&fixture->map);
	fixture->again = 77 * 64 + 2;
	expect_right(fixture, open_again);
}

static void test_other_boot(void **state)
{
	struct fixture *fixture = *state;

	begin(fixture);
	owe(fixture, make_set(fixture, 1, SET_FROZEN, 7), 100);
	map_destroy(&fixture->map);
	map_close(fixture->memory);
	fixture->identity.boot.bytes[5] = 5;
	fixture->may_distrust = true;
	expect_right(fixture, open_again);
}

static void close_it(struct fixture *fixture)
{
	map_close(fixture->memory);
}

static void test_close(void **state)
{
	struct fixture *fixture = *state;

	begin(fixture);
	owe(fixture, make_set(fixture, 1, SET_FROZEN, 7), 100);
	fixture->may_distrust = true;
	expect_right(fixture, close_it);
}

static void wipe(struct fixture *fixture)
{
	map_wipe(fixture->memory, &fixture->identity);
}

static void test_wipe(void **state)
{
	struct fixture *fixture = *state;
	struct change_set *set;

	begin(fixture);
	set = make_set(fixture, 1, SET_FROZEN, 7);
	owe(fixture, set, 100);
	owe(fixture, set, 39999);
	fixture->may_distrust = true;
	expect_right(fixture, wipe);
}

// -- that it would be found --

static void expect_found(struct fixture *fixture, void (*act)(struct fixture *fixture), const char *what)
{
	unsigned moments;
	const char *why = die_everywhere(fixture, act, &moments);

	assert_non_null(why);
	assert_string_equal(why, what);
}

static void test_word_before_sum(void **state)
{
	struct fixture *fixture = *state;

	begin(fixture);
	make_set(fixture, 1, SET_OPEN, 0);
	fixture->again = 100;
	mutant_active = MUTANT_WORD_BEFORE_SUM;
	expect_found(fixture, mark_again, "a block that is written again is not marked");
}

static void test_released_before_saved(void **state)
{
	prepare_release(*state);
	mutant_active = MUTANT_RELEASED_BEFORE_SAVED;
	expect_found(*state, release, "a mark is missing");
}

static void test_merged_before_saved(void **state)
{
	prepare_merge(*state);
	mutant_active = MUTANT_RELEASED_BEFORE_SAVED;
	expect_found(*state, merge, "the oldest write has become younger");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(test_first_mark),
	        TEST(test_mark_beside_others),
	        TEST(test_marks_of_two_parts),
	        TEST(test_some_leave),
	        TEST(test_all_leave),
	        TEST(test_sum_of_nothing),
	        TEST(test_save),
	        TEST(test_release),
	        TEST(test_merge),
	        TEST(test_format),
	        TEST(test_repair),
	        TEST(test_other_boot),
	        TEST(test_close),
	        TEST(test_wipe),
	        TEST(test_word_before_sum),
	        TEST(test_released_before_saved),
	        TEST(test_merged_before_saved),
	};

	return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
