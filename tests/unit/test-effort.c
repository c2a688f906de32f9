// SPDX-License-Identifier: Apache-2.0
// A thread that packs, a socket that holds some of it, and a wire, as numbers.
#include "common/effort.h"

#include <stdlib.h>

// cmocka.h needs these before it
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define MSEC 1e6
#define FRAME 262144.0
#define BATCH_FRAMES 2

// Of each level: ns to make a byte ready for the wire, and what it is there.
struct content {
	double cost[PACK_LEVELS], ratio[PACK_LEVELS];
};

static const struct content files = {{0.4, 1.5, 2.8, 4.5}, {1, 0.50, 0.41, 0.38}};
static const struct content text = {{0.4, 1.3, 2.0, 3.0}, {1, 0.25, 0.18, 0.16}};
static const struct content noise = {{0.4, 0.45, 0.5, 0.5}, {1, 1, 1, 1}};

struct world {
	struct effort effort;
	const struct content *content;
	double wire; // bytes a ns
	double room, held; // of the socket, bytes
	bool peer_slow; // the wire could do more
	double waited; // for the socket to take the last batch
	double limit; // bytes a ns that the sender keeps to; 0: none
	double tokens; // bytes that it may send at once
	double given; // bytes of the last batch
	double now; // ns
	double sent; // bytes of content
	double busy, idle; // ns: of the thread, of the wire
};

static struct world world_of(const struct content *content, double wire)
{
	struct world world = {.content = content, .wire = wire, .room = 1 << 20};

	effort_init(&world.effort);
	effort_allow(&world.effort, PACK_LEVELS - 1);
	return world;
}

// One batch is made, then handed over as soon as there is room for it. A sender
// that keeps to a limit has no more than one frame at a time ready.
static void round_of(struct world *world)
{
	double pause = world->tokens < 0 ? -world->tokens / world->limit : 0;
	bool backlog = !world->limit || world->tokens > BATCH_FRAMES * FRAME;
	unsigned frames = backlog ? BATCH_FRAMES : 1;
	double worked = 0, made = 0, left, waited;

	for (unsigned i = 0; i < frames; i++) {
		enum pack_level level = effort_next(&world->effort);

		assert_in_range(level, 0, PACK_LEVELS - 1);
		worked += FRAME * world->content->cost[level];
		made += FRAME * world->content->ratio[level];
	}
	left = world->held - (pause + worked) * world->wire;
	if (left < 0)
		world->idle += -left / world->wire;
	world->held = left > 0 ? left : 0;
	effort_round(&world->effort, &(struct effort_round){
	                                     .period = (uint64_t)(world->waited + pause + worked),
	                                     .waited = world->peer_slow ? 0 : (uint64_t)world->waited,
	                                     .dry = world->held == 0 || world->peer_slow,
	                                     .backlog = backlog,
	                                     .limit = (uint64_t)(world->limit * 1e9),
	                                     .sent = (uint64_t)world->given,
	                             });
	waited = (world->held + made - world->room) / world->wire;
	world->waited = waited > 0 ? waited : 0;
	world->held += made - world->waited * world->wire;
	world->now += pause + worked + world->waited;
	world->busy += worked;
	world->sent += frames * FRAME;
	world->given = made;
	world->tokens += (pause + worked + world->waited) * world->limit - (world->limit ? made : 0);
	if (world->tokens > world->limit * 250 * MSEC)
		world->tokens = world->limit * 250 * MSEC;
}

static void run(struct world *world, double ns)
{
	for (double end = world->now + ns; world->now < end;)
		round_of(world);
}

// ns that a byte takes at a mixture of two levels: the slower of thread and wire.
static double time_of(const struct content *content, double wire, double level)
{
	unsigned low = level < PACK_LEVELS - 1 ? (unsigned)level : PACK_LEVELS - 2;
	double share = level - low;
	double cost = content->cost[low] * (1 - share) + content->cost[low + 1] * share;
	double bytes = content->ratio[low] * (1 - share) + content->ratio[low + 1] * share;

	return cost > bytes / wire ? cost : bytes / wire;
}

// The lowest level at which it takes least.
static double best_of(const struct content *content, double wire)
{
	double best = 0;

	for (unsigned i = 0; i <= (PACK_LEVELS - 1) * 256; i++)
		if (time_of(content, wire, i / 256.0) < time_of(content, wire, best) * 0.9999)
			best = i / 256.0;
	return best;
}

struct swing {
	double least, most, ns; // of the level; for a byte
};

static struct swing watch(struct world *world, double ns)
{
	struct swing swing = {.least = PACK_LEVELS};
	double began = world->now, sent = world->sent;

	while (world->now < began + ns) {
		round_of(world);
		if (world->effort.level < swing.least)
			swing.least = world->effort.level;
		if (world->effort.level > swing.most)
			swing.most = world->effort.level;
	}
	swing.ns = (world->now - began) / (world->sent - sent);
	return swing;
}

static void expect_best(const struct content *content, double wire, double room)
{
	struct world world = world_of(content, wire);
	double best = best_of(content, wire);
	struct swing swing;

	world.room = room;
	run(&world, 3000 * MSEC);
	swing = watch(&world, 3000 * MSEC);
	if (swing.ns > 1.06 * time_of(content, wire, best))
		fail_msg("wire %.3f: %.2f ns a byte in place of %.2f", wire, swing.ns, time_of(content, wire, best));
	if (swing.most - swing.least > 0.3 || swing.most > best + 0.25)
		fail_msg("wire %.3f: between %.2f and %.2f in place of %.2f", wire, swing.least, swing.most, best);
}

// 10 MB/s to 5 GB/s, and sockets that hold little or much.
static void test_settles_at_the_best_mixture(void **state)
{
	double wire = 0.01;

	(void)state;
	for (unsigned i = 0; i < 28; i++, wire *= 1.25) {
		expect_best(&files, wire, 1 << 20);
		expect_best(&files, wire, 4 << 20);
		expect_best(&text, wire, 1 << 20);
		expect_best(&text, wire, 4 << 20);
	}
}

// ns that a byte takes at best where the socket holds less than a batch: what it
// does not hold is sent while nothing is made.
static double time_in(const struct content *content, double wire, double room)
{
	double best = 0;

	for (unsigned i = 0; i < (PACK_LEVELS - 1) * 64; i++) {
		unsigned low = i / 64;
		double share = i / 64.0 - low, whole = BATCH_FRAMES * FRAME;
		double cost = content->cost[low] * (1 - share) + content->cost[low + 1] * share;
		double made = whole * (content->ratio[low] * (1 - share) + content->ratio[low + 1] * share);
		double time = made > room ? cost + (made - room) / wire / whole : cost;

		time = time > made / wire / whole ? time : made / wire / whole;
		best = i > 0 && best < time ? best : time;
	}
	return best;
}

static void test_small_sockets(void **state)
{
	(void)state;
	for (unsigned room = 128 << 10; room <= 256 << 10; room *= 2) {
		double wire = 0.05;

		for (unsigned i = 0; i < 11; i++, wire *= 1.5) {
			struct world world = world_of(&files, wire);
			double best = time_in(&files, wire, room), ns;

			world.room = room;
			run(&world, 2000 * MSEC);
			ns = watch(&world, 1000 * MSEC).ns;
			if (ns > 1.25 * best)
				fail_msg("room %u, wire %.3f: %.2f ns a byte in place of %.2f", room, wire, ns, best);
		}
	}
}

// All that the socket may hold is on its way, far: it has nothing to send, and
// still the fewer bytes the better.
static void test_long_way(void **state)
{
	const struct effort_round round = {
	        .period = (uint64_t)(10 * MSEC),
	        .waited = (uint64_t)(7 * MSEC),
	        .dry = true,
	        .backlog = true,
	};
	struct world world = world_of(&files, 1);

	(void)state;
	for (unsigned i = 0; i < 20; i++)
		effort_round(&world.effort, &round);
	assert_true(world.effort.level == PACK_LEVELS - 1);
}

// A fast wire, but the sender keeps to a limit, also in what it sends at once
// after a pause.
static void test_packs_for_a_limit(void **state)
{
	double limit = 0.001;

	(void)state;
	for (unsigned i = 0; i < 29; i++, limit *= 1.25) {
		struct world world = world_of(&files, 10);
		double best = best_of(&files, limit);
		struct swing swing;

		world.limit = limit;
		run(&world, 3000 * MSEC);
		swing = watch(&world, 3000 * MSEC);
		if (swing.ns > 1.06 * time_of(&files, limit, best))
			fail_msg("limit %.3f: %.2f ns a byte in place of %.2f", limit, swing.ns,
			         time_of(&files, limit, best));
		world.tokens = limit * 250 * MSEC;
		swing = watch(&world, 1000 * MSEC);
		if (best == PACK_ZSTD && swing.least < best - 0.1)
			fail_msg("limit %.3f: %.2f in place of %.2f", limit, swing.least, best);
		world.limit = world.tokens = 0;
		run(&world, 100 * MSEC);
		assert_true(world.effort.level == 0);
	}
}

static void test_thread_and_wire_are_busy(void **state)
{
	struct world world = world_of(&files, 0.15); // between the levels of zstd
	struct swing swing;

	(void)state;
	run(&world, 1000 * MSEC);
	world.busy = world.idle = 0;
	swing = watch(&world, 1000 * MSEC);
	assert_true(swing.least > PACK_LZ4 && swing.most < PACK_ZSTD);
	assert_true(world.busy > 950 * MSEC);
	assert_true(world.idle < 20 * MSEC);
}

static void test_gives_up_lz4_on_a_fast_wire(void **state)
{
	struct world world = world_of(&files, 10);

	(void)state;
	while (world.effort.level > 0)
		round_of(&world);
	assert_true(world.sent <= 5e6);
	assert_true(watch(&world, 1000 * MSEC).most == 0);
}

static void test_rises_within_tens_of_ms(void **state)
{
	struct world world = world_of(&files, 10);

	(void)state;
	run(&world, 100 * MSEC);
	assert_true(world.effort.level == 0);
	world.wire = 0.125;
	run(&world, 60 * MSEC);
	assert_true(world.effort.level > best_of(&files, 0.125) - 0.5);
	world.wire = 10;
	run(&world, 60 * MSEC);
	assert_true(world.effort.level == 0);
}

static void test_follows_the_content(void **state)
{
	struct world world = world_of(&files, 0.3);

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		world.content = &noise; // nothing shrinks: the wire is always too slow
		run(&world, 500 * MSEC);
		world.content = i % 2 ? &text : &files;
		run(&world, 300 * MSEC);
		assert_true(watch(&world, 500 * MSEC).ns <
		            1.06 * time_of(world.content, 0.3, best_of(world.content, 0.3)));
	}
}

// The wire is slow, but it is the peer that is waited for: packing does not help.
static void test_does_not_pack_for_a_slow_peer(void **state)
{
	struct world world = world_of(&files, 0.125);

	(void)state;
	run(&world, 200 * MSEC);
	assert_true(world.effort.level > PACK_LZ4);
	world.peer_slow = true;
	run(&world, 200 * MSEC);
	assert_true(world.effort.level == 0);
}

// Where nothing is in a hurry, bytes are saved: at least with LZ4.
static void test_packs_when_there_is_time(void **state)
{
	const struct effort_round idle = {.period = (uint64_t)(10 * MSEC), .dry = true};
	struct world world = world_of(&files, 10);

	(void)state;
	run(&world, 100 * MSEC);
	assert_true(world.effort.level == 0);
	for (unsigned i = 0; i < 5; i++)
		effort_round(&world.effort, &idle);
	assert_true(world.effort.level > 0.4 && world.effort.level < 0.6);
	for (unsigned i = 0; i < 50; i++)
		effort_round(&world.effort, &idle);
	assert_true(world.effort.level == PACK_LZ4);

	world.wire = 0.01;
	run(&world, 1000 * MSEC);
	assert_true(world.effort.level == PACK_LEVELS - 1);
	for (unsigned i = 0; i < 50; i++)
		effort_round(&world.effort, &idle); // a slow wire is remembered
	assert_true(world.effort.level == PACK_LEVELS - 1);
}

static void test_no_more_than_the_peer_unpacks(void **state)
{
	struct world world = world_of(&files, 0.01);

	(void)state;
	effort_init(&world.effort);
	assert_true(watch(&world, 1000 * MSEC).most == PACK_LZ4);
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(effort_next(&world.effort), PACK_LZ4);
}

static void test_frames_make_the_effort(void **state)
{
	struct effort effort;
	unsigned higher = 0;

	(void)state;
	effort_init(&effort);
	effort_allow(&effort, PACK_LEVELS - 1);
	effort.level = PACK_LZ4 + 0.3;
	for (unsigned i = 1; i <= 1000; i++) {
		enum pack_level level = effort_next(&effort);

		assert_in_range(level, PACK_LZ4, PACK_LZ4 + 1);
		higher += level > PACK_LZ4;
		assert_in_range(10 * higher + 10, 3 * i, 3 * i + 20); // at any time
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_settles_at_the_best_mixture),
	        cmocka_unit_test(test_small_sockets),
	        cmocka_unit_test(test_long_way),
	        cmocka_unit_test(test_packs_for_a_limit),
	        cmocka_unit_test(test_thread_and_wire_are_busy),
	        cmocka_unit_test(test_gives_up_lz4_on_a_fast_wire),
	        cmocka_unit_test(test_rises_within_tens_of_ms),
	        cmocka_unit_test(test_follows_the_content),
	        cmocka_unit_test(test_does_not_pack_for_a_slow_peer),
	        cmocka_unit_test(test_packs_when_there_is_time),
	        cmocka_unit_test(test_no_more_than_the_peer_unpacks),
	        cmocka_unit_test(test_frames_make_the_effort),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
