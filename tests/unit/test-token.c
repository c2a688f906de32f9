// SPDX-License-Identifier: Apache-2.0
#include "common/token.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define NOW 1700000000

static struct token sample(void)
{
	struct token token = {.pair = "db", .address = "standby.example.org:7420", .expires = NOW + 3600};

	for (int i = 0; i < 32; i++) {
		token.fingerprint[i] = (uint8_t)(i * 7 + 1);
		token.secret[i] = (uint8_t)(255 - i);
	}
	return token;
}

static void assert_same(const struct token *a, const struct token *b)
{
	assert_string_equal(a->pair, b->pair);
	assert_string_equal(a->address, b->address);
	assert_memory_equal(a->fingerprint, b->fingerprint, 32);
	assert_memory_equal(a->secret, b->secret, 32);
	assert_true(a->expires == b->expires);
}

static void encode(const struct token *token, char *text)
{
	struct error err = {""};

	assert_int_equal(token_encode(token, text, &err), 0);
	assert_true(strlen(text) < TOKEN_TEXT_MAX);
}

static void assert_refused(const char *text, int error, const char *word)
{
	struct token token;
	struct error err = {""};

	assert_int_equal(token_decode(text, NOW, &token, &err), error);
	if (!strstr(err.text, word))
		fail_msg("\"%s\" does not say \"%s\"", err.text, word);
	assert_null(strchr(err.text, '\n'));
}

static void test_round_trip(void **state)
{
	struct token token = sample(), back;
	char text[TOKEN_TEXT_MAX], padded[TOKEN_TEXT_MAX + 8];

	(void)state;
	encode(&token, text);
	assert_true(strncmp(text, "stead1:", 7) == 0);
	assert_int_equal(token_decode(text, NOW, &back, NULL), 0);
	assert_same(&token, &back);

	snprintf(padded, sizeof(padded), " \t%s\r\n", text);
	assert_int_equal(token_decode(padded, NOW, &back, NULL), 0);
	assert_same(&token, &back);
}

static void test_every_length(void **state)
{
	struct token token = sample(), back;
	char text[TOKEN_TEXT_MAX];

	(void)state;
	for (size_t pair = 1; pair <= NAME_MAX_LENGTH; pair++) {
		for (size_t address = 1; address < TOKEN_ADDRESS_MAX; address++) {
			memset(token.pair, 0, sizeof(token.pair));
			memset(token.pair, 'p', pair);
			memset(token.address, 0, sizeof(token.address));
			memset(token.address, 'a', address);
			encode(&token, text);
			assert_int_equal(token_decode(text, NOW, &back, NULL), 0);
			assert_same(&token, &back);
		}
	}
}

static void test_cannot_be_encoded(void **state)
{
	struct token token = sample();
	char text[TOKEN_TEXT_MAX];

	(void)state;
	strcpy(token.pair, "../x");
	assert_int_equal(token_encode(&token, text, NULL), -EINVAL);
	token = sample();
	token.pair[0] = '\0';
	assert_int_equal(token_encode(&token, text, NULL), -EINVAL);
	token = sample();
	memset(token.pair, 'x', sizeof(token.pair));
	assert_int_equal(token_encode(&token, text, NULL), -EINVAL);
	token = sample();
	token.address[0] = '\0';
	assert_int_equal(token_encode(&token, text, NULL), -EINVAL);
	token = sample();
	memset(token.address, 'x', sizeof(token.address));
	assert_int_equal(token_encode(&token, text, NULL), -EINVAL);
	token = sample();
	strcpy(token.address, "a b:1");
	assert_int_equal(token_encode(&token, text, NULL), -EINVAL);
	token = sample();
	token.expires = -1;
	assert_int_equal(token_encode(&token, text, NULL), -EINVAL);
}

static void test_expiry(void **state)
{
	struct token token = sample(), back;
	struct error err = {""};
	char text[TOKEN_TEXT_MAX];

	(void)state;
	encode(&token, text);
	assert_int_equal(token_decode(text, token.expires - 1, &back, &err), 0);
	assert_int_equal(token_decode(text, token.expires, &back, &err), -EKEYEXPIRED);
	assert_non_null(strstr(err.text, "expired"));
	assert_same(&token, &back);
}

static void test_not_a_token(void **state)
{
	(void)state;
	assert_refused("", -EINVAL, "not a pairing token");
	assert_refused("   ", -EINVAL, "not a pairing token");
	assert_refused("hello", -EINVAL, "not a pairing token");
	assert_refused("stead", -EINVAL, "not a pairing token");
	assert_refused("stead:", -EINVAL, "not a pairing token");
	assert_refused("steadx:abc", -EINVAL, "not a pairing token");
	assert_refused("stead1", -EINVAL, "not a pairing token");
	assert_refused("stead2:AAAA", -EPROTONOSUPPORT, "version 2");
	assert_refused("stead10:AAAA", -EPROTONOSUPPORT, "version 10");
	assert_refused("stead99999999999999999999999999:AAAA", -EPROTONOSUPPORT, "version");
	assert_refused("stead1:", -EBADMSG, "cut short");
	assert_refused("stead1:AAAA", -EBADMSG, "cut short");
}

static void test_every_truncation(void **state)
{
	struct token token = sample(), back;
	char text[TOKEN_TEXT_MAX];

	(void)state;
	encode(&token, text);
	for (size_t length = strlen(text); length-- > 0;) {
		text[length] = '\0';
		assert_int_not_equal(token_decode(text, NOW, &back, NULL), 0);
	}
}

static void test_every_mutation(void **state)
{
	struct token token = sample(), back;
	char text[TOKEN_TEXT_MAX], changed[TOKEN_TEXT_MAX];

	(void)state;
	for (int shorter = 0; shorter < 3; shorter++) {
		encode(&token, text);
		for (size_t i = 0; text[i]; i++) {
			for (int value = 1; value < 256; value++) {
				if ((char)value == text[i])
					continue;
				strcpy(changed, text);
				changed[i] = (char)value;
				assert_int_not_equal(token_decode(changed, NOW, &back, NULL), 0);
			}
		}
		token.address[strlen(token.address) - 1] = '\0';
	}
}

static void test_longer_and_random(void **state)
{
	struct token token = sample(), back;
	char text[4096];

	(void)state;
	encode(&token, text);
	for (size_t i = strlen(text); i < sizeof(text) - 1; i++) {
		text[i] = 'A';
		text[i + 1] = '\0';
		assert_int_equal(token_decode(text, NOW, &back, NULL), -EBADMSG);
	}
	srandom(4711);
	for (int round = 0; round < 200000; round++) {
		static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
		size_t length = (size_t)random() % 300;

		strcpy(text, "stead1:");
		for (size_t i = 0; i < length; i++)
			if (round & 1)
				text[7 + i] = digits[random() % 64];
			else
				text[7 + i] = (char)random();
		text[7 + length] = '\0';
		assert_int_not_equal(token_decode(text, NOW, &back, NULL), 0);
	}
}

static void test_proofs(void **state)
{
	struct token token = sample();
	uint8_t exporter[32], client[32], server[32], proof[32], other[32];

	(void)state;
	memset(exporter, 1, 32);
	memset(client, 2, 32);
	memset(server, 3, 32);
	assert_int_equal(token_proof(token.secret, TOKEN_PRIMARY, exporter, client, server, "db", proof), 0);
	assert_int_equal(token_proof(token.secret, TOKEN_PRIMARY, exporter, client, server, "db", other), 0);
	assert_true(token_proof_equal(proof, other));

	// Each input counts: a proof cannot be mirrored, replayed or moved.
	token_proof(token.secret, TOKEN_STANDBY, exporter, client, server, "db", other);
	assert_false(token_proof_equal(proof, other));
	token_proof(token.secret, TOKEN_PRIMARY, exporter, server, client, "db", other);
	assert_false(token_proof_equal(proof, other));
	token_proof(token.secret, TOKEN_PRIMARY, exporter, client, server, "dc", other);
	assert_false(token_proof_equal(proof, other));
	token_proof(token.secret, TOKEN_PRIMARY, exporter, client, server, "", other);
	assert_false(token_proof_equal(proof, other));
	for (int i = 0; i < 32; i++) {
		exporter[i] ^= 1;
		token_proof(token.secret, TOKEN_PRIMARY, exporter, client, server, "db", other);
		assert_false(token_proof_equal(proof, other));
		exporter[i] ^= 1;
		token.secret[i] ^= 1;
		token_proof(token.secret, TOKEN_PRIMARY, exporter, client, server, "db", other);
		assert_false(token_proof_equal(proof, other));
		token.secret[i] ^= 1;
	}
}

// Computed with another HMAC implementation: both nodes may run
// different builds.
static void test_proof_is_fixed(void **state)
{
	uint8_t secret[32], exporter[32], client[32], server[32], proof[32];
	static const uint8_t expected[32] = {0x37, 0x46, 0xd5, 0x9f, 0x91, 0xe2, 0xf0, 0x67, 0x84, 0xad, 0x34,
	                                     0xdd, 0x29, 0x0d, 0xd0, 0x7e, 0xf4, 0x60, 0x77, 0x57, 0xaf, 0x11,
	                                     0x1b, 0x7b, 0x0c, 0x03, 0x70, 0x41, 0x24, 0x64, 0xa1, 0xf9};

	(void)state;
	memset(secret, 0, 32);
	memset(exporter, 1, 32);
	memset(client, 2, 32);
	memset(server, 3, 32);
	assert_int_equal(token_proof(secret, TOKEN_STANDBY, exporter, client, server, "db", proof), 0);
	assert_memory_equal(proof, expected, 32);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_round_trip),
	        cmocka_unit_test(test_every_length),
	        cmocka_unit_test(test_cannot_be_encoded),
	        cmocka_unit_test(test_expiry),
	        cmocka_unit_test(test_not_a_token),
	        cmocka_unit_test(test_every_truncation),
	        cmocka_unit_test(test_every_mutation),
	        cmocka_unit_test(test_longer_and_random),
	        cmocka_unit_test(test_proofs),
	        cmocka_unit_test(test_proof_is_fixed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
