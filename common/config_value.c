// SPDX-License-Identifier: Apache-2.0
#include "config_value.h"
#include "clock.h"
#include "fields.h"
#include "net.h"
#include "units.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#define KIB (UINT64_C(1) << 10)
#define MIB (UINT64_C(1) << 20)
#define PIB (UINT64_C(1) << 50)
#define WEEK (7 * 24 * 3600 * NSEC_PER_SEC)
#define FIELD(member) offsetof(struct pair_config, member)

const struct pair_key pair_keys[] = {
        {"peer", VALUE_ADDRESS, FIELD(peer)},
        {"listen", VALUE_ADDRESS, FIELD(listen)},
        {"rpo", VALUE_DURATION, FIELD(rpo), 100 * NSEC_PER_MSEC, WEEK},
        {"rto", VALUE_DURATION, FIELD(rto), 100 * NSEC_PER_MSEC, WEEK},
        {"auto-resync", VALUE_SWITCH, FIELD(auto_resync)},
        {"start-without-peer", VALUE_SWITCH, FIELD(start_without_peer)},
        {"bandwidth", VALUE_RATE, FIELD(bandwidth), 4 * KIB, PIB, 0, true},
        {"capture-memory", VALUE_SIZE, FIELD(capture_memory), MIB, PIB},
        {"spill", VALUE_SIZE, FIELD(spill), MIB, PIB, 0, true},
        {"journal", VALUE_SIZE, FIELD(journal), 4 * MIB, PIB, 4 * KIB},
        {"journal-full", VALUE_JOURNAL_FULL, FIELD(journal_full)},
};
const unsigned pair_key_count = sizeof(pair_keys) / sizeof(pair_keys[0]);

const struct pair_key *pair_key_find(const char *name)
{
	for (unsigned i = 0; i < pair_key_count; i++)
		if (!strcmp(pair_keys[i].name, name))
			return &pair_keys[i];
	return NULL;
}

static uint64_t *number(const struct pair_key *key, const struct pair_config *config)
{
	return (uint64_t *)((char *)config + key->offset);
}

static int check_address(const struct pair_key *key, const char *text, struct error *err)
{
	struct net_address address;
	struct error why;

	if (strlen(text) >= CONFIG_ADDRESS_MAX)
		return fail(err, EINVAL, "%s is longer than %d bytes", key->name, CONFIG_ADDRESS_MAX - 1);
	if (net_parse(text, 0, &address, &why) || address.port == 0)
		return fail(err, EINVAL, "%s = %s is no address; write HOST:PORT or [IPV6]:PORT", key->name, text);
	return 0;
}

static const char *number_text(const struct pair_key *key, uint64_t value, char text[VALUE_TEXT_MAX])
{
	return key->kind == VALUE_DURATION ? format_duration(value, text, VALUE_TEXT_MAX)
	                                   : format_size(value, text, VALUE_TEXT_MAX);
}

static int check_number(const struct pair_key *key, uint64_t value, struct error *err)
{
	char low[VALUE_TEXT_MAX], high[VALUE_TEXT_MAX];

	if (key->or_zero && value == 0)
		return 0;
	if (value < key->min || value > key->max)
		return fail(err, EINVAL, "%s is out of range; %s to %s are possible%s", key->name,
		            number_text(key, key->min, low), number_text(key, key->max, high),
		            !key->or_zero             ? ""
		            : key->kind == VALUE_RATE ? ", or none"
		                                      : ", or 0 for none");
	if (key->multiple && value % key->multiple)
		return fail(err, EINVAL, "%s is no multiple of %s", key->name, number_text(key, key->multiple, low));
	return 0;
}

int pair_key_check(const struct pair_key *key, const struct pair_config *config, struct error *err)
{
	const char *text = (const char *)config + key->offset;

	switch (key->kind) {
	case VALUE_ADDRESS:
		return *text ? check_address(key, text, err) : 0;
	case VALUE_SWITCH:
	case VALUE_JOURNAL_FULL:
		return 0;
	case VALUE_DURATION:
	case VALUE_SIZE:
	case VALUE_RATE:
		break;
	}
	return check_number(key, *number(key, config), err);
}

static int parse_number(const struct pair_key *key, const char *text, uint64_t *value, struct error *err)
{
	if (key->kind == VALUE_RATE && !strcmp(text, "none")) {
		*value = 0;
		return 0;
	}
	if (key->kind == VALUE_DURATION && parse_duration(text, value))
		return fail(err, EINVAL, "%s = %s is no time; write a number with ms, s, m, h or d, for example 5s",
		            key->name, text);
	if (key->kind == VALUE_SIZE && parse_size(text, value))
		return fail(err, EINVAL, "%s = %s is no size; write a number with K, M, G or T, for example 64M",
		            key->name, text);
	if (key->kind == VALUE_RATE && parse_size(text, value))
		return fail(err, EINVAL,
		            "%s = %s is no rate; write bytes a second with K, M, G or T, for example 10M, or none",
		            key->name, text);
	return check_number(key, *value, err);
}

int pair_key_parse(const struct pair_key *key, const char *text, struct pair_config *config, struct error *err)
{
	char *field = (char *)config + key->offset;
	int error;

	if (!*text)
		return fail(err, EINVAL, "%s has no value; give one, or leave the line out", key->name);
	switch (key->kind) {
	case VALUE_ADDRESS:
		error = check_address(key, text, err);
		if (!error)
			snprintf(field, CONFIG_ADDRESS_MAX, "%s", text);
		return error;
	case VALUE_SWITCH:
		if (strcmp(text, "yes") != 0 && strcmp(text, "no") != 0)
			return fail(err, EINVAL, "%s = %s is neither yes nor no", key->name, text);
		*(bool *)field = !strcmp(text, "yes");
		return 0;
	case VALUE_JOURNAL_FULL:
		if (strcmp(text, "stop") != 0 && strcmp(text, "inconsistent") != 0)
			return fail(err, EINVAL, "%s = %s is neither stop nor inconsistent", key->name, text);
		*(enum journal_full *)field = strcmp(text, "stop") ? JOURNAL_FULL_INCONSISTENT : JOURNAL_FULL_STOP;
		return 0;
	case VALUE_DURATION:
	case VALUE_SIZE:
	case VALUE_RATE:
		break;
	}
	return parse_number(key, text, number(key, config), err);
}

bool pair_key_format(const struct pair_key *key, const struct pair_config *config, char text[VALUE_TEXT_MAX])
{
	const char *field = (const char *)config + key->offset;
	uint64_t value;

	switch (key->kind) {
	case VALUE_ADDRESS:
		snprintf(text, VALUE_TEXT_MAX, "%s", field);
		return *field;
	case VALUE_SWITCH:
		snprintf(text, VALUE_TEXT_MAX, "%s", *(const bool *)field ? "yes" : "no");
		return true;
	case VALUE_JOURNAL_FULL:
		snprintf(text, VALUE_TEXT_MAX, "%s",
		         *(const enum journal_full *)field == JOURNAL_FULL_STOP ? "stop" : "inconsistent");
		return true;
	case VALUE_DURATION:
	case VALUE_SIZE:
	case VALUE_RATE:
		break;
	}
	value = *number(key, config);
	number_text(key, value, text);
	return key->kind != VALUE_RATE || value;
}

int value_name(const char *kind, const char *name, struct error *err)
{
	if (name_valid(name))
		return 0;
	return fail(err, EINVAL,
	            "%s name '%.60s' is not possible; use 1 to %d of A-Z a-z 0-9 . _ -, a letter or digit first", kind,
	            name, NAME_MAX_LENGTH);
}

// What cannot be written to the file so that it is read back the same is no
// path, and neither is what cannot be told in JSON.
int value_path(const char *path, struct error *err)
{
	size_t length = strlen(path);
	json_t *text;

	if (length == 0)
		return fail(err, EINVAL, "path has no value; give the absolute path of a block device or image file");
	if (path[0] != '/')
		return fail(err, EINVAL, "path %s is relative; give it from / on", path);
	if (length >= CONFIG_PATH_MAX)
		return fail(err, EINVAL, "path is longer than %d bytes", CONFIG_PATH_MAX - 1);
	for (size_t i = 0; i < length; i++) {
		unsigned char byte = (unsigned char)path[i];

		if (byte < ' ' || byte == 0x7f)
			return fail(err, EINVAL, "path has a control character at byte %zu", i + 1);
		if (byte == ' ' && (path[i + 1] == '\0' || path[i + 1] == ';' || path[i + 1] == '#'))
			return fail(err, EINVAL,
			            "path %s: a space before '%s' is not possible; a comment needs a line of its own",
			            path, path[i + 1] ? path + i + 1 : "the end");
	}
	text = json_string(path);
	if (!text)
		return fail(err, EINVAL, "path is not UTF-8");
	json_decref(text);
	return 0;
}
