// SPDX-License-Identifier: Apache-2.0
// The cadence over a model of a wire, under loads that are known: what lag comes
// out, and how many bytes.
#include "agent/cadence.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// cmocka.h needs these before it
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define MS UINT64_C(1000000)
#define BLOCK 4096.0
#define BLOCKS 65536
#define SECONDS_MAX 600

// One run; time goes in milliseconds.
struct run {
	// given
	uint64_t rpo;
	double wire; // bytes a second
	bool uneven; // for each fourth epoch only half as many
	double ratio;
	unsigned seconds;
	unsigned warm; // seconds that do not count: what is not known is learnt
	void (*load)(struct run *run, unsigned ms);

	// the open set, and the one epoch that is sent
	bool dirty[BLOCKS];
	uint64_t open, opened, changed, cut, changed_at_cut;
	uint64_t sending, sending_oldest, sending_begun; // blocks; times
	double left; // wire bytes
	double speed;

	struct cadence cadence;
	uint64_t random, cursor, now;
	double carry;
	unsigned *lags; // ms, one each ms
	unsigned lag_count;
	double shipped; // wire bytes
	unsigned cuts;
};

static uint64_t draw(struct run *run, uint64_t below)
{
	run->random = run->random * 6364136223846793005U + 1442695040888963407U;
	return (run->random >> 33) % below;
}

static void write_block(struct run *run, uint64_t block)
{
	run->changed += (uint64_t)BLOCK;
	if (run->dirty[block])
		return;
	run->dirty[block] = true;
	if (!run->open++)
		run->opened = run->now;
}

// How many blocks this millisecond gets of so many bytes a second.
static unsigned due(struct run *run, double rate)
{
	unsigned count;

	run->carry += rate / BLOCK / 1000;
	count = (unsigned)run->carry;
	run->carry -= count;
	return count;
}

static void steady(struct run *run, unsigned ms)
{
	(void)ms;
	for (unsigned i = due(run, 10e6); i; i--)
		write_block(run, draw(run, BLOCKS));
}

static void hot_half(struct run *run, unsigned ms)
{
	(void)ms;
	for (unsigned i = due(run, 10e6); i; i--)
		write_block(run, draw(run, 2) ? draw(run, 512) : draw(run, BLOCKS));
}

static void hot(struct run *run, unsigned ms)
{
	(void)ms;
	for (unsigned i = due(run, 200e6); i; i--)
		write_block(run, draw(run, 4096));
}

static void sequential(struct run *run, unsigned ms)
{
	(void)ms;
	for (unsigned i = due(run, 15e6); i; i--)
		write_block(run, run->cursor++ % BLOCKS);
}

static void trickle(struct run *run, unsigned ms)
{
	(void)ms;
	for (unsigned i = due(run, 50e3); i; i--)
		write_block(run, draw(run, BLOCKS));
}

// 40 MB at once, every 20 seconds.
static void bursts(struct run *run, unsigned ms)
{
	if (ms % 20000 < 100)
		for (unsigned i = 0; i < 100; i++)
			write_block(run, run->cursor++ % BLOCKS);
}

static void day_and_night(struct run *run, unsigned ms)
{
	for (unsigned i = due(run, ms % 60000 < 30000 ? 18e6 : 100e3); i; i--)
		write_block(run, draw(run, BLOCKS));
}

// All of the hot set many times in half a second, then nothing as long.
static void hot_with_pauses(struct run *run, unsigned ms)
{
	if (ms % 1000 < 500)
		hot(run, ms);
}

// It begins slowly enough for a look before much was overwritten.
static void hot_after_a_while(struct run *run, unsigned ms)
{
	if (ms >= 2000 && ms < 12000)
		for (unsigned i = due(run, 80e6); i; i--)
			write_block(run, draw(run, 4096));
}

static void cut(struct run *run)
{
	run->sending = run->open;
	run->sending_oldest = run->opened;
	run->sending_begun = run->now;
	run->left = (double)run->open * BLOCK * run->ratio;
	run->shipped += run->left;
	run->speed = run->uneven && !draw(run, 4) ? run->wire / 2 : run->wire;
	run->cut = run->now;
	run->changed_at_cut = run->changed;
	run->open = 0;
	memset(run->dirty, 0, sizeof(run->dirty));
	run->cuts++;
}

static void send_some(struct run *run)
{
	uint64_t content = run->sending * (uint64_t)BLOCK;

	if (!run->sending)
		return;
	run->left -= run->speed / 1000;
	if (run->left > 0)
		return;
	cadence_shipped(&run->cadence, content, (uint64_t)((double)content * run->ratio),
	                run->now - run->sending_begun + 2 * MS);
	run->sending = 0;
}

static void step(struct run *run, unsigned ms)
{
	struct cadence_load load;
	uint64_t again, oldest;

	run->now = (ms + 1000) * MS;
	run->load(run, ms);
	send_some(run);
	load = (struct cadence_load){
	        .open = run->open * (uint64_t)BLOCK,
	        .opened = run->opened,
	        .changed = run->changed,
	        .cut = run->cut,
	        .written = run->changed - run->changed_at_cut,
	        .busy = run->sending != 0,
	};
	if (run->open && !run->sending && cadence_due(&run->cadence, run->now, &load, &again))
		cut(run);
	oldest = run->sending ? run->sending_oldest : run->open ? run->opened : run->now;
	if (ms >= run->warm * 1000)
		run->lags[run->lag_count++] = (unsigned)((run->now - oldest) / MS);
}

static int smaller(const void *a, const void *b)
{
	return *(const unsigned *)a < *(const unsigned *)b ? -1 : *(const unsigned *)a > *(const unsigned *)b;
}

static struct run *begin(void (*load)(struct run *run, unsigned ms), unsigned rpo_ms, double wire)
{
	struct run *run = calloc(1, sizeof(*run));

	run->load = load;
	run->rpo = rpo_ms * MS;
	run->wire = wire;
	run->ratio = 0.5;
	run->seconds = 300;
	run->warm = 10;
	run->random = 1;
	run->lags = calloc(SECONDS_MAX * 1000, sizeof(*run->lags));
	cadence_init(&run->cadence, run->rpo, 0);
	return run;
}

// Runs it; lag in ms, shares of the bytes that were written.
static void finish(struct run *run, const char *name, unsigned *p50, unsigned *p99, unsigned *most, double *share)
{
	for (unsigned ms = 0; ms < run->seconds * 1000; ms++)
		step(run, ms);
	qsort(run->lags, run->lag_count, sizeof(*run->lags), smaller);
	*p50 = run->lags[run->lag_count / 2];
	*p99 = run->lags[(uint64_t)run->lag_count * 99 / 100];
	*most = run->lags[run->lag_count - 1];
	*share = run->shipped / (double)run->changed;
	print_message("%-24s p50 %6u p99 %6u max %6u ms, %5.1f %% of the bytes, %u cuts\n", name, *p50, *p99, *most,
	              *share * 100, run->cuts);
	free(run->lags);
	free(run);
}

#define RUN(load, rpo, wire)                                                                                           \
	unsigned p50, p99, most;                                                                                       \
	double share;                                                                                                  \
	(void)state;                                                                                                   \
	finish(begin(load, rpo, wire), #load " " #rpo, &p50, &p99, &most, &share)

static void test_steady(void **state)
{
	RUN(steady, 5000, 20e6);
	assert_in_range(p99, 500, 2500); // aims at half of the RPO
	assert_in_range(most, 500, 5000);
	assert_true(share < 0.51);
}

// A minute may pass: what is hot travels once in that time.
static void test_hot_half(void **state)
{
	RUN(hot_half, 60000, 20e6);
	assert_in_range(p99, 10000, 30000);
	assert_true(share < 0.27);
}

static void test_hot_half_short(void **state)
{
	RUN(hot_half, 5000, 20e6);
	assert_in_range(p99, 500, 2500);
	assert_true(share < 0.4);
}

// Much more than the wire can carry, but in few blocks.
static void test_hot(void **state)
{
	RUN(hot, 5000, 20e6);
	assert_in_range(p99, 500, 2500);
	assert_true(share < 0.04);
}

static void test_sequential(void **state)
{
	RUN(sequential, 5000, 20e6);
	assert_in_range(p99, 100, 2500);
	assert_in_range(most, 100, 5000);
}

// What the slow epochs take is kept free, not what they take in the mean.
static void test_uneven_wire(void **state)
{
	struct run *run = begin(steady, 5000, 10e6);
	unsigned p50, p99, most;
	double share;

	(void)state;
	run->uneven = true;
	finish(run, "steady on an uneven wire", &p50, &p99, &most, &share);
	assert_in_range(p99, 1500, 2500);
}

// A wire that carries a hundred times as much is as good as idle,
static void test_fast_wire(void **state)
{
	RUN(steady, 5000, 1000e6);
	assert_in_range(p99, 10, 400);
}

// but not for what is overwritten all the time.
static void test_hot_on_a_fast_wire(void **state)
{
	RUN(hot, 30000, 1000e6);
	assert_true(share < 0.01);
}

// Its pauses are no end,
static void test_hot_with_pauses(void **state)
{
	RUN(hot_with_pauses, 30000, 100e6);
	assert_true(share < 0.012);
}

// and its beginning is no small change: it travels once, at its end.
static void test_hot_begins(void **state)
{
	struct run *run = begin(hot_after_a_while, 30000, 100e6);
	unsigned p50, p99, most;
	double share;

	(void)state;
	run->seconds = 20;
	run->ratio = 1;
	run->cadence.rate = run->wire;
	finish(run, "hot_after_a_while 30000", &p50, &p99, &most, &share);
	assert_true(share < 0.022);
}

// An idle wire is used early.
static void test_trickle(void **state)
{
	RUN(trickle, 60000, 20e6);
	assert_in_range(p99, 10, 400);
}

static void test_bursts(void **state)
{
	RUN(bursts, 10000, 20e6);
	assert_in_range(most, 100, 3000);
}

// The load jumps by a factor of 180: no breach.
static void test_day_and_night(void **state)
{
	RUN(day_and_night, 5000, 20e6);
	assert_in_range(p99, 100, 2600);
	assert_in_range(most, 100, 5000);
}

// The wire carries less than is changed: nothing is waited for.
static void test_too_slow(void **state)
{
	struct run *run = begin(steady, 5000, 2e6);
	struct cadence_load load = {.open = 100 << 20, .opened = 1, .cut = 1};
	uint64_t again;

	(void)state;
	run->cadence.rate = run->wire;
	assert_true(cadence_due(&run->cadence, 20 * MS, &load, &again));
	free(run->lags);
	free(run);
}

// A pause after a long time of writing is not the end; one after a short time is.
static void test_pauses(void **state)
{
	struct cadence cadence;
	struct cadence_load load = {.open = 400 << 20, .opened = 1000 * MS, .changed = 1, .cut = 1};
	uint64_t again;

	(void)state;
	cadence_init(&cadence, 300000 * MS, 0);
	cadence.rate = 100e6;
	assert_false(cadence_due(&cadence, 1100 * MS, &load, &again));
	assert_true(cadence_due(&cadence, 1200 * MS, &load, &again));
	load.changed++;
	assert_false(cadence_due(&cadence, 9000 * MS, &load, &again));
	assert_false(cadence_due(&cadence, 9200 * MS, &load, &again));
	assert_true(cadence_due(&cadence, 11000 * MS, &load, &again));
}

// A limit counts from its beginning.
static void test_limit(void **state)
{
	struct cadence cadence;

	(void)state;
	cadence_init(&cadence, 5000 * MS, 1000000);
	assert_int_equal(cadence_estimate(&cadence, 2000000), 2000 * MS);
	cadence.rate = 500e3;
	assert_int_equal(cadence_estimate(&cadence, 2000000), 4000 * MS);
	cadence.rate = 20e6;
	assert_true(cadence_rate(&cadence) == 1e6);
	cadence.limit = 0;
	assert_int_equal(cadence_estimate(&cadence, 2000000), 100 * MS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_steady),         cmocka_unit_test(test_hot_half),
	        cmocka_unit_test(test_hot_half_short), cmocka_unit_test(test_hot),
	        cmocka_unit_test(test_sequential),     cmocka_unit_test(test_trickle),
	        cmocka_unit_test(test_bursts),         cmocka_unit_test(test_day_and_night),
	        cmocka_unit_test(test_too_slow),       cmocka_unit_test(test_pauses),
	        cmocka_unit_test(test_limit),          cmocka_unit_test(test_fast_wire),
	        cmocka_unit_test(test_uneven_wire),    cmocka_unit_test(test_hot_with_pauses),
	        cmocka_unit_test(test_hot_begins),     cmocka_unit_test(test_hot_on_a_fast_wire),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
