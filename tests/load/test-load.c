// SPDX-License-Identifier: Apache-2.0
// What lag and how many bytes come out of loads that are known, with the real
// engines in virtual time. All is the same in each run, so the bounds are tight:
// a controller that aims at more of the RPO leaves them, and so does one that
// aims at less.
#include "loads.h"
#include "world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// cmocka.h needs these before it
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define SAMPLE 20 // ms
#define WARM 10000 // ms in which what is not known is learnt
#define HOUR (3600 * (int64_t)SEC)

struct figures {
	double p50, p99, most; // lag, seconds
	double share; // wire bytes of those written
	double apart; // of the lags that the two nodes say at one time, seconds
	unsigned risky, breached; // samples; said by either node
};

struct bounds {
	double p99_least, p99_most, most, share_least, share_most;
};

static int smaller(const void *a, const void *b)
{
	return *(const double *)a < *(const double *)b ? -1 : *(const double *)a > *(const double *)b;
}

static void sample(struct world *world, struct figures *figures, double *lag)
{
	struct pair_status primary, standby;
	double apart;

	world_status(world, &primary, &standby);
	assert_true(primary.lag >= 0 && standby.lag >= 0);
	*lag = (double)primary.lag / 1e9;
	apart = ((double)primary.lag - (double)standby.lag) / 1e9;
	apart = apart < 0 ? -apart : apart;
	// Between an epoch's DURABLE and its arrival only the standby knows.
	if (primary.durable == standby.durable && apart > figures->apart)
		figures->apart = apart;
	figures->risky += primary.rpo_state == RPO_AT_RISK || standby.rpo_state == RPO_AT_RISK;
	figures->breached += primary.rpo_state == RPO_BREACHED || standby.rpo_state == RPO_BREACHED;
}

// A load for a while, judged against an RPO, on a primary that steers for another one.
static struct figures run(const struct load *load, double steered)
{
	struct world_speeds speeds = {.link = load->link, .rpo = (uint64_t)(steered * 1e9)};
	struct world *world = world_new(&speeds);
	struct load_state state = {.world = world, .load = load};
	double *lags = calloc(load->seconds * 1000 / SAMPLE, sizeof(*lags));
	struct figures figures = {0};
	struct source_status status;
	unsigned count = 0;

	assert_non_null(lags);
	world->config.rpo = (uint64_t)(load->rpo * 1e9);
	for (unsigned ms = 0; ms < load->seconds * 1000; ms++) {
		load->step(&state, ms);
		world_run(world, MSEC);
		if (ms >= WARM && ms % SAMPLE == 0)
			sample(world, &figures, &lags[count++]);
	}
	assert_int_equal(world->turned_away, 0);
	qsort(lags, count, sizeof(*lags), smaller);
	source_status(world->source, &status);
	figures.p50 = lags[count / 2];
	figures.p99 = lags[count * 99 / 100];
	figures.most = lags[count - 1];
	figures.share = (double)status.wire_bytes / (double)world->written;
	print_message("%-12s p50 %5.2f p99 %5.2f most %5.2f s of %2.0f, %4.1f %% of the bytes; the nodes %.2f s apart; "
	              "at risk %u, breached %u of %u\n",
	              load->name, figures.p50, figures.p99, figures.most, load->rpo, figures.share * 100, figures.apart,
	              figures.risky, figures.breached, count);
	free(lags);
	world_free(world);
	return figures;
}

static bool within(const struct figures *figures, const struct bounds *bounds)
{
	return figures->p99 >= bounds->p99_least && figures->p99 <= bounds->p99_most && figures->most <= bounds->most &&
	       figures->share >= bounds->share_least && figures->share <= bounds->share_most;
}

// Nothing is at risk, and both nodes know the lag to so many seconds.
static void expect_apart(const struct load *load, const struct bounds *bounds, double apart_most)
{
	struct figures figures = run(load, load->rpo);

	assert_true(within(&figures, bounds));
	assert_int_equal(figures.risky, 0);
	assert_int_equal(figures.breached, 0);
	assert_true(figures.apart <= apart_most);
}

static void expect(const struct load *load, const struct bounds *bounds)
{
	expect_apart(load, bounds, 1);
}

static const struct bounds hot_short_bounds = {2.1, 2.5, 2.6, 0.31, 0.345};
static const struct bounds recorded_bounds = {1.8, 2.5, 2.7, 0.165, 0.19};

static void steady(void **state)
{
	(void)state;
	expect(&load_steady, &(struct bounds){2.1, 2.5, 2.6, 0.475, 0.5});
}

static void hot_set(void **state)
{
	(void)state;
	expect(&load_hot, &(struct bounds){13, 15, 16, 0.22, 0.25});
	expect(&load_hot_short, &hot_short_bounds);
	expect(&load_hot_with_pauses, &(struct bounds){12, 15, 16, 0.035, 0.06});
}

// The aim is kept although some epochs take longer than is expected of them.
static void uneven_link(void **state)
{
	(void)state;
	expect(&load_uneven, &(struct bounds){1.8, 2.5, 2.8, 0.475, 0.505});
}

static void day_and_night(void **state)
{
	(void)state;
	expect(&load_day_and_night, &(struct bounds){2.1, 2.5, 2.7, 0.48, 0.505});
}

static void sequential(void **state)
{
	(void)state;
	expect(&load_sequential, &(struct bounds){2.1, 2.5, 2.6, 0.49, 0.51});
}

static void recorded(void **state)
{
	(void)state;
	expect(&load_recorded, &recorded_bounds);
}

// What waiting would not make less goes at once: 4 MB over 4 MB/s.
static void idle_link_is_used_early(void **state)
{
	(void)state;
	// A heartbeat comes every half second, and waits for the burst that was queued before it.
	expect_apart(&load_bursts, &(struct bounds){0.9, 1.2, 1.3, 0.47, 0.51}, 1.05);
	expect(&load_trickle, &(struct bounds){0.05, 0.12, 0.15, 0.5, 0.62});
}

static void other_aims_leave_the_bounds(void **state)
{
	static const struct {
		const struct load *load;
		const struct bounds *bounds;
	} of[] = {{&load_hot_short, &hot_short_bounds}, {&load_recorded, &recorded_bounds}};

	(void)state;
	for (unsigned i = 0; i < sizeof(of) / sizeof(of[0]); i++) {
		struct figures lazier = run(of[i].load, of[i].load->rpo * 1.5),
		               hastier = run(of[i].load, of[i].load->rpo / 1.5);

		assert_true(lazier.p99 > of[i].bounds->p99_most);
		assert_true(hastier.share > of[i].bounds->share_most);
	}
}

// More than can be shipped: both nodes see the breach coming, say what it waits
// for, and promise no end.
static void overload(const struct world_speeds *speeds, const char *reason)
{
	struct world *world = world_new(speeds);
	struct load_state state = {.world = world, .load = &load_steady};
	struct pair_status primary, standby;
	unsigned risk = 0, risk_there = 0, breach = 0;

	world->config.rpo = speeds->rpo;
	for (unsigned ms = 1; ms <= 40000; ms++) {
		load_steady.step(&state, ms);
		world_run(world, MSEC);
		world_status(world, &primary, &standby);
		if (!risk && primary.rpo_state == RPO_AT_RISK)
			risk = ms;
		if (!risk_there && standby.rpo_state == RPO_AT_RISK)
			risk_there = ms;
		if (!breach && primary.rpo_state == RPO_BREACHED)
			breach = ms;
	}
	print_message("%-12s at risk after %u ms, on the standby after %u, breached after %u\n", reason, risk,
	              risk_there, breach);
	assert_true(risk && risk_there && breach);
	assert_true(risk + 1000 <= breach && risk_there <= risk + 1000);
	assert_string_equal(primary.reason, reason);
	assert_string_equal(standby.reason, reason);
	assert_int_equal(primary.eta, UNKNOWN);
	assert_int_equal(standby.rpo_state, RPO_BREACHED);
	world_free(world);
}

static void slow_link(void **state)
{
	(void)state;
	overload(&(struct world_speeds){.link = 600000, .rpo = 5 * SEC}, "link-slow");
}

static void slow_standby(void **state)
{
	(void)state;
	overload(&(struct world_speeds){.link = 20000000, .journal = 600000, .rpo = 5 * SEC}, "standby-slow");
}

// Office hours begin: the limit counts before an epoch was shipped under it.
static void less_bandwidth_from_now_on(void **state)
{
	struct world *world = world_new(&(struct world_speeds){.link = 8000000, .rpo = 5 * SEC});
	struct load_state load = {.world = world, .load = &load_steady};
	struct pair_status primary, standby;
	int64_t most = 0;

	(void)state;
	world->config.rpo = 5 * SEC;
	for (unsigned ms = 1; ms <= 40000; ms++) {
		load_steady.step(&load, ms);
		if (ms == 20000)
			source_set_limits(world->source, 5 * SEC, 1300000);
		world_run(world, MSEC);
		world_status(world, &primary, &standby);
		if (primary.lag > most)
			most = primary.lag;
	}
	print_message("a limit that begins: lag most %.2f s\n", (double)most / 1e9);
	assert_true(most < 3 * (int64_t)SEC);
	world_free(world);
}

// The connection ends while an epoch is on its way: what travels anew is as old
// as it was, and does not wait for as long again.
static void shipped_anew(void **state)
{
	struct world *world = world_new(&(struct world_speeds){.link = 4000000, .rpo = 60 * SEC});
	struct load_state load = {.world = world, .load = &load_steady};
	struct source_status status;
	uint64_t open = 0, most = 0;
	unsigned cut = 0;

	(void)state;
	for (unsigned ms = 1; ms <= 90000; ms++) {
		load_steady.step(&load, ms);
		world_run(world, MSEC);
		source_status(world->source, &status);
		if (!cut && ms > WARM && status.open > open && open)
			cut = ms;
		open = status.open;
		world->network.partitioned = cut && ms - cut < 6000;
		if (status.lag > most)
			most = status.lag;
	}
	print_message("shipped anew: cut after %u ms, lag most %.2f s\n", cut, (double)most / 1e9);
	assert_true(cut > 20000);
	assert_true(most < 45 * SEC);
	world_free(world);
}

// Nothing that either node says depends on the other one's clock.
static void clocks_an_hour_apart(void **state)
{
	static const int64_t aheads[] = {0, HOUR, -HOUR};
	int64_t lags[3][2], ages[3];

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		struct world *world =
		        world_new(&(struct world_speeds){.link = 4000000, .rpo = 5 * SEC, .ahead = aheads[i]});
		struct load_state load = {.world = world, .load = &load_steady};
		struct pair_status primary, standby;

		world->config.rpo = 5 * SEC;
		for (unsigned ms = 1; ms <= 5000; ms++) {
			load_steady.step(&load, ms);
			world_run(world, MSEC);
		}
		world_status(world, &primary, &standby);
		lags[i][0] = primary.lag;
		lags[i][1] = standby.lag;
		ages[i] = standby.recovery_age;
		world->network.partitioned = true;
		world_run(world, 20 * SEC);
		world_status(world, &primary, &standby);
		assert_int_equal(standby.rpo_state, RPO_BREACHED);
		assert_in_range(standby.lag, primary.lag - SEC, primary.lag + SEC);
		world->network.partitioned = false;
		world_run(world, 90 * SEC);
		world_status(world, &primary, &standby);
		assert_int_equal(primary.lag, 0);
		assert_int_equal(standby.lag, 0);
		assert_true(standby.recovery_age < (int64_t)SEC);
		assert_int_equal(standby.rpo_state, RPO_OK);
		assert_true(lags[i][0] > 0);
		assert_memory_equal(lags[i], lags[0], sizeof(lags[0]));
		assert_int_equal(ages[i], ages[0]);
		world_free(world);
	}
}

// Capture reads what the memory for recent writes does not hold. While requests
// are served it leaves the disk to them; afterwards it takes all of it.
static void reads_beside_requests(void **state)
{
	const struct world_speeds speeds = {.link = 40 << 20, .rpo = 5 * SEC};
	struct world *world = world_new(&speeds);
	struct timed_disk *volume = &world->primary.volume;

	(void)state;
	for (unsigned ms = 0; ms < 10000; ms++) {
		for (unsigned i = 0; i < 5; i++)
			world_write(world, rng_below(&world->rng, WORLD_BYTES / 4096) * 8, 8);
		world_run(world, MSEC);
	}
	print_message("%u reads at a time, ", volume->reads_most);
	assert_in_range(volume->reads_most, 8, 32);
	world_run(world, 10 * SEC);
	print_message("%u afterwards\n", volume->reads_most);
	assert_in_range(volume->reads_most, 200, 2048);
	world_free(world);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(steady),
	        cmocka_unit_test(hot_set),
	        cmocka_unit_test(uneven_link),
	        cmocka_unit_test(day_and_night),
	        cmocka_unit_test(sequential),
	        cmocka_unit_test(recorded),
	        cmocka_unit_test(idle_link_is_used_early),
	        cmocka_unit_test(other_aims_leave_the_bounds),
	        cmocka_unit_test(slow_link),
	        cmocka_unit_test(slow_standby),
	        cmocka_unit_test(less_bandwidth_from_now_on),
	        cmocka_unit_test(shipped_anew),
	        cmocka_unit_test(clocks_an_hour_apart),
	        cmocka_unit_test(reads_beside_requests),
	};

	int failed;

	if (argc != 2 || !loads_read(argv[1]))
		return 2;
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	loads_forget();
	return failed != 0;
}
