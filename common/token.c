// SPDX-License-Identifier: Apache-2.0
#include "token.h"

#include "bytes.h"
#include "fields.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>

#define PREFIX "stead1:"
#define CHECKSUM_BYTES 8 // of the SHA-256 of the prefix and all fields before it
#define FIXED_BYTES (1 + 1 + 32 + 32 + 8 + CHECKSUM_BYTES)
#define PAYLOAD_MAX (FIXED_BYTES + NAME_MAX_LENGTH + TOKEN_ADDRESS_MAX - 1)

_Static_assert(sizeof(PREFIX) + (PAYLOAD_MAX + 2) / 3 * 4 <= TOKEN_TEXT_MAX, "a token fits its text");

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

// RFC 4648 section 5, without padding.
static void base64_encode(const uint8_t *bytes, size_t length, char *text)
{
	for (size_t i = 0; i < length; i += 3) {
		size_t count = length - i < 3 ? length - i : 3;
		uint32_t group = (uint32_t)bytes[i] << 16;

		if (count > 1)
			group |= (uint32_t)bytes[i + 1] << 8;
		if (count > 2)
			group |= bytes[i + 2];
		for (size_t j = 0; j <= count; j++)
			*text++ = digits[group >> (18 - 6 * j) & 63];
	}
	*text = '\0';
}

static int digit_value(char c)
{
	const char *at = c ? strchr(digits, c) : NULL;

	return at ? (int)(at - digits) : -1;
}

// The only text that encodes these bytes is accepted: unused bits are zero.
// Returns the number of bytes, or -1.
static int base64_decode(const char *text, size_t length, uint8_t *bytes)
{
	int count = 0;

	if (length % 4 == 1)
		return -1;
	for (size_t i = 0; i < length; i += 4) {
		size_t chars = length - i < 4 ? length - i : 4;
		uint32_t group = 0;

		for (size_t j = 0; j < 4; j++) {
			int value = j < chars ? digit_value(text[i + j]) : 0;

			if (value < 0)
				return -1;
			group = group << 6 | (uint32_t)value;
		}
		for (size_t j = 0; j < 3; j++) {
			uint8_t byte = (uint8_t)(group >> (16 - 8 * j));

			if (j < chars - 1)
				bytes[count++] = byte;
			else if (byte)
				return -1;
		}
	}
	return count;
}

static void checksum(const uint8_t *payload, size_t length, uint8_t *out)
{
	uint8_t buffer[sizeof(PREFIX) + PAYLOAD_MAX], digest[SHA256_DIGEST_LENGTH];

	memcpy(buffer, PREFIX, strlen(PREFIX));
	memcpy(buffer + strlen(PREFIX), payload, length);
	SHA256(buffer, strlen(PREFIX) + length, digest);
	memcpy(out, digest, CHECKSUM_BYTES);
	OPENSSL_cleanse(buffer, sizeof(buffer));
}

// Printable, no blanks: a token's address ends up in configuration and logs.
static bool address_printable(const char *address, size_t length)
{
	for (size_t i = 0; i < length; i++)
		if (address[i] <= ' ' || address[i] >= 0x7f)
			return false;
	return length > 0 && length < TOKEN_ADDRESS_MAX;
}

int token_encode(const struct token *token, char text[TOKEN_TEXT_MAX], struct error *err)
{
	uint8_t payload[PAYLOAD_MAX];
	struct writer writer = writer_begin(payload);
	size_t pair_length = strnlen(token->pair, sizeof(token->pair));
	size_t address_length = strnlen(token->address, sizeof(token->address));
	size_t length;

	if (pair_length == sizeof(token->pair) || !name_valid(token->pair))
		return fail(err, EINVAL, "make token: bad pair name");
	if (!address_printable(token->address, address_length))
		return fail(err, EINVAL, "make token: bad address, not host:port of at most %d characters",
		            TOKEN_ADDRESS_MAX - 1);
	if (token->expires < 0)
		return fail(err, EINVAL, "make token: bad expiry, before 1970");

	write_u8(&writer, (uint8_t)pair_length);
	write_bytes(&writer, token->pair, pair_length);
	write_u8(&writer, (uint8_t)address_length);
	write_bytes(&writer, token->address, address_length);
	write_bytes(&writer, token->fingerprint, sizeof(token->fingerprint));
	write_bytes(&writer, token->secret, sizeof(token->secret));
	write_u64(&writer, (uint64_t)token->expires);
	length = writer_length(&writer);
	checksum(payload, length, payload + length);

	memcpy(text, PREFIX, strlen(PREFIX));
	base64_encode(payload, length + CHECKSUM_BYTES, text + strlen(PREFIX));
	OPENSSL_cleanse(payload, sizeof(payload));
	return 0;
}

// Fields between prefix and checksum, whose checksum is right already.
static bool parse(const uint8_t *payload, size_t length, struct token *token)
{
	struct reader reader = reader_begin(payload, length);
	size_t pair_length, address_length;

	memset(token, 0, sizeof(*token));
	pair_length = read_u8(&reader);
	if (pair_length >= sizeof(token->pair))
		return false;
	read_copy(&reader, token->pair, pair_length);
	address_length = read_u8(&reader);
	if (address_length >= sizeof(token->address))
		return false;
	read_copy(&reader, token->address, address_length);
	read_copy(&reader, token->fingerprint, sizeof(token->fingerprint));
	read_copy(&reader, token->secret, sizeof(token->secret));
	token->expires = (int64_t)read_u63(&reader);
	return reader_end(&reader) && strlen(token->pair) == pair_length && name_valid(token->pair) &&
	       address_printable(token->address, address_length);
}

// The text without the prefix; NULL with the reason.
static const char *check_prefix(const char *text, size_t length, int *error, struct error *err)
{
	size_t digit = strlen("stead");

	if (length >= strlen(PREFIX) && !strncmp(text, PREFIX, strlen(PREFIX)))
		return text + strlen(PREFIX);
	*error = -EINVAL;
	if (length > digit && !strncmp(text, "stead", digit)) {
		while (digit < length && isdigit((unsigned char)text[digit]))
			digit++;
		if (digit > strlen("stead") && digit < length && text[digit] == ':') {
			*error = fail(err, EPROTONOSUPPORT,
			              "read token: version %.*s, this program reads version 1; install the same "
			              "version on both nodes",
			              (int)(digit - strlen("stead") < 10 ? digit - strlen("stead") : 10),
			              text + strlen("stead"));
			return NULL;
		}
	}
	fail(err, EINVAL, "read token: not a pairing token; it is one word that begins with \"" PREFIX "\"");
	return NULL;
}

int token_decode(const char *text, int64_t now, struct token *token, struct error *err)
{
	uint8_t payload[PAYLOAD_MAX + 3], sum[CHECKSUM_BYTES];
	size_t length;
	const char *body;
	int count, error = -EINVAL;

	while (isspace((unsigned char)*text))
		text++;
	length = strlen(text);
	while (length > 0 && isspace((unsigned char)text[length - 1]))
		length--;
	body = check_prefix(text, length, &error, err);
	if (!body)
		return error;
	length -= strlen(PREFIX);

	for (size_t i = 0; i < length; i++)
		if (digit_value(body[i]) < 0)
			return fail(err, EBADMSG, "read token: damaged, character %zu cannot be part of a token",
			            strlen(PREFIX) + i + 1);
	count = length <= (PAYLOAD_MAX + 2) / 3 * 4 ? base64_decode(body, length, payload) : -1;
	if (count < FIXED_BYTES)
		return fail(err, EBADMSG, "read token: damaged or cut short, %zu characters; copy the whole line",
		            length + strlen(PREFIX));
	if (count <= PAYLOAD_MAX)
		checksum(payload, (size_t)count - CHECKSUM_BYTES, sum);
	if (count > PAYLOAD_MAX || memcmp(sum, payload + count - CHECKSUM_BYTES, CHECKSUM_BYTES) != 0)
		return fail(err, EBADMSG, "read token: damaged, its checksum does not match; copy the whole line");
	if (!parse(payload, (size_t)count - CHECKSUM_BYTES, token)) {
		memset(token, 0, sizeof(*token));
		return fail(err, EBADMSG, "read token: damaged, its fields make no sense; invite anew");
	}
	OPENSSL_cleanse(payload, sizeof(payload));
	if (now >= token->expires)
		return fail(err, EKEYEXPIRED, "read token: expired %lld s ago; invite anew on the standby",
		            (long long)(now - token->expires));
	return 0;
}

int token_proof(const uint8_t secret[32], enum token_side side, const uint8_t exporter[TOKEN_EXPORTER_BYTES],
                const uint8_t client[32], const uint8_t server[32], const char *pair, uint8_t proof[TOKEN_PROOF_BYTES])
{
	// Labels of one length and fixed fields before the name: no two inputs
	// make the same bytes.
	const char *label = side == TOKEN_PRIMARY ? "stead join primary" : "stead join standby";
	uint8_t buffer[32 + TOKEN_EXPORTER_BYTES + 64 + NAME_MAX_LENGTH];
	struct writer writer = writer_begin(buffer);
	unsigned length = TOKEN_PROOF_BYTES;

	write_bytes(&writer, label, strlen(label));
	write_bytes(&writer, exporter, TOKEN_EXPORTER_BYTES);
	write_bytes(&writer, client, 32);
	write_bytes(&writer, server, 32);
	write_bytes(&writer, pair, strnlen(pair, NAME_MAX_LENGTH));
	if (!HMAC(EVP_sha256(), secret, 32, buffer, writer_length(&writer), proof, &length))
		return -ENOMEM;
	return 0;
}

bool token_proof_equal(const uint8_t a[TOKEN_PROOF_BYTES], const uint8_t b[TOKEN_PROOF_BYTES])
{
	return CRYPTO_memcmp(a, b, TOKEN_PROOF_BYTES) == 0;
}
