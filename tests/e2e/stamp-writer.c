// SPDX-License-Identifier: Apache-2.0
// stamp-writer: writes stamped blocks to NBD exports over several connections
// at once and logs what was submitted and acknowledged (stamp.h). Prints one
// line of totals at the end. Exit 0; 1 when a write failed that should not
// have; 2 on wrong usage.
#include "stamp.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <libnbd.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LOG_CAPACITY (UINT64_C(1) << 23)
#define DEPTH_MAX 64
#define WRITE_BLOCKS_MAX 8
#define ZERO_BLOCKS 64
#define RECONNECT_MS 20
#define LATENCY_BUCKETS 128 // four for each power of two, in microseconds

struct options {
	const char *uris[STAMP_VOLUMES_MAX];
	unsigned volumes;
	unsigned connections; // to each volume
	unsigned depth; // requests in flight on each connection
	double seconds;
	uint64_t hot; // blocks that take half of the writes; 0: none
	uint64_t span; // blocks written to at all; 0: the whole volume
	unsigned rate; // writes a second on each connection; 0: no limit
	unsigned zeroes; // percent
	bool reconnect;
	uint64_t seed;
};

struct writer;

struct slot {
	struct writer *writer;
	uint8_t *data;
	uint64_t id; // 0: free
	uint64_t started; // us
	bool zero;
};

// One connection, one thread.
struct writer {
	const struct options *options;
	struct stamp_log *log;
	unsigned volume, connection;
	pthread_t thread;
	struct nbd_handle *nbd;
	uint64_t blocks;
	uint64_t random;
	struct slot slots[DEPTH_MAX];
	unsigned in_flight;
	uint64_t acked, errors, reconnects, full, slowest;
	uint64_t latency[LATENCY_BUCKETS];
	char trouble[256];
};

static _Atomic bool stopping;

static void stop(int signal)
{
	(void)signal;
	atomic_store(&stopping, true);
}

static uint64_t now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static uint64_t draw(struct writer *writer)
{
	writer->random ^= writer->random << 13;
	writer->random ^= writer->random >> 7;
	writer->random ^= writer->random << 17;
	return writer->random;
}

static unsigned latency_bucket(uint64_t us)
{
	unsigned top = 2, bucket;

	while (us >> top > 1)
		top++;
	bucket = top * 4 + (unsigned)(us >> (top - 2) & 3);
	return bucket < LATENCY_BUCKETS ? bucket : LATENCY_BUCKETS - 1;
}

static uint64_t bucket_us(unsigned bucket)
{
	return (UINT64_C(4) | (bucket & 3)) << (bucket / 4 - 2);
}

// Called by libnbd when the reply came, or when none will come any more.
static int completed(void *user, int *error)
{
	struct slot *slot = user;
	struct writer *writer = slot->writer;
	uint64_t us = now_us() - slot->started;

	if (*error == 0) {
		stamp_ack(writer->log, slot->id);
		writer->acked++;
		writer->latency[latency_bucket(us)]++;
		if (us > writer->slowest)
			writer->slowest = us;
	} else if (!writer->options->reconnect) {
		if (writer->errors++ == 0)
			snprintf(writer->trouble, sizeof(writer->trouble), "write: %s", strerror(*error));
	}
	slot->id = 0;
	writer->in_flight--;
	return 1;
}

static void fill(struct slot *slot, uint64_t block, uint32_t count)
{
	struct writer *writer = slot->writer;

	for (uint32_t i = 0; i < count; i++) {
		struct stamp stamp = {.id = slot->id,
		                      .block = block + i,
		                      .volume = (uint16_t)writer->volume,
		                      .connection = (uint16_t)writer->connection};

		stamp_fill(slot->data + (size_t)i * STAMP_BLOCK, &stamp);
	}
}

// Hands one write to libnbd. -1: not possible on this connection any more.
static int issue(struct writer *writer, struct slot *slot)
{
	const struct options *options = writer->options;
	bool zero = draw(writer) % 100 < options->zeroes;
	uint32_t count = zero ? ZERO_BLOCKS : draw(writer) % 4 ? 1 : (uint32_t)(1 + draw(writer) % WRITE_BLOCKS_MAX);
	uint64_t span = options->span && options->span < writer->blocks ? options->span : writer->blocks;
	uint64_t range = options->hot && !zero && draw(writer) % 2 ? options->hot : span;
	uint32_t flags = draw(writer) % 64 == 0 ? LIBNBD_CMD_FLAG_FUA : 0;
	nbd_completion_callback done = {.callback = completed, .user_data = slot};
	uint64_t block;
	int64_t cookie;

	if (count > range)
		count = (uint32_t)range;
	block = draw(writer) % (range - count + 1);
	if (zero)
		block -= block % ZERO_BLOCKS;
	slot->id = stamp_submit(writer->log, writer->volume, writer->connection, block, count, zero);
	if (slot->id == 0) {
		writer->full++;
		return -1;
	}
	if (!zero)
		fill(slot, block, count);
	slot->started = now_us();
	writer->in_flight++;
	cookie = zero ? nbd_aio_zero(writer->nbd, (uint64_t)count * STAMP_BLOCK, block * STAMP_BLOCK, done, flags)
	              : nbd_aio_pwrite(writer->nbd, slot->data, (size_t)count * STAMP_BLOCK, block * STAMP_BLOCK, done,
	                               flags);
	if (cookie < 0 && slot->id) {
		// Nobody will call back; whether it happened is not known.
		slot->id = 0;
		writer->in_flight--;
	}
	return cookie < 0 ? -1 : 0;
}

static int connect_once(struct writer *writer)
{
	int64_t size;

	writer->nbd = nbd_create();
	if (!writer->nbd)
		return -1;
	if (nbd_connect_uri(writer->nbd, writer->options->uris[writer->volume]) < 0 ||
	    (size = nbd_get_size(writer->nbd)) < STAMP_BLOCK) {
		snprintf(writer->trouble, sizeof(writer->trouble), "%s", nbd_get_error());
		nbd_close(writer->nbd);
		writer->nbd = NULL;
		return -1;
	}
	writer->blocks = (uint64_t)size / STAMP_BLOCK;
	return 0;
}

// A server that is being started again has no event to wait for.
static int connect_export(struct writer *writer)
{
	const struct timespec pause = {.tv_nsec = RECONNECT_MS * 1000000L};

	while (connect_once(writer) < 0) {
		if (!writer->options->reconnect)
			return -1;
		if (atomic_load(&stopping))
			return -1;
		nanosleep(&pause, NULL);
	}
	return 0;
}

static struct slot *free_slot(struct writer *writer)
{
	for (unsigned i = 0; i < writer->options->depth; i++) {
		if (writer->slots[i].id == 0)
			return &writer->slots[i];
	}
	return NULL;
}

// Writes until the time is over or the connection is.
static void converse(struct writer *writer, uint64_t end)
{
	const struct options *options = writer->options;
	uint64_t due = now_us();

	for (;;) {
		uint64_t now = now_us();
		struct slot *slot;
		int wait = 100;

		if (now >= end || writer->full)
			atomic_store(&stopping, true);
		while (!atomic_load(&stopping) && (slot = free_slot(writer)) && (!options->rate || due <= now)) {
			if (issue(writer, slot) < 0)
				break;
			if (options->rate)
				due += 1000000 / options->rate;
		}
		if (nbd_aio_is_dead(writer->nbd) || nbd_aio_is_closed(writer->nbd))
			return;
		if (atomic_load(&stopping) && writer->in_flight == 0)
			return;
		if (options->rate && due > now)
			wait = (int)((due - now) / 1000) + 1;
		if (nbd_poll(writer->nbd, wait < 100 ? wait : 100) < 0)
			return;
	}
}

static void *run(void *user)
{
	struct writer *writer = user;
	uint64_t end = now_us() + (uint64_t)(writer->options->seconds * 1e6);

	for (;;) {
		bool alive;

		if (connect_export(writer) < 0) {
			if (!writer->options->reconnect)
				writer->errors++;
			return NULL;
		}
		converse(writer, end);
		alive = !nbd_aio_is_dead(writer->nbd) && !nbd_aio_is_closed(writer->nbd);
		if (alive)
			nbd_shutdown(writer->nbd, 0);
		nbd_close(writer->nbd);
		for (unsigned i = 0; i < DEPTH_MAX; i++)
			writer->slots[i].id = 0;
		writer->in_flight = 0;
		if (atomic_load(&stopping))
			return NULL;
		if (!writer->options->reconnect) {
			writer->errors++;
			snprintf(writer->trouble, sizeof(writer->trouble), "the server closed the connection");
			return NULL;
		}
		writer->reconnects++;
	}
}

static int start(struct writer *writer)
{
	int rc;

	for (unsigned i = 0; i < DEPTH_MAX; i++)
		writer->slots[i].writer = writer;
	for (unsigned i = 0; i < writer->options->depth; i++) {
		writer->slots[i].data = aligned_alloc(STAMP_BLOCK, (size_t)WRITE_BLOCKS_MAX * STAMP_BLOCK);
		if (!writer->slots[i].data)
			return ENOMEM;
	}
	rc = pthread_create(&writer->thread, NULL, run, writer);
	return rc;
}

static uint64_t percentile(const struct writer *writers, unsigned count, double share)
{
	uint64_t total = 0, seen = 0;

	for (unsigned i = 0; i < count; i++)
		total += writers[i].acked;
	for (unsigned bucket = 8; bucket < LATENCY_BUCKETS; bucket++) {
		for (unsigned i = 0; i < count; i++)
			seen += writers[i].latency[bucket];
		if (total && (double)seen >= share * (double)total)
			return bucket_us(bucket);
	}
	return 0;
}

static int report(const struct writer *writers, unsigned count)
{
	uint64_t acked = 0, errors = 0, reconnects = 0, slowest = 0;

	for (unsigned i = 0; i < count; i++) {
		acked += writers[i].acked;
		errors += writers[i].errors;
		reconnects += writers[i].reconnects;
		if (writers[i].slowest > slowest)
			slowest = writers[i].slowest;
		if (writers[i].errors)
			fprintf(stderr, "stamp-writer: volume %u connection %u: %s\n", writers[i].volume,
			        writers[i].connection, writers[i].trouble);
	}
	printf("acked=%" PRIu64 " errors=%" PRIu64 " reconnects=%" PRIu64 " p50_us=%" PRIu64 " p99_us=%" PRIu64
	       " max_us=%" PRIu64 "\n",
	       acked, errors, reconnects, percentile(writers, count, 0.5), percentile(writers, count, 0.99), slowest);
	return errors ? 1 : 0;
}

static int usage(void)
{
	fprintf(stderr, "usage: stamp-writer --log FILE --uri URI [--uri URI...] [--connections N] [--depth N]\n"
	                "                    [--seconds S] [--hot BLOCKS] [--span BLOCKS] [--rate N]\n"
	                "                    [--zeroes PERCENT] [--seed N] [--reconnect]\n");
	return 2;
}

static int parse(int argc, char **argv, struct options *options, const char **path)
{
	static const struct option table[] = {
	        {"log", required_argument, NULL, 'l'},         {"uri", required_argument, NULL, 'u'},
	        {"connections", required_argument, NULL, 'c'}, {"depth", required_argument, NULL, 'd'},
	        {"seconds", required_argument, NULL, 's'},     {"hot", required_argument, NULL, 'h'},
	        {"span", required_argument, NULL, 'S'},        {"rate", required_argument, NULL, 'r'},
	        {"zeroes", required_argument, NULL, 'z'},      {"seed", required_argument, NULL, 'x'},
	        {"reconnect", no_argument, NULL, 'R'},         {0},
	};
	int option;

	while ((option = getopt_long(argc, argv, "", table, NULL)) != -1) {
		const char *text = optarg ? optarg : "";
		unsigned long value = strtoul(text, NULL, 10);

		switch (option) {
		case 'l':
			*path = optarg;
			break;
		case 'u':
			if (options->volumes == STAMP_VOLUMES_MAX)
				return -1;
			options->uris[options->volumes++] = optarg;
			break;
		case 'c':
			options->connections = (unsigned)value;
			break;
		case 'd':
			options->depth = (unsigned)value;
			break;
		case 's':
			options->seconds = strtod(text, NULL);
			break;
		case 'h':
			options->hot = value;
			break;
		case 'S':
			options->span = value;
			break;
		case 'r':
			options->rate = (unsigned)value;
			break;
		case 'z':
			options->zeroes = (unsigned)value;
			break;
		case 'x':
			options->seed = value;
			break;
		case 'R':
			options->reconnect = true;
			break;
		default:
			return -1;
		}
	}
	if (optind != argc || !*path || !options->volumes || !options->connections || options->depth < 1 ||
	    options->depth > DEPTH_MAX)
		return -1;
	return 0;
}

int main(int argc, char **argv)
{
	struct options options = {.connections = 4, .depth = 8, .seconds = 20, .hot = 64, .seed = now_us()};
	struct sigaction action = {.sa_handler = stop};
	const char *path = NULL;
	struct stamp_log *log;
	struct writer *writers;
	unsigned count, started = 0;
	int rc;

	if (parse(argc, argv, &options, &path) < 0)
		return usage();
	count = options.volumes * options.connections;
	log = stamp_log_open(path, LOG_CAPACITY);
	writers = calloc(count, sizeof(*writers));
	if (!log || !writers) {
		fprintf(stderr, "stamp-writer: %s: %s\n", path, strerror(errno));
		free(writers);
		return 2;
	}
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);
	for (; started < count; started++) {
		struct writer *writer = &writers[started];

		writer->options = &options;
		writer->log = log;
		writer->volume = started % options.volumes;
		writer->connection = started;
		writer->random = (options.seed + started + 1) * UINT64_C(0x9e3779b97f4a7c15) | 1;
		if (start(writer) != 0) {
			atomic_store(&stopping, true);
			break;
		}
	}
	for (unsigned i = 0; i < started; i++)
		pthread_join(writers[i].thread, NULL);
	rc = report(writers, count);
	for (unsigned i = 0; i < count; i++) {
		for (unsigned slot = 0; slot < DEPTH_MAX; slot++)
			free(writers[i].slots[slot].data);
	}
	free(writers);
	return rc;
}
