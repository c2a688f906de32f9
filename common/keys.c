// SPDX-License-Identifier: Apache-2.0
// The file: one line "stead identity 1 SHA256" with the checksum of all that
// follows it, then certificate and private key as PEM. OpenSSL's tools read
// it as it is.
#include "keys.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/bio.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/sha.h>

#define FILE_NAME "identity.pem"
#define FILE_MAX 16384
#define TITLE "stead identity 1 "
#define TITLE_BYTES (strlen(TITLE) + 2 * SHA256_DIGEST_LENGTH + 1) // with its newline

struct keys {
	EVP_PKEY *private;
	X509 *certificate;
	uint8_t fingerprint[FINGERPRINT_BYTES];
};

const uint8_t *keys_fingerprint(const struct keys *keys)
{
	return keys->fingerprint;
}

EVP_PKEY *keys_private(const struct keys *keys)
{
	return keys->private;
}

X509 *keys_certificate(const struct keys *keys)
{
	return keys->certificate;
}

void keys_free(struct keys *keys)
{
	if (!keys)
		return;
	EVP_PKEY_free(keys->private);
	X509_free(keys->certificate);
	free(keys);
}

int fingerprint_of(X509 *certificate, uint8_t fingerprint[FINGERPRINT_BYTES])
{
	X509_PUBKEY *key = X509_get_X509_PUBKEY(certificate);
	unsigned char *der = NULL;
	int length = key ? i2d_X509_PUBKEY(key, &der) : -1;

	if (length < 0) {
		ERR_clear_error();
		return -EINVAL;
	}
	SHA256(der, (size_t)length, fingerprint);
	OPENSSL_free(der);
	return 0;
}

static void hex(const uint8_t *bytes, size_t length, char *text)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < length; i++) {
		*text++ = digits[bytes[i] >> 4];
		*text++ = digits[bytes[i] & 15];
	}
	*text = '\0';
}

void fingerprint_text(const uint8_t fingerprint[FINGERPRINT_BYTES], char text[FINGERPRINT_TEXT_MAX])
{
	hex(fingerprint, FINGERPRINT_BYTES, text);
}

// The title line for a body.
static void make_title(const char *body, size_t length, char *title)
{
	uint8_t digest[SHA256_DIGEST_LENGTH];

	SHA256((const unsigned char *)body, length, digest);
	memcpy(title, TITLE, strlen(TITLE));
	hex(digest, sizeof(digest), title + strlen(TITLE));
	title[TITLE_BYTES - 1] = '\n';
}

static struct keys *parse_body(const char *body, size_t length)
{
	BIO *bio = BIO_new_mem_buf(body, (int)length);
	struct keys *keys = calloc(1, sizeof(*keys));

	if (!bio || !keys)
		goto err;
	keys->certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL);
	keys->private = PEM_read_bio_PrivateKey(bio, NULL, NULL, (void *)""); // never asks for a passphrase
	if (!keys->certificate || !keys->private || !EVP_PKEY_is_a(keys->private, "ED25519") ||
	    X509_check_private_key(keys->certificate, keys->private) != 1 ||
	    fingerprint_of(keys->certificate, keys->fingerprint))
		goto err;
	BIO_free(bio);
	return keys;

err:
	ERR_clear_error();
	BIO_free(bio);
	keys_free(keys);
	return NULL;
}

static struct keys *parse_file(const char *path, const char *text, size_t length, struct error *err)
{
	char title[TITLE_BYTES + 1];
	struct keys *keys;

	if (length <= TITLE_BYTES || strncmp(text, TITLE, strlen(TITLE)) != 0) {
		fail(err, EILSEQ, "read identity %s: damaged, not an identity file; restore it from a backup", path);
		return NULL;
	}
	make_title(text + TITLE_BYTES, length - TITLE_BYTES, title);
	if (memcmp(title, text, TITLE_BYTES) != 0) {
		fail(err, EILSEQ, "read identity %s: damaged, its checksum does not match; restore it from a backup",
		     path);
		return NULL;
	}
	keys = parse_body(text + TITLE_BYTES, length - TITLE_BYTES);
	if (!keys)
		fail(err, EILSEQ,
		     "read identity %s: damaged, not an Ed25519 key with its certificate; restore it from a backup",
		     path);
	return keys;
}

// 0 or -errno of what is wrong with the file as a file.
static int check_file(const char *path, int fd, struct error *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return fail(err, errno, "read identity %s: %s", path, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return fail(err, EINVAL, "read identity %s: not a regular file", path);
	if (st.st_uid != geteuid())
		return fail(err, EPERM, "read identity %s: belongs to user %u, not to user %u that runs this program",
		            path, st.st_uid, geteuid());
	if (st.st_mode & 077)
		return fail(err, EPERM, "read identity %s: accessible by others (mode %04o), must be 0600", path,
		            st.st_mode & 07777);
	if (st.st_size > FILE_MAX)
		return fail(err, EILSEQ, "read identity %s: damaged, %lld bytes are too many; restore it from a backup",
		            path, (long long)st.st_size);
	return 0;
}

static ssize_t read_whole(int fd, char *buffer, size_t size)
{
	size_t length = 0;

	while (length < size) {
		ssize_t got = read(fd, buffer + length, size - length);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (got == 0)
			break;
		length += (size_t)got;
	}
	return (ssize_t)length;
}

// *keys stays NULL when there is no file yet: -ENOENT.
static int load(int directory, const char *path, struct keys **keys, struct error *err)
{
	char text[FILE_MAX];
	int fd = openat(directory, FILE_NAME, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	ssize_t length;
	int error;

	if (fd < 0) {
		error = errno;
		return fail(err, error, "read identity %s: %s", path,
		            error == ELOOP ? "is a symbolic link" : strerror(error));
	}
	error = check_file(path, fd, err);
	if (!error) {
		length = read_whole(fd, text, sizeof(text));
		if (length < 0) {
			error = fail(err, (int)-length, "read identity %s: %s", path, strerror((int)-length));
		} else {
			*keys = parse_file(path, text, (size_t)length, err);
			error = *keys ? 0 : -EILSEQ;
		}
		OPENSSL_cleanse(text, sizeof(text));
	}
	close(fd);
	return error;
}

// A self-signed certificate without any meaning but its key: it never expires.
static X509 *make_certificate(EVP_PKEY *key)
{
	static const unsigned char name[] = "stead";
	X509 *certificate = X509_new();
	X509_NAME *subject;
	uint64_t serial;

	if (!certificate || RAND_bytes((unsigned char *)&serial, sizeof(serial)) != 1)
		goto err;
	subject = X509_get_subject_name(certificate);
	if (!X509_set_version(certificate, X509_VERSION_3) ||
	    !ASN1_INTEGER_set_uint64(X509_get_serialNumber(certificate), serial >> 1 | 1) ||
	    !ASN1_TIME_set_string(X509_getm_notBefore(certificate), "19700101000000Z") ||
	    !ASN1_TIME_set_string(X509_getm_notAfter(certificate), "99991231235959Z") ||
	    !X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, name, -1, -1, 0) ||
	    !X509_set_issuer_name(certificate, subject) || !X509_set_pubkey(certificate, key) ||
	    !X509_sign(certificate, key, NULL))
		goto err;
	return certificate;

err:
	X509_free(certificate);
	return NULL;
}

// The text of a new identity; its length, or -ENOMEM.
static ssize_t make_text(char *text, size_t size)
{
	EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	X509 *certificate = key ? make_certificate(key) : NULL;
	BIO *bio = BIO_new(BIO_s_secmem());
	ssize_t length = -ENOMEM;

	if (certificate && bio && PEM_write_bio_X509(bio, certificate) == 1 &&
	    PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) == 1) {
		int count = BIO_read(bio, text + TITLE_BYTES, (int)(size - TITLE_BYTES));

		if (count > 0) {
			make_title(text + TITLE_BYTES, (size_t)count, text);
			length = (ssize_t)TITLE_BYTES + count;
		}
	}
	ERR_clear_error();
	BIO_free(bio);
	X509_free(certificate);
	EVP_PKEY_free(key);
	return length;
}

static int write_whole(int fd, const char *bytes, size_t length)
{
	while (length > 0) {
		ssize_t put = write(fd, bytes, length);

		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0)
			return -errno;
		bytes += put;
		length -= (size_t)put;
	}
	return fsync(fd) < 0 ? -errno : 0;
}

// Writes a new identity under a name of its own and links it to its place,
// unless another process was first: then that one counts.
static int make(int directory, const char *path, struct error *err)
{
	char text[FILE_MAX], name[64];
	uint64_t random;
	ssize_t length = make_text(text, sizeof(text));
	int fd = -1, error = 0;

	if (length < 0 || RAND_bytes((unsigned char *)&random, sizeof(random)) != 1) {
		OPENSSL_cleanse(text, sizeof(text));
		return fail(err, ENOMEM, "make identity %s: OpenSSL cannot make an Ed25519 key", path);
	}
	snprintf(name, sizeof(name), FILE_NAME ".%016llx", (unsigned long long)random);
	fd = openat(directory, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0) {
		error = errno;
	} else {
		error = -write_whole(fd, text, (size_t)length);
		if (!error && linkat(directory, name, directory, FILE_NAME, 0) < 0 && errno != EEXIST)
			error = errno;
		unlinkat(directory, name, 0);
		close(fd);
	}
	OPENSSL_cleanse(text, sizeof(text));
	return error ? fail(err, error, "make identity %s: %s", path, strerror(error)) : 0;
}

// Makes path with all its parents; only the last is closed to others.
static int make_directories(const char *path, struct error *err)
{
	char copy[PATH_MAX];
	size_t length = strlen(path);

	if (length == 0 || length >= sizeof(copy))
		return fail(err, ENAMETOOLONG, "open state directory \"%s\": %s", path, strerror(ENAMETOOLONG));
	memcpy(copy, path, length + 1);
	for (size_t i = 1; i <= length; i++) {
		if (path[i] != '/' && path[i] != '\0')
			continue;
		copy[i] = '\0';
		if (mkdir(copy, i == length ? 0700 : 0755) < 0 && errno != EEXIST)
			return fail(err, errno, "make directory %s: %s", copy, strerror(errno));
		copy[i] = path[i];
	}
	return 0;
}

struct keys *keys_load(const char *directory, struct error *err)
{
	struct keys *keys = NULL;
	char path[PATH_MAX];
	int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int error;

	if (fd < 0 && errno == ENOENT) {
		if (make_directories(directory, err))
			return NULL;
		fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	}
	if (fd < 0) {
		fail(err, errno, "open state directory %s: %s", directory, strerror(errno));
		return NULL;
	}
	snprintf(path, sizeof(path), "%s/" FILE_NAME, directory);
	error = load(fd, path, &keys, err);
	if (error == -ENOENT) {
		error = make(fd, path, err);
		if (!error)
			error = load(fd, path, &keys, err);
	}
	// Also for one that was found: who linked it may not have come so far,
	// and nobody may pin a key that a power failure could still take away.
	if (!error && fsync(fd) < 0) {
		fail(err, errno, "sync state directory %s: %s", directory, strerror(errno));
		keys_free(keys);
		keys = NULL;
	}
	close(fd);
	return keys;
}
