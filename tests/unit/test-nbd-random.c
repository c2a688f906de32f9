// SPDX-License-Identifier: Apache-2.0
// The NBD server on random input: noise, and conversations that are sound but
// for a few bytes, cut anywhere. It must keep its promises whatever comes.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "nbd-bytes.h"

#include <stdlib.h>

#define ITERATIONS 200000
#define SIZE (UINT64_C(1) << 26)

static const struct nbd_export export = {.name = "data", .description = "a volume", .size = SIZE};

static uint64_t seed;

static uint64_t next(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

static uint32_t below(uint32_t limit)
{
	return (uint32_t)(next() % limit);
}

static void add_noise(struct bytes *in, uint32_t length)
{
	while (length--) {
		uint8_t byte = (uint8_t)next();

		add(in, &byte, 1);
	}
}

static void add_some_option(struct bytes *in)
{
	static const char *const names[] = {"data", "", "dat", "datax"};
	static const char *const queries[] = {NULL, "base:", "base:allocation", "qemu:dirty", ""};

	switch (below(6)) {
	case 0:
		add_option(in, NBD_OPT_STRUCTURED_REPLY, 0);
		break;
	case 1:
		add_meta(in, NBD_OPT_LIST_META_CONTEXT + below(2), names[below(4)], queries[below(5)]);
		break;
	case 2:
		add_go(in, NBD_OPT_INFO, names[below(4)]);
		break;
	case 3: {
		uint32_t length = below(50);

		add_option(in, below(12), length);
		add_noise(in, length);
		break;
	}
	case 4: {
		uint32_t count = below(10);

		add_option(in, NBD_OPT_GO, 10 + 2 * count);
		add_text(in, "none");
		add16(in, (uint16_t)count);
		for (uint32_t i = 0; i < count; i++)
			add16(in, (uint16_t)below(5));
		break;
	}
	case 5:
		add_option(in, NBD_OPT_LIST, 0);
		break;
	}
}

static void add_some_request(struct bytes *in)
{
	uint32_t length = below(4) ? below(600) : (uint32_t)next();
	unsigned command = below(16) ? below(9) : (unsigned)next();
	uint64_t offset = below(4) ? next() % SIZE : next();

	if (command == NBD_CMD_DISC && below(8))
		command = NBD_CMD_READ;
	add_request(in, command, below(3) ? 0 : below(32), next(), offset, length);
	if (command == NBD_CMD_WRITE)
		add_noise(in, length < 600 ? length : below(600));
}

static void make_input(struct bytes *in)
{
	in->length = 0;
	if (below(16) == 0) {
		add_noise(in, below(200));
		return;
	}
	add32(in, below(8) ? 3 : below(8));
	for (uint32_t count = below(5); count; count--)
		add_some_option(in);
	if (below(4))
		add_go(in, NBD_OPT_GO, "data");
	for (uint32_t count = below(12); count; count--)
		add_some_request(in);
	for (uint32_t count = below(4) ? 0 : 1 + below(4); count && in->length; count--)
		in->data[below((uint32_t)in->length)] ^= (uint8_t)(1 << below(8));
	if (below(4) == 0)
		in->length = below((uint32_t)in->length + 1);
}

static void check_request(const struct nbd *nbd, const struct nbd_request *request)
{
	assert_int_equal(nbd->phase, NBD_PHASE_TRANSMISSION);
	assert_int_not_equal(request->command, NBD_CMD_DISC);
	if (request->error) {
		assert_true(request->error < 0);
		return;
	}
	assert_true(request->command <= NBD_CMD_BLOCK_STATUS);
	assert_true(request->offset <= SIZE && request->length <= SIZE - request->offset);
	if (request->command == NBD_CMD_READ || request->command == NBD_CMD_WRITE)
		assert_true(request->length <= NBD_PAYLOAD_MAX);
	if (request->command == NBD_CMD_BLOCK_STATUS)
		assert_true(request->length && nbd->structured && nbd->allocation);
}

// Counts what happened, so that a generator that never gets anywhere shows.
static unsigned sound, refused, broken, goodbyes;

static void converse(const struct bytes *in)
{
	uint8_t *out = malloc(2 * NBD_OUTPUT_MAX);
	struct nbd_output output = {.data = out, .size = 2 * NBD_OUTPUT_MAX};
	size_t start = 0, end = 0;
	struct nbd nbd;

	nbd_start(&nbd, &export, &output);
	for (unsigned steps = 0;; steps++) {
		// Memory of its own, so that a sanitizer sees reads beyond.
		uint8_t *piece = malloc(end - start + 1);
		struct nbd_input input = {.data = piece, .length = end - start};
		struct nbd_request request;
		size_t before = output.length;
		enum nbd_step step;

		assert_true(steps < 100000);
		memcpy(piece, in->data + start, input.length);
		step = nbd_step(&nbd, &input, &output, &request);
		assert_true(input.length <= end - start && output.length >= before && output.length <= output.size);
		start = end - input.length;
		free(piece);
		if (step == NBD_SEND) {
			assert_true(output.length > 0);
			output.length = 0;
		} else if (step == NBD_REQUEST) {
			check_request(&nbd, &request);
			if (request.error)
				refused++;
			else
				sound++;
			if (!request.error && below(8) == 0) {
				nbd_reject(&nbd, &request, -5);
			} else if (!request.error && request.command == NBD_CMD_WRITE) {
				start += request.length;
				if (start > in->length)
					break;
				if (end < start)
					end = start;
			}
		} else if (step == NBD_MORE) {
			assert_true(end - start < NBD_INPUT_MAX);
			if (end == in->length)
				break;
			end += 1 + below((uint32_t)(in->length - end));
		} else {
			if (step == NBD_BROKEN)
				broken++;
			else
				goodbyes++;
			assert_true((step == NBD_BROKEN) == (nbd.why != NULL));
			assert_int_equal(nbd.phase, NBD_PHASE_OVER);
			break;
		}
	}
	free(out);
}

static void keeps_its_promises(void **state)
{
	static struct bytes in;

	(void)state;
	for (unsigned i = 0; i < ITERATIONS; i++) {
		seed = (i + 1) * UINT64_C(0x9e3779b97f4a7c15);
		make_input(&in);
		converse(&in);
	}
	print_message("%u sound requests, %u refused, %u hung up on, %u goodbyes\n", sound, refused, broken, goodbyes);
	assert_true(sound > ITERATIONS / 4 && refused > ITERATIONS / 4 && broken > ITERATIONS / 50 &&
	            goodbyes > ITERATIONS / 50);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(keeps_its_promises),
	};

	return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
