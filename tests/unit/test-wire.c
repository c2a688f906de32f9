// SPDX-License-Identifier: Apache-2.0
#include "common/wire.h"

#include "common/bytes.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

// cmocka.h needs these before it
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define FUZZ_ROUNDS 200000
#define FRAME_ROOM (FRAME_HEADER_BYTES + WIRE_BODY_MAX)

union body {
	struct wire_hello hello;
	struct wire_welcome welcome;
	struct wire_refuse refuse;
	struct wire_join join;
	struct wire_joined joined;
	struct wire_begin begin;
	struct wire_blocks blocks;
	struct wire_differ differ;
	struct wire_end end;
	struct wire_epoch epoch;
	struct wire_reject reject;
	struct wire_mark mark;
	struct wire_heartbeat heartbeat;
	struct wire_beyond beyond;
	struct wire_decline decline;
};

// Everything that has a put and a get function, under one roof, so that each
// test goes over all of it.
struct kind {
	enum frame_type type;
	size_t (*put)(uint8_t *body, const union body *value);
	int (*get)(const struct frame *frame, union body *value);
	void (*fill)(union body *value);
};

#define ADAPT(name)                                                                                                    \
	static size_t put_##name(uint8_t *body, const union body *value)                                               \
	{                                                                                                              \
		return wire_put_##name(body, &value->name);                                                            \
	}                                                                                                              \
	static int get_##name(const struct frame *frame, union body *value)                                            \
	{                                                                                                              \
		return wire_get_##name(frame, &value->name);                                                           \
	}

ADAPT(hello)
ADAPT(welcome)
ADAPT(refuse)
ADAPT(join)
ADAPT(joined)
ADAPT(begin)
ADAPT(differ)
ADAPT(end)
ADAPT(epoch)
ADAPT(reject)
ADAPT(mark)
ADAPT(heartbeat)
ADAPT(beyond)
ADAPT(decline)

static struct id id_of(uint8_t number)
{
	return (struct id){{number, 1, 2, 3}};
}

static void fill_volumes(struct wire_volume *volumes, unsigned count, bool blank)
{
	for (unsigned i = 0; i < count; i++) {
		memset(volumes[i].name, 'x', 2 + i % 30);
		volumes[i].name[0] = (char)('A' + i % 26);
		volumes[i].name[1] = (char)('a' + i / 26);
		volumes[i].bytes = i == 0 ? VOLUME_BYTES_MAX : 1 + i * 512;
		volumes[i].blank = blank && i % 2;
	}
}

static void fill_hello(union body *value)
{
	struct wire_hello *hello = &value->hello;

	*hello = (struct wire_hello){
	        .version_min = 1,
	        .version_max = 7,
	        .features = 0x8000000000000001,
	        .pair = id_of(1),
	        .role = ROLE_PRIMARY,
	        .epoch = INT64_MAX,
	        .sync = id_of(2),
	        .volume_count = VOLUMES_MAX,
	};
	for (uint8_t i = 0; i < ANCESTORS_MAX + 2; i++) {
		struct id id = id_of(100 + i);

		lineage_push(&hello->lineage, &id, i);
	}
	fill_volumes(hello->volumes, VOLUMES_MAX, false);
}

static void fill_welcome(union body *value)
{
	struct wire_welcome *welcome = &value->welcome;

	fill_hello(value);
	welcome->hello.role = ROLE_STANDBY;
	welcome->hello.lineage.count = 1;
	memset(welcome->hello.lineage.ancestors + 1, 0, (ANCESTORS_MAX - 1) * sizeof(struct ancestor));
	fill_volumes(welcome->hello.volumes, VOLUMES_MAX, true);
	welcome->consistent = true;
	welcome->sync_volume = 31;
	welcome->sync_block = 4;
	memset(welcome->hash_key, 0xab, sizeof(welcome->hash_key));
	welcome->journal_bytes = UINT64_C(1) << 30;
}

static void fill_refuse(union body *value)
{
	value->refuse = (struct wire_refuse){REFUSAL_INTERNAL, "no room: 100% fu\xc3\xbcll"};
}

static void fill_join(union body *value)
{
	struct wire_join *join = &value->join;

	*join = (struct wire_join){
	        .version_min = 1,
	        .version_max = 1,
	        .pair_name = "db.main_1-x",
	        .proof = {1, 2, 3},
	        .pair = id_of(1),
	        .generation = id_of(2),
	        .listen = "[2001:db8::1%eth0]:7420",
	        .rpo = 5000000000,
	        .rto = INT64_MAX,
	        .volume_count = VOLUMES_MAX,
	};
	fill_volumes(join->volumes, VOLUMES_MAX, false);
}

static void fill_joined(union body *value)
{
	memset(value->joined.proof, 0x5a, sizeof(value->joined.proof));
}

static void fill_begin(union body *value)
{
	value->begin = (struct wire_begin){
	        .epoch = 8,
	        .base = 7,
	        .kind = EPOCH_DIRECT,
	        .partial = true,
	        .sync = id_of(3),
	        .cut_wall = 1700000000000000000,
	};
}

static void fill_differ(union body *value)
{
	value->differ = (struct wire_differ){.epoch = 9, .block_count = 61, .bitmap = {1, 2, 3, 4, 5, 6, 7, 0x1f}};
}

static void fill_end(union body *value)
{
	value->end = (struct wire_end){9, 1234, UINT64_MAX};
}

static void fill_epoch(union body *value)
{
	value->epoch = (struct wire_epoch){10, INT64_MAX};
}

static void fill_reject(union body *value)
{
	value->reject = (struct wire_reject){.epoch = 11, .cause = REJECT_TOO_LARGE, .reason = "journal too small"};
}

static void fill_mark(union body *value)
{
	value->mark = (struct wire_mark){VOLUMES_MAX, VOLUME_BYTES_MAX / BLOCK_SIZE};
}

static void fill_heartbeat(union body *value)
{
	value->heartbeat = (struct wire_heartbeat){1700000000000000000,  12,  11,        400000000, true,
	                                           TROUBLE_STANDBY_SLOW, 100, 2500000000};
}

static void fill_beyond(union body *value)
{
	struct wire_beyond *beyond = &value->beyond;

	beyond->volume = VOLUMES_MAX - 1;
	beyond->last = true;
	beyond->extent_count = BEYOND_EXTENTS_MAX;
	for (unsigned i = 0; i < BEYOND_EXTENTS_MAX; i++)
		beyond->extents[i] = (struct extent){.first = i * 7, .count = 1 + i};
	beyond->extents[1].first = VOLUME_BYTES_MAX / BLOCK_SIZE - 2;
}

static void fill_decline(union body *value)
{
	value->decline = (struct wire_decline){"no agent runs there"};
}

static const struct kind kinds[] = {
        {FRAME_HELLO, put_hello, get_hello, fill_hello},
        {FRAME_WELCOME, put_welcome, get_welcome, fill_welcome},
        {FRAME_REFUSE, put_refuse, get_refuse, fill_refuse},
        {FRAME_JOIN, put_join, get_join, fill_join},
        {FRAME_JOINED, put_joined, get_joined, fill_joined},
        {FRAME_BEGIN, put_begin, get_begin, fill_begin},
        {FRAME_DIFFER, put_differ, get_differ, fill_differ},
        {FRAME_END, put_end, get_end, fill_end},
        {FRAME_ABORT, put_epoch, get_epoch, fill_epoch},
        {FRAME_DURABLE, put_epoch, get_epoch, fill_epoch},
        {FRAME_REJECT, put_reject, get_reject, fill_reject},
        {FRAME_MARK, put_mark, get_mark, fill_mark},
        {FRAME_MARKED, put_mark, get_mark, fill_mark},
        {FRAME_HEARTBEAT, put_heartbeat, get_heartbeat, fill_heartbeat},
        {FRAME_BEYOND, put_beyond, get_beyond, fill_beyond},
        {FRAME_TAKEOVER, put_epoch, get_epoch, fill_epoch},
        {FRAME_DECLINE, put_decline, get_decline, fill_decline},
};
#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

static size_t put(const struct kind *kind, uint8_t *body)
{
	union body value;

	memset(&value, 0, sizeof(value));
	kind->fill(&value);
	return kind->put(body, &value);
}

// Gets from memory of exactly that length, so that a read beyond it is seen.
static int get(const struct kind *kind, const uint8_t *body, size_t length, union body *value)
{
	uint8_t *copy = malloc(length ? length : 1);
	struct frame frame = {.type = kind->type, .payload = copy, .length = (uint32_t)length};
	int error;

	memcpy(copy, body, length);
	error = kind->get(&frame, value);
	free(copy);
	return error;
}

static void test_round_trip(void **state)
{
	(void)state;
	for (size_t i = 0; i < KINDS; i++) {
		uint8_t bytes[FRAME_ROOM];
		union body before, after;
		struct frame frame;
		size_t length;

		memset(&before, 0, sizeof(before));
		memset(&after, 0, sizeof(after));
		kinds[i].fill(&before);
		length = kinds[i].put(bytes + FRAME_HEADER_BYTES, &before);
		assert_in_range(length, 1, WIRE_BODY_MAX);
		assert_in_range(length, 1, FRAME_PAYLOAD_STRANGER_MAX);
		frame_put_header(bytes, kinds[i].type, 1234567890123, (uint32_t)length);
		assert_int_equal(frame_payload_length(bytes, (uint32_t)length), length);
		assert_int_equal(frame_check(bytes, FRAME_HEADER_BYTES + length, &frame), 0);
		assert_int_equal(frame.type, kinds[i].type);
		assert_int_equal(frame.sequence, 1234567890123);
		assert_int_equal(frame.length, length);
		assert_int_equal(kinds[i].get(&frame, &after), 0);
		assert_memory_equal(&before, &after, sizeof(before));
	}
}

static void test_truncated_at_every_length(void **state)
{
	(void)state;
	for (size_t i = 0; i < KINDS; i++) {
		uint8_t body[WIRE_BODY_MAX + 1];
		union body value;
		size_t length = put(&kinds[i], body);

		for (size_t j = 0; j < length; j++)
			assert_int_equal(get(&kinds[i], body, j, &value), -EBADMSG);
		body[length] = 0;
		assert_int_equal(get(&kinds[i], body, length, &value), 0);
		assert_int_equal(get(&kinds[i], body, length + 1, &value), -EBADMSG);
	}
}

static void test_other_type(void **state)
{
	(void)state;
	for (size_t i = 0; i < KINDS; i++) {
		uint8_t body[WIRE_BODY_MAX];
		size_t length = put(&kinds[i], body);

		for (unsigned type = FRAME_HELLO; type <= FRAME_DECLINE; type++) {
			struct kind other = kinds[i];
			union body value;
			bool same = false;

			for (size_t j = 0; j < KINDS; j++)
				same |= kinds[j].type == type && kinds[j].get == kinds[i].get;
			other.type = type;
			assert_int_equal(get(&other, body, length, &value), same ? 0 : -EBADMSG);
		}
	}
}

struct defect {
	enum frame_type type;
	size_t at;
	const char *bytes;
	size_t length;
};

#define DEFECT(type, at, bytes)                                                                                        \
	{                                                                                                              \
		FRAME_##type, at, bytes, sizeof(bytes) - 1                                                             \
	}
#define NONE "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
#define HELLO_VOLUMES (128 + 24 * ANCESTORS_MAX) // offset, when full
#define WELCOME_TAIL (128 + 24 + 48 * VOLUMES_MAX)
#define JOIN_VOLUMES 216

static const struct defect defects[] = {
        DEFECT(HELLO, 0, "s"),
        DEFECT(HELLO, 8, "\2\0\1\0"), // version_min over version_max
        DEFECT(HELLO, 12, "\1"),
        DEFECT(HELLO, 24, NONE), // pair
        DEFECT(HELLO, 40, "\0"), // role
        DEFECT(HELLO, 40, "\3"),
        DEFECT(HELLO, 41, "\1"),
        DEFECT(HELLO, 44, "\0"), // volume count
        DEFECT(HELLO, 44, "\x21"),
        DEFECT(HELLO, 44, "\xff\xff\xff\xff"),
        DEFECT(HELLO, 55, "\x80"), // epoch
        DEFECT(HELLO, 79, "\x80"), // born
        DEFECT(HELLO, 87, "\x80"),
        DEFECT(HELLO, 95, "\x80"),
        DEFECT(HELLO, 96, "\2"), // returned
        DEFECT(HELLO, 97, "\2"),
        DEFECT(HELLO, 98, "\2"),
        DEFECT(HELLO, 99, "\2"),
        DEFECT(HELLO, 100, "\2"),
        DEFECT(HELLO, 101, "\1"),
        DEFECT(HELLO, 104, NONE), // generation
        DEFECT(HELLO, 120, "\x21"), // ancestors
        DEFECT(HELLO, 120, "\xff\xff\xff\xff"),
        DEFECT(HELLO, 124, "\1"),
        DEFECT(HELLO, 128, NONE), // newest ancestor
        DEFECT(HELLO, 143 + 8, "\x80"),
        DEFECT(HELLO, HELLO_VOLUMES, "\0"),
        DEFECT(HELLO, HELLO_VOLUMES, "-"),
        DEFECT(HELLO, HELLO_VOLUMES + 1, "/"),
        DEFECT(HELLO, HELLO_VOLUMES + 1, "\n"),
        DEFECT(HELLO, HELLO_VOLUMES + 1, "\xc3"),
        DEFECT(HELLO, HELLO_VOLUMES + 3, "x"), // after the end of the name
        DEFECT(HELLO, HELLO_VOLUMES + 31, "x"),
        DEFECT(HELLO, HELLO_VOLUMES, "Bax"), // as the second one
        DEFECT(HELLO, HELLO_VOLUMES + 32, "\1"), // over VOLUME_BYTES_MAX
        DEFECT(HELLO, HELLO_VOLUMES + 38, "\0"), // no bytes at all
        DEFECT(HELLO, HELLO_VOLUMES + 40, "\1"), // blank, which only WELCOME knows
        DEFECT(HELLO, HELLO_VOLUMES + 41, "\1"),
        DEFECT(WELCOME, 0, "s"),
        DEFECT(WELCOME, 128 + 24 + 40, "\2"),
        DEFECT(WELCOME, WELCOME_TAIL, "\2"), // consistent
        DEFECT(WELCOME, WELCOME_TAIL + 1, "\1"),
        DEFECT(WELCOME, WELCOME_TAIL + 4, "\x20"), // past the last volume, not at 0
        DEFECT(WELCOME, WELCOME_TAIL + 4, "\x21\0\0\0\0"),
        DEFECT(WELCOME, WELCOME_TAIL + 8, "\5"), // past the end of the volume
        DEFECT(WELCOME, WELCOME_TAIL + 39, "\x80"), // journal
        DEFECT(REFUSE, 0, "\0"),
        DEFECT(REFUSE, 0, "\x0a"),
        DEFECT(REFUSE, 2, "\0\1"), // 256 bytes
        DEFECT(REFUSE, 4, "\n"),
        DEFECT(REFUSE, 4, "\x7f"),
        DEFECT(REFUSE, 4, "\0"),
        DEFECT(JOIN, 7, "S"),
        DEFECT(JOIN, 12, "\1"),
        DEFECT(JOIN, 16, "."),
        DEFECT(JOIN, 80, NONE),
        DEFECT(JOIN, 96, NONE),
        DEFECT(JOIN, 113, " "),
        DEFECT(JOIN, 113, "\0"),
        DEFECT(JOIN, 113, "\x80"),
        DEFECT(JOIN, 191, "x"),
        DEFECT(JOIN, 192, "\0\0\0\0\0\0\0\0"), // rpo
        DEFECT(JOIN, 199, "\x80"),
        DEFECT(JOIN, 200, "\0\0\0\0\0\0\0\0"), // rto
        DEFECT(JOIN, 208, "\0"),
        DEFECT(JOIN, 208, "\x21"),
        DEFECT(JOIN, 212, "\1"),
        DEFECT(JOIN, JOIN_VOLUMES, "\0"),
        DEFECT(JOIN, JOIN_VOLUMES + 40, "\1"),
        DEFECT(BEGIN, 0, "\0"), // epoch 0
        DEFECT(BEGIN, 7, "\x80"),
        DEFECT(BEGIN, 8, "\x08"), // base is the epoch itself
        DEFECT(BEGIN, 8, "\x09"),
        DEFECT(BEGIN, 16, "\0"),
        DEFECT(BEGIN, 16, "\3"),
        DEFECT(BEGIN, 17, "\1"), // DIRECT completes nothing
        DEFECT(BEGIN, 16, "\1\2\0\0"),
        DEFECT(BEGIN, 18, "\1"), // DIRECT adopts nothing
        DEFECT(BEGIN, 16, "\1\0\2\0"),
        DEFECT(BEGIN, 16, "\1"), // ATOMIC is not partial
        DEFECT(BEGIN, 19, "\2"),
        DEFECT(BEGIN, 20, "\1"),
        DEFECT(BEGIN, 24, NONE), // DIRECT without its sync
        DEFECT(BEGIN, 47, "\x80"),
        DEFECT(DIFFER, 0, "\0"), // epoch 0
        DEFECT(DIFFER, 7, "\x80"),
        DEFECT(DIFFER, 8, "\0"),
        DEFECT(DIFFER, 8, "\x41"),
        DEFECT(DIFFER, 8, "\xff\xff\xff\xff"),
        DEFECT(DIFFER, 12, "\1"),
        DEFECT(DIFFER, 23, "\x20"),
        DEFECT(END, 7, "\x80"),
        DEFECT(END, 15, "\x80"),
        DEFECT(ABORT, 7, "\x80"),
        DEFECT(DURABLE, 15, "\xff"),
        DEFECT(REJECT, 7, "\x80"),
        DEFECT(REJECT, 8, "\3"),
        DEFECT(REJECT, 9, "\1"),
        DEFECT(REJECT, 12, "\x1b"),
        DEFECT(MARK, 0, "\x21"),
        DEFECT(MARK, 4, "\1"),
        DEFECT(MARKED, 8, "\1"),
        DEFECT(HEARTBEAT, 7, "\x80"),
        DEFECT(HEARTBEAT, 15, "\x80"),
        DEFECT(HEARTBEAT, 23, "\x80"),
        DEFECT(HEARTBEAT, 31, "\x80"),
        DEFECT(HEARTBEAT, 32, "\2"),
        DEFECT(HEARTBEAT, 33, "\12"),
        DEFECT(HEARTBEAT, 34, "\145"),
        DEFECT(HEARTBEAT, 35, "\1"),
        DEFECT(HEARTBEAT, 47, "\200"),
        DEFECT(BEYOND, 0, "\x20"),
        DEFECT(BEYOND, 4, "\xfb"), // one more than there may be
        DEFECT(BEYOND, 6, "\2"),
        DEFECT(BEYOND, 7, "\1"),
        DEFECT(BEYOND, 16, "\0"), // no blocks
        DEFECT(BEYOND, 20, "\1"),
        DEFECT(BEYOND, 32, "\3"), // past the largest volume
        DEFECT(DECLINE, 2, "\n"),
};

static void test_each_field_is_checked(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(defects) / sizeof(defects[0]); i++) {
		const struct defect *defect = &defects[i];
		const struct kind *kind = kinds;
		uint8_t body[WIRE_BODY_MAX];
		union body value;
		size_t length;

		while (kind->type != defect->type)
			kind++;
		length = put(kind, body);
		assert_true(defect->at + defect->length <= length);
		memcpy(body + defect->at, defect->bytes, defect->length);
		if (get(kind, body, length, &value) != -EBADMSG)
			fail_msg("%s with defect %zu at byte %zu was taken", frame_type_name(kind->type), i,
			         defect->at);
	}
}

// Longest and emptiest, and what must be replaced on the way out.
static void test_reasons(void **state)
{
	struct wire_refuse before = {.code = REFUSAL_TOKEN}, after;
	uint8_t body[WIRE_BODY_MAX];
	struct frame frame = {.type = FRAME_REFUSE, .payload = body};

	(void)state;
	frame.length = (uint32_t)wire_put_refuse(body, &before);
	assert_int_equal(wire_get_refuse(&frame, &after), 0);
	assert_string_equal(after.reason, "");

	memset(before.reason, 'r', REASON_MAX);
	frame.length = (uint32_t)wire_put_refuse(body, &before);
	assert_int_equal(wire_get_refuse(&frame, &after), 0);
	assert_string_equal(after.reason, before.reason);

	strcpy(before.reason, "a\nb\x7f");
	frame.length = (uint32_t)wire_put_refuse(body, &before);
	assert_int_equal(wire_get_refuse(&frame, &after), 0);
	assert_string_equal(after.reason, "a?b?");
}

// Of a peer of any version at least the versions can be read, however the rest
// looks.
static void test_versions(void **state)
{
	static const struct {
		uint16_t min, max;
		int error;
	} cases[] = {
	        {1, 1, 0},
	        {0, 1, 0},
	        {1, 9, 0},
	        {0, 0, -EPROTONOSUPPORT},
	        {2, 2, -EPROTONOSUPPORT},
	        {2, 65535, -EPROTONOSUPPORT},
	        {9, 2, -EBADMSG},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		for (size_t j = 0; j < KINDS; j++) {
			uint8_t body[WIRE_BODY_MAX];
			union body value;
			size_t length = put(&kinds[j], body);

			if (kinds[j].type != FRAME_HELLO && kinds[j].type != FRAME_WELCOME &&
			    kinds[j].type != FRAME_JOIN)
				continue;
			put_u16(body + 8, cases[i].min);
			put_u16(body + 10, cases[i].max);
			assert_int_equal(get(&kinds[j], body, length, &value), cases[i].error);
			if (cases[i].error != -EPROTONOSUPPORT)
				continue;
			memset(body + 12, 0xee, length - 12);
			assert_int_equal(get(&kinds[j], body, 12, &value), cases[i].error);
			assert_int_equal(get(&kinds[j], body, length, &value), cases[i].error);
			// all three begin with the versions
			assert_int_equal(value.hello.version_min, cases[i].min);
			assert_int_equal(value.hello.version_max, cases[i].max);
			body[0] ^= 1;
			assert_int_equal(get(&kinds[j], body, length, &value), -EBADMSG);
		}
	}
}

static void test_frame_check_every_byte(void **state)
{
	uint8_t bytes[FRAME_ROOM];
	struct frame frame;
	size_t length;

	(void)state;
	length = FRAME_HEADER_BYTES + put(&kinds[0], bytes + FRAME_HEADER_BYTES);
	frame_put_header(bytes, FRAME_HELLO, 5, (uint32_t)(length - FRAME_HEADER_BYTES));
	assert_int_equal(frame_check(bytes, length, &frame), 0);
	for (size_t i = 0; i < length; i++) {
		uint8_t *copy = malloc(length);

		memcpy(copy, bytes, length);
		copy[i] ^= (uint8_t)(1 + i % 255);
		assert_int_equal(frame_check(copy, length, &frame), -EBADMSG);
		free(copy);
	}
	for (size_t i = 0; i < length; i++) {
		uint8_t *copy = malloc(i ? i : 1);

		memcpy(copy, bytes, i);
		assert_int_equal(frame_check(copy, i, &frame), -EBADMSG);
		free(copy);
	}
}

static void test_frame_header(void **state)
{
	uint8_t header[FRAME_HEADER_BYTES];
	struct frame frame;

	(void)state;
	frame_put_header(header, FRAME_HEARTBEAT, UINT64_MAX, 0);
	assert_int_equal(frame_payload_length(header, 0), 0);
	assert_int_equal(frame_check(header, sizeof(header), &frame), 0); // the body's get refuses it
	assert_int_equal(frame.sequence, UINT64_MAX);
	assert_int_equal(frame_checksum(&frame), get_u64(header + 16));

	put_u32(header, FRAME_PAYLOAD_MAX);
	assert_int_equal(frame_payload_length(header, FRAME_PAYLOAD_MAX), FRAME_PAYLOAD_MAX);
	assert_int_equal(frame_payload_length(header, FRAME_PAYLOAD_MAX - 1), -EBADMSG);
	assert_int_equal(frame_payload_length(header, FRAME_PAYLOAD_STRANGER_MAX), -EBADMSG);
	put_u32(header, UINT32_MAX);
	assert_int_equal(frame_payload_length(header, FRAME_PAYLOAD_MAX), -EBADMSG);

	put_u32(header, 0);
	put_u16(header + 4, 0);
	assert_int_equal(frame_payload_length(header, 0), -EBADMSG);
	put_u16(header + 4, FRAME_DECLINE + 1);
	assert_int_equal(frame_payload_length(header, 0), -EBADMSG);
	put_u16(header + 4, FRAME_HELLO);
	assert_int_equal(frame_payload_length(header, 0), 0);
	put_u16(header + 6, 1);
	assert_int_equal(frame_payload_length(header, 0), -EBADMSG);
}

static void test_type_names(void **state)
{
	(void)state;
	assert_string_equal(frame_type_name(FRAME_HELLO), "HELLO");
	assert_string_equal(frame_type_name(FRAME_HEARTBEAT), "HEARTBEAT");
	assert_string_equal(frame_type_name(0), "unknown frame");
	assert_string_equal(frame_type_name(FRAME_DECLINE + 1), "unknown frame");
	assert_string_equal(frame_type_name(UINT32_MAX), "unknown frame");
	for (unsigned type = FRAME_HELLO; type <= FRAME_DECLINE; type++)
		assert_non_null(frame_type_name(type));
}

static void test_differ_sizes(void **state)
{
	(void)state;
	for (uint32_t count = 1; count <= COMPARE_BLOCKS_MAX; count++) {
		struct wire_differ before, after;
		uint8_t body[WIRE_BODY_MAX];
		struct frame frame = {.type = FRAME_DIFFER, .payload = body};

		memset(&before, 0, sizeof(before));
		before.epoch = count;
		before.block_count = count;
		for (uint32_t i = 0; i < count; i++)
			before.bitmap[i / 8] |= (uint8_t)(1U << i % 8);
		frame.length = (uint32_t)wire_put_differ(body, &before);
		assert_int_equal(wire_get_differ(&frame, &after), 0);
		assert_memory_equal(&before, &after, sizeof(before));
	}
}

// What a get function takes has exactly one encoding: put gives the same bytes
// again. So nothing is overlooked that put would not write.
static void test_random_mutations(void **state)
{
	(void)state;
	srandom(1);
	for (unsigned round = 0; round < FUZZ_ROUNDS; round++) {
		const struct kind *kind = &kinds[round % KINDS];
		uint8_t body[WIRE_BODY_MAX], again[WIRE_BODY_MAX];
		size_t length = put(kind, body);
		union body value;

		for (long n = random() % 4; n >= 0; n--) {
			size_t at = (size_t)random() % (random() % 2 ? length : length < 128 ? length : 128);

			body[at] = (uint8_t)(random() % 2 ? random() : random() % 4);
		}
		if (random() % 8 == 0)
			length = (size_t)random() % length;
		memset(&value, 0xee, sizeof(value));
		if (get(kind, body, length, &value) == 0) {
			assert_int_equal(kind->put(again, &value), length);
			assert_memory_equal(body, again, length);
		}
	}
}

static void test_random_bytes(void **state)
{
	(void)state;
	srandom(2);
	for (unsigned round = 0; round < FUZZ_ROUNDS; round++) {
		uint8_t body[256];
		size_t length = (size_t)random() % sizeof(body);
		union body value;

		for (size_t i = 0; i < length; i++)
			body[i] = (uint8_t)(random() % 3 ? 0 : random());
		get(&kinds[round % KINDS], body, length, &value);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_round_trip),
	        cmocka_unit_test(test_truncated_at_every_length),
	        cmocka_unit_test(test_other_type),
	        cmocka_unit_test(test_each_field_is_checked),
	        cmocka_unit_test(test_reasons),
	        cmocka_unit_test(test_versions),
	        cmocka_unit_test(test_frame_check_every_byte),
	        cmocka_unit_test(test_frame_header),
	        cmocka_unit_test(test_type_names),
	        cmocka_unit_test(test_differ_sizes),
	        cmocka_unit_test(test_random_mutations),
	        cmocka_unit_test(test_random_bytes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
