// SPDX-License-Identifier: Apache-2.0
// The connection: what the standby says is heard at once, what the primary sends
// waits to be delivered.
#include "sink_fixture_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void channel_send_message(struct channel *channel, struct message *message)
{
	struct fake_channel *fake = (struct fake_channel *)channel;

	assert_false(fake->closed);
	message->next = NULL;
	*fake->last = message;
	fake->last = &message->next;
}

static void channel_set_hold(struct channel *channel, bool hold)
{
	struct fake_channel *fake = (struct fake_channel *)channel;

	assert_false(fake->closed);
	fake->held = hold;
}

static void channel_set_closed(struct channel *channel)
{
	struct fake_channel *fake = (struct fake_channel *)channel;

	assert_false(fake->closed);
	fake->closed = true;
}

static const struct channel_ops channel_ops = {channel_send_message, channel_set_hold, channel_set_closed};

static void hear(struct world *world, const struct frame *frame)
{
	struct wire_epoch epoch;

	switch (frame->type) {
	case FRAME_WELCOME:
		assert_int_equal(wire_get_welcome(frame, &world->welcome), 0);
		world->welcomed = true;
		encoder_set_hash_key(world->channel->primary, world->welcome.hash_key);
		break;
	case FRAME_REFUSE:
		assert_int_equal(wire_get_refuse(frame, &world->refusal), 0);
		break;
	case FRAME_REJECT:
		assert_int_equal(wire_get_reject(frame, &world->reject), 0);
		world->rejects++;
		break;
	case FRAME_DURABLE:
		assert_int_equal(wire_get_epoch(frame, &epoch), 0);
		assert_true(epoch.epoch > world->acked);
		world->acked = epoch.epoch;
		break;
	case FRAME_HEARTBEAT:
		assert_int_equal(wire_get_heartbeat(frame, &world->heartbeat), 0);
		world->heartbeats++;
		break;
	case FRAME_MARKED:
		assert_int_equal(wire_get_mark(frame, &world->marked), 0);
		world->marks++;
		break;
	case FRAME_DIFFER:
		assert_int_equal(wire_get_differ(frame, &world->differ), 0);
		world->differs++;
		break;
	default:
		fail_msg("frame of type %u from the standby", frame->type);
	}
}

bool channel_carry(struct fake_channel *fake)
{
	static uint8_t bytes[FRAME_BYTES_MAX];
	struct message *message = fake->first;
	struct frame frame;
	size_t length;

	if (!message)
		return false;
	fake->first = message->next;
	if (!fake->first)
		fake->last = &fake->first;
	if (!fake->closed) {
		length = encoder_encode(fake->encoder, message, bytes);
		message->wire_bytes = length;
		assert_int_equal(frame_check(bytes, length, &frame), 0);
		hear(fake->world, &frame);
	}
	message->done(message);
	return true;
}

bool channel_deliver(struct fake_channel *fake)
{
	struct inbound *inbound;
	struct frame frame;

	if (fake->held || fake->closed || !fake->world->sink || fake->inbound_next == fake->inbound_count)
		return false;
	inbound = &fake->inbound[fake->inbound_next++];
	assert_int_equal(frame_check(inbound->bytes, inbound->length, &frame), 0);
	fake->channel.events->frame(fake->channel.user, &frame);
	return true;
}

void channel_free(struct fake_channel *fake)
{
	if (!fake)
		return;
	fake->closed = true;
	while (channel_carry(fake))
		;
	for (size_t i = 0; i < fake->inbound_count; i++)
		free(fake->inbound[i].bytes);
	free(fake->inbound);
	encoder_free(fake->encoder);
	encoder_free(fake->primary);
	free(fake);
}

static struct fake_channel *channel_new(struct world *world)
{
	struct fake_channel *fake = need(calloc(1, sizeof(*fake)));

	fake->channel.ops = &channel_ops;
	snprintf(fake->channel.peer, sizeof(fake->channel.peer), "192.0.2.1:7420");
	fake->world = world;
	fake->last = &fake->first;
	fake->encoder = need(encoder_new());
	fake->primary = need(encoder_new());
	return fake;
}

void world_attach(struct world *world, const struct wire_hello *hello)
{
	struct fake_channel *before = world->channel;

	world->welcomed = false;
	world->channel = channel_new(world);
	sink_attach(world->sink, &world->channel->channel, hello);
	channel_free(before);
	world_run(world);
}

void world_cut(struct world *world)
{
	struct fake_channel *fake = world->channel;

	if (!fake->closed) {
		fake->closed = true;
		fake->channel.events->closed(fake->channel.user, "cut");
	}
	channel_free(fake);
	world->channel = NULL;
}

static void count_zstd(struct world *world, const uint8_t *bytes, size_t length)
{
	struct wire_blocks blocks;
	struct frame frame;

	assert_int_equal(frame_check(bytes, length, &frame), 0);
	if (frame.type == FRAME_BLOCKS && wire_get_blocks(&frame, &blocks) == 0)
		world->zstd_frames += blocks.codec == CODEC_ZSTD;
}

void send_body(struct world *world, unsigned type, void *body, size_t length, const void *data, size_t data_length)
{
	static uint8_t bytes[FRAME_BYTES_MAX];
	struct message message = {
	        .type = type, .body = body, .body_length = length, .data = data, .data_length = data_length};
	struct fake_channel *fake = world->channel;
	struct inbound *inbound;

	if (!fake)
		return;
	fake->inbound = need(realloc(fake->inbound, (fake->inbound_count + 1) * sizeof(*fake->inbound)));
	inbound = &fake->inbound[fake->inbound_count++];
	encoder_set_level(fake->primary, world->level);
	inbound->length = encoder_encode(fake->primary, &message, bytes);
	count_zstd(world, bytes, inbound->length);
	inbound->bytes = need(malloc(inbound->length));
	memcpy(inbound->bytes, bytes, inbound->length);
}
