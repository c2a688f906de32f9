// SPDX-License-Identifier: Apache-2.0
// The contract of channel.h and of dialers, for both kinds: on the user's loop,
// and on a thread of its own.
#include "link_fixture.h"

#include "common/blockhash.h"
#include "common/codec.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static unsigned goal; // what a condition compares with

static void assert_says(const struct end *end, const char *word)
{
	if (!strstr(end->why, word))
		fail_msg("%s: \"%s\" does not say \"%s\"", end->name, end->why, word);
}

static void test_open(void **state)
{
	char text[NET_ADDRESS_MAX];

	(void)state;
	open_both(false);
	assert_memory_equal(client.channel->peer_key, keys_fingerprint(server_node.keys), FINGERPRINT_BYTES);
	assert_memory_equal(server.channel->peer_key, keys_fingerprint(client_node.keys), FINGERPRINT_BYTES);
	assert_memory_equal(link_exporter(client.channel), link_exporter(server.channel), 32);
	net_format(&listening, text);
	assert_string_equal(client.channel->peer, text);
	assert_memory_equal(server.channel->peer, "127.0.0.1:", 10);
	link_trust(client.channel);
	link_trust(client.channel);
	link_trust(server.channel);
}

// --- much in both directions

static bool heartbeats_through(void)
{
	return client.heartbeats == goal && server.heartbeats == goal && all_done();
}

static void test_many_small(void **state)
{
	(void)state;
	open_both(false);
	goal = 20000;
	for (unsigned i = 0; i < goal; i++) {
		send_heartbeat(&client);
		send_heartbeat(&server);
	}
	run_until(heartbeats_through);
	assert_int_equal(client.went_out, goal);
	assert_int_equal(server.went_out, goal);
	assert_int_equal(client.wire_bytes, server.frame_bytes);
	assert_int_equal(server.wire_bytes, client.frame_bytes);
}

static void answer(struct end *end, const struct frame *frame)
{
	(void)frame;
	if (end->heartbeats < goal || end == &client)
		send_heartbeat(end);
}

static bool server_has_goal(void)
{
	return server.heartbeats >= goal;
}

// One at a time, each sent from within the event before.
static void test_ping_pong(void **state)
{
	(void)state;
	open_both(false);
	goal = 2000;
	client.on_frame = server.on_frame = answer;
	send_heartbeat(&client);
	run_until(server_has_goal);
}

static bool blocks_through(void)
{
	return client.blocks == goal && server.blocks == goal && all_done();
}

static void test_large(void **state)
{
	(void)state;
	open_both(false);
	goal = 120;
	for (unsigned i = 0; i < goal; i++) {
		send_blocks(&client, i, 1 + i * 7 % COMPARE_BLOCKS_MAX);
		send_heartbeat(&client);
		send_blocks(&server, 1000 + i, COMPARE_BLOCKS_MAX);
	}
	run_until(blocks_through);
	assert_int_equal(server.heartbeats, goal);
	assert_int_equal(client.wire_bytes, server.frame_bytes);
	assert_int_equal(server.wire_bytes, client.frame_bytes);
}

static unsigned refill;

static void send_next(struct end *end)
{
	if (refill > 0) {
		refill--;
		send_blocks(end, 5000 + refill, COMPARE_BLOCKS_MAX);
	}
}

static bool server_has_blocks(void)
{
	return server.blocks >= goal;
}

// A sender with four messages that it uses again and again.
static void test_sent_from_done(void **state)
{
	(void)state;
	open_both(false);
	goal = 200;
	refill = goal - 4;
	client.on_done = send_next;
	for (unsigned i = 0; i < 4; i++)
		send_blocks(&client, i, COMPARE_BLOCKS_MAX);
	run_until(server_has_blocks);
	run_until(all_done);
	assert_int_equal(server.blocks, goal);
}

// --- ends

static void test_client_closes_in_flow(void **state)
{
	(void)state;
	open_both(false);
	for (unsigned i = 0; i < 200; i++) {
		send_blocks(&client, i, COMPARE_BLOCKS_MAX);
		send_blocks(&server, i, COMPARE_BLOCKS_MAX);
	}
	goal = 10;
	run_until(server_has_blocks);
	close_end(&client);
	run_until(all_done);
	run_until(server_over);
	assert_true(client.went_out < 200);
	assert_true(server.blocks <= client.went_out);
}

static void test_server_closes_in_flow(void **state)
{
	(void)state;
	open_both(false);
	for (unsigned i = 0; i < 200; i++) {
		send_blocks(&client, i, COMPARE_BLOCKS_MAX);
		send_blocks(&server, i, COMPARE_BLOCKS_MAX);
	}
	goal = 10;
	run_until(server_has_blocks);
	close_end(&server);
	run_until(client_over);
	run_until(all_done);
	assert_true(client.closed);
	assert_true(client.blocks <= server.went_out);
}

static void close_at_goal(struct end *end, const struct frame *frame)
{
	(void)frame;
	if (end->frames == goal)
		close_end(end);
}

static void test_close_within_frame(void **state)
{
	(void)state;
	open_both(false);
	goal = 7;
	client.on_frame = close_at_goal;
	for (unsigned i = 0; i < 100; i++) {
		send_heartbeat(&server);
		send_heartbeat(&client);
	}
	run_until(server_over);
	run_until(all_done);
	assert_int_equal(client.frames, goal);
	assert_false(client.closed);
}

static void close_first_done(struct end *end)
{
	if (end->channel)
		close_end(end);
}

static void test_close_within_done(void **state)
{
	(void)state;
	open_both(false);
	client.on_done = close_first_done;
	for (unsigned i = 0; i < 50; i++)
		send_blocks(&client, i, 64);
	run_until(server_over);
	run_until(all_done);
}

static void close_at_once(struct end *end)
{
	close_end(end);
}

static void test_close_within_open(void **state)
{
	(void)state;
	client.on_open = close_at_once;
	dial();
	run_until(server_over);
	assert_true(client.opened);
	assert_false(client.closed);
}

static void send_and_close(struct end *end)
{
	for (unsigned i = 0; i < 5; i++)
		send_heartbeat(end);
	send_blocks(end, 1, 64);
	close_end(end);
}

// Small messages before a close still arrive; done() comes for all.
static void test_send_and_close(void **state)
{
	(void)state;
	server.on_open = send_and_close;
	dial();
	run_until(client_over);
	run_until(all_done);
	assert_int_equal(client.heartbeats, 5);
	assert_int_equal(client.blocks, 0);
	assert_int_equal(server.went_out, 5);
	assert_says(&client, "the peer ended the connection");
}

static void refuse(struct end *end, const struct frame *frame)
{
	static const struct wire_refuse words = {REFUSAL_BUSY, "not now"};
	uint8_t body[WIRE_BODY_MAX];

	(void)frame;
	send_body(end, FRAME_REFUSE, body, wire_put_refuse(body, &words));
	close_end(end);
}

static bool refusal_seen;

static void expect_refusal(struct end *end, const struct frame *frame)
{
	struct wire_refuse words;

	(void)end;
	if (frame->type == FRAME_REFUSE) {
		assert_int_equal(wire_get_refuse(frame, &words), 0);
		assert_string_equal(words.reason, "not now");
		refusal_seen = true;
	}
}

// Even though the other side goes on sending, and much of that is never read.
static void test_refusal_arrives(void **state)
{
	(void)state;
	for (unsigned round = 0; round < 10; round++) {
		refusal_seen = false;
		client.on_frame = expect_refusal;
		server.on_frame = refuse;
		open_both(false);
		for (unsigned i = 0; i < 40; i++)
			send_blocks(&client, i, COMPARE_BLOCKS_MAX);
		run_until(client_over);
		assert_true(refusal_seen);
		run_until(all_done);
		client = (struct end){.name = "client"};
		server = (struct end){.name = "server"};
	}
}

static void send_again(struct end *end)
{
	if (end->channel)
		send_heartbeat(end);
}

// done() that always sends again does not keep closed() from being told.
static void test_sender_without_end(void **state)
{
	(void)state;
	open_both(false);
	client.on_done = send_again;
	send_heartbeat(&client);
	goal = 100;
	run_until(server_has_goal);
	close_end(&server);
	run_until(client_over);
	client.on_done = NULL;
	run_until(all_done);
}

// --- hold

// Until the sender has come to a stop, for whatever reason.
static void run_until_stopped(const struct end *sender)
{
	unsigned done;

	do {
		done = sender->done;
		run_for(200);
	} while (sender->done != done);
}

static void test_hold(void **state)
{
	(void)state;
	open_both(false);
	channel_hold(server.channel, true);
	server.held = true;
	goal = 300; // 75 MiB: more than all buffers on the way together
	for (unsigned i = 0; i < goal; i++)
		send_blocks(&client, i, COMPARE_BLOCKS_MAX);
	run_until_stopped(&client);
	assert_int_equal(server.frames, 0);
	assert_true(client.done < goal);
	server.held = false;
	channel_hold(server.channel, false);
	assert_int_equal(server.frames, 0); // never from within
	run_until(server_has_blocks);
	run_until(all_done);
}

static bool client_has_blocks(void)
{
	return client.blocks >= goal;
}

static void test_client_hold(void **state)
{
	(void)state;
	open_both(false);
	channel_hold(client.channel, true);
	client.held = true;
	goal = 300;
	for (unsigned i = 0; i < goal; i++)
		send_blocks(&server, i, COMPARE_BLOCKS_MAX);
	run_until_stopped(&server);
	assert_int_equal(client.frames, 0);
	assert_true(server.done < goal);
	client.held = false;
	channel_hold(client.channel, false);
	run_until(client_has_blocks);
	run_until(all_done);
}

static struct timer release_timer;

static void release_hold(struct timer *timer)
{
	(void)timer;
	if (!client.channel)
		return;
	client.held = false;
	channel_hold(client.channel, false);
}

static void hold_often(struct end *end, const struct frame *frame)
{
	(void)frame;
	if (end->frames % 5 == 0) {
		channel_hold(end->channel, true);
		end->held = true;
		release_timer.fire = release_hold;
		clock_set(loop_clock(loop), &release_timer, clock_now(loop_clock(loop)) + NSEC_PER_MSEC);
	}
}

static void test_hold_within_frame(void **state)
{
	(void)state;
	open_both(false);
	client.on_frame = hold_often;
	goal = 100;
	for (unsigned i = 0; i < goal; i++)
		send_blocks(&server, i, COMPARE_BLOCKS_MAX);
	run_until(client_has_blocks);
	run_until(all_done);
	clock_cancel(loop_clock(loop), &release_timer);
}

static void test_close_while_held(void **state)
{
	(void)state;
	open_both(false);
	channel_hold(client.channel, true);
	client.held = true;
	for (unsigned i = 0; i < 300; i++)
		send_blocks(&server, i, COMPARE_BLOCKS_MAX);
	run_for(50);
	close_end(&client);
	run_until(server_over);
	run_until(all_done);
}

// What came before the peer's close is delivered before closed().
static void test_closed_while_held(void **state)
{
	(void)state;
	open_both(false);
	channel_hold(client.channel, true);
	client.held = true;
	for (unsigned i = 0; i < 10; i++)
		send_heartbeat(&server);
	close_end(&server);
	run_until(all_done);
	run_for(50);
	assert_int_equal(client.frames, 0);
	client.held = false;
	channel_hold(client.channel, false);
	run_until(client_over);
	assert_int_equal(client.heartbeats, 10);
}

// --- the channel's part in the conversation

static const uint8_t hash_key[16] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
static bool compared;
static uint64_t offered; // features

static void welcome(struct end *end, const struct frame *frame)
{
	struct wire_welcome words = {.hello = {.version_min = 1, .version_max = 1, .role = ROLE_STANDBY}};
	uint8_t body[WIRE_BODY_MAX], content[2 * BLOCK_SIZE], hashes[2 * BLOCKHASH_BYTES];
	struct wire_blocks blocks;
	struct blockhash *hash;

	if (frame->type == FRAME_HEARTBEAT) {
		memset(words.hello.pair.bytes, 7, 16);
		memset(words.hello.lineage.generation.bytes, 8, 16);
		memcpy(words.hash_key, hash_key, 16);
		words.hello.volume_count = 1;
		strcpy(words.hello.volumes[0].name, "data");
		words.hello.volumes[0].bytes = 1 << 20;
		words.hello.features = offered;
		words.journal_bytes = 1 << 20;
		send_body(end, FRAME_WELCOME, body, wire_put_welcome(body, &words));
	}
	if (frame->type == FRAME_COMPARE) {
		assert_int_equal(wire_get_blocks(frame, &blocks), 0);
		assert_int_equal(blocks.payload_length, sizeof(hashes));
		fill_blocks(content, 77, 2);
		hash = blockhash_new(hash_key);
		blockhash_blocks(hash, content, 2, hashes);
		blockhash_free(hash);
		assert_memory_equal(blocks.payload, hashes, sizeof(hashes));
		compared = true;
	}
}

static uint8_t compare_body[BLOCKS_BODY_MAX], compare_content[2 * BLOCK_SIZE];

static void compare_done(struct message *message)
{
	(void)message;
	client.done++;
	poke();
}

static struct message compare_message = {
        .type = FRAME_COMPARE, .body = compare_body, .data = compare_content, .data_length = 2 * BLOCK_SIZE};

static void compare(struct end *end, const struct frame *frame)
{
	struct extent extent = {.first = 77, .count = 2};

	assert_int_equal(frame->type, FRAME_WELCOME);
	compare_message.done = compare_done;
	compare_message.body_length = wire_put_blocks(compare_body, 0, &extent, 1);
	fill_blocks(compare_content, 77, 2);
	end->sent++;
	channel_send(end->channel, &compare_message);
}

static bool has_compared(void)
{
	return compared && all_done();
}

static void test_compare_uses_the_welcomed_key(void **state)
{
	(void)state;
	compared = false;
	open_both(false);
	server.on_frame = welcome;
	client.on_frame = compare;
	send_heartbeat(&client);
	run_until(has_compared);
}

// One message after the other, of a sender that keeps to a limit.

static unsigned packed_messages, zstd_frames;
static uint8_t packed_body[BLOCKS_BODY_MAX], packed_content[8 * BLOCK_SIZE];

static void packed_done(struct message *message)
{
	client.done++;
	if (++packed_messages < 300) {
		client.sent++;
		channel_send(client.channel, message);
	}
	poke();
}

static struct message packed_message = {.type = FRAME_BLOCKS,
                                        .body = packed_body,
                                        .data = packed_content,
                                        .data_length = sizeof(packed_content),
                                        .rate_limit = 1,
                                        .done = packed_done};

static void send_packed(struct end *end, const struct frame *frame)
{
	struct extent extent = {.first = 0, .count = 8};

	assert_int_equal(frame->type, FRAME_WELCOME);
	packed_message.body_length = wire_put_blocks(packed_body, 0, &extent, 1);
	fill_blocks(packed_content, 0, 8);
	end->sent++;
	channel_send(end->channel, &packed_message);
}

static void look_for_zstd(struct end *end, const struct frame *frame)
{
	struct wire_blocks blocks;

	if (frame->type == FRAME_BLOCKS) {
		assert_int_equal(wire_get_blocks(frame, &blocks), 0);
		zstd_frames += blocks.codec == CODEC_ZSTD;
	} else {
		welcome(end, frame);
	}
}

static bool all_packed_through(void)
{
	return packed_messages == 300 && server.blocks == 300;
}

static void pack_as_offered(uint64_t features)
{
	offered = features;
	packed_messages = zstd_frames = 0;
	accelerate();
	open_both(false);
	server.on_frame = look_for_zstd;
	client.on_frame = send_packed;
	send_heartbeat(&client);
	run_until(all_packed_through);
	offered = 0;
}

static void test_packs_with_zstd_where_it_is_offered(void **state)
{
	(void)state;
	pack_as_offered(WIRE_FEATURE_ZSTD);
	assert_true(zstd_frames > 0);
}

static void test_keeps_to_lz4_where_it_is_not(void **state)
{
	(void)state;
	pack_as_offered(~WIRE_FEATURE_ZSTD);
	assert_int_equal(zstd_frames, 0);
}

static void test_stranger_is_bounded(void **state)
{
	(void)state;
	open_both(true);
	send_heartbeat(&client);
	goal = 1;
	run_until(server_has_goal);
	send_blocks(&client, 1, COMPARE_BLOCKS_MAX);
	run_until(server_over);
	assert_says(&server, "too long for a stranger");
	run_until(client_over);
	assert_int_equal(server.blocks, 0);
}

static void trust_first(struct end *end, const struct frame *frame)
{
	(void)frame;
	link_trust(end->channel);
}

static void test_trust_lifts_the_bound(void **state)
{
	(void)state;
	open_both(true);
	server.on_frame = trust_first;
	send_heartbeat(&client);
	send_blocks(&client, 1, COMPARE_BLOCKS_MAX);
	goal = 1;
	run_until(server_has_blocks);
}

// --- dialing

static void test_nobody_listens(void **state)
{
	struct net_address address = listening;
	struct error err;
	char text[NET_ADDRESS_MAX];
	int fd;

	(void)state;
	address.port = 0;
	fd = net_listen(&address, &err);
	address.port = net_local_port(fd);
	close(fd);
	dial_to(&address, keys_fingerprint(server_node.keys));
	run_until(client_over);
	assert_true(client.failed);
	net_format(&address, text);
	assert_says(&client, text);
	assert_says(&client, "refused");

	// And again, with the same dialer.
	client = (struct end){.name = "client"};
	dial();
	run_until(client_over);
	assert_true(client.failed);
}

static void test_no_such_host(void **state)
{
	struct net_address address = {.host = "no-such-host.invalid", .port = 7420};

	(void)state;
	dial_to(&address, keys_fingerprint(server_node.keys));
	run_until(client_over);
	assert_true(client.failed);
	assert_says(&client, "no-such-host.invalid:7420");
}

static void test_wrong_key(void **state)
{
	(void)state;
	dial_to(&listening, keys_fingerprint(client_node.keys));
	run_until(client_over);
	assert_true(client.failed);
	assert_says(&client, "wrong key");
	run_until(server_over);
	assert_says(&server, "refuses our key");
}

static void test_cancel(void **state)
{
	(void)state;
	dial();
	cancel_dial();
	run_for(20);
	assert_false(client.opened || client.failed);
	cancel_dial();
	dial();
	cancel_dial();
	server = (struct end){.name = "server"};
	run_for(20);
	assert_false(client.opened || client.failed);
	server = (struct end){.name = "server"};
	open_both(false);
}

static void test_cancel_in_handshake(void **state)
{
	(void)state;
	accept_nothing(); // connects, and then nobody answers
	dial();
	run_for(30);
	assert_false(client.opened || client.failed);
	cancel_dial();
	run_for(10);
	assert_false(client.opened || client.failed);
	dial();
	run_for(10); // is cancelled by the end of the test
}

static void test_dial_again_and_again(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 30; i++) {
		open_both(false);
		send_heartbeat(&client);
		send_heartbeat(&server);
		goal = 1;
		run_until(heartbeats_through);
		if (i % 2) {
			close_end(&client);
			run_until(server_over);
		} else {
			close_end(&server);
			run_until(client_over);
		}
		client = (struct end){.name = "client"};
		server = (struct end){.name = "server"};
	}
}

// The former channel still has messages when the next one opens.
static void test_old_and_new(void **state)
{
	(void)state;
	open_both(false);
	for (unsigned i = 0; i < 100; i++)
		send_blocks(&client, i, COMPARE_BLOCKS_MAX);
	close_end(&client);
	run_until(server_over);
	server = (struct end){.name = "server"};
	client.opened = false;
	dial();
	run_until(both_open);
	link_trust(server.channel);
	run_until(all_done);
}

#define BOTH(test)                                                                                                     \
	{#test, test, set_up, tear_down, NULL},                                                                        \
	{                                                                                                              \
#test " threaded", test, set_up_threaded, tear_down, NULL                                              \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        BOTH(test_open),
	        BOTH(test_many_small),
	        BOTH(test_ping_pong),
	        BOTH(test_large),
	        BOTH(test_sent_from_done),
	        BOTH(test_client_closes_in_flow),
	        BOTH(test_server_closes_in_flow),
	        BOTH(test_close_within_frame),
	        BOTH(test_close_within_done),
	        BOTH(test_close_within_open),
	        BOTH(test_send_and_close),
	        BOTH(test_refusal_arrives),
	        BOTH(test_sender_without_end),
	        BOTH(test_hold),
	        BOTH(test_client_hold),
	        BOTH(test_hold_within_frame),
	        BOTH(test_close_while_held),
	        BOTH(test_closed_while_held),
	        BOTH(test_compare_uses_the_welcomed_key),
	        {"test_packs_with_zstd_where_it_is_offered", test_packs_with_zstd_where_it_is_offered, set_up,
	         tear_down, NULL},
	        {"test_keeps_to_lz4_where_it_is_not", test_keeps_to_lz4_where_it_is_not, set_up, tear_down, NULL},
	        BOTH(test_stranger_is_bounded),
	        BOTH(test_trust_lifts_the_bound),
	        BOTH(test_nobody_listens),
	        BOTH(test_no_such_host),
	        BOTH(test_wrong_key),
	        BOTH(test_cancel),
	        BOTH(test_cancel_in_handshake),
	        BOTH(test_dial_again_and_again),
	        BOTH(test_old_and_new),
	};

	return cmocka_run_group_tests(tests, nodes_set_up, nodes_tear_down) != 0;
}
