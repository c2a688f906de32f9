// SPDX-License-Identifier: Apache-2.0
// Single values of a pair's configuration: from text, to text, and whether
// they make sense. Shared by reading, checking and writing.
#ifndef STEAD_CONFIG_VALUE_H
#define STEAD_CONFIG_VALUE_H

#include "config.h"

#define VALUE_TEXT_MAX 128

enum value_kind {
	VALUE_ADDRESS, // char [CONFIG_ADDRESS_MAX]; empty: not given
	VALUE_DURATION, // uint64_t, ns
	VALUE_SIZE, // uint64_t, bytes
	VALUE_RATE, // uint64_t, bytes a second; 0 is "none"
	VALUE_SWITCH, // bool
	VALUE_JOURNAL_FULL, // enum journal_full
};

struct pair_key {
	const char *name;
	enum value_kind kind;
	size_t offset; // in struct pair_config
	uint64_t min, max; // of numbers; 0 is fine for a RATE
	uint64_t multiple; // of sizes; 0: any
	bool or_zero; // 0 is fine though below min
};

// Of the section [pair], in the order in which they are written.
extern const struct pair_key pair_keys[];
extern const unsigned pair_key_count;

const struct pair_key *pair_key_find(const char *name);

// -EINVAL with "KEY ...: what would be right".
int pair_key_parse(const struct pair_key *key, const char *text, struct pair_config *config, struct error *err);
int pair_key_check(const struct pair_key *key, const struct pair_config *config, struct error *err);

// false: not given, nothing to write.
bool pair_key_format(const struct pair_key *key, const struct pair_config *config, char text[VALUE_TEXT_MAX]);

// kind is "pair" or "volume", for the message.
int value_name(const char *kind, const char *name, struct error *err);
int value_path(const char *path, struct error *err);

#endif
