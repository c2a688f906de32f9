// SPDX-License-Identifier: Apache-2.0
// A server's link against peers that do not play by the rules: a thread with a
// blocking socket plays each of them.
#include "link_fixture.h"

#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include <openssl/err.h>
#include <openssl/ssl.h>

struct peer {
	void (*script)(struct peer *peer);
	int fd;
	struct tls *tls;
	const void *bytes; // for the script
	size_t length;
	bool outlives; // the loop

	// what it met, to be looked at after the end
	bool failed;
	uint64_t plain_bytes;
	bool farewell;
	unsigned long error;

	pthread_t thread;
	struct task ended;
	bool over;
};

static struct peer peer;

static void assert_says(const struct end *end, const char *word)
{
	if (!strstr(end->why, word))
		fail_msg("%s: \"%s\" does not say \"%s\"", end->name, end->why, word);
}

// --- on the peer's thread

static int connect_to_server(int receive_buffer)
{
	struct sockaddr_in address = {
	        .sin_family = AF_INET,
	        .sin_port = htons(listening.port),
	        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (receive_buffer)
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof(receive_buffer));
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		abort();
	net_tune(fd);
	return fd;
}

static void put(struct peer *p, const void *bytes, size_t length)
{
	const char *at = bytes;

	while (length > 0) {
		ssize_t sent = send(p->fd, at, length, MSG_NOSIGNAL);

		if (sent <= 0) {
			p->failed = true;
			return;
		}
		at += sent;
		length -= (size_t)sent;
	}
}

static void put_output(struct peer *p)
{
	size_t length;
	const void *bytes = tls_output(p->tls, &length);

	put(p, bytes, length);
}

static bool get(struct peer *p, size_t chunk)
{
	uint8_t buffer[65536];
	ssize_t length = recv(p->fd, buffer, chunk, 0);

	if (length <= 0) {
		tls_feed_end(p->tls);
		return false;
	}
	node_feed(p->tls, buffer, (size_t)length);
	return true;
}

static void shake(struct peer *p)
{
	int result;

	p->tls = tls_new(client_node.tls, TLS_CLIENT, keys_fingerprint(server_node.keys));
	while ((result = tls_handshake(p->tls)) == -EAGAIN) {
		put_output(p);
		if (!get(p, 65536))
			break;
	}
	put_output(p);
	if (result)
		p->failed = true;
}

static void put_plain(struct peer *p, const void *bytes, size_t length)
{
	tls_write(p->tls, bytes, length);
	put_output(p);
}

// Reads until the server ends the connection.
static void read_all(struct peer *p, size_t chunk)
{
	static uint8_t buffer[65536];
	ssize_t length;

	for (;;) {
		while ((length = tls_read(p->tls, buffer, sizeof(buffer))) > 0)
			p->plain_bytes += (uint64_t)length;
		if (length == -EPIPE)
			p->farewell = true;
		if (length != -EAGAIN || !get(p, chunk))
			break;
	}
	while (recv(p->fd, buffer, sizeof(buffer), 0) > 0)
		;
}

static void *play(void *argument)
{
	struct peer *p = argument;

	p->script(p);
	close(p->fd);
	tls_free(p->tls);
	if (!p->outlives)
		loop_post(loop, &p->ended);
	return NULL;
}

// --- on the test's thread

static void peer_ended(struct task *task)
{
	(void)task;
	pthread_join(peer.thread, NULL);
	peer.over = true;
	poke();
}

static void start(void (*script)(struct peer *peer), const void *bytes, size_t length)
{
	peer = (struct peer){.script = script, .bytes = bytes, .length = length, .ended.run = peer_ended};
	assert_int_equal(pthread_create(&peer.thread, NULL, play, &peer), 0);
}

static bool both_over(void)
{
	return server_over() && peer.over;
}

static bool peer_over(void)
{
	return peer.over;
}

static void meet(void (*script)(struct peer *peer), const void *bytes, size_t length, const char *word)
{
	server = (struct end){.name = "server"};
	start(script, bytes, length);
	run_until(both_over);
	if (word)
		assert_says(&server, word);
}

// --- before the handshake is through

static void send_raw(struct peer *p)
{
	char buffer[4096];

	p->fd = connect_to_server(0);
	put(p, p->bytes, p->length);
	while (recv(p->fd, buffer, sizeof(buffer), 0) > 0)
		;
}

static void test_plain_text(void **state)
{
	static const char http[] = "GET / HTTP/1.1\r\nHost: standby\r\n\r\n", ssh[] = "SSH-2.0-OpenSSH_9.2\r\n";

	(void)state;
	meet(send_raw, http, strlen(http), "does not speak TLS");
	assert_true(server.failed);
	meet(send_raw, ssh, strlen(ssh), "does not speak TLS");
}

static void test_random_bytes(void **state)
{
	uint8_t bytes[3000];

	(void)state;
	accelerate(); // some of it looks like the beginning of something longer
	srandom(2);
	for (unsigned round = 0; round < 100; round++) {
		for (size_t i = 0; i < sizeof(bytes); i++)
			bytes[i] = (uint8_t)random();
		if (round % 2)
			memcpy(bytes, "\x16\x03\x01\x0b", 4);
		meet(send_raw, bytes, sizeof(bytes), "TLS handshake");
		assert_true(server.failed);
	}
}

static void leave(struct peer *p)
{
	p->fd = connect_to_server(0);
	put(p, p->bytes, p->length);
}

static void test_gone_before_the_handshake(void **state)
{
	(void)state;
	meet(leave, "\x16\x03\x01", 3, "TLS handshake");
	meet(leave, "", 0, "TLS handshake");
}

// The alert must reach the client, so that its administrator sees the cause.
static void talk_tls_1_2(struct peer *p)
{
	SSL_CTX *context = SSL_CTX_new(TLS_client_method());
	SSL *ssl;

	p->fd = connect_to_server(0);
	SSL_CTX_set_max_proto_version(context, TLS1_2_VERSION);
	ssl = SSL_new(context);
	SSL_set_fd(ssl, p->fd);
	p->failed = SSL_connect(ssl) != 1;
	p->error = ERR_peek_error();
	ERR_clear_error();
	SSL_free(ssl);
	SSL_CTX_free(context);
}

static void test_tls_1_2(void **state)
{
	(void)state;
	meet(talk_tls_1_2, NULL, 0, "TLS 1.3");
	assert_true(server.failed);
	assert_true(peer.failed);
	assert_int_equal(ERR_GET_REASON(peer.error), SSL_R_TLSV1_ALERT_PROTOCOL_VERSION);
}

static void test_silent_before_the_handshake(void **state)
{
	(void)state;
	accelerate();
	meet(send_raw, "", 0, "no answer within");
	assert_true(server.failed);
}

static void test_many_silent(void **state)
{
	int fds[50];

	(void)state;
	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
		fds[i] = connect_to_server(0);
	run_for(20);
	assert_false(server.opened || server.failed);
	// Dropped by the end of the test, while the peers still hold on.
	tear_down(state);
	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
		char byte;

		assert_true(recv(fds[i], &byte, 1, 0) <= 0);
		close(fds[i]);
	}
	assert_int_equal(set_up(state), 0);
}

// --- after the handshake

static void send_plain(struct peer *p)
{
	p->fd = connect_to_server(0);
	shake(p);
	put_plain(p, p->bytes, p->length);
	read_all(p, 65536);
}

static void trust_it(struct end *end)
{
	link_trust(end->channel);
}

static void accelerate_now(struct end *end)
{
	(void)end;
	accelerate();
}

static void test_silent_stranger(void **state)
{
	(void)state;
	server.on_open = accelerate_now;
	start(send_plain, "", 0);
	run_until(both_over);
	assert_says(&server, "did not introduce itself");
	assert_true(server.closed);
	assert_true(peer.farewell);
}

static void meet_trusted(void (*script)(struct peer *peer), const void *bytes, size_t length, const char *word)
{
	server = (struct end){.name = "server", .on_open = trust_it};
	start(script, bytes, length);
	run_until(both_over);
	assert_true(server.closed);
	if (word)
		assert_says(&server, word);
}

static void trust_and_accelerate(struct end *end)
{
	link_trust(end->channel);
	accelerate();
}

static void test_silent_for_long(void **state)
{
	(void)state;
	server.on_open = trust_and_accelerate;
	start(send_plain, "", 0);
	run_until(both_over);
	assert_says(&server, "was silent for");
}

static size_t make_heartbeat(uint8_t *frame, uint64_t sequence)
{
	struct wire_heartbeat heartbeat = {.cut = sequence};
	size_t length = wire_put_heartbeat(frame + FRAME_HEADER_BYTES, &heartbeat);

	frame_put_header(frame, FRAME_HEARTBEAT, sequence, (uint32_t)length);
	return FRAME_HEADER_BYTES + length;
}

static void test_bad_frames(void **state)
{
	static uint8_t frames[1024], bad[70000];
	size_t first = make_heartbeat(frames, 0), both = first + make_heartbeat(frames + first, 1);

	(void)state;
	memset(bad, 0, sizeof(bad));
	// Every byte of the second frame counts.
	for (size_t i = first; i < both; i++) {
		memcpy(bad, frames, both);
		bad[i] ^= 1;
		// A length that grew makes the frame wait for more.
		meet_trusted(send_plain, bad, sizeof(bad), i < first + 8 ? "frame 1" : "frame 1 is damaged");
		assert_int_equal(server.frames, 1);
		assert_true(peer.farewell);
	}
	make_heartbeat(frames + first, 2);
	meet_trusted(send_plain, frames, both, "frame 1 has number 2");
	make_heartbeat(frames + first, 0);
	meet_trusted(send_plain, frames, both, "frame 1 has number 0");

	frame_put_header(frames, FRAME_BLOCKS, 0, 100);
	memcpy(frames, "\xff\xff\xff\xff", 4); // the length
	meet_trusted(send_plain, frames, 500, "too long");
	memcpy(frames, "\x01\x00\x10\x00", 4);
	meet_trusted(send_plain, frames, 500, "too long");
	frame_put_header(frames, (enum frame_type)99, 0, 100);
	meet_trusted(send_plain, frames, 500, "unknown type");
	frame_put_header(frames, FRAME_WELCOME, 0, 100);
	meet_trusted(send_plain, frames, FRAME_HEADER_BYTES + 100, "bad WELCOME");
}

static void test_random_frames(void **state)
{
	uint8_t bytes[5000];

	(void)state;
	srandom(3);
	for (unsigned round = 0; round < 100; round++) {
		for (size_t i = 0; i < sizeof(bytes); i++)
			bytes[i] = (uint8_t)random();
		meet_trusted(send_plain, bytes, sizeof(bytes), "frame 0");
	}
}

static void send_and_say_goodbye(struct peer *p)
{
	p->fd = connect_to_server(0);
	shake(p);
	tls_write(p->tls, p->bytes, p->length);
	tls_shutdown(p->tls);
	put_output(p);
	read_all(p, 65536);
}

static void send_and_leave(struct peer *p)
{
	p->fd = connect_to_server(0);
	shake(p);
	put_plain(p, p->bytes, p->length);
	shutdown(p->fd, SHUT_WR);
	read_all(p, 65536);
}

static void test_truncated(void **state)
{
	uint8_t frame[256];
	size_t length = make_heartbeat(frame, 0);

	(void)state;
	for (size_t cut = 1; cut < length; cut += 5) {
		meet_trusted(send_and_say_goodbye, frame, cut, "within a frame");
		meet_trusted(send_and_leave, frame, cut, "without a farewell");
		assert_int_equal(server.frames, 0);
	}
	meet_trusted(send_and_say_goodbye, frame, length, "the peer ended the connection");
	assert_int_equal(server.frames, 1);
}

static void garble(struct peer *p)
{
	p->fd = connect_to_server(0);
	shake(p);
	put(p, p->bytes, p->length);
	read_all(p, 65536);
}

static void test_garbage_below_tls(void **state)
{
	uint8_t bytes[200];

	(void)state;
	memset(bytes, 0x55, sizeof(bytes));
	meet_trusted(garble, bytes, sizeof(bytes), NULL);
	memcpy(bytes, "\x17\x03\x03\x00\x40", 5); // looks like a record
	meet_trusted(garble, bytes, 69, "changed on the way");
}

static void dribble(struct peer *p)
{
	const uint8_t *at = p->bytes;

	p->fd = connect_to_server(0);
	shake(p);
	for (size_t i = 0; i < p->length; i++)
		put_plain(p, at + i, 1);
	tls_shutdown(p->tls);
	put_output(p);
	read_all(p, 65536);
}

static void test_byte_by_byte(void **state)
{
	uint8_t frames[2000];
	size_t length = 0;

	(void)state;
	for (uint64_t i = 0; i < 20; i++)
		length += make_heartbeat(frames + length, i);
	meet_trusted(dribble, frames, length, "the peer ended the connection");
	assert_int_equal(server.heartbeats, 20);
}

// --- readers

static void read_slowly(struct peer *p)
{
	p->fd = connect_to_server(4096);
	shake(p);
	read_all(p, 700);
}

static bool server_open(void)
{
	return server.opened;
}

static void test_slow_reader(void **state)
{
	(void)state;
	server.on_open = trust_it;
	start(read_slowly, NULL, 0);
	run_until(server_open);
	for (unsigned i = 0; i < 30; i++)
		send_blocks(&server, i, COMPARE_BLOCKS_MAX);
	run_until(all_done);
	assert_int_equal(server.went_out, 30);
	close_end(&server);
	run_until(peer_over);
	// What was handed to the network arrived, and the farewell too.
	assert_true(peer.farewell);
	assert_int_equal(peer.plain_bytes, server.wire_bytes);
}

static pthread_barrier_t barrier;

static void do_not_read(struct peer *p)
{
	p->fd = connect_to_server(4096);
	shake(p);
	pthread_barrier_wait(&barrier); // until the server has given up
}

// A close does not wait for a peer that does not read, and gives all messages back.
static void test_reader_that_does_not_read(void **state)
{
	(void)state;
	pthread_barrier_init(&barrier, NULL, 2);
	server.on_open = trust_it;
	start(do_not_read, NULL, 0);
	peer.outlives = true; // read after the barrier
	run_until(server_open);
	for (unsigned i = 0; i < 100; i++)
		send_blocks(&server, i, COMPARE_BLOCKS_MAX);
	run_for(50);
	accelerate();
	close_end(&server);
	run_until(all_done);
	assert_true(server.went_out < 100);
	tear_down(state); // waits for the link to be gone
	pthread_barrier_wait(&barrier);
	pthread_join(peer.thread, NULL);
	pthread_barrier_destroy(&barrier);
	assert_int_equal(set_up(state), 0);
}

static void reset(struct peer *p)
{
	struct linger hard = {1, 0};

	p->fd = connect_to_server(0);
	shake(p);
	setsockopt(p->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
}

static void send_much(struct end *end)
{
	link_trust(end->channel);
	for (unsigned i = 0; i < 100; i++)
		send_blocks(end, i, COMPARE_BLOCKS_MAX);
}

static void test_reset(void **state)
{
	(void)state;
	for (unsigned round = 0; round < 10; round++) {
		server = (struct end){.name = "server", .on_open = send_much};
		start(reset, NULL, 0);
		run_until(both_over);
		run_until(all_done);
		assert_true(server.went_out < 100);
	}
}

// --- connecting

// A full backlog answers nothing at all.
static void test_connect_timeout(void **state)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t length = sizeof(address);
	int full = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), fds[8];
	struct net_address target = {.host = "127.0.0.1"};

	(void)state;
	assert_int_equal(bind(full, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(full, 0), 0);
	assert_int_equal(getsockname(full, (struct sockaddr *)&address, &length), 0);
	for (size_t i = 0; i < 8; i++) {
		fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		(void)connect(fds[i], (struct sockaddr *)&address, sizeof(address));
	}
	accelerate();
	target.port = ntohs(address.sin_port);
	dial_to(&target, keys_fingerprint(server_node.keys));
	run_until(client_over);
	assert_true(client.failed);
	assert_says(&client, "timed out");
	for (size_t i = 0; i < 8; i++)
		close(fds[i]);
	close(full);
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(test_plain_text),
	        TEST(test_random_bytes),
	        TEST(test_gone_before_the_handshake),
	        TEST(test_tls_1_2),
	        TEST(test_silent_before_the_handshake),
	        TEST(test_many_silent),
	        TEST(test_silent_stranger),
	        TEST(test_silent_for_long),
	        TEST(test_bad_frames),
	        TEST(test_random_frames),
	        TEST(test_truncated),
	        TEST(test_garbage_below_tls),
	        TEST(test_byte_by_byte),
	        TEST(test_slow_reader),
	        TEST(test_reader_that_does_not_read),
	        TEST(test_reset),
	        TEST(test_connect_timeout),
	};

	return cmocka_run_group_tests(tests, nodes_set_up, nodes_tear_down) != 0;
}
