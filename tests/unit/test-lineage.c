// SPDX-License-Identifier: Apache-2.0
#include "common/lineage.h"

// cmocka.h needs these before it
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

static struct id id_of(unsigned number)
{
	return (struct id){{(uint8_t)number, (uint8_t)(number >> 8), 7}};
}

// A lineage whose generations are listed oldest first and end with 0.
static struct lineage lineage_of(const unsigned *numbers)
{
	struct lineage lineage = {0};

	for (; *numbers; numbers++) {
		struct id id = id_of(*numbers);

		lineage_push(&lineage, &id, *numbers * 10);
	}
	return lineage;
}

#define LINEAGE(...) lineage_of((const unsigned[]){__VA_ARGS__, 0})

static void test_ids(void **state)
{
	struct id none = {0}, one = id_of(1), two = id_of(2);

	(void)state;
	assert_true(id_is_none(&none));
	assert_false(id_is_none(&one));
	assert_true(id_equal(&one, &one));
	assert_false(id_equal(&one, &two));
}

static void test_push_and_find(void **state)
{
	struct lineage lineage = LINEAGE(1, 2, 3);
	struct id one = id_of(1), two = id_of(2), three = id_of(3);

	(void)state;
	assert_int_equal(lineage.count, 2);
	assert_true(id_equal(&lineage.generation, &three));
	assert_true(id_equal(&lineage.ancestors[0].generation, &two));
	assert_int_equal(lineage_find(&lineage, &two)->epoch, 30);
	assert_int_equal(lineage_find(&lineage, &one)->epoch, 20);
	assert_null(lineage_find(&lineage, &three));
}

static void test_oldest_ancestor_falls_off(void **state)
{
	struct lineage lineage = {0};

	(void)state;
	for (unsigned i = 1; i <= ANCESTORS_MAX + 3; i++) {
		struct id id = id_of(i);

		lineage_push(&lineage, &id, i);
	}
	assert_int_equal(lineage.count, ANCESTORS_MAX);
	for (unsigned i = 1; i <= ANCESTORS_MAX + 3; i++) {
		struct id id = id_of(i);
		const struct ancestor *ancestor = lineage_find(&lineage, &id);

		if (i >= 3 && i < ANCESTORS_MAX + 3)
			assert_int_equal(ancestor->epoch, i + 1);
		else
			assert_null(ancestor);
	}
}

struct judgement {
	struct lineage mine, peers;
	// by roles: mine and peer's are primary and standby, standby and primary, both primary
	enum verdict primary_standby, standby_primary, both_primary;
};

static enum verdict mirrored(enum verdict verdict)
{
	switch (verdict) {
	case VERDICT_FENCED:
		return VERDICT_PEER_FENCED;
	case VERDICT_PEER_FENCED:
		return VERDICT_FENCED;
	default:
		return verdict;
	}
}

static void judge(enum role my_role, const struct lineage *mine, enum role peer_role, const struct lineage *peers,
                  enum verdict expected)
{
	struct standing me = {.role = my_role, .lineage = *mine, .mapped = true, .consistent = true};
	struct standing peer = {.role = peer_role, .lineage = *peers, .mapped = true, .consistent = true};

	assert_int_equal(lineage_judge(&me, &peer), expected);
	assert_int_equal(lineage_judge(&peer, &me), mirrored(expected));
}

static void test_judge_every_combination(void **state)
{
	struct lineage none = {0};
	struct lineage older = LINEAGE(1), crossed_a = LINEAGE(2, 1), crossed_b = LINEAGE(1, 2);
	const struct judgement judgements[] = {
	        // the same generation
	        {LINEAGE(1), LINEAGE(1), VERDICT_CONTINUE, VERDICT_CONTINUE, VERDICT_SPLIT_BRAIN},
	        {LINEAGE(1, 2), LINEAGE(1, 2), VERDICT_CONTINUE, VERDICT_CONTINUE, VERDICT_SPLIT_BRAIN},
	        // the peer descends from us, at once or over several promotions
	        {LINEAGE(1), LINEAGE(1, 2), VERDICT_FENCED, VERDICT_COMPARE, VERDICT_FENCED},
	        {LINEAGE(1), LINEAGE(1, 2, 3, 4), VERDICT_FENCED, VERDICT_COMPARE, VERDICT_FENCED},
	        {LINEAGE(1, 2), LINEAGE(1, 2, 3), VERDICT_FENCED, VERDICT_COMPARE, VERDICT_FENCED},
	        // a common ancestor, but both went on from it
	        {LINEAGE(1, 2), LINEAGE(1, 3), VERDICT_DIVERGED, VERDICT_DIVERGED, VERDICT_SPLIT_BRAIN},
	        // nothing in common
	        {LINEAGE(1), LINEAGE(9), VERDICT_UNRELATED, VERDICT_UNRELATED, VERDICT_UNRELATED},
	        {LINEAGE(1, 2), LINEAGE(8, 9), VERDICT_UNRELATED, VERDICT_UNRELATED, VERDICT_UNRELATED},
	        // no generation, no relation: not even with another that has none
	        {none, older, VERDICT_UNRELATED, VERDICT_UNRELATED, VERDICT_UNRELATED},
	        {none, none, VERDICT_UNRELATED, VERDICT_UNRELATED, VERDICT_UNRELATED},
	        // each claims to descend from the other: cannot be
	        {crossed_a, crossed_b, VERDICT_UNRELATED, VERDICT_UNRELATED, VERDICT_UNRELATED},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(judgements) / sizeof(judgements[0]); i++) {
		const struct judgement *j = &judgements[i];

		judge(ROLE_PRIMARY, &j->mine, ROLE_STANDBY, &j->peers, j->primary_standby);
		judge(ROLE_STANDBY, &j->mine, ROLE_PRIMARY, &j->peers, j->standby_primary);
		judge(ROLE_PRIMARY, &j->mine, ROLE_PRIMARY, &j->peers, j->both_primary);
		judge(ROLE_STANDBY, &j->mine, ROLE_STANDBY, &j->peers, VERDICT_NO_PRIMARY);
	}
}

// Every standing of a small universe, judged once more in another way: by the
// set of facts that each side holds. A fact is an epoch of a generation; BEYOND
// is what a former primary wrote after its last one.

#define EPOCHS 4
#define BEYOND EPOCHS
#define FACTS (EPOCHS + 1)

enum {
	ROOT = 1,
	LEFT,
	RIGHT,
	LEFT_CHILD,
	RIGHT_CHILD,
	STRANGER,
	CROSSED_A,
	CROSSED_B
};

typedef uint64_t facts;

struct known {
	struct standing standing;
	unsigned generation;
	facts held;
	unsigned generations; // that it knows of, a set
	unsigned order[3]; // the same, newest last; 0: none
};

static facts fact(unsigned generation, unsigned epoch)
{
	return (facts)1 << (generation * FACTS + epoch);
}

static facts facts_up_to(unsigned generation, uint64_t epoch)
{
	facts all = 0;

	for (unsigned i = 0; i < EPOCHS && i <= epoch; i++)
		all |= fact(generation, i);
	return all;
}

static facts facts_of(unsigned generation)
{
	return facts_up_to(generation, EPOCHS - 1) | fact(generation, BEYOND);
}

// Up to three generations, oldest first; 0: none. left: the epochs at which
// the first two were left.
static struct known known_of(enum role role, const unsigned *chain, const uint64_t *left, uint64_t epoch,
                             unsigned flags)
{
	struct known known = {.standing = {.role = role,
	                                   .epoch = epoch,
	                                   .consistent = flags & 1,
	                                   .returned = flags & 2,
	                                   .mapped = flags & 4,
	                                   .yields = flags & 8}};

	for (unsigned i = 0; i < 3 && chain[i]; i++) {
		struct id id = id_of(chain[i]);

		lineage_push(&known.standing.lineage, &id, i ? left[i - 1] : 0);
		if (i)
			known.held |= facts_up_to(chain[i - 1], left[i - 1]);
		known.generation = chain[i];
		known.generations |= 1u << chain[i];
		known.order[i] = chain[i];
	}
	known.held |= facts_up_to(known.generation, epoch);
	if (role == ROLE_STANDBY && known.standing.returned)
		known.held |= fact(known.generation, BEYOND);
	return known;
}

static bool knows_of(const struct known *known, unsigned generation)
{
	return known->generations & (1u << generation);
}

static bool related(const struct known *a, const struct known *b)
{
	bool crossed = a->generation != b->generation && knows_of(a, b->generation) && knows_of(b, a->generation);

	return (a->generations & b->generations) && !crossed;
}

// In which facts the two differ. A generation is made once: what came before
// the newest that both know of is the same.
static facts differ(const struct known *a, const struct known *b)
{
	facts differ = a->held ^ b->held;
	bool newest = true;

	for (unsigned i = 3; i-- > 0;) {
		if (!a->order[i] || !knows_of(b, a->order[i]))
			continue;
		if (!newest)
			differ &= ~facts_of(a->order[i]);
		newest = false;
	}
	return differ;
}

static bool holds_more(const struct known *primary, const struct known *standby)
{
	return differ(primary, standby) & standby->held;
}

// Whether the standby may be overwritten by this primary without anybody being
// asked once more.
static bool permitted(const struct known *primary, const struct known *standby)
{
	const struct standing *it = &standby->standing;
	bool descends = knows_of(primary, standby->generation);

	if (it->yields)
		return true;
	if (it->returned)
		return descends && primary->generation != standby->generation;
	return descends && (!it->consistent || !holds_more(primary, standby));
}

// Whether the change maps name all in which the two may differ: each map is of
// its node's own generation, and one generation has one map that counts.
static bool named(const struct known *primary, const struct known *standby)
{
	facts names = primary->held & facts_of(primary->generation);

	if (standby->standing.returned && standby->standing.mapped && primary->generation != standby->generation)
		names |= standby->held & facts_of(standby->generation);
	return !(differ(primary, standby) & ~names);
}

static enum verdict specified_pair(const struct known *primary, const struct known *standby)
{
	bool same = primary->generation == standby->generation;

	if (!related(primary, standby))
		return VERDICT_UNRELATED;
	if (!same && knows_of(standby, primary->generation))
		return VERDICT_FENCED;
	if (same && !standby->standing.returned && (!standby->standing.consistent || !holds_more(primary, standby)))
		return VERDICT_CONTINUE;
	if (!permitted(primary, standby))
		return same && !standby->standing.returned ? VERDICT_ROLLED_BACK : VERDICT_DIVERGED;
	return named(primary, standby) ? VERDICT_RESYNC : VERDICT_COMPARE;
}

static enum verdict specified(const struct known *mine, const struct known *peers)
{
	if (mine->standing.role == ROLE_STANDBY)
		return peers->standing.role == ROLE_STANDBY ? VERDICT_NO_PRIMARY
		                                            : mirrored(specified_pair(peers, mine));
	if (peers->standing.role == ROLE_STANDBY)
		return specified_pair(mine, peers);
	if (!related(mine, peers))
		return VERDICT_UNRELATED;
	if (mine->generation == peers->generation)
		return VERDICT_SPLIT_BRAIN;
	if (knows_of(peers, mine->generation))
		return VERDICT_FENCED;
	return knows_of(mine, peers->generation) ? VERDICT_PEER_FENCED : VERDICT_SPLIT_BRAIN;
}

struct universe {
	struct known *all;
	size_t count;
};

static void add(struct universe *universe, const struct known *known)
{
	universe->all = realloc(universe->all, (universe->count + 1) * sizeof(*universe->all));
	assert_non_null(universe->all);
	universe->all[universe->count++] = *known;
}

static struct universe universe_of(enum role role, unsigned flags_from, unsigned flags_step)
{
	static const unsigned chains[][3] = {{ROOT},
	                                     {ROOT, LEFT},
	                                     {ROOT, RIGHT},
	                                     {ROOT, LEFT, LEFT_CHILD},
	                                     {ROOT, RIGHT, RIGHT_CHILD},
	                                     {CROSSED_A, CROSSED_B},
	                                     {CROSSED_B, CROSSED_A},
	                                     {STRANGER}};
	struct universe universe = {0};

	for (size_t i = 0; i < sizeof(chains) / sizeof(chains[0]); i++) {
		unsigned choices = !chains[i][1] ? 1 : !chains[i][2] ? EPOCHS : EPOCHS * EPOCHS;

		for (unsigned choice = 0; choice < choices * EPOCHS; choice++) {
			uint64_t left[2] = {choice / EPOCHS % EPOCHS, choice / EPOCHS / EPOCHS};

			for (unsigned flags = flags_from; flags < 16; flags += flags_step) {
				struct known known = known_of(role, chains[i], left, choice % EPOCHS, flags);

				add(&universe, &known);
			}
		}
	}
	return universe;
}

static void judge_all(const struct universe *mine, const struct universe *peers)
{
	for (size_t i = 0; i < mine->count; i++) {
		const struct known *me = &mine->all[i];

		for (size_t j = 0; j < peers->count; j++) {
			const struct known *peer = &peers->all[j];
			enum verdict expected = specified(me, peer);

			if (lineage_judge(&me->standing, &peer->standing) == expected &&
			    lineage_judge(&peer->standing, &me->standing) == mirrored(expected))
				continue;
			fail_msg("standings %zu and %zu: judged %u and %u, must be %u and its mirror image", i, j,
			         lineage_judge(&me->standing, &peer->standing),
			         lineage_judge(&peer->standing, &me->standing), expected);
		}
	}
}

static void test_judge_as_specified(void **state)
{
	// what a primary says of itself beside its lineage and epoch does not matter
	struct universe primaries = universe_of(ROLE_PRIMARY, 0, 15);
	struct universe standbys = universe_of(ROLE_STANDBY, 0, 1);
	struct universe few = universe_of(ROLE_STANDBY, 0, 5);

	(void)state;
	judge_all(&primaries, &standbys);
	judge_all(&primaries, &primaries);
	judge_all(&few, &few);
	free(primaries.all);
	free(standbys.all);
	free(few.all);
}

static void test_one_gives_way(void **state)
{
	struct universe primaries = universe_of(ROLE_PRIMARY, 0, 16);

	(void)state;
	for (size_t i = 0; i < primaries.count * 3; i++) {
		for (size_t j = 0; j < primaries.count * 3; j++) {
			struct standing mine = primaries.all[i / 3].standing, peers = primaries.all[j / 3].standing;
			bool mine_does, peers_does, alike;

			mine.born = (int64_t)(i % 3);
			peers.born = (int64_t)(j % 3);
			mine_does = lineage_gives_way(&mine, &peers);
			peers_does = lineage_gives_way(&peers, &mine);
			alike = mine.born == peers.born &&
			        id_equal(&mine.lineage.generation, &peers.lineage.generation);
			assert_true(mine_does || peers_does);
			assert_int_equal(mine_does && peers_does, alike);
			if (mine.born != peers.born)
				assert_int_equal(mine_does, mine.born < peers.born);
		}
	}
	free(primaries.all);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_ids),
	        cmocka_unit_test(test_push_and_find),
	        cmocka_unit_test(test_oldest_ancestor_falls_off),
	        cmocka_unit_test(test_judge_every_combination),
	        cmocka_unit_test(test_judge_as_specified),
	        cmocka_unit_test(test_one_gives_way),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
