// SPDX-License-Identifier: Apache-2.0
#include "common/state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

// cmocka.h needs these before it
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

// Offsets of docs/formats.md, for a state without ancestors.
enum {
	AT_VERSION = 0,
	AT_ROLE = 4,
	AT_PAUSED = 5,
	AT_CONSISTENT = 6,
	AT_FENCED = 7,
	AT_PAIR = 16,
	AT_SYNC_VOLUME = 80,
	AT_SYNC_BLOCK = 88,
	AT_PROMOTED_EPOCH = 96,
	AT_PROMOTED_POINT = 104,
	AT_GENERATION = 144,
	AT_ANCESTORS = 160,
	AT_VOLUME_COUNT = 168,
	AT_VOLUMES = 176,
};

static struct pair_state small_state(void)
{
	struct pair_state state;

	memset(&state, 0, sizeof(state));
	memset(state.pair.bytes, 3, sizeof(state.pair.bytes));
	memset(state.peer_key, 4, sizeof(state.peer_key));
	memset(state.lineage.generation.bytes, 5, sizeof(state.lineage.generation.bytes));
	state.role = ROLE_STANDBY;
	state.volume_count = 2;
	strcpy(state.volumes[0].name, "data");
	state.volumes[0].bytes = 40960;
	strcpy(state.volumes[1].name, "log");
	state.volumes[1].bytes = VOLUME_BYTES_MAX;
	return state;
}

static struct pair_state large_state(void)
{
	struct pair_state state = small_state();

	state.role = ROLE_PRIMARY;
	state.paused = true;
	state.fenced = true;
	state.consistent = true;
	state.partial = true;
	memset(state.sync.bytes, 6, sizeof(state.sync.bytes));
	state.sync_volume = 31;
	state.sync_block = 1;
	state.promoted_epoch = 42;
	state.promoted_point = 1700000000000000000;
	for (unsigned i = 0; i < ANCESTORS_MAX + 2; i++) {
		struct id id = {{(uint8_t)(i + 1), 9}};

		lineage_push(&state.lineage, &id, i);
	}
	state.volume_count = VOLUMES_MAX;
	for (unsigned i = 0; i < VOLUMES_MAX; i++) {
		memset(state.volumes[i].name, 'x', NAME_MAX_LENGTH);
		state.volumes[i].name[0] = (char)('A' + i % 26);
		state.volumes[i].name[1] = (char)('a' + i / 26);
		state.volumes[i].bytes = i + 1;
	}
	return state;
}

// Decodes from memory of exactly that length, so that a read beyond it is seen.
static int decode(const uint8_t *bytes, size_t length, struct pair_state *state, struct error *err)
{
	uint8_t *copy = malloc(length ? length : 1);
	int error;

	memcpy(copy, bytes, length);
	error = state_decode(copy, length, state, err);
	free(copy);
	return error;
}

static void round_trip(const struct pair_state *before)
{
	uint8_t bytes[STATE_ENCODED_MAX];
	size_t length = state_encode(before, bytes);
	struct pair_state after;
	struct error err;

	assert_in_range(length, 1, STATE_ENCODED_MAX);
	assert_int_equal(decode(bytes, length, &after, &err), 0);
	assert_memory_equal(&after.pair, &before->pair, sizeof(after.pair));
	assert_memory_equal(after.peer_key, before->peer_key, sizeof(after.peer_key));
	assert_memory_equal(&after.sync, &before->sync, sizeof(after.sync));
	assert_int_equal(after.role, before->role);
	assert_int_equal(after.paused, before->paused);
	assert_int_equal(after.fenced, before->fenced);
	assert_int_equal(after.consistent, before->consistent);
	assert_int_equal(after.partial, before->partial);
	assert_int_equal(after.sync_volume, before->sync_volume);
	assert_int_equal(after.sync_block, before->sync_block);
	assert_int_equal(after.promoted_epoch, before->promoted_epoch);
	assert_int_equal(after.promoted_point, before->promoted_point);
	assert_int_equal(after.lineage.count, before->lineage.count);
	assert_memory_equal(&after.lineage, &before->lineage, sizeof(after.lineage));
	assert_int_equal(after.volume_count, before->volume_count);
	for (unsigned i = 0; i < after.volume_count; i++) {
		assert_string_equal(after.volumes[i].name, before->volumes[i].name);
		assert_int_equal(after.volumes[i].bytes, before->volumes[i].bytes);
	}
}

static void test_round_trip(void **unused)
{
	struct pair_state small = small_state(), large = large_state();

	(void)unused;
	round_trip(&small);
	round_trip(&large);
}

static void refused(const uint8_t *bytes, size_t length, const char *why)
{
	struct pair_state state;
	struct error err = {""};

	assert_int_equal(decode(bytes, length, &state, &err), -EINVAL);
	if (!strstr(err.text, why))
		fail_msg("\"%s\" does not speak of \"%s\"", err.text, why);
}

static void test_truncated_and_too_long(void **unused)
{
	struct pair_state state = large_state();
	uint8_t bytes[STATE_ENCODED_MAX + 1];
	size_t length = state_encode(&state, bytes);

	(void)unused;
	for (size_t i = 0; i < length; i++)
		refused(bytes, i, "pair state: ");
	bytes[length] = 0;
	refused(bytes, length + 1, "1 bytes too many");
}

struct defect {
	size_t offset;
	const char *bytes;
	size_t length;
	const char *why;
};

#define DEFECT(offset, bytes, why)                                                                                     \
	{                                                                                                              \
		offset, bytes, sizeof(bytes) - 1, why                                                                  \
	}

static void test_each_field_is_checked(void **unused)
{
	static const struct defect defects[] = {
	        DEFECT(AT_VERSION, "\1", "version is 1"),
	        DEFECT(AT_VERSION, "\0", "version is 0"),
	        DEFECT(AT_ROLE, "\0", "role is 0"),
	        DEFECT(AT_ROLE, "\3", "role is 3"),
	        DEFECT(AT_PAUSED, "\2", "flag"),
	        DEFECT(AT_CONSISTENT, "\xff", "flag"),
	        DEFECT(AT_FENCED, "\2", "flag"),
	        DEFECT(AT_PAIR, "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", "pair id"),
	        DEFECT(AT_SYNC_VOLUME, "\3", "sync cursor (volume 3, block 0)"),
	        DEFECT(AT_SYNC_VOLUME, "\2\0\0\0\0\0\0\0\1", "sync cursor (volume 2, block 1)"),
	        DEFECT(AT_SYNC_VOLUME + 4, "\1", "sync cursor"),
	        DEFECT(AT_SYNC_BLOCK, "\x0b", "sync cursor (volume 0, block 11)"),
	        DEFECT(AT_PROMOTED_EPOCH + 7, "\x80", "promotion"),
	        DEFECT(AT_PROMOTED_POINT + 7, "\x80", "promotion"),
	        DEFECT(AT_GENERATION, "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", "lineage"),
	        DEFECT(AT_ANCESTORS, "\x21", "lineage"),
	        DEFECT(AT_ANCESTORS + 4, "\1", "lineage"),
	        DEFECT(AT_VOLUME_COUNT, "\0", "0 volumes"),
	        DEFECT(AT_VOLUME_COUNT, "\x21", "33 volumes"),
	        DEFECT(AT_VOLUME_COUNT, "\1", "bytes too many"),
	        DEFECT(AT_VOLUMES, "/", "name of volume 0"),
	        DEFECT(AT_VOLUMES, ".", "name of volume 0"),
	        DEFECT(AT_VOLUMES, "\0", "name of volume 0"),
	        DEFECT(AT_VOLUMES + 5, "x", "name of volume 0"),
	        DEFECT(AT_VOLUMES + 31, "x", "name of volume 0"),
	        DEFECT(AT_VOLUMES, "log\0", "called log"),
	        DEFECT(AT_VOLUMES + 32, "\0\0", "size"),
	        DEFECT(AT_VOLUMES + 72, "\1", "size"),
	};
	struct pair_state state = small_state();

	(void)unused;
	for (size_t i = 0; i < sizeof(defects) / sizeof(defects[0]); i++) {
		uint8_t bytes[STATE_ENCODED_MAX];
		size_t length = state_encode(&state, bytes);

		memcpy(bytes + defects[i].offset, defects[i].bytes, defects[i].length);
		refused(bytes, length, defects[i].why);
	}
}

static void test_generation_twice(void **unused)
{
	struct pair_state state = small_state();
	uint8_t bytes[STATE_ENCODED_MAX];
	struct id other = {{8}};

	(void)unused;
	lineage_push(&state.lineage, &other, 1);
	lineage_push(&state.lineage, &(struct id){{9}}, 2);
	state.lineage.ancestors[1].generation = other;
	refused(bytes, state_encode(&state, bytes), "lineage");
	state.lineage.ancestors[1].generation = state.lineage.generation;
	refused(bytes, state_encode(&state, bytes), "lineage");
}

static void test_random_mutations(void **unused)
{
	struct pair_state small = small_state(), large = large_state(), out;

	(void)unused;
	srandom(1);
	for (unsigned i = 0; i < 100000; i++) {
		uint8_t bytes[STATE_ENCODED_MAX], again[STATE_ENCODED_MAX];
		size_t length = state_encode(random() % 4 ? &small : &large, bytes);
		struct error err;

		for (long n = random() % 3; n >= 0; n--)
			bytes[(size_t)random() % length] = (uint8_t)(random() % 2 ? random() : random() % 4);
		if (random() % 8 == 0)
			length = (size_t)random() % length;
		// what is accepted has one encoding only
		if (decode(bytes, length, &out, &err) == 0) {
			assert_int_equal(state_encode(&out, again), length);
			assert_memory_equal(bytes, again, length);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_round_trip),
	        cmocka_unit_test(test_truncated_and_too_long),
	        cmocka_unit_test(test_each_field_is_checked),
	        cmocka_unit_test(test_generation_twice),
	        cmocka_unit_test(test_random_mutations),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
