// SPDX-License-Identifier: Apache-2.0
#include "link_fixture.h"

#include "common/codec.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

struct loop *loop;
struct node client_node, server_node;
struct links *links, *client_links;
struct end client, server;
struct net_address listening;

static int listener;
static struct op accept_op;
static bool accepting, accept_no_more;
static struct link_thread *thread;
static struct dialer *dialer;
static bool threaded, thread_stopped, links_stopped, client_links_stopped;
static bool (*awaited)(void);
static struct timer watchdog;

// Time as the links see it after accelerate().
static const struct clock_ops *real_ops;
static struct clock_ops fast_ops;
static uint64_t origin;

#define SPEED 100

// A message on its way; freed by its done(), so that a second one is noticed.
struct parcel {
	struct message message;
	struct end *end;
	uint8_t *content;
	uint8_t body[];
};

void poke(void)
{
	if (awaited && awaited())
		loop_quit(loop);
}

static void watchdog_bites(struct timer *timer)
{
	(void)timer;
	loop_quit(loop);
}

static void run(bool (*condition)(void), uint64_t limit)
{
	awaited = condition;
	watchdog.fire = watchdog_bites;
	clock_set(loop_clock(loop), &watchdog, clock_now(loop_clock(loop)) + limit);
	assert_int_equal(loop_run(loop), 0);
	clock_cancel(loop_clock(loop), &watchdog);
	awaited = NULL;
}

void run_until(bool (*condition)(void))
{
	if (condition())
		return;
	run(condition, 100 * (loop_clock(loop)->ops == &fast_ops ? SPEED : 1) * NSEC_PER_SEC);
	if (!condition())
		fail_msg("what was waited for did not come; client: \"%s\", server: \"%s\"", client.why, server.why);
}

static bool never(void)
{
	return false;
}

void run_for(unsigned milliseconds)
{
	run(never, milliseconds * NSEC_PER_MSEC);
}

// --- an end

static void opened(void *user, struct channel *channel);
static void failed(void *user, const char *why);

void fill_blocks(uint8_t *content, unsigned seed, unsigned blocks)
{
	uint64_t x = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;

	for (unsigned block = 0; block < blocks; block++) {
		uint8_t *at = content + block * BLOCK_SIZE;

		memset(at, (int)(seed + block), BLOCK_SIZE);
		for (unsigned i = 0; i < BLOCK_SIZE - 512 * (block % 8); i += 8) {
			x ^= x << 13;
			x ^= x >> 7;
			x ^= x << 17;
			memcpy(at + i, &x, 8);
		}
		at[0] = 1; // never all zero
	}
}

static void check_blocks(const struct frame *frame)
{
	static uint8_t got[BLOCKS_RAW_MAX], expected[BLOCKS_RAW_MAX];
	struct unpacker *unpacker = unpacker_new();
	struct wire_blocks blocks;
	struct extent extent;

	assert_int_equal(wire_get_blocks(frame, &blocks), 0);
	extent = blocks_extent(&blocks, 0);
	assert_int_equal(blocks.raw_length, extent.count * BLOCK_SIZE);
	assert_int_equal(blocks_unpack(unpacker, &blocks, got), 0);
	fill_blocks(expected, (unsigned)extent.first, extent.count);
	assert_memory_equal(got, expected, blocks.raw_length);
	unpacker_free(unpacker);
}

static void on_frame(void *user, const struct frame *frame)
{
	struct end *end = user;
	struct wire_heartbeat heartbeat;

	assert_non_null(end->channel);
	assert_false(end->held);
	assert_int_equal(frame->sequence, end->frames);
	end->frames++;
	end->frame_bytes += FRAME_HEADER_BYTES + frame->length;
	if (frame->type == FRAME_HEARTBEAT) {
		assert_int_equal(wire_get_heartbeat(frame, &heartbeat), 0);
		assert_int_equal(heartbeat.cut, end->heartbeats++);
	} else if (frame->type == FRAME_BLOCKS) {
		check_blocks(frame);
		end->blocks++;
	}
	if (end->on_frame)
		end->on_frame(end, frame);
	poke();
}

static void on_closed(void *user, const char *why)
{
	struct end *end = user;

	assert_non_null(end->channel);
	assert_false(end->closed);
	end->channel = NULL;
	end->closed = true;
	snprintf(end->why, sizeof(end->why), "%s", why);
	assert_null(strchr(why, '\n'));
	assert_true(strlen(why) > 0);
	poke();
}

static const struct channel_events events = {on_frame, on_closed};

static void opened(void *user, struct channel *channel)
{
	struct end *end = user;

	assert_false(end->opened || end->failed);
	end->opened = true;
	end->channel = channel;
	channel->events = &events;
	channel->user = end;
	if (end->on_open)
		end->on_open(end);
	poke();
}

static void failed(void *user, const char *why)
{
	struct end *end = user;

	assert_false(end->opened || end->failed);
	end->failed = true;
	snprintf(end->why, sizeof(end->why), "%s", why);
	assert_null(strchr(why, '\n'));
	assert_true(strlen(why) > 0);
	poke();
}

void close_end(struct end *end)
{
	struct channel *channel = end->channel;

	end->channel = NULL;
	channel_close(channel);
}

static void parcel_done(struct message *message)
{
	struct parcel *parcel = (struct parcel *)message;
	struct end *end = parcel->end;

	end->done++;
	end->went_out += message->wire_bytes > 0;
	end->wire_bytes += message->wire_bytes;
	free(parcel->content);
	free(parcel);
	if (end->on_done)
		end->on_done(end);
	poke();
}

static struct parcel *parcel_new(struct end *end, unsigned type, size_t body_size)
{
	struct parcel *parcel = calloc(1, sizeof(*parcel) + body_size);

	assert_non_null(parcel);
	parcel->end = end;
	parcel->message.type = type;
	parcel->message.body = parcel->body;
	parcel->message.done = parcel_done;
	return parcel;
}

static void post(struct parcel *parcel)
{
	struct end *end = parcel->end;
	unsigned done = end->done;

	end->sent++;
	channel_send(end->channel, &parcel->message);
	assert_int_equal(end->done, done); // never from within
}

void send_body(struct end *end, unsigned type, const void *body, size_t length)
{
	struct parcel *parcel = parcel_new(end, type, length);

	memcpy(parcel->body, body, length);
	parcel->message.body_length = length;
	post(parcel);
}

void send_heartbeat(struct end *end)
{
	struct wire_heartbeat heartbeat = {0};
	uint8_t body[WIRE_BODY_MAX];

	heartbeat.cut = end->sent_heartbeats++;
	send_body(end, FRAME_HEARTBEAT, body, wire_put_heartbeat(body, &heartbeat));
}

void send_blocks(struct end *end, unsigned seed, unsigned blocks)
{
	struct parcel *parcel = parcel_new(end, FRAME_BLOCKS, BLOCKS_BODY_MAX);
	struct extent extent = {.first = seed, .count = blocks};

	parcel->message.body_length = wire_put_blocks(parcel->body, 0, &extent, 1);
	parcel->content = malloc(blocks * BLOCK_SIZE);
	assert_non_null(parcel->content);
	fill_blocks(parcel->content, seed, blocks);
	parcel->message.data = parcel->content;
	parcel->message.data_length = blocks * BLOCK_SIZE;
	post(parcel);
}

// --- conditions

bool both_open(void)
{
	return client.opened && server.opened;
}

bool client_over(void)
{
	return client.failed || client.closed;
}

bool server_over(void)
{
	return server.failed || server.closed;
}

bool all_done(void)
{
	return client.sent == client.done && server.sent == server.done;
}

// --- connections

static void arm_accept(void)
{
	struct io_uring_sqe *sqe = loop_sqe(loop, &accept_op);

	io_uring_prep_accept(sqe, listener, NULL, NULL, SOCK_CLOEXEC);
	accepting = true;
}

static void accepted(struct op *op, int result, unsigned flags)
{
	static const struct link_waiter waiter = {opened, failed, &server};

	(void)op;
	(void)flags;
	accepting = false;
	if (result >= 0) {
		assert_non_null(link_accept(links, result, &waiter));
		if (!accept_no_more)
			arm_accept();
	}
	poke();
}

static bool not_accepting(void)
{
	return !accepting;
}

void accept_nothing(void)
{
	accept_no_more = true;
	if (accepting)
		loop_cancel(loop, &accept_op);
	run_until(not_accepting);
}

static bool dialer_gone(void)
{
	return !thread || thread_stopped;
}

static void stop_called(void *user)
{
	*(bool *)user = true;
	poke();
}

static void drop_dialer(void)
{
	if (thread) {
		thread_stopped = false;
		link_thread_stop(thread, stop_called, &thread_stopped);
		run_until(dialer_gone);
		thread = NULL;
	} else {
		link_dialer_free(dialer);
	}
	dialer = NULL;
}

void dial_to(const struct net_address *address, const uint8_t *key)
{
	struct error err = {""};

	if (dialer)
		drop_dialer();
	if (threaded) {
		thread = link_thread_start(loop, client_node.tls, address, key, &err);
		if (!thread)
			fail_msg("%s", err.text);
		dialer = link_thread_dialer(thread);
	} else {
		dialer = link_dialer_new(client_links, address, key);
		assert_non_null(dialer);
	}
	dialer->opened = opened;
	dialer->failed = failed;
	dialer->user = &client;
	dialer_dial(dialer);
	assert_false(client.opened || client.failed);
}

void dial(void)
{
	if (dialer)
		dialer_dial(dialer);
	else
		dial_to(&listening, keys_fingerprint(server_node.keys));
}

void cancel_dial(void)
{
	dialer_cancel(dialer);
}

void open_both(bool stranger)
{
	dial();
	run_until(both_open);
	if (!stranger)
		link_trust(server.channel);
}

// --- time

static uint64_t fast_now(struct clock *clock)
{
	return origin + (real_ops->now(clock) - origin) * SPEED;
}

static void fast_set(struct clock *clock, struct timer *timer, uint64_t deadline)
{
	real_ops->set(clock, timer, deadline > origin ? origin + (deadline - origin) / SPEED : deadline);
}

void accelerate(void)
{
	struct clock *clock = loop_clock(loop);

	real_ops = clock->ops;
	origin = clock_now(clock);
	fast_ops = *real_ops;
	fast_ops.now = fast_now;
	fast_ops.set = fast_set;
	clock->ops = &fast_ops;
}

// --- set up, tear down

int nodes_set_up(void **state)
{
	(void)state;
	client_node = node_new();
	server_node = node_new();
	return 0;
}

int nodes_tear_down(void **state)
{
	(void)state;
	node_free(&client_node);
	node_free(&server_node);
	return 0;
}

int set_up(void **state)
{
	struct error err = {""};

	(void)state;
	threaded = false;
	dialer = NULL;
	thread = NULL;
	client = (struct end){.name = "client"};
	server = (struct end){.name = "server"};
	loop = loop_new(&err);
	links = loop ? links_new(loop, server_node.tls) : NULL;
	client_links = loop ? links_new(loop, client_node.tls) : NULL;
	listening = (struct net_address){.host = "127.0.0.1"};
	listener = net_listen(&listening, &err);
	if (!links || !client_links || listener < 0)
		return -1;
	listening.port = net_local_port(listener);
	accept_op.done = accepted;
	accept_no_more = false;
	arm_accept();
	return 0;
}

int set_up_threaded(void **state)
{
	int result = set_up(state);

	threaded = true;
	return result;
}

static bool stopped(void)
{
	return links_stopped && client_links_stopped;
}

int tear_down(void **state)
{
	(void)state;
	client.on_done = server.on_done = NULL;
	if (client.channel)
		close_end(&client);
	if (server.channel)
		close_end(&server);
	run_until(all_done);
	accept_nothing();
	if (dialer)
		drop_dialer();
	links_stopped = client_links_stopped = false;
	links_stop(links, stop_called, &links_stopped);
	links_stop(client_links, stop_called, &client_links_stopped);
	run_until(stopped);
	links_free(links);
	links_free(client_links);
	loop_free(loop);
	close(listener);
	return 0;
}
