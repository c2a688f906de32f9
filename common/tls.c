// SPDX-License-Identifier: Apache-2.0
#include "tls.h"

#include "tls_memory.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#define CERTIFICATE_MAX 4096 // bytes; ours have about 300
#define KEY_BYTES_MAX (UINT64_C(64) << 30) // written with one key, far below the limit of AES-GCM (RFC 8446, 5.5)
#define RECORD_HANDSHAKE 0x16
#define RECORD_ALERT 0x15

struct tls_context {
	SSL_CTX *ssl;
	BIO_METHOD *memory;
	uint8_t fingerprint[FINGERPRINT_BYTES];
};

struct tls {
	SSL *ssl;
	BIO *out; // owned by ssl
	struct tls_memory input;
	struct tls_memory output[2]; // the caller has the other one
	unsigned filling; // of output
	bool fed; // the first byte has come
	bool pinned, mismatch, judged;
	uint8_t expected[FINGERPRINT_BYTES];
	uint8_t peer[FINGERPRINT_BYTES];
	uint64_t written; // with the current key
	char reason[240];
};

// Stands in place of the verification of a chain: the key is what counts.
// TLS itself makes sure that the peer has the private key to it.
static int judge(X509_STORE_CTX *store, void *unused)
{
	SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
	X509 *certificate = X509_STORE_CTX_get0_cert(store);
	struct tls *tls = ssl ? SSL_get_app_data(ssl) : NULL;

	(void)unused;
	if (!tls || !certificate || fingerprint_of(certificate, tls->peer)) {
		X509_STORE_CTX_set_error(store, X509_V_ERR_CERT_REJECTED);
		return 0;
	}
	if (tls->pinned && CRYPTO_memcmp(tls->peer, tls->expected, FINGERPRINT_BYTES) != 0) {
		tls->mismatch = true;
		X509_STORE_CTX_set_error(store, X509_V_ERR_CERT_REJECTED);
		return 0;
	}
	tls->judged = true;
	X509_STORE_CTX_set_error(store, X509_V_OK);
	return 1;
}

static bool configure(SSL_CTX *ssl, const struct keys *keys)
{
	SSL_CTX_set_options(ssl, SSL_OP_NO_TICKET | SSL_OP_NO_COMPRESSION);
	SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_mode(ssl, SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_set_max_cert_list(ssl, CERTIFICATE_MAX);
	SSL_CTX_set_verify(ssl, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
	SSL_CTX_set_cert_verify_callback(ssl, judge, NULL);
	return SSL_CTX_set_min_proto_version(ssl, TLS1_3_VERSION) == 1 &&
	       SSL_CTX_set_max_proto_version(ssl, TLS1_3_VERSION) == 1 && SSL_CTX_set_num_tickets(ssl, 0) == 1 &&
	       SSL_CTX_set_ciphersuites(
	               ssl, "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256") == 1 &&
	       SSL_CTX_set1_sigalgs_list(ssl, "ed25519") == 1 &&
	       SSL_CTX_set1_client_sigalgs_list(ssl, "ed25519") == 1 &&
	       SSL_CTX_use_certificate(ssl, keys_certificate(keys)) == 1 &&
	       SSL_CTX_use_PrivateKey(ssl, keys_private(keys)) == 1 && SSL_CTX_check_private_key(ssl) == 1;
}

struct tls_context *tls_context_new(const struct keys *keys, struct error *err)
{
	struct tls_context *context = calloc(1, sizeof(*context));

	if (!context) {
		fail(err, ENOMEM, "set up TLS: out of memory");
		return NULL;
	}
	ERR_clear_error();
	memcpy(context->fingerprint, keys_fingerprint(keys), FINGERPRINT_BYTES);
	context->ssl = SSL_CTX_new(TLS_method());
	context->memory = tls_memory_method();
	if (!context->ssl || !context->memory || !configure(context->ssl, keys)) {
		const char *why = ERR_reason_error_string(ERR_peek_error());

		fail(err, EINVAL, "set up TLS: %s; check OpenSSL's configuration", why ? why : "refused by OpenSSL");
		ERR_clear_error();
		tls_context_free(context);
		return NULL;
	}
	return context;
}

void tls_context_free(struct tls_context *context)
{
	if (!context)
		return;
	SSL_CTX_free(context->ssl);
	BIO_meth_free(context->memory);
	free(context);
}

const uint8_t *tls_context_fingerprint(const struct tls_context *context)
{
	return context->fingerprint;
}

struct tls *tls_new(struct tls_context *context, enum tls_side side, const uint8_t *expected)
{
	struct tls *tls = calloc(1, sizeof(*tls));
	BIO *in;

	if (!tls)
		return NULL;
	ERR_clear_error();
	if (expected) {
		tls->pinned = true;
		memcpy(tls->expected, expected, FINGERPRINT_BYTES);
	}
	tls->ssl = SSL_new(context->ssl);
	in = tls_memory_bio(context->memory, &tls->input);
	tls->out = tls_memory_bio(context->memory, &tls->output[0]);
	if (!tls->ssl || !in || !tls->out) {
		BIO_free(in);
		BIO_free(tls->out);
		SSL_free(tls->ssl);
		free(tls);
		ERR_clear_error();
		return NULL;
	}
	SSL_set_bio(tls->ssl, in, tls->out);
	SSL_set_app_data(tls->ssl, tls);
	if (side == TLS_CLIENT)
		SSL_set_connect_state(tls->ssl);
	else
		SSL_set_accept_state(tls->ssl);
	return tls;
}

void tls_free(struct tls *tls)
{
	if (!tls)
		return;
	SSL_free(tls->ssl);
	free(tls->input.bytes);
	free(tls->output[0].bytes);
	free(tls->output[1].bytes);
	free(tls);
}

void *tls_input(struct tls *tls, size_t size)
{
	return tls_memory_reserve(&tls->input, size);
}

void tls_feed(struct tls *tls, size_t length)
{
	const uint8_t *first = tls->input.bytes + tls->input.end;

	if (length == 0)
		return;
	// Every TLS record says what it is in its first byte; what speaks
	// something else altogether deserves to be told apart from bad TLS.
	if (!tls->fed && *first != RECORD_HANDSHAKE && *first != RECORD_ALERT && !tls->reason[0])
		strcpy(tls->reason, "the peer does not speak TLS; is the port right, and nothing in between?");
	tls->fed = true;
	tls->input.end += length;
}

void tls_feed_end(struct tls *tls)
{
	tls->input.over = true;
}

static void set_reason(struct tls *tls, const char *text)
{
	if (!tls->reason[0]) {
		strncpy(tls->reason, text, sizeof(tls->reason) - 1);
		tls->reason[sizeof(tls->reason) - 1] = '\0';
	}
}

static void explain_mismatch(struct tls *tls)
{
	char peer[FINGERPRINT_TEXT_MAX], expected[FINGERPRINT_TEXT_MAX];

	fingerprint_text(tls->peer, peer);
	fingerprint_text(tls->expected, expected);
	snprintf(tls->reason, sizeof(tls->reason), "wrong key: the peer proved %.16s..., pinned is %.16s...", peer,
	         expected);
}

// In words of ours, where OpenSSL's say little to whoever runs two nodes.
static const char *explain(int reason)
{
	switch (reason) {
	case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
		return "the peer showed no key";
	case SSL_R_UNSUPPORTED_PROTOCOL:
	case SSL_R_VERSION_TOO_LOW:
	case SSL_R_TLSV1_ALERT_PROTOCOL_VERSION:
		return "the peer does not speak TLS 1.3";
	case SSL_R_WRONG_VERSION_NUMBER:
	case SSL_R_HTTP_REQUEST:
	case SSL_R_HTTPS_PROXY_REQUEST:
	case SSL_R_BAD_RECORD_TYPE:
		return "the peer does not speak TLS; is the port right, and nothing in between?";
	case SSL_R_SSLV3_ALERT_BAD_CERTIFICATE:
	case SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN:
	case SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE:
	case SSL_R_TLSV1_ALERT_UNKNOWN_CA:
	case SSL_R_TLSV1_ALERT_ACCESS_DENIED:
		return "the peer refuses our key; is this node still paired there?";
	case SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED:
		return "the peer asks for a key that was not shown";
	case SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM:
	case SSL_R_NO_SHARED_SIGNATURE_ALGORITHMS:
	case SSL_R_WRONG_SIGNATURE_TYPE:
		return "the peer's key is not Ed25519";
	case SSL_R_UNEXPECTED_EOF_WHILE_READING:
		return "connection ended without a farewell";
	case SSL_R_DECRYPTION_FAILED_OR_BAD_RECORD_MAC:
		return "bytes were changed on the way, or are not of this session";
	}
	return NULL;
}

static int failed(struct tls *tls)
{
	unsigned long code = ERR_peek_error();
	const char *text = explain(ERR_GET_REASON(code));

	if (tls->mismatch && !tls->reason[0])
		explain_mismatch(tls);
	else if (ERR_GET_LIB(code) == ERR_LIB_SSL && text)
		set_reason(tls, text);
	else if (code && (text = ERR_reason_error_string(code)))
		set_reason(tls, text);
	else
		set_reason(tls, "connection broke off");
	ERR_clear_error();
	return -EPROTO;
}

// What an unfinished operation means.
static int outcome(struct tls *tls, int result)
{
	switch (SSL_get_error(tls->ssl, result)) {
	case SSL_ERROR_WANT_READ:
	case SSL_ERROR_WANT_WRITE:
		ERR_clear_error();
		return -EAGAIN;
	case SSL_ERROR_ZERO_RETURN:
		ERR_clear_error();
		set_reason(tls, "the peer ended the session");
		return -EPIPE;
	default:
		return failed(tls);
	}
}

int tls_handshake(struct tls *tls)
{
	int result;

	if (SSL_is_init_finished(tls->ssl))
		return 0;
	ERR_clear_error();
	result = SSL_do_handshake(tls->ssl);
	if (result == 1)
		return tls->judged ? 0 : failed(tls);
	result = outcome(tls, result);
	return result == -EPIPE ? -EPROTO : result;
}

ssize_t tls_read(struct tls *tls, void *buffer, size_t size)
{
	size_t length = 0;
	int result;

	ERR_clear_error();
	result = SSL_read_ex(tls->ssl, buffer, size, &length);
	return result == 1 ? (ssize_t)length : outcome(tls, result);
}

int tls_write(struct tls *tls, const void *bytes, size_t length)
{
	size_t put = 0;
	int result;

	if (length == 0)
		return 0;
	ERR_clear_error();
	if (tls->written > KEY_BYTES_MAX && SSL_key_update(tls->ssl, SSL_KEY_UPDATE_NOT_REQUESTED) == 1)
		tls->written = 0;
	tls->written += length;
	result = SSL_write_ex(tls->ssl, bytes, length, &put);
	if (result == 1 && put == length)
		return 0;
	// The output is memory: only an error can stop it.
	result = outcome(tls, result);
	return result == -EAGAIN ? -EPROTO : result;
}

void tls_shutdown(struct tls *tls)
{
	ERR_clear_error();
	// An answer to the peer's change of keys may have to go out first.
	if (SSL_shutdown(tls->ssl) < 0 && SSL_do_handshake(tls->ssl) == 1)
		(void)SSL_shutdown(tls->ssl);
	ERR_clear_error();
}

size_t tls_output_length(const struct tls *tls)
{
	return tls->output[tls->filling].end;
}

const void *tls_output(struct tls *tls, size_t *length)
{
	const struct tls_memory *full = &tls->output[tls->filling];

	*length = full->end;
	if (full->end == 0)
		return NULL;
	tls->filling = !tls->filling;
	tls->output[tls->filling].end = 0;
	BIO_set_data(tls->out, &tls->output[tls->filling]);
	return full->bytes;
}

const uint8_t *tls_peer_key(const struct tls *tls)
{
	return tls->peer;
}

int tls_export(struct tls *tls, const char *label, uint8_t *out, size_t length)
{
	ERR_clear_error();
	if (!SSL_is_init_finished(tls->ssl) ||
	    SSL_export_keying_material(tls->ssl, out, length, label, strlen(label), NULL, 0, 0) != 1) {
		ERR_clear_error();
		return -EPROTO;
	}
	return 0;
}

const char *tls_reason(const struct tls *tls)
{
	return tls->reason;
}
