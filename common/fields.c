// SPDX-License-Identifier: Apache-2.0
#include "fields.h"

static bool alphanumeric(char c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

bool name_valid(const char *name)
{
	size_t length = 0;

	for (; name[length]; length++) {
		char c = name[length];

		if (length == NAME_MAX_LENGTH)
			return false;
		if (!alphanumeric(c) && (length == 0 || (c != '.' && c != '_' && c != '-')))
			return false;
	}
	return length > 0;
}

void write_id(struct writer *writer, const struct id *id)
{
	write_bytes(writer, id->bytes, sizeof(id->bytes));
}

struct id read_id(struct reader *reader)
{
	struct id id;

	read_copy(reader, id.bytes, sizeof(id.bytes));
	return id;
}

struct id read_some_id(struct reader *reader)
{
	struct id id = read_id(reader);

	reader_demand(reader, !id_is_none(&id));
	return id;
}

void write_name(struct writer *writer, const char *name)
{
	size_t length = strnlen(name, NAME_MAX_LENGTH);

	write_bytes(writer, name, length);
	write_zeroes(writer, NAME_FIELD_BYTES - length);
}

void read_name(struct reader *reader, char name[NAME_FIELD_BYTES])
{
	read_copy(reader, name, NAME_FIELD_BYTES);
	reader_demand(reader, name[NAME_MAX_LENGTH] == '\0');
	name[NAME_MAX_LENGTH] = '\0';
	reader_demand(reader, name_valid(name));
	for (size_t i = strlen(name); i < NAME_FIELD_BYTES; i++)
		reader_demand(reader, name[i] == '\0');
}

void write_lineage(struct writer *writer, const struct lineage *lineage)
{
	write_id(writer, &lineage->generation);
	write_u32(writer, lineage->count);
	write_u32(writer, 0);
	for (unsigned i = 0; i < lineage->count; i++) {
		write_id(writer, &lineage->ancestors[i].generation);
		write_u64(writer, lineage->ancestors[i].epoch);
	}
}

static bool repeats(const struct lineage *lineage, unsigned index)
{
	const struct id *generation = &lineage->ancestors[index].generation;

	for (unsigned i = 0; i < index; i++) {
		if (id_equal(generation, &lineage->ancestors[i].generation))
			return true;
	}
	return id_equal(generation, &lineage->generation);
}

void read_lineage(struct reader *reader, struct lineage *lineage)
{
	memset(lineage, 0, sizeof(*lineage));
	lineage->generation = read_some_id(reader);
	lineage->count = read_u32(reader);
	read_zeroes(reader, 4);
	if (lineage->count > ANCESTORS_MAX) {
		lineage->count = 0;
		reader->bad = true;
	}
	for (unsigned i = 0; i < lineage->count; i++) {
		lineage->ancestors[i].generation = read_some_id(reader);
		lineage->ancestors[i].epoch = read_u63(reader);
		reader_demand(reader, !repeats(lineage, i));
	}
}

uint64_t read_u63(struct reader *reader)
{
	uint64_t value = read_u64(reader);

	reader_demand(reader, value <= INT64_MAX);
	return value;
}

uint64_t read_volume_bytes(struct reader *reader)
{
	uint64_t bytes = read_u64(reader);

	reader_demand(reader, bytes >= 1 && bytes <= VOLUME_BYTES_MAX);
	return bytes;
}

static bool control_character(uint8_t c)
{
	return c < 0x20 || c == 0x7f;
}

void write_reason(struct writer *writer, const char *reason)
{
	size_t length = strnlen(reason, REASON_MAX);

	write_u16(writer, (uint16_t)length);
	for (size_t i = 0; i < length; i++)
		write_u8(writer, control_character((uint8_t)reason[i]) ? '?' : (uint8_t)reason[i]);
}

void read_reason(struct reader *reader, char reason[REASON_MAX + 1])
{
	uint16_t length = read_u16(reader);

	reader_demand(reader, length <= REASON_MAX);
	if (reader->bad)
		length = 0;
	read_copy(reader, reason, length);
	for (size_t i = 0; i < length; i++)
		reader_demand(reader, !control_character((uint8_t)reason[i]));
	reason[length] = '\0';
}

void write_word(struct writer *writer, const char *word, size_t size)
{
	size_t length = strnlen(word, size - 1);

	write_bytes(writer, word, length);
	write_zeroes(writer, size - length);
}

void read_word(struct reader *reader, char *word, size_t size)
{
	bool ended = false;

	read_copy(reader, word, size);
	for (size_t i = 0; i < size; i++) {
		ended |= word[i] == '\0';
		reader_demand(reader, ended ? word[i] == '\0' : word[i] > ' ' && word[i] <= '~');
	}
	reader_demand(reader, ended);
	word[size - 1] = '\0';
}
