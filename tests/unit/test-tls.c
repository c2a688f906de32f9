// SPDX-License-Identifier: Apache-2.0
#include "common/tls.h"
#include "nodes.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <openssl/err.h>
#include <openssl/ssl.h>

static struct node here, there, stranger;

static int set_up(void **state)
{
	(void)state;
	here = node_new();
	there = node_new();
	stranger = node_new();
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	node_free(&here);
	node_free(&there);
	node_free(&stranger);
	return 0;
}

// Carries at most step bytes at a time from one end to the other.
static void carry(struct tls *from, struct tls *to, size_t step)
{
	size_t left;
	const uint8_t *bytes = tls_output(from, &left);

	for (size_t length; left > 0; bytes += length, left -= length) {
		length = left < step ? left : step;
		node_feed(to, bytes, length);
	}
}

struct ends {
	struct tls *client, *server;
	int client_result, server_result;
};

// Runs the handshake until neither end can go on.
static void shake(struct ends *ends, size_t step)
{
	ends->client_result = ends->server_result = -EAGAIN;
	for (int i = 0; i < 10; i++) {
		if (ends->client_result == -EAGAIN)
			ends->client_result = tls_handshake(ends->client);
		carry(ends->client, ends->server, step);
		if (ends->server_result == -EAGAIN)
			ends->server_result = tls_handshake(ends->server);
		carry(ends->server, ends->client, step);
	}
}

static void free_ends(struct ends *ends)
{
	tls_free(ends->client);
	tls_free(ends->server);
}

static struct ends open_ends(void)
{
	struct ends ends = {
	        .client = tls_new(here.tls, TLS_CLIENT, keys_fingerprint(there.keys)),
	        .server = tls_new(there.tls, TLS_SERVER, NULL),
	};

	assert_non_null(ends.client);
	assert_non_null(ends.server);
	shake(&ends, 4096);
	assert_int_equal(ends.client_result, 0);
	assert_int_equal(ends.server_result, 0);
	return ends;
}

static void assert_says(const struct tls *tls, const char *word)
{
	if (!strstr(tls_reason(tls), word))
		fail_msg("\"%s\" does not say \"%s\"", tls_reason(tls), word);
}

static void test_handshake(void **state)
{
	struct ends ends = open_ends();
	uint8_t a[32], b[32], c[32], buffer[64];

	(void)state;
	assert_memory_equal(tls_peer_key(ends.client), keys_fingerprint(there.keys), FINGERPRINT_BYTES);
	assert_memory_equal(tls_peer_key(ends.server), keys_fingerprint(here.keys), FINGERPRINT_BYTES);
	assert_memory_equal(tls_context_fingerprint(here.tls), keys_fingerprint(here.keys), FINGERPRINT_BYTES);
	assert_int_equal(tls_export(ends.client, "EXPORTER-stead-join", a, sizeof(a)), 0);
	assert_int_equal(tls_export(ends.server, "EXPORTER-stead-join", b, sizeof(b)), 0);
	assert_int_equal(tls_export(ends.server, "EXPORTER-stead-other", c, sizeof(c)), 0);
	assert_memory_equal(a, b, sizeof(a));
	assert_memory_not_equal(a, c, sizeof(a));

	// No tickets, nothing unasked.
	assert_int_equal(tls_read(ends.client, buffer, sizeof(buffer)), -EAGAIN);
	assert_int_equal(tls_read(ends.server, buffer, sizeof(buffer)), -EAGAIN);
	free_ends(&ends);
}

static void test_every_split(void **state)
{
	(void)state;
	for (size_t step = 1; step < 40; step += 3) {
		struct ends ends = {
		        .client = tls_new(here.tls, TLS_CLIENT, keys_fingerprint(there.keys)),
		        .server = tls_new(there.tls, TLS_SERVER, keys_fingerprint(here.keys)),
		};

		shake(&ends, step);
		assert_int_equal(ends.client_result, 0);
		assert_int_equal(ends.server_result, 0);
		free_ends(&ends);
	}
}

static void test_data(void **state)
{
	enum {
		LENGTH = 3 << 20
	};
	struct ends ends = open_ends();
	uint8_t *sent = malloc(LENGTH), *got = malloc(LENGTH);
	size_t fill = 0;
	ssize_t length;

	(void)state;
	for (size_t i = 0; i < LENGTH; i++)
		sent[i] = (uint8_t)(i * 31 + (i >> 12));
	assert_int_equal(tls_write(ends.client, sent, LENGTH), 0);
	assert_true(tls_output_length(ends.client) > LENGTH);
	carry(ends.client, ends.server, 1000);
	assert_int_equal(tls_output_length(ends.client), 0);
	while ((length = tls_read(ends.server, got + fill, LENGTH - fill < 70000 ? LENGTH - fill : 70000)) > 0)
		fill += (size_t)length;
	assert_int_equal(fill, LENGTH);
	assert_memory_equal(sent, got, LENGTH);

	assert_int_equal(tls_write(ends.server, "back", 4), 0);
	tls_shutdown(ends.server);
	carry(ends.server, ends.client, 4096);
	assert_int_equal(tls_read(ends.client, got, 100), 4);
	assert_memory_equal(got, "back", 4);
	assert_int_equal(tls_read(ends.client, got, 100), -EPIPE);
	free(sent);
	free(got);
	free_ends(&ends);
}

static void test_wrong_server_key(void **state)
{
	struct ends ends = {
	        .client = tls_new(here.tls, TLS_CLIENT, keys_fingerprint(stranger.keys)),
	        .server = tls_new(there.tls, TLS_SERVER, NULL),
	};

	(void)state;
	shake(&ends, 4096);
	assert_int_equal(ends.client_result, -EPROTO);
	assert_says(ends.client, "wrong key");
	assert_int_equal(ends.server_result, -EPROTO);
	assert_says(ends.server, "refuses our key");
	free_ends(&ends);
}

// The client is through before the server has judged it.
static void test_wrong_client_key(void **state)
{
	struct ends ends = {
	        .client = tls_new(stranger.tls, TLS_CLIENT, keys_fingerprint(there.keys)),
	        .server = tls_new(there.tls, TLS_SERVER, keys_fingerprint(here.keys)),
	};
	uint8_t buffer[16];

	(void)state;
	shake(&ends, 4096);
	assert_int_equal(ends.client_result, 0);
	assert_int_equal(ends.server_result, -EPROTO);
	assert_says(ends.server, "wrong key");
	assert_int_equal(tls_read(ends.client, buffer, sizeof(buffer)), -EPROTO);
	assert_says(ends.client, "refuses our key");
	free_ends(&ends);
}

// --- against OpenSSL used in other ways

struct plain {
	SSL_CTX *context;
	SSL *ssl;
	BIO *in, *out;
};

static struct plain plain_client(int version, const struct node *node)
{
	struct plain plain = {.context = SSL_CTX_new(TLS_client_method())};

	assert_int_equal(SSL_CTX_set_max_proto_version(plain.context, version), 1);
	if (node) {
		assert_int_equal(SSL_CTX_use_certificate(plain.context, keys_certificate(node->keys)), 1);
		assert_int_equal(SSL_CTX_use_PrivateKey(plain.context, keys_private(node->keys)), 1);
	}
	plain.ssl = SSL_new(plain.context);
	plain.in = BIO_new(BIO_s_mem());
	plain.out = BIO_new(BIO_s_mem());
	SSL_set_bio(plain.ssl, plain.in, plain.out);
	SSL_set_connect_state(plain.ssl);
	return plain;
}

static void plain_free(struct plain *plain)
{
	SSL_free(plain->ssl);
	SSL_CTX_free(plain->context);
	ERR_clear_error();
}

static void plain_take(struct plain *plain, struct tls *server)
{
	size_t length;
	const void *bytes = tls_output(server, &length);

	if (length > 0)
		assert_int_equal(BIO_write(plain->in, bytes, (int)length), length);
}

static int plain_shake(struct plain *plain, struct tls *server)
{
	uint8_t buffer[4096];
	int result = -EAGAIN, length;

	for (int i = 0; i < 10; i++) {
		ERR_clear_error();
		SSL_do_handshake(plain->ssl);
		while ((length = BIO_read(plain->out, buffer, sizeof(buffer))) > 0)
			node_feed(server, buffer, (size_t)length);
		if (result == -EAGAIN)
			result = tls_handshake(server);
		plain_take(plain, server);
	}
	return result;
}

static void test_tls_1_2_client(void **state)
{
	struct tls *server = tls_new(there.tls, TLS_SERVER, NULL);
	struct plain plain = plain_client(TLS1_2_VERSION, &here);

	(void)state;
	assert_int_equal(plain_shake(&plain, server), -EPROTO);
	assert_says(server, "TLS 1.3");
	plain_free(&plain);
	tls_free(server);
}

static void test_no_client_key(void **state)
{
	struct tls *server = tls_new(there.tls, TLS_SERVER, NULL);
	struct plain plain = plain_client(TLS1_3_VERSION, NULL);

	(void)state;
	assert_int_equal(plain_shake(&plain, server), -EPROTO);
	assert_says(server, "showed no key");
	plain_free(&plain);
	tls_free(server);
}

static void test_key_of_another_kind(void **state)
{
	struct tls *server = tls_new(there.tls, TLS_SERVER, NULL);
	struct plain plain = plain_client(TLS1_3_VERSION, NULL);
	EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
	X509 *certificate = X509_new();

	(void)state;
	X509_gmtime_adj(X509_getm_notBefore(certificate), 0);
	X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
	assert_int_equal(X509_set_pubkey(certificate, key), 1);
	assert_true(X509_sign(certificate, key, EVP_sha256()) > 0);
	assert_int_equal(SSL_use_certificate(plain.ssl, certificate), 1);
	assert_int_equal(SSL_use_PrivateKey(plain.ssl, key), 1);
	assert_int_equal(plain_shake(&plain, server), -EPROTO);
	assert_true(strlen(tls_reason(server)) > 0);
	X509_free(certificate);
	EVP_PKEY_free(key);
	plain_free(&plain);
	tls_free(server);
}

// A peer that changes its keys all the time, and asks us to do the same.
static void test_key_changes(void **state)
{
	struct tls *server = tls_new(there.tls, TLS_SERVER, NULL);
	struct plain plain = plain_client(TLS1_3_VERSION, &here);
	uint8_t buffer[4096];
	int length;

	(void)state;
	assert_int_equal(plain_shake(&plain, server), 0);
	for (int i = 0; i < 100; i++) {
		assert_int_equal(SSL_key_update(plain.ssl, SSL_KEY_UPDATE_REQUESTED), 1);
		assert_int_equal(SSL_write(plain.ssl, "x", 1), 1);
		while ((length = BIO_read(plain.out, buffer, sizeof(buffer))) > 0)
			node_feed(server, buffer, (size_t)length);
		assert_int_equal(tls_read(server, buffer, sizeof(buffer)), 1);
		assert_int_equal(tls_read(server, buffer, sizeof(buffer)), -EAGAIN);
		if (i % 2)
			assert_int_equal(tls_write(server, "y", 1), 0);
		assert_true(tls_output_length(server) < 4096);
		plain_take(&plain, server);
		if (i % 2)
			assert_int_equal(SSL_read(plain.ssl, buffer, sizeof(buffer)), 1);
	}
	// The farewell gets out although an answer to a change is due.
	assert_int_equal(SSL_key_update(plain.ssl, SSL_KEY_UPDATE_REQUESTED), 1);
	assert_int_equal(SSL_write(plain.ssl, "x", 1), 1);
	while ((length = BIO_read(plain.out, buffer, sizeof(buffer))) > 0)
		node_feed(server, buffer, (size_t)length);
	assert_int_equal(tls_read(server, buffer, sizeof(buffer)), 1);
	tls_shutdown(server);
	plain_take(&plain, server);
	assert_int_equal(SSL_get_error(plain.ssl, SSL_read(plain.ssl, buffer, sizeof(buffer))), SSL_ERROR_ZERO_RETURN);
	plain_free(&plain);
	tls_free(server);
}

static void test_not_tls(void **state)
{
	static const char *const texts[] = {"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "SSH-2.0-OpenSSH_9.2\r\n",
	                                    "CONNECT x:1 HTTP/1.1\r\n\r\n", "STEADREP1234567890123456"};

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		for (int side = TLS_CLIENT; side <= TLS_SERVER; side++) {
			struct tls *tls = tls_new(there.tls, (enum tls_side)side, NULL);

			if (side == TLS_CLIENT)
				assert_int_equal(tls_handshake(tls), -EAGAIN);
			node_feed(tls, texts[i], strlen(texts[i]));
			assert_int_equal(tls_handshake(tls), -EPROTO);
			assert_says(tls, "does not speak TLS");
			tls_free(tls);
		}
	}
}

static void test_truncated(void **state)
{
	struct ends ends = {
	        .client = tls_new(here.tls, TLS_CLIENT, NULL),
	        .server = tls_new(there.tls, TLS_SERVER, NULL),
	};
	uint8_t buffer[64];
	const void *wire;
	size_t length;

	// Within the handshake.
	(void)state;
	assert_int_equal(tls_handshake(ends.client), -EAGAIN);
	wire = tls_output(ends.client, &length);
	assert_true(length > 40);
	node_feed(ends.server, wire, 40);
	tls_feed_end(ends.server);
	assert_int_equal(tls_handshake(ends.server), -EPROTO);
	assert_true(strlen(tls_reason(ends.server)) > 0);
	free_ends(&ends);

	// Later, without the end of the session: an attacker may have cut it.
	ends = open_ends();
	assert_int_equal(tls_write(ends.client, "abc", 3), 0);
	carry(ends.client, ends.server, 4096);
	tls_feed_end(ends.server);
	assert_int_equal(tls_read(ends.server, buffer, sizeof(buffer)), 3);
	assert_int_equal(tls_read(ends.server, buffer, sizeof(buffer)), -EPROTO);
	assert_says(ends.server, "without a farewell");
	free_ends(&ends);
}

static void test_changed_bytes(void **state)
{
	uint8_t wire[256], buffer[64];

	(void)state;
	for (size_t i = 0; i < 30; i++) {
		struct ends ends = open_ends();
		const void *output;
		size_t length;

		assert_int_equal(tls_write(ends.client, "abcdefgh", 8), 0);
		output = tls_output(ends.client, &length);
		assert_true(length >= 30 && length <= sizeof(wire));
		memcpy(wire, output, length);
		wire[i] ^= 0x80;
		node_feed(ends.server, wire, length);
		tls_feed_end(ends.server);
		assert_int_equal(tls_read(ends.server, buffer, sizeof(buffer)), -EPROTO);
		assert_true(strlen(tls_reason(ends.server)) > 0);
		// Dead for good.
		assert_true(tls_read(ends.server, buffer, sizeof(buffer)) < 0);
		free_ends(&ends);
	}
}

static void test_random_input(void **state)
{
	(void)state;
	srandom(1);
	for (int round = 0; round < 2000; round++) {
		struct tls *tls = tls_new(there.tls, TLS_SERVER, NULL);
		uint8_t bytes[600];
		size_t length = (size_t)random() % sizeof(bytes);

		for (size_t i = 0; i < length; i++)
			bytes[i] = (uint8_t)random();
		if (round % 2 && length > 5) { // a handshake record
			memcpy(bytes, "\x16\x03\x01", 3);
			bytes[3] = (uint8_t)((length - 5) >> 8);
			bytes[4] = (uint8_t)(length - 5);
		}
		node_feed(tls, bytes, length);
		tls_feed_end(tls);
		assert_int_equal(tls_handshake(tls), -EPROTO);
		assert_true(tls_output_length(tls) < 1000);
		tls_free(tls);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_handshake),
	        cmocka_unit_test(test_every_split),
	        cmocka_unit_test(test_data),
	        cmocka_unit_test(test_wrong_server_key),
	        cmocka_unit_test(test_wrong_client_key),
	        cmocka_unit_test(test_tls_1_2_client),
	        cmocka_unit_test(test_no_client_key),
	        cmocka_unit_test(test_key_of_another_kind),
	        cmocka_unit_test(test_key_changes),
	        cmocka_unit_test(test_not_tls),
	        cmocka_unit_test(test_truncated),
	        cmocka_unit_test(test_changed_bytes),
	        cmocka_unit_test(test_random_input),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down) != 0;
}
