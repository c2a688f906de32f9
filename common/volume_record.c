// SPDX-License-Identifier: Apache-2.0
#include "volume_record.h"

#include "bytes.h"
#include "fields.h"
#include "paths.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#define VERSION 1
#define FILE_MAX (UINT64_C(4) << 20) // bytes
#define ENTRY_BYTES (8 + BLOCKHASH_BYTES) // of the sample: block, hash

struct volume_record *volume_record_find(struct volume_records *records, const char *name, bool make)
{
	struct volume_record *record;

	for (unsigned i = 0; i < records->count; i++)
		if (!strcmp(records->list[i].name, name))
			return &records->list[i];
	if (!make || records->count == VOLUMES_MAX)
		return NULL;
	record = &records->list[records->count++];
	memset(record, 0, sizeof(*record));
	snprintf(record->name, sizeof(record->name), "%s", name);
	return record;
}

// -- text --

static void put_hex(char *text, const uint8_t *bytes, size_t count)
{
	for (size_t i = 0; i < count; i++)
		snprintf(text + 2 * i, 3, "%02x", bytes[i]);
}

static int digit(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool get_hex(const char *text, uint8_t *bytes, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		int high = digit(text[2 * i]), low = high < 0 ? -1 : digit(text[2 * i + 1]);

		if (low < 0)
			return false;
		bytes[i] = (uint8_t)(high << 4 | low);
	}
	return true;
}

static void check_text(json_t *volumes, char text[17])
{
	char *dump = json_dumps(volumes, JSON_COMPACT | JSON_SORT_KEYS);

	snprintf(text, 17, "%016" PRIx64, dump ? (uint64_t)XXH3_64bits(dump, strlen(dump)) : 0);
	free(dump);
}

// -- reading --

static bool get_facts(json_t *object, struct facts *facts)
{
	const char *name;
	json_t *value;

	facts->count = 0;
	if (!json_is_object(object))
		return false;
	json_object_foreach(object, name, value)
	{
		if (!json_is_string(value))
			return false;
		facts_add(facts, name, json_string_value(value));
	}
	return true;
}

static bool get_sample(json_t *stop, struct sample *sample)
{
	const char *key = json_string_value(json_object_get(stop, "key"));
	const char *blocks = json_string_value(json_object_get(stop, "sample"));
	size_t length = blocks ? strlen(blocks) : 0;
	uint8_t entry[ENTRY_BYTES];

	if (!key || !blocks || strlen(key) != 2 * sizeof(sample->key) || length % (2 * sizeof(entry)) ||
	    length / (2 * sizeof(entry)) > SAMPLE_MAX || !get_hex(key, sample->key, sizeof(sample->key)))
		return false;
	sample->count = (unsigned)(length / (2 * sizeof(entry)));
	for (unsigned i = 0; i < sample->count; i++) {
		if (!get_hex(blocks + (size_t)i * 2 * sizeof(entry), entry, sizeof(entry)))
			return false;
		sample->blocks[i] = get_u64(entry);
		if (sample->blocks[i] >= bytes_to_blocks(VOLUME_BYTES_MAX))
			return false;
		memcpy(sample->hashes + (size_t)i * BLOCKHASH_BYTES, entry + 8, BLOCKHASH_BYTES);
	}
	return true;
}

static bool get_volume(json_t *object, struct volume_records *records)
{
	const char *name = json_string_value(json_object_get(object, "name"));
	json_t *stop = json_object_get(object, "stop");
	struct volume_record *record;

	if (!name || !name_valid(name) || volume_record_find(records, name, false))
		return false;
	record = volume_record_find(records, name, true);
	if (!record || !get_facts(json_object_get(object, "identity"), &record->identity))
		return false;
	if (!stop)
		return true;
	record->stopped = true;
	record->stopped_at = json_integer_value(json_object_get(stop, "time"));
	return get_facts(json_object_get(stop, "stillness"), &record->stillness) && get_sample(stop, &record->sample);
}

static int damaged(const char *path, const char *what, struct error *err)
{
	return fail(err, EILSEQ, "%s is damaged: %s", path, what);
}

static int decode(const char *path, json_t *root, struct volume_records *records, struct error *err)
{
	const char *check = json_string_value(json_object_get(root, "check"));
	json_t *volumes = json_object_get(root, "volumes"), *volume;
	char expected[17];
	size_t i;

	if (json_integer_value(json_object_get(root, "version")) != VERSION)
		return fail(err, EINVAL, "%s: format version is not %d", path, VERSION);
	check_text(volumes, expected);
	if (!json_is_array(volumes) || !check || strcmp(check, expected) != 0)
		return damaged(path, "its checksum does not match", err);
	json_array_foreach(volumes, i, volume)
	{
		if (!get_volume(volume, records))
			return damaged(path, "a volume is malformed", err);
	}
	return 0;
}

static char *load(const char *path, int *result, struct error *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	char *text = fd < 0 ? NULL : malloc(FILE_MAX + 1);
	size_t length = 0;
	ssize_t got = 0;

	*result = 0;
	if (fd < 0 && errno != ENOENT)
		*result = fail(err, errno, "open %s: %s", path, strerror(errno));
	if (fd >= 0 && !text)
		*result = fail(err, ENOMEM, "read %s: out of memory", path);
	while (text && length < FILE_MAX && (got = read(fd, text + length, FILE_MAX - length)) > 0)
		length += (size_t)got;
	if (text && got < 0)
		*result = fail(err, errno, "read %s: %s", path, strerror(errno));
	if (text)
		text[length] = 0;
	if (fd >= 0)
		close(fd);
	if (*result < 0) {
		free(text);
		text = NULL;
	}
	return text;
}

int volume_records_read(const char *path, struct volume_records *records, struct error *err)
{
	char *text;
	json_t *root;
	int result;

	memset(records, 0, sizeof(*records));
	text = load(path, &result, err);
	if (!text)
		return result;
	root = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
	free(text);
	result = json_is_object(root) ? decode(path, root, records, err) : damaged(path, "it is no JSON object", err);
	json_decref(root);
	if (result < 0)
		records->count = 0;
	return result;
}

// -- writing --

static json_t *facts_json(const struct facts *facts)
{
	json_t *object = json_object();

	for (unsigned i = 0; i < facts->count; i++)
		json_object_set_new(object, facts->list[i].name, json_string(facts->list[i].text));
	return object;
}

static json_t *stop_json(const struct volume_record *record)
{
	const struct sample *sample = &record->sample;
	char key[2 * sizeof(sample->key) + 1], *blocks = malloc((size_t)sample->count * 2 * ENTRY_BYTES + 1);
	uint8_t entry[ENTRY_BYTES];
	json_t *stop;

	if (!blocks)
		return NULL;
	*blocks = 0;
	put_hex(key, sample->key, sizeof(sample->key));
	for (unsigned i = 0; i < sample->count; i++) {
		put_u64(entry, sample->blocks[i]);
		memcpy(entry + 8, sample->hashes + (size_t)i * BLOCKHASH_BYTES, BLOCKHASH_BYTES);
		put_hex(blocks + (size_t)i * 2 * sizeof(entry), entry, sizeof(entry));
	}
	stop = json_pack("{s:I,s:o,s:s,s:s}", "time", (json_int_t)record->stopped_at, "stillness",
	                 facts_json(&record->stillness), "key", key, "sample", blocks);
	free(blocks);
	return stop;
}

static char *encode(const struct volume_records *records)
{
	json_t *volumes = json_array(), *root;
	char check[17], *text;

	for (unsigned i = 0; i < records->count; i++) {
		const struct volume_record *record = &records->list[i];
		json_t *volume =
		        json_pack("{s:s,s:o}", "name", record->name, "identity", facts_json(&record->identity));

		if (volume && record->stopped)
			json_object_set_new(volume, "stop", stop_json(record));
		json_array_append_new(volumes, volume);
	}
	check_text(volumes, check);
	root = json_pack("{s:i,s:o,s:s}", "version", VERSION, "volumes", volumes, "check", check);
	text = root ? json_dumps(root, JSON_INDENT(1)) : NULL;
	json_decref(root);
	return text;
}

static int write_all(int fd, const char *text)
{
	size_t left = strlen(text);

	while (left) {
		ssize_t wrote = write(fd, text, left);

		if (wrote < 0 && errno != EINTR)
			return -errno;
		if (wrote > 0) {
			text += wrote;
			left -= (size_t)wrote;
		}
	}
	return fsync(fd) < 0 ? -errno : 0;
}

int volume_records_write(const char *path, const struct volume_records *records, struct error *err)
{
	char new[PATHS_MAX + 8], parent[PATHS_MAX], *text = encode(records);
	int fd, result;

	if (!text)
		return fail(err, ENOMEM, "write %s: out of memory", path);
	snprintf(new, sizeof(new), "%s.new", path);
	snprintf(parent, sizeof(parent), "%.*s", (int)(strrchr(path, '/') - path), path);
	fd = open(new, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	result = fd < 0 ? -errno : write_all(fd, text);
	if (fd >= 0 && close(fd) < 0 && !result)
		result = -errno;
	if (!result && rename(new, path) < 0)
		result = -errno;
	free(text);
	if (result < 0) {
		(void)unlink(new);
		return fail(err, -result, "write %s: %s", path, strerror(-result));
	}
	return sync_directory(parent, err);
}
