// SPDX-License-Identifier: Apache-2.0
// load: the load generator of the measurements. One thread keeps requests in
// flight, or sends them at a given rate, and prints one line of JSON: what was
// done, how fast, and how long each took.
//
//   load [OPTION VALUE...] NBD-URI|FILE
//
//   --pattern P        randread, randwrite, read, write (in sequence) or
//                      writeflush (random, each followed by a flush)
//   --block SIZE       of a request (4K)
//   --depth N          requests in flight at most, over all connections (1)
//   --connections N    (1)
//   --seconds N        how long, or
//   --requests N       how many; of both, what ends first
//   --rate N           requests a second; their latency counts from when they
//                      were due, so that a server which stalls cannot hide it
//   --span SIZE        the first bytes of the volume only
//   --distinct 1       random, but no place twice
//   --content FILE     writes pieces of it; else noise
//   --seed N           the same places again
//
// A file is used past the page cache, with io_uring.
#include "load.h"

#include "common/units.h"
#include "permute.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>

#define PAGE 4096
#define NOISE_BYTES (32 << 20)
#define CONTENT_BYTES_MAX (256 << 20)
#define EXACT_BITS 6 // latencies are kept to one part in 2^6
#define LATENCIES ((64 - EXACT_BITS) << EXACT_BITS)

static struct {
	const char *pattern;
	const char *content;
	uint64_t seconds, requests, rate, span, seed;
	bool random, writes, flushes, distinct;
} options = {.pattern = "randread", .seed = 1};

static struct load load = {.depth = 1, .connections = 1, .block = 4096};
static const struct load_target *target;
static uint8_t *content;
static uint64_t content_bytes;
static unsigned idle[DEPTH_MAX], idle_count;
static uint64_t issued, done, random_state, latencies[LATENCIES], slowest;

void complain(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fprintf(stderr, "load: ");
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
	exit(1);
}

uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static uint64_t random_next(void)
{
	return mix(random_state += UINT64_C(0x9e3779b97f4a7c15));
}

// -- where and what --

static uint64_t place(uint64_t number)
{
	uint64_t count = options.span / load.block;

	if (!options.random)
		return number % count * load.block;
	return (options.distinct ? permuted(number % count, count, options.seed) : random_next() % count) * load.block;
}

static void content_make(void)
{
	FILE *file;

	content_bytes = NOISE_BYTES > load.block ? NOISE_BYTES : load.block;
	if (options.content)
		content_bytes = CONTENT_BYTES_MAX;
	content = aligned_alloc(PAGE, content_bytes);
	load.scratch = aligned_alloc(PAGE, ((size_t)load.depth * load.block + PAGE - 1) / PAGE * PAGE);
	if (!content || !load.scratch)
		complain("out of memory");
	memset(load.scratch, 0, (size_t)load.depth * load.block);
	if (!options.content) {
		for (uint64_t i = 0; i < content_bytes / sizeof(uint64_t); i++)
			((uint64_t *)content)[i] = mix(i + options.seed * content_bytes);
		return;
	}
	file = fopen(options.content, "re");
	if (!file)
		complain("open %s: %s", options.content, strerror(errno));
	content_bytes = fread(content, 1, content_bytes, file) / PAGE * PAGE;
	fclose(file);
	if (content_bytes < load.block)
		complain("%s is less than a request", options.content);
}

static void slot_fill(struct load_slot *slot)
{
	slot->op = options.writes ? LOAD_WRITE : LOAD_READ;
	slot->length = load.block;
	slot->offset = place(issued);
	slot->data = NULL;
	if (options.writes)
		slot->data = content + random_next() % ((content_bytes - load.block) / PAGE + 1) * PAGE;
}

// -- how long --

static void latency_add(uint64_t ns)
{
	unsigned shift = ns >> EXACT_BITS ? 63 - EXACT_BITS - (unsigned)__builtin_clzll(ns) : 0;

	if (ns >> EXACT_BITS)
		latencies[((uint64_t)(shift + 1) << EXACT_BITS) + ((ns >> shift) - (1 << EXACT_BITS))]++;
	else
		latencies[ns]++;
	if (ns > slowest)
		slowest = ns;
}

// us, of that part of the requests
static double percentile(double part)
{
	uint64_t wanted = (uint64_t)ceil(part * (double)done), seen = 0;

	for (uint64_t i = 0; i < LATENCIES; i++) {
		unsigned shift = i >> EXACT_BITS ? (unsigned)(i >> EXACT_BITS) - 1 : 0;
		uint64_t low = i >> EXACT_BITS ? ((i & ((1 << EXACT_BITS) - 1)) + (1 << EXACT_BITS)) << shift : i;

		seen += latencies[i];
		if (seen >= wanted)
			return (double)low / 1e3;
	}
	return (double)slowest / 1e3;
}

void load_done(struct load *whole, unsigned index, int error)
{
	struct load_slot *slot = &whole->slots[index];

	if (error)
		complain("a request at %" PRIu64 " failed: %s", slot->offset, strerror(error));
	if (options.flushes && slot->op == LOAD_WRITE) {
		slot->op = LOAD_FLUSH;
		target->put(whole, index);
		return;
	}
	latency_add(now_ns() - slot->due);
	done++;
	idle[idle_count++] = index;
}

// -- when --

static void measure(void)
{
	uint64_t began = now_ns(), end = options.seconds ? began + options.seconds * 1000000000 : UINT64_MAX;
	double seconds;

	for (unsigned i = load.depth; i-- > 0;)
		idle[idle_count++] = i;
	for (;;) {
		uint64_t now = now_ns(), due = now;
		bool more = issued < options.requests;

		for (; idle_count && more; more = issued < options.requests) {
			unsigned index = idle[idle_count - 1];

			if (options.rate)
				due = began + (uint64_t)((double)issued * 1e9 / (double)options.rate);
			if (due > now || due >= end || now >= end)
				break;
			idle_count--;
			slot_fill(&load.slots[index]);
			load.slots[index].due = due;
			issued++;
			target->put(&load, index);
		}
		more = more && now < end && due < end;
		if (!more && idle_count == load.depth)
			break;
		// While a slot is idle the next request is what is waited for, too.
		target->run(&load, more && idle_count && options.rate ? due : UINT64_MAX);
	}
	seconds = (double)(now_ns() - began) / 1e9;
	printf("{\"requests\": %" PRIu64 ", \"bytes\": %" PRIu64 ", \"seconds\": %.6f, \"iops\": %.1f, "
	       "\"mb_per_second\": %.3f, \"p50_us\": %.2f, \"p99_us\": %.2f, \"p999_us\": %.2f, \"max_us\": %.2f}\n",
	       done, done * load.block, seconds, (double)done / seconds, (double)(done * load.block) / seconds / 1e6,
	       percentile(0.5), percentile(0.99), percentile(0.999), (double)slowest / 1e3);
}

// -- the command line --

static void usage(void)
{
	fprintf(stderr,
	        "usage: load [--pattern P] [--block SIZE] [--depth N] [--connections N] [--seconds N] [--requests N] "
	        "[--rate N] [--span SIZE] [--distinct 1] [--content FILE] [--seed N] NBD-URI|FILE\n");
	exit(2);
}

static uint64_t number(const char *text, uint64_t least, uint64_t most)
{
	uint64_t value;

	if (parse_size(text, &value) < 0 || value < least || value > most)
		usage();
	return value;
}

static void pattern_set(void)
{
	const char *names[] = {"randread", "randwrite", "read", "write", "writeflush"};
	unsigned i = 0;

	while (i < 5 && strcmp(options.pattern, names[i]) != 0)
		i++;
	if (i == 5)
		usage();
	options.random = i != 2 && i != 3;
	options.writes = load.writes = i != 0 && i != 2;
	options.flushes = i == 4;
}

static void parse(int argc, char **argv)
{
	static const struct option known[] = {
	        {"pattern", 1, NULL, 'p'},     {"block", 1, NULL, 'b'},   {"depth", 1, NULL, 'd'},
	        {"connections", 1, NULL, 'c'}, {"seconds", 1, NULL, 's'}, {"requests", 1, NULL, 'n'},
	        {"rate", 1, NULL, 'r'},        {"span", 1, NULL, 'w'},    {"distinct", 1, NULL, 'u'},
	        {"content", 1, NULL, 't'},     {"seed", 1, NULL, 'e'},    {0}};

	for (int option; (option = getopt_long(argc, argv, "", known, NULL)) != -1;) {
		switch (option) {
		case 'p':
			options.pattern = optarg;
			break;
		case 'b':
			load.block = (uint32_t)number(optarg, PAGE, 32 << 20);
			break;
		case 'd':
			load.depth = (unsigned)number(optarg, 1, DEPTH_MAX);
			break;
		case 'c':
			load.connections = (unsigned)number(optarg, 1, DEPTH_MAX);
			break;
		case 's':
			options.seconds = number(optarg, 1, 1000000);
			break;
		case 'n':
			options.requests = number(optarg, 1, INT64_MAX);
			break;
		case 'r':
			options.rate = number(optarg, 1, 10000000);
			break;
		case 'w':
			options.span = number(optarg, PAGE, INT64_MAX);
			break;
		case 'u':
			options.distinct = number(optarg, 0, 1);
			break;
		case 't':
			options.content = optarg;
			break;
		case 'e':
			options.seed = number(optarg, 0, UINT32_MAX);
			break;
		default:
			usage();
		}
	}
	if (argc != optind + 1 || load.block % PAGE || load.connections > load.depth ||
	    (!options.seconds && !options.requests))
		usage();
	if (!options.requests)
		options.requests = UINT64_MAX;
	pattern_set();
}

int main(int argc, char **argv)
{
	parse(argc, argv);
	target = strstr(argv[optind], "://") ? &nbd_target : &file_target;
	random_state = options.seed;
	prctl(PR_SET_TIMERSLACK, 1);
	content_make();
	target->open(&load, argv[optind]);
	if (!options.span || options.span > load.size)
		options.span = load.size;
	if (options.span < load.block)
		complain("%s is less than a request", argv[optind]);
	measure();
	target->close(&load);
	return 0;
}
