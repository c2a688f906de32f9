// SPDX-License-Identifier: Apache-2.0
// What a demanding NBD client does, over libnbd.
//
//   nbd-client URI
//
// Overwrites the export, which must have at least 128 MiB.
#include <errno.h>
#include <libnbd.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MIB (UINT64_C(1) << 20)
#define CONNECTIONS 4
#define DEPTH 160
#define LONG ((size_t)32 << 20)

static const char *uri;
static const char *doing;

static void complain(const char *what)
{
	fprintf(stderr, "nbd-client: %s: %s\n", doing, what);
	exit(1);
}

static void need(bool condition, const char *what)
{
	if (!condition)
		complain(what);
}

static void ok(int result)
{
	if (result == -1)
		complain(nbd_get_error());
}

static void fails(int result, int errnum)
{
	char text[200];

	if (result != -1)
		complain("succeeded but should not");
	if (nbd_get_errno() == errnum)
		return;
	snprintf(text, sizeof(text), "errno %d, expected %d: %s", nbd_get_errno(), errnum, nbd_get_error());
	complain(text);
}

static struct nbd_handle *dial(void)
{
	struct nbd_handle *nbd = nbd_create();

	need(nbd, "no handle");
	ok(nbd_add_meta_context(nbd, LIBNBD_CONTEXT_BASE_ALLOCATION));
	ok(nbd_set_strict_mode(nbd, 0)); // let the server judge
	ok(nbd_connect_uri(nbd, uri));
	return nbd;
}

static void hang_up(struct nbd_handle *nbd)
{
	ok(nbd_shutdown(nbd, 0));
	nbd_close(nbd);
}

// Content that tells where it belongs and when it was written.
static void stamp(uint8_t *data, size_t length, uint64_t offset, uint64_t round)
{
	for (size_t i = 0; i < length; i++) {
		uint64_t at = offset + i;

		data[i] = (uint8_t)((at ^ at >> 9 ^ at >> 17) * 31 + round * 7);
	}
}

static void drive(struct nbd_handle **nbd, unsigned count)
{
	for (unsigned busy = 1; busy;) {
		busy = 0;
		for (unsigned i = 0; i < count; i++) {
			if (nbd_aio_in_flight(nbd[i]) == 0)
				continue;
			busy = 1;
			ok(nbd_poll(nbd[i], -1) < 0 ? -1 : 0);
		}
	}
}

static int completed(void *user, int *error)
{
	if (*error)
		complain("a request came back with an error");
	++*(unsigned *)user;
	return 1;
}

// Many requests of odd sizes on several connections, written through one and
// read through another.
static void many_in_flight(void)
{
	static uint8_t data[CONNECTIONS][DEPTH][16384], expected[16384];
	static size_t lengths[CONNECTIONS][DEPTH];
	struct nbd_handle *nbd[CONNECTIONS];
	unsigned done = 0;

	doing = "many requests in flight";
	for (unsigned c = 0; c < CONNECTIONS; c++)
		nbd[c] = dial();
	for (unsigned round = 0; round < 2; round++) {
		for (unsigned c = 0; c < CONNECTIONS; c++) {
			for (unsigned i = 0; i < DEPTH; i++) {
				nbd_completion_callback callback = {.callback = completed, .user_data = &done};
				unsigned whose = (c + round) % CONNECTIONS;
				uint64_t offset = (uint64_t)(whose * DEPTH + i) * 16384 + i * 13;
				size_t length = 1 + (i * 97 + whose * 31) % (16384 - DEPTH * 13);

				lengths[c][i] = length;
				stamp(data[c][i], length, offset, round ? 99 : 1);
				if (round == 0)
					ok(nbd_aio_pwrite(nbd[c], data[c][i], length, offset, callback, 0) < 0 ? -1
					                                                                       : 0);
				else
					ok(nbd_aio_pread(nbd[c], data[c][i], length, offset, callback, 0) < 0 ? -1 : 0);
			}
			need(nbd_aio_in_flight(nbd[c]) >= 128, "fewer than 128 in flight");
		}
		drive(nbd, CONNECTIONS);
		need(done == (round + 1) * CONNECTIONS * DEPTH, "a request was lost");
	}
	for (unsigned c = 0; c < CONNECTIONS; c++) {
		for (unsigned i = 0; i < DEPTH; i++) {
			stamp(expected, lengths[c][i], (uint64_t)((c + 1) % CONNECTIONS * DEPTH + i) * 16384 + i * 13,
			      1);
			need(!memcmp(data[c][i], expected, lengths[c][i]), "read back something else");
		}
		hang_up(nbd[c]);
	}
}

static void longest_requests(void)
{
	uint8_t *out = malloc(2 * LONG), *in = malloc(2 * LONG);
	struct nbd_handle *nbd = dial();

	doing = "longest requests";
	need(out && in, "no memory");
	need(nbd_get_block_size(nbd, LIBNBD_SIZE_MAXIMUM) == (int64_t)LONG, "maximum is not 32 MiB");
	stamp(out, LONG, 12345, 2);
	ok(nbd_pwrite(nbd, out, LONG, 12345, 0));
	ok(nbd_pread(nbd, in, LONG, 12345, 0));
	need(!memcmp(in, out, LONG), "read back something else");

	doing = "too long requests";
	fails(nbd_pread(nbd, in, LONG + 1, 0, 0), EINVAL);
	fails(nbd_pwrite(nbd, out, LONG + 1, 0, 0), EINVAL);
	fails(nbd_pwrite(nbd, out, 2 * LONG, 0, 0), EINVAL);
	ok(nbd_pread(nbd, in, LONG, 12345, 0));
	need(!memcmp(in, out, LONG), "a refused write left traces");
	hang_up(nbd);
	free(in);
	free(out);
}

// More payload at once than the server takes in: it must stop reading, not
// stop working.
static void more_than_memory(void)
{
	enum {
		PIECES = 12,
		CLIENTS = 3
	};
	uint8_t *data[CLIENTS][PIECES], *expected = malloc(LONG);
	struct nbd_handle *nbd[CLIENTS];
	unsigned done = 0;

	doing = "more payload than memory";
	for (unsigned c = 0; c < CLIENTS; c++) {
		nbd[c] = dial();
		for (unsigned i = 0; i < PIECES; i++) {
			data[c][i] = malloc(LONG);
			need(data[c][i], "no memory");
			stamp(data[c][i], LONG, i % 3 * LONG, 3);
		}
	}
	for (unsigned round = 0; round < 2; round++) {
		for (unsigned c = 0; c < CLIENTS; c++) {
			for (unsigned i = 0; i < PIECES; i++) {
				nbd_completion_callback callback = {.callback = completed, .user_data = &done};

				if (round == 0)
					ok(nbd_aio_pwrite(nbd[c], data[c][i], LONG, i % 3 * LONG, callback, 0) < 0 ? -1
					                                                                           : 0);
				else
					ok(nbd_aio_pread(nbd[c], data[c][i], LONG, i % 3 * LONG, callback, 0) < 0 ? -1
					                                                                          : 0);
			}
		}
		// One client to its end while the others hold what they hold.
		for (unsigned c = CLIENTS; c-- > 0;)
			drive(&nbd[c], 1);
		need(done == (round + 1) * CLIENTS * PIECES, "a request was lost");
	}
	for (unsigned c = 0; c < CLIENTS; c++) {
		for (unsigned i = 0; i < PIECES; i++) {
			stamp(expected, LONG, i % 3 * LONG, 3);
			need(!memcmp(data[c][i], expected, LONG), "read back something else");
			free(data[c][i]);
		}
		hang_up(nbd[c]);
	}
	free(expected);
}

struct chunks {
	unsigned count;
	size_t bytes;
};

static int chunk(void *user, const void *data, size_t length, uint64_t offset, unsigned status, int *error)
{
	struct chunks *chunks = user;

	(void)data;
	(void)offset;
	(void)status;
	(void)error;
	chunks->count++;
	chunks->bytes += length;
	return 0;
}

static void structured_reads(void)
{
	struct nbd_handle *nbd = dial();
	struct chunks chunks = {0};
	nbd_chunk_callback callback = {.callback = chunk, .user_data = &chunks};
	static uint8_t data[MIB];

	doing = "structured reads";
	need(nbd_get_structured_replies_negotiated(nbd) == 1, "not negotiated");
	need(nbd_can_df(nbd) == 1, "DF not offered");
	ok(nbd_pread_structured(nbd, data, sizeof(data), 4097, callback, LIBNBD_CMD_FLAG_DF));
	need(chunks.count == 1 && chunks.bytes == sizeof(data), "fragmented in spite of DF");
	fails(nbd_pread(nbd, data, 512, (uint64_t)nbd_get_size(nbd), 0), EINVAL);
	ok(nbd_pread(nbd, data, 1, (uint64_t)nbd_get_size(nbd) - 1, 0));
	hang_up(nbd);
}

struct map {
	uint64_t next;
	uint64_t length;
	unsigned count;
	uint32_t first_flags;
};

static int extent(void *user, const char *context, uint64_t offset, uint32_t *entries, size_t count, int *error)
{
	struct map *map = user;

	(void)error;
	need(!strcmp(context, LIBNBD_CONTEXT_BASE_ALLOCATION), "another context");
	need(offset == map->next, "does not begin at the offset");
	for (size_t i = 0; i + 1 < count; i += 2) {
		need(entries[i] > 0, "empty extent");
		need(i == 0 || entries[i + 1] != entries[i - 1], "equal neighbours");
		need(entries[i + 1] == 0 || entries[i + 1] == (LIBNBD_STATE_HOLE | LIBNBD_STATE_ZERO), "odd flags");
		if (map->count++ == 0)
			map->first_flags = entries[i + 1];
		map->length += entries[i];
	}
	return 0;
}

static struct map status(struct nbd_handle *nbd, uint64_t offset, uint64_t length, unsigned flags)
{
	struct map map = {.next = offset};
	nbd_extent_callback callback = {.callback = extent, .user_data = &map};

	ok(nbd_block_status(nbd, length, offset, callback, flags));
	need(map.count > 0 && map.length > 0 && map.length <= length, "wrong coverage");
	return map;
}

static void block_status(void)
{
	struct nbd_handle *nbd = dial();
	nbd_extent_callback nothing = {.callback = extent};
	uint64_t size = (uint64_t)nbd_get_size(nbd);
	static uint8_t data[MIB];
	struct map map;

	doing = "block status";
	memset(data, 1, sizeof(data));
	ok(nbd_pwrite(nbd, data, sizeof(data), 8 * MIB, 0));
	ok(nbd_flush(nbd, 0));
	map = status(nbd, 8 * MIB, MIB, 0);
	need(map.count == 1 && map.length == MIB && map.first_flags == 0, "data is not told as data");
	map = status(nbd, 8 * MIB + 5, 100, 0);
	need(map.count == 1 && map.length == 100, "unaligned range not answered exactly");
	map = status(nbd, 4 * MIB, 20 * MIB, LIBNBD_CMD_FLAG_REQ_ONE);
	need(map.count == 1, "more than one extent in spite of REQ_ONE");
	for (uint64_t offset = 0; offset < size; offset += map.length)
		map = status(nbd, offset, size - offset < MIB * 64 ? size - offset : MIB * 64, 0);
	fails(nbd_block_status(nbd, 2, size - 1, nothing, 0), EINVAL);
	hang_up(nbd);
}

static void zeroes_and_trims(void)
{
	static const uint32_t flags[] = {0, LIBNBD_CMD_FLAG_FUA, LIBNBD_CMD_FLAG_NO_HOLE,
	                                 LIBNBD_CMD_FLAG_NO_HOLE | LIBNBD_CMD_FLAG_FUA};
	struct nbd_handle *nbd = dial();
	static uint8_t data[MIB], expected[MIB];

	doing = "zeroes and trims";
	for (unsigned i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
		stamp(data, MIB, 16 * MIB, i);
		ok(nbd_pwrite(nbd, data, MIB, 16 * MIB, LIBNBD_CMD_FLAG_FUA));
		ok(nbd_zero(nbd, 300001, 16 * MIB + 777, flags[i]));
		memcpy(expected, data, MIB);
		memset(expected + 777, 0, 300001);
		ok(nbd_pread(nbd, data, MIB, 16 * MIB, LIBNBD_CMD_FLAG_FUA));
		need(!memcmp(data, expected, MIB), "zeroed something else");
	}
	if (nbd_zero(nbd, MIB, 16 * MIB, LIBNBD_CMD_FLAG_FAST_ZERO) == -1)
		need(nbd_get_errno() == ENOTSUP, "a fast zero fails with another error than ENOTSUP");
	// Far longer than any payload.
	ok(nbd_zero(nbd, 60 * MIB, 64 * MIB, 0));
	ok(nbd_pread(nbd, data, MIB, 100 * MIB, 0));
	memset(expected, 0, MIB);
	need(!memcmp(data, expected, MIB), "long zero did not zero");
	ok(nbd_trim(nbd, 50 * MIB + 11, 64 * MIB + 7, LIBNBD_CMD_FLAG_FUA));
	ok(nbd_trim(nbd, 0, 0, 0));
	ok(nbd_flush(nbd, 0));
	hang_up(nbd);
}

static void bad_requests(void)
{
	struct nbd_handle *nbd = dial();
	uint64_t size = (uint64_t)nbd_get_size(nbd);
	static uint8_t data[4096];

	doing = "bad requests";
	fails(nbd_cache(nbd, 4096, 0, 0), EINVAL);
	fails(nbd_pread(nbd, data, 512, 0, LIBNBD_CMD_FLAG_REQ_ONE), EINVAL);
	fails(nbd_pwrite(nbd, data, 512, 0, LIBNBD_CMD_FLAG_NO_HOLE), EINVAL);
	fails(nbd_trim(nbd, 512, 0, LIBNBD_CMD_FLAG_FAST_ZERO), EINVAL);
	fails(nbd_pwrite(nbd, data, 2, size - 1, 0), ENOSPC);
	fails(nbd_zero(nbd, 2, size - 1, 0), ENOSPC);
	fails(nbd_trim(nbd, 2, size - 1, 0), EINVAL);
	fails(nbd_pread(nbd, data, 512, UINT64_MAX - 100, 0), EINVAL);
	ok(nbd_pread(nbd, data, 512, 0, 0));
	ok(nbd_pread(nbd, data, 512, 0, LIBNBD_CMD_FLAG_FUA));
	hang_up(nbd);
}

// What one connection flushed, another one sees; what is trimmed stays trimmed.
static void several_connections(void)
{
	struct nbd_handle *a = dial(), *b = dial();
	static uint8_t data[4096], seen[4096];

	doing = "several connections";
	need(nbd_can_multi_conn(a) == 1, "multi-conn not offered");
	for (unsigned i = 0; i < 200; i++) {
		stamp(data, sizeof(data), i, i);
		ok(nbd_pwrite(a, data, sizeof(data), 40 * MIB, i % 2 ? LIBNBD_CMD_FLAG_FUA : 0));
		if (i % 2 == 0)
			ok(nbd_flush(a, 0));
		ok(nbd_pread(b, seen, sizeof(seen), 40 * MIB, 0));
		need(!memcmp(data, seen, sizeof(data)), "the other connection sees something else");
	}
	hang_up(a);
	hang_up(b);
}

// Clients that vanish with requests, replies and half a payload under way.
static void sudden_ends(void)
{
	static uint8_t data[16 << 20];

	doing = "sudden ends";
	for (unsigned round = 0; round < 20; round++) {
		struct nbd_handle *nbd = dial();

		for (unsigned i = 0; i < 50; i++) {
			if (i % 2)
				ok(nbd_aio_pread(nbd, data, 256 << 10, i * MIB, NBD_NULL_COMPLETION, 0) < 0 ? -1 : 0);
			else
				ok(nbd_aio_pwrite(nbd, data, i == 48 ? sizeof(data) : 65536, 48 * MIB,
				                  NBD_NULL_COMPLETION, 0) < 0
				           ? -1
				           : 0);
		}
		for (unsigned i = 0; i < round; i++)
			ok(nbd_poll(nbd, 100) < 0 ? -1 : 0);
		nbd_close(nbd);
	}
	hang_up(dial());
}

int main(int argc, char **argv)
{
	if (argc != 2) {
		fprintf(stderr, "usage: nbd-client URI\n");
		return 2;
	}
	uri = argv[1];
	doing = "connect";
	many_in_flight();
	longest_requests();
	more_than_memory();
	structured_reads();
	block_status();
	zeroes_and_trims();
	bad_requests();
	several_connections();
	sudden_ends();
	return 0;
}
