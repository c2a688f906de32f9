// SPDX-License-Identifier: Apache-2.0
// The NBD server, byte by byte and whole.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "nbd-bytes.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define SIZE (UINT64_C(1) << 30)
#define SEEN 64

static const struct nbd_export export = {.name = "data", .description = "a volume", .size = SIZE};

// What came of a stream of input.
struct outcome {
	struct nbd nbd;
	uint8_t out[1 << 17];
	size_t out_length;
	size_t read; // of out, by the checks
	enum nbd_step last;
	struct nbd_request requests[SEEN];
	unsigned request_count;
};

static struct outcome run; // too large for the stack
static struct bytes in;

// Feeds the input in pieces of at most step bytes, each in memory of its own
// so that a sanitizer sees reads beyond it. Payloads are skipped.
static void feed(size_t step)
{
	uint8_t output_data[2 * NBD_OUTPUT_MAX];
	struct nbd_output output = {.data = output_data, .size = sizeof(output_data)};
	size_t have = 0, at = 0, payload = 0;

	memset(&run, 0, sizeof(run));
	nbd_start(&run.nbd, &export, &output);
	run.last = NBD_MORE;
	for (;;) {
		uint8_t *piece = malloc(have ? have : 1);
		struct nbd_input input = {.data = piece, .length = have};
		struct nbd_request *request = &run.requests[run.request_count];

		memcpy(piece, in.data + at - have, have);
		memcpy(run.out + run.out_length, output.data, output.length);
		run.out_length += output.length;
		output.length = 0;
		run.last = nbd_step(&run.nbd, &input, &output, request);
		have = input.length;
		free(piece);
		if (run.last == NBD_REQUEST) {
			assert_true(run.request_count < SEEN - 1);
			run.request_count++;
			payload = request->command == NBD_CMD_WRITE && !request->error ? request->length : 0;
			while (payload && (have || at < in.length)) {
				if (have)
					have--;
				else
					at++;
				payload--;
			}
		} else if (run.last == NBD_MORE) {
			size_t more = in.length - at < step ? in.length - at : step;

			if (more == 0)
				break;
			have += more;
			at += more;
		} else if (run.last != NBD_SEND) {
			break;
		}
	}
	memcpy(run.out + run.out_length, output.data, output.length);
	run.out_length += output.length;
}

static uint64_t out(unsigned bytes)
{
	uint64_t value = 0;

	assert_true(run.read + bytes <= run.out_length);
	while (bytes--)
		value = value << 8 | run.out[run.read++];
	return value;
}

static void expect_text(const char *text)
{
	assert_true(run.read + strlen(text) <= run.out_length);
	assert_memory_equal(run.out + run.read, text, strlen(text));
	run.read += strlen(text);
}

static void expect_greeting(void)
{
	assert_int_equal(out(8), NBD_MAGIC_GREETING);
	assert_int_equal(out(8), NBD_MAGIC_OPTION);
	assert_int_equal(out(2), NBD_FIXED_NEWSTYLE | NBD_NO_ZEROES);
}

static uint32_t expect_reply(uint32_t option, uint32_t type)
{
	assert_int_equal(out(8), NBD_MAGIC_OPTION_REPLY);
	assert_int_equal(out(4), option);
	assert_int_equal(out(4), type);
	return (uint32_t)out(4);
}

static void expect_ack(uint32_t option)
{
	assert_int_equal(expect_reply(option, NBD_REP_ACK), 0);
}

static void expect_error(uint32_t option, uint32_t type)
{
	run.read += expect_reply(option, type);
}

static void expect_nothing_more(void)
{
	assert_int_equal(run.read, run.out_length);
}

static void begin(void)
{
	in.length = 0;
	add32(&in, NBD_FIXED_NEWSTYLE | NBD_NO_ZEROES);
}

#define FLAGS 0x96d // HAS_FLAGS FLUSH FUA TRIM ZEROES MULTI_CONN FAST_ZERO
#define FLAGS_DF (FLAGS | NBD_FLAG_SEND_DF)

// Every way to cut the input must give the same.
static size_t next_step(size_t step)
{
	return step < 40 ? step + 1 : step * 2;
}

static void go_tells_what_was_asked(void **state)
{
	(void)state;
	begin();
	add_option(&in, NBD_OPT_GO, 4 + 4 + 2 + 10);
	add_text(&in, "data");
	add16(&in, 5);
	add16(&in, NBD_INFO_BLOCK_SIZE);
	add16(&in, NBD_INFO_NAME);
	add16(&in, 77);
	add16(&in, NBD_INFO_NAME);
	add16(&in, NBD_INFO_DESCRIPTION);
	for (size_t step = 1; step <= in.length; step = next_step(step)) {
		feed(step);
		expect_greeting();
		assert_int_equal(expect_reply(NBD_OPT_GO, NBD_REP_INFO), 12);
		assert_int_equal(out(2), NBD_INFO_EXPORT);
		assert_int_equal(out(8), SIZE);
		assert_int_equal(out(2), FLAGS);
		assert_int_equal(expect_reply(NBD_OPT_GO, NBD_REP_INFO), 6);
		assert_int_equal(out(2), NBD_INFO_NAME);
		expect_text("data");
		assert_int_equal(expect_reply(NBD_OPT_GO, NBD_REP_INFO), 10);
		assert_int_equal(out(2), NBD_INFO_DESCRIPTION);
		expect_text("a volume");
		assert_int_equal(expect_reply(NBD_OPT_GO, NBD_REP_INFO), 14);
		assert_int_equal(out(2), NBD_INFO_BLOCK_SIZE);
		assert_int_equal(out(4), 1);
		assert_int_equal(out(4), 4096);
		assert_int_equal(out(4), 32 << 20);
		expect_ack(NBD_OPT_GO);
		expect_nothing_more();
		assert_int_equal(run.last, NBD_MORE);
		assert_false(nbd_in_handshake(&run.nbd));
	}
}

static void options_are_answered_in_order(void **state)
{
	(void)state;
	begin();
	add_option(&in, NBD_OPT_STARTTLS, 0);
	add_option(&in, NBD_OPT_LIST, 0);
	add_option(&in, NBD_OPT_LIST, 1);
	add(&in, "x", 1);
	add_go(&in, NBD_OPT_INFO, "nothere");
	add_option(&in, 4711, 3);
	add(&in, "abc", 3);
	add_meta(&in, NBD_OPT_LIST_META_CONTEXT, "data", NULL);
	add_option(&in, NBD_OPT_STRUCTURED_REPLY, 2);
	add(&in, "xx", 2);
	add_option(&in, NBD_OPT_STRUCTURED_REPLY, 0);
	add_go(&in, NBD_OPT_INFO, "");
	add_option(&in, NBD_OPT_ABORT, 0);
	for (size_t step = 1; step <= in.length; step = next_step(step)) {
		feed(step);
		expect_greeting();
		expect_error(NBD_OPT_STARTTLS, NBD_REP_ERR_UNSUP);
		assert_int_equal(expect_reply(NBD_OPT_LIST, NBD_REP_SERVER), 4 + 4 + 8);
		assert_int_equal(out(4), 4);
		expect_text("dataa volume");
		expect_ack(NBD_OPT_LIST);
		expect_error(NBD_OPT_LIST, NBD_REP_ERR_INVALID);
		expect_error(NBD_OPT_INFO, NBD_REP_ERR_UNKNOWN);
		expect_error(4711, NBD_REP_ERR_UNSUP);
		expect_error(NBD_OPT_LIST_META_CONTEXT, NBD_REP_ERR_INVALID);
		expect_error(NBD_OPT_STRUCTURED_REPLY, NBD_REP_ERR_INVALID);
		expect_ack(NBD_OPT_STRUCTURED_REPLY);
		assert_int_equal(expect_reply(NBD_OPT_INFO, NBD_REP_INFO), 12);
		out(10);
		assert_int_equal(out(2), FLAGS_DF);
		expect_ack(NBD_OPT_INFO);
		expect_ack(NBD_OPT_ABORT);
		expect_nothing_more();
		assert_int_equal(run.last, NBD_GOODBYE);
	}
}

static void export_name_ends_the_handshake(void **state)
{
	(void)state;
	for (unsigned zeroes = 0; zeroes < 2; zeroes++) {
		in.length = 0;
		add32(&in, zeroes ? 0 : NBD_FIXED_NEWSTYLE | NBD_NO_ZEROES);
		add_option(&in, NBD_OPT_EXPORT_NAME, 4);
		add(&in, "data", 4);
		add_request(&in, NBD_CMD_READ, 0, 7, 4096, 512);
		for (size_t step = 1; step <= in.length; step = next_step(step)) {
			feed(step);
			expect_greeting();
			assert_int_equal(out(8), SIZE);
			assert_int_equal(out(2), FLAGS);
			for (unsigned i = 0; zeroes && i < 124; i++)
				assert_int_equal(out(1), 0);
			expect_nothing_more();
			assert_int_equal(run.request_count, 1);
			assert_int_equal(run.requests[0].error, 0);
			assert_int_equal(run.requests[0].cookie, 7);
		}
	}
}

static void expect_broken(const char *why)
{
	for (size_t step = 1; step <= in.length; step = next_step(step)) {
		feed(step);
		assert_int_equal(run.last, NBD_BROKEN);
		assert_string_equal(run.nbd.why, why);
		assert_int_equal(run.request_count, 0);
	}
}

static void nonsense_is_hung_up_on(void **state)
{
	(void)state;
	in.length = 0;
	add32(&in, 4);
	expect_broken("unknown client flags");

	begin();
	add_option(&in, NBD_OPT_EXPORT_NAME, 3);
	add(&in, "dat", 3);
	expect_broken("client asked for an export that does not exist");

	begin();
	add64(&in, NBD_MAGIC_OPTION + 1);
	add64(&in, 0);
	expect_broken("option without its magic number");

	begin();
	add_option(&in, NBD_OPT_LIST, 0xffffffff);
	expect_broken("option far too long");

	begin();
	add_option(&in, NBD_OPT_EXPORT_NAME, 4097);
	expect_broken("export name too long");

	in.length = 0;
	add32(&in, 0);
	add_option(&in, NBD_OPT_LIST, 0);
	expect_broken("option from a client that does not speak fixed newstyle");

	begin();
	add_go(&in, NBD_OPT_GO, "data");
	add_request(&in, NBD_CMD_WRITE, 0, 1, 0, (64 << 20) + 1);
	expect_broken("write request far beyond the maximum payload");

	begin();
	add_go(&in, NBD_OPT_GO, "data");
	add64(&in, 1);
	add64(&in, 2);
	add64(&in, 3);
	add64(&in, 4);
	expect_broken("request without its magic number");

	begin();
	for (unsigned i = 0; i < 1001; i++)
		add_option(&in, 99, 0);
	expect_broken("too many options");
}

static void oversized_option_is_drained(void **state)
{
	uint8_t junk[30000];

	(void)state;
	memset(junk, 'j', sizeof(junk));
	begin();
	add_option(&in, NBD_OPT_GO, sizeof(junk));
	add(&in, junk, sizeof(junk));
	add_option(&in, NBD_OPT_ABORT, 0);
	for (size_t step = 1; step <= in.length; step = next_step(step)) {
		feed(step);
		expect_greeting();
		expect_error(NBD_OPT_GO, NBD_REP_ERR_TOO_BIG);
		expect_ack(NBD_OPT_ABORT);
		assert_int_equal(run.last, NBD_GOODBYE);
	}
}

static void lengths_that_lie_are_invalid(void **state)
{
	(void)state;
	begin();
	for (unsigned option = NBD_OPT_INFO; option <= NBD_OPT_GO; option++) {
		add_option(&in, option, 0);
		add_option(&in, option, 6);
		add32(&in, 1);
		add16(&in, 0);
		add_option(&in, option, 6);
		add32(&in, 0xffffffff);
		add16(&in, 0);
		add_option(&in, option, 6);
		add32(&in, 0);
		add16(&in, 0xffff);
		add_option(&in, option, 7);
		add32(&in, 0);
		add16(&in, 0);
		add(&in, "x", 1);
	}
	add_option(&in, NBD_OPT_STRUCTURED_REPLY, 0);
	add_option(&in, NBD_OPT_SET_META_CONTEXT, 8);
	add32(&in, 0);
	add32(&in, 0xffffffff);
	add_option(&in, NBD_OPT_SET_META_CONTEXT, 12);
	add32(&in, 0);
	add32(&in, 1);
	add32(&in, 1);
	add_option(&in, NBD_OPT_ABORT, 0);
	feed(sizeof(in.data));
	expect_greeting();
	for (unsigned option = NBD_OPT_INFO; option <= NBD_OPT_GO; option++) {
		for (unsigned i = 0; i < 5; i++)
			expect_error(option, NBD_REP_ERR_INVALID);
	}
	expect_ack(NBD_OPT_STRUCTURED_REPLY);
	expect_error(NBD_OPT_SET_META_CONTEXT, NBD_REP_ERR_INVALID);
	expect_error(NBD_OPT_SET_META_CONTEXT, NBD_REP_ERR_INVALID);
	expect_ack(NBD_OPT_ABORT);
	expect_nothing_more();
}

static void expect_context(uint32_t option, uint32_t id)
{
	assert_int_equal(expect_reply(option, NBD_REP_META_CONTEXT), 4 + 15);
	assert_int_equal(out(4), id);
	expect_text("base:allocation");
}

static void contexts_are_listed_and_set(void **state)
{
	(void)state;
	begin();
	add_option(&in, NBD_OPT_STRUCTURED_REPLY, 0);
	add_meta(&in, NBD_OPT_LIST_META_CONTEXT, "data", NULL);
	add_meta(&in, NBD_OPT_LIST_META_CONTEXT, "", "base:");
	add_meta(&in, NBD_OPT_LIST_META_CONTEXT, "data", "qemu:");
	add_meta(&in, NBD_OPT_LIST_META_CONTEXT, "other", NULL);
	add_meta(&in, NBD_OPT_SET_META_CONTEXT, "data", "base:");
	add_meta(&in, NBD_OPT_SET_META_CONTEXT, "data", "base:allocation");
	add_go(&in, NBD_OPT_GO, "data");
	add_request(&in, NBD_CMD_BLOCK_STATUS, 0, 1, 0, 4096);
	for (size_t step = 1; step <= in.length; step = next_step(step)) {
		feed(step);
		expect_greeting();
		expect_ack(NBD_OPT_STRUCTURED_REPLY);
		expect_context(NBD_OPT_LIST_META_CONTEXT, 0);
		expect_ack(NBD_OPT_LIST_META_CONTEXT);
		expect_context(NBD_OPT_LIST_META_CONTEXT, 0);
		expect_ack(NBD_OPT_LIST_META_CONTEXT);
		expect_ack(NBD_OPT_LIST_META_CONTEXT);
		expect_error(NBD_OPT_LIST_META_CONTEXT, NBD_REP_ERR_UNKNOWN);
		expect_ack(NBD_OPT_SET_META_CONTEXT);
		expect_context(NBD_OPT_SET_META_CONTEXT, NBD_ALLOCATION_ID);
		expect_ack(NBD_OPT_SET_META_CONTEXT);
		assert_int_equal(run.requests[0].error, 0);
	}
}

// A SET that fails takes away what an earlier one selected.
static void failed_set_context_selects_nothing(void **state)
{
	(void)state;
	for (unsigned way = 0; way < 3; way++) {
		begin();
		add_option(&in, NBD_OPT_STRUCTURED_REPLY, 0);
		add_meta(&in, NBD_OPT_SET_META_CONTEXT, "data", "base:allocation");
		if (way == 0)
			add_meta(&in, NBD_OPT_SET_META_CONTEXT, "other", "base:allocation");
		else if (way == 1)
			add_option(&in, NBD_OPT_SET_META_CONTEXT, 0);
		else
			add_meta(&in, NBD_OPT_SET_META_CONTEXT, "data", NULL);
		add_go(&in, NBD_OPT_GO, "data");
		add_request(&in, NBD_CMD_BLOCK_STATUS, 0, 1, 0, 4096);
		feed(sizeof(in.data));
		assert_int_equal(run.request_count, 1);
		assert_int_equal(run.requests[0].error, -EINVAL);
	}
}

static const struct {
	unsigned command, flags;
	uint64_t offset;
	uint32_t length;
	int plain, structured; // error without and with structured replies and base:allocation
} cases[] = {
        {NBD_CMD_READ, 0, 0, 1, 0, 0},
        {NBD_CMD_READ, NBD_CMD_FLAG_FUA, SIZE - 1, 1, 0, 0},
        {NBD_CMD_READ, 0, SIZE, 0, 0, 0},
        {NBD_CMD_READ, 0, SIZE, 1, -EINVAL, -EINVAL},
        {NBD_CMD_READ, 0, UINT64_MAX, 0xffffffff, -EINVAL, -EINVAL},
        {NBD_CMD_READ, 0, 0, 32 << 20, 0, 0},
        {NBD_CMD_READ, 0, 0, (32 << 20) + 1, -EINVAL, -EINVAL},
        {NBD_CMD_READ, NBD_CMD_FLAG_DF, 0, 512, -EINVAL, 0},
        {NBD_CMD_READ, NBD_CMD_FLAG_NO_HOLE, 0, 512, -EINVAL, -EINVAL},
        {NBD_CMD_READ, 1 << 5, 0, 512, -EINVAL, -EINVAL},
        {NBD_CMD_WRITE, NBD_CMD_FLAG_FUA, 512, 100, 0, 0},
        {NBD_CMD_WRITE, 0, SIZE - 99, 100, -ENOSPC, -ENOSPC},
        {NBD_CMD_WRITE, NBD_CMD_FLAG_DF, 0, 100, -EINVAL, -EINVAL},
        {NBD_CMD_WRITE, 0, UINT64_MAX, 100, -ENOSPC, -ENOSPC},
        {NBD_CMD_FLUSH, NBD_CMD_FLAG_FUA, 0, 0, 0, 0},
        {NBD_CMD_FLUSH, 0, 1, 0, -EINVAL, -EINVAL},
        {NBD_CMD_FLUSH, 0, 0, 1, -EINVAL, -EINVAL},
        {NBD_CMD_TRIM, NBD_CMD_FLAG_FUA, 0, SIZE, 0, 0},
        {NBD_CMD_TRIM, 0, 1, SIZE, -EINVAL, -EINVAL},
        {NBD_CMD_TRIM, NBD_CMD_FLAG_NO_HOLE, 0, 1, -EINVAL, -EINVAL},
        {NBD_CMD_WRITE_ZEROES, NBD_CMD_FLAG_FUA | NBD_CMD_FLAG_NO_HOLE | NBD_CMD_FLAG_FAST_ZERO, 0, SIZE, 0, 0},
        {NBD_CMD_WRITE_ZEROES, 0, 1, SIZE, -ENOSPC, -ENOSPC},
        {NBD_CMD_WRITE_ZEROES, NBD_CMD_FLAG_REQ_ONE, 0, 1, -EINVAL, -EINVAL},
        {NBD_CMD_BLOCK_STATUS, NBD_CMD_FLAG_REQ_ONE, 0, SIZE, -EINVAL, 0},
        {NBD_CMD_BLOCK_STATUS, 0, 0, 0, -EINVAL, -EINVAL},
        {NBD_CMD_BLOCK_STATUS, 0, SIZE - 1, 2, -EINVAL, -EINVAL},
        {5, 0, 0, 4096, -EINVAL, -EINVAL},
        {8, 0, 0, 4096, -EINVAL, -EINVAL},
        {0xffff, 0xffff, 0, 4096, -EINVAL, -EINVAL},
};

#define CASES (sizeof(cases) / sizeof(cases[0]))

static void requests_are_judged(void **state)
{
	static const uint8_t payload[100];

	(void)state;
	for (unsigned structured = 0; structured < 2; structured++) {
		begin();
		if (structured) {
			add_option(&in, NBD_OPT_STRUCTURED_REPLY, 0);
			add_meta(&in, NBD_OPT_SET_META_CONTEXT, "data", "base:allocation");
		}
		add_go(&in, NBD_OPT_GO, "data");
		for (unsigned i = 0; i < CASES; i++) {
			add_request(&in, cases[i].command, cases[i].flags, i, cases[i].offset, cases[i].length);
			if (cases[i].command == NBD_CMD_WRITE)
				add(&in, payload, cases[i].length);
		}
		add_request(&in, NBD_CMD_DISC, 0xffff, 0, 5, 6);
		for (size_t step = 1; step <= in.length; step = next_step(step)) {
			feed(step);
			assert_int_equal(run.last, NBD_GOODBYE);
			assert_int_equal(run.request_count, CASES);
			for (unsigned i = 0; i < CASES; i++) {
				const struct nbd_request *request = &run.requests[i];
				int error = structured ? cases[i].structured : cases[i].plain;

				if (request->error != error)
					print_message("case %u: error %d, expected %d\n", i, request->error, error);
				assert_true(request->error == error);
				assert_int_equal(request->cookie, i);
				assert_int_equal(request->command, cases[i].command);
				assert_int_equal(request->flags, cases[i].flags);
				assert_int_equal(request->offset, cases[i].offset);
				assert_int_equal(request->length, cases[i].length);
			}
		}
	}
}

// 40 MiB are refused but do not end the conversation.
static void long_payload_is_drained(void **state)
{
	static uint8_t piece[1 << 20];
	struct nbd_output output = {.data = piece, .size = sizeof(piece)};
	struct nbd_request request;
	struct nbd_input input;
	struct nbd nbd;

	(void)state;
	nbd_start(&nbd, &export, &output);
	begin();
	add_go(&in, NBD_OPT_GO, "data");
	add_request(&in, NBD_CMD_WRITE, 0, 1, 0, 40 << 20);
	input = (struct nbd_input){in.data, in.length};
	assert_int_equal(nbd_step(&nbd, &input, &output, &request), NBD_MORE);
	for (unsigned i = 0; i < 39; i++) {
		input = (struct nbd_input){piece, sizeof(piece)};
		assert_int_equal(nbd_step(&nbd, &input, &output, &request), NBD_MORE);
		assert_int_equal(input.length, 0);
	}
	input = (struct nbd_input){piece, sizeof(piece)};
	assert_int_equal(nbd_step(&nbd, &input, &output, &request), NBD_REQUEST);
	assert_true(request.error == -EINVAL);
	in.length = 0;
	add_request(&in, NBD_CMD_FLUSH, 0, 2, 0, 0);
	input = (struct nbd_input){in.data, in.length};
	assert_int_equal(nbd_step(&nbd, &input, &output, &request), NBD_REQUEST);
	assert_int_equal(request.cookie, 2);

	// What the caller rejects is dropped likewise.
	in.length = 0;
	add_request(&in, NBD_CMD_WRITE, 0, 3, 0, 10);
	add(&in, "0123456789", 10);
	add_request(&in, NBD_CMD_READ, 0, 4, 0, 10);
	add_request(&in, NBD_CMD_FLUSH, 0, 5, 0, 0);
	input = (struct nbd_input){in.data, in.length};
	assert_int_equal(nbd_step(&nbd, &input, &output, &request), NBD_REQUEST);
	nbd_reject(&nbd, &request, -ENOMEM);
	assert_int_equal(nbd_step(&nbd, &input, &output, &request), NBD_REQUEST);
	assert_int_equal(request.cookie, 3);
	assert_true(request.error == -ENOMEM);
	assert_int_equal(nbd_step(&nbd, &input, &output, &request), NBD_REQUEST);
	nbd_reject(&nbd, &request, -ENOMEM);
	assert_int_equal(nbd_step(&nbd, &input, &output, &request), NBD_REQUEST);
	assert_int_equal(request.cookie, 4);
	assert_true(request.error == -ENOMEM);
	assert_int_equal(nbd_step(&nbd, &input, &output, &request), NBD_REQUEST);
	assert_int_equal(request.cookie, 5);
	assert_int_equal(request.error, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(go_tells_what_was_asked),
	        cmocka_unit_test(options_are_answered_in_order),
	        cmocka_unit_test(export_name_ends_the_handshake),
	        cmocka_unit_test(nonsense_is_hung_up_on),
	        cmocka_unit_test(oversized_option_is_drained),
	        cmocka_unit_test(lengths_that_lie_are_invalid),
	        cmocka_unit_test(contexts_are_listed_and_set),
	        cmocka_unit_test(failed_set_context_selects_nothing),
	        cmocka_unit_test(requests_are_judged),
	        cmocka_unit_test(long_payload_is_drained),
	};

	return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
