// SPDX-License-Identifier: Apache-2.0
#include "state.h"

#include "fields.h"
#include "mutant.h"

#include <errno.h>

#define STATE_VERSION 2

void state_return(struct pair_state *state, uint64_t epoch, bool beyond, bool discard, int64_t now)
{
	state->role = ROLE_STANDBY;
	state->returned = beyond;
	state->base_epoch = beyond && !MUTANT(BASE_EPOCH_NOT_BEYOND) ? epoch + 1 : epoch;
	state->yields = discard;
	state->consistent = true;
	state->split = state->untouched = state->handover = false;
	state->sync = (struct id){{0}};
	state->sync_volume = 0;
	state->sync_block = 0;
	state->promoted_point = now;
	state->paused = false;
}

size_t state_encode(const struct pair_state *state, uint8_t *buffer)
{
	struct writer writer = writer_begin(buffer);

	write_u32(&writer, STATE_VERSION);
	write_u8(&writer, (uint8_t)state->role);
	write_u8(&writer, state->paused);
	write_u8(&writer, state->consistent);
	write_u8(&writer, state->fenced);
	write_u8(&writer, state->split);
	write_u8(&writer, state->untouched);
	write_u8(&writer, state->redo);
	write_u8(&writer, state->handover);
	write_u8(&writer, state->returned);
	write_u8(&writer, state->yields);
	write_u8(&writer, state->partial);
	write_zeroes(&writer, 1);
	write_id(&writer, &state->pair);
	write_bytes(&writer, state->peer_key, sizeof(state->peer_key));
	write_id(&writer, &state->sync);
	write_u32(&writer, state->sync_volume);
	write_u32(&writer, 0);
	write_u64(&writer, state->sync_block);
	write_u64(&writer, state->promoted_epoch);
	write_u64(&writer, (uint64_t)state->promoted_point);
	write_u64(&writer, (uint64_t)state->born);
	write_u64(&writer, state->local_bytes);
	write_u64(&writer, (uint64_t)state->local_since);
	write_u64(&writer, state->base_epoch);
	write_lineage(&writer, &state->lineage);
	write_u32(&writer, state->volume_count);
	write_u32(&writer, 0);
	for (unsigned i = 0; i < state->volume_count; i++) {
		write_name(&writer, state->volumes[i].name);
		write_u64(&writer, state->volumes[i].bytes);
	}
	return writer_length(&writer);
}

static int read_role(struct reader *reader, struct pair_state *state, struct error *err)
{
	uint8_t role = read_u8(reader);

	state->paused = read_bool(reader);
	state->consistent = read_bool(reader);
	state->fenced = read_bool(reader);
	state->split = read_bool(reader);
	state->untouched = read_bool(reader);
	state->redo = read_bool(reader);
	state->handover = read_bool(reader);
	state->returned = read_bool(reader);
	state->yields = read_bool(reader);
	state->partial = read_bool(reader);
	read_zeroes(reader, 1);
	if (reader->bad)
		return fail(err, EINVAL, "pair state: a flag is neither 0 nor 1, or cut short");
	if (role != ROLE_PRIMARY && role != ROLE_STANDBY)
		return fail(err, EINVAL, "pair state: role is %u, must be 1 (primary) or 2 (standby)", role);
	state->role = role;
	return 0;
}

static int read_volumes(struct reader *reader, struct pair_state *state, struct error *err)
{
	state->volume_count = read_u32(reader);
	read_zeroes(reader, 4);
	if (reader->bad || state->volume_count < 1 || state->volume_count > VOLUMES_MAX)
		return fail(err, EINVAL, "pair state: %u volumes, must be 1 to %d", state->volume_count, VOLUMES_MAX);
	for (unsigned i = 0; i < state->volume_count; i++) {
		struct state_volume *volume = &state->volumes[i];

		read_name(reader, volume->name);
		if (reader->bad)
			return fail(err, EINVAL, "pair state: name of volume %u is cut short or not a name", i);
		for (unsigned j = 0; j < i; j++) {
			if (strcmp(volume->name, state->volumes[j].name) == 0)
				return fail(err, EINVAL, "pair state: two volumes are called %s", volume->name);
		}
		volume->bytes = read_volume_bytes(reader);
		if (reader->bad)
			return fail(err, EINVAL, "pair state: volume %s has no size between 1 and %llu bytes",
			            volume->name, (unsigned long long)VOLUME_BYTES_MAX);
	}
	return 0;
}

static bool cursor_fits(const struct pair_state *state)
{
	if (state->sync_volume == state->volume_count)
		return state->sync_block == 0;
	return state->sync_volume < state->volume_count &&
	       state->sync_block <= bytes_to_blocks(state->volumes[state->sync_volume].bytes);
}

int state_decode(const uint8_t *buffer, size_t length, struct pair_state *state, struct error *err)
{
	struct reader reader = reader_begin(buffer, length);
	uint32_t version = read_u32(&reader);
	int error;

	memset(state, 0, sizeof(*state));
	if (reader.bad || version != STATE_VERSION)
		return fail(err, EINVAL, "pair state: format version is %u, this program reads %d", version,
		            STATE_VERSION);
	error = read_role(&reader, state, err);
	if (error)
		return error;
	state->pair = read_some_id(&reader);
	read_copy(&reader, state->peer_key, sizeof(state->peer_key));
	state->sync = read_id(&reader);
	state->sync_volume = read_u32(&reader);
	read_zeroes(&reader, 4);
	state->sync_block = read_u64(&reader);
	state->promoted_epoch = read_u63(&reader);
	state->promoted_point = (int64_t)read_u63(&reader);
	state->born = (int64_t)read_u63(&reader);
	state->local_bytes = read_u63(&reader);
	state->local_since = (int64_t)read_u63(&reader);
	state->base_epoch = read_u63(&reader);
	if (reader.bad)
		return fail(err, EINVAL,
		            "pair state: pair id, sync cursor, promotion or base is cut short or out of range");
	read_lineage(&reader, &state->lineage);
	if (reader.bad)
		return fail(err, EINVAL,
		            "pair state: lineage is cut short, empty, too long or names a generation twice");
	error = read_volumes(&reader, state, err);
	if (error)
		return error;
	if (!reader_end(&reader))
		return fail(err, EINVAL, "pair state: %zu bytes too many after the last volume", reader.left);
	if (!cursor_fits(state))
		return fail(err, EINVAL, "pair state: sync cursor (volume %u, block %llu) is outside of the volumes",
		            state->sync_volume, (unsigned long long)state->sync_block);
	return 0;
}
