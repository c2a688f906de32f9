// SPDX-License-Identifier: Apache-2.0
// Handshake: fixed newstyle negotiation.
#include "nbd_phases.h"
#include "nbd_wire.h"

// Of the data of one option; EXPORT_NAME and GO need a string of 4096 at most.
#define OPTION_MAX (NBD_INPUT_MAX - NBD_OPTION_BYTES)
#define OPTION_DRAIN_MAX (UINT32_C(1) << 20)
#define OPTIONS_MAX 1000
#define STRING_MAX 4096

#define ALLOCATION "base:allocation"

// The data of an option, taken field by field; bad becomes true when there
// was less than was asked for.
struct fields {
	const uint8_t *at;
	size_t left;
	bool bad;
};

struct string {
	const uint8_t *bytes;
	uint32_t length;
};

static const uint8_t *take(struct fields *fields, size_t length)
{
	static const uint8_t none[4];
	const uint8_t *at = fields->at;

	if (length > fields->left) {
		fields->bad = true;
		fields->left = 0;
		return none;
	}
	fields->at += length;
	fields->left -= length;
	return at;
}

static struct string take_string(struct fields *fields)
{
	struct string string = {.length = nbd_get32(take(fields, 4))};

	if (string.length > STRING_MAX || string.length > fields->left) {
		fields->bad = true;
		fields->left = 0;
		string.length = 0;
	}
	string.bytes = take(fields, string.length);
	return string;
}

static bool string_is(struct string string, const char *text)
{
	return string.length == strlen(text) && !memcmp(string.bytes, text, string.length);
}

static bool is_our_export(const struct nbd *nbd, struct string name)
{
	return name.length == 0 || string_is(name, nbd->export->name);
}

static void put_reply(struct nbd_output *output, uint32_t option, uint32_t type, const void *data, uint32_t length)
{
	uint8_t *at = output->data + output->length;

	at = nbd_put64(at, NBD_MAGIC_OPTION_REPLY);
	at = nbd_put32(at, option);
	at = nbd_put32(at, type);
	at = nbd_put32(at, length);
	if (length)
		memcpy(at, data, length);
	output->length += NBD_OPTION_REPLY_BYTES + length;
}

static void put_ack(struct nbd_output *output, uint32_t option)
{
	put_reply(output, option, NBD_REP_ACK, NULL, 0);
}

static void put_error(struct nbd_output *output, uint32_t option, uint32_t type, const char *text)
{
	put_reply(output, option, type, text, strlen(text));
}

static size_t text_length(const char *text)
{
	return text ? strnlen(text, NBD_NAME_BYTES_MAX) : 0;
}

static uint16_t transmission_flags(const struct nbd *nbd)
{
	return NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_FLUSH | NBD_FLAG_SEND_FUA | NBD_FLAG_SEND_TRIM |
	       NBD_FLAG_SEND_WRITE_ZEROES | NBD_FLAG_CAN_MULTI_CONN | NBD_FLAG_SEND_FAST_ZERO |
	       (nbd->structured ? NBD_FLAG_SEND_DF : 0);
}

// There is no way to say no to this option but to hang up.
static enum nbd_step option_export_name(struct nbd *nbd, struct fields data, struct nbd_output *output)
{
	struct string name = {data.at, data.left};
	uint8_t *at = output->data + output->length;

	if (!is_our_export(nbd, name))
		return nbd_broken(nbd, "client asked for an export that does not exist");
	at = nbd_put64(at, nbd->export->size);
	at = nbd_put16(at, transmission_flags(nbd));
	if (!nbd->no_zeroes) {
		memset(at, 0, 124);
		at += 124;
	}
	output->length = at - output->data;
	nbd->phase = NBD_PHASE_TRANSMISSION;
	return NBD_SEND;
}

static void option_list(const struct nbd *nbd, struct fields data, struct nbd_output *output)
{
	uint8_t body[4 + 2 * NBD_NAME_BYTES_MAX], *at = body;
	size_t name = text_length(nbd->export->name), description = text_length(nbd->export->description);

	if (data.left) {
		put_error(output, NBD_OPT_LIST, NBD_REP_ERR_INVALID, "list takes no data");
		return;
	}
	at = nbd_put32(at, name);
	at = mempcpy(at, nbd->export->name, name);
	if (description)
		at = mempcpy(at, nbd->export->description, description);
	put_reply(output, NBD_OPT_LIST, NBD_REP_SERVER, body, at - body);
	put_ack(output, NBD_OPT_LIST);
}

static void put_info(struct nbd_output *output, uint32_t option, enum nbd_info info, const void *data, size_t length)
{
	uint8_t body[2 + NBD_NAME_BYTES_MAX];

	nbd_put16(body, info);
	if (length)
		memcpy(body + 2, data, length);
	put_reply(output, option, NBD_REP_INFO, body, 2 + length);
}

static void put_infos(const struct nbd *nbd, uint32_t option, unsigned asked, struct nbd_output *output)
{
	const struct nbd_export *export = nbd->export;
	uint8_t body[12];

	nbd_put16(nbd_put64(body, export->size), transmission_flags(nbd));
	put_info(output, option, NBD_INFO_EXPORT, body, 10);
	if (asked & 1 << NBD_INFO_NAME)
		put_info(output, option, NBD_INFO_NAME, export->name, text_length(export->name));
	if (asked & 1 << NBD_INFO_DESCRIPTION && text_length(export->description))
		put_info(output, option, NBD_INFO_DESCRIPTION, export->description, text_length(export->description));
	if (asked & 1 << NBD_INFO_BLOCK_SIZE) {
		nbd_put32(nbd_put32(nbd_put32(body, 1), 4096), NBD_PAYLOAD_MAX);
		put_info(output, option, NBD_INFO_BLOCK_SIZE, body, 12);
	}
}

static void option_info(struct nbd *nbd, uint32_t option, struct fields data, struct nbd_output *output)
{
	struct string name = take_string(&data);
	uint16_t count = nbd_get16(take(&data, 2));
	unsigned asked = 0;

	if (data.bad || data.left != 2u * count) {
		put_error(output, option, NBD_REP_ERR_INVALID, "lengths do not add up");
		return;
	}
	for (unsigned i = 0; i < count; i++) {
		uint16_t info = nbd_get16(take(&data, 2));

		if (info <= NBD_INFO_BLOCK_SIZE)
			asked |= 1 << info;
	}
	if (!is_our_export(nbd, name)) {
		put_error(output, option, NBD_REP_ERR_UNKNOWN, "no such export");
		return;
	}
	put_infos(nbd, option, asked, output);
	put_ack(output, option);
	if (option == NBD_OPT_GO)
		nbd->phase = NBD_PHASE_TRANSMISSION;
}

static void option_structured(struct nbd *nbd, struct fields data, struct nbd_output *output)
{
	if (data.left) {
		put_error(output, NBD_OPT_STRUCTURED_REPLY, NBD_REP_ERR_INVALID, "structured reply takes no data");
		return;
	}
	nbd->structured = true;
	put_ack(output, NBD_OPT_STRUCTURED_REPLY);
}

// Whether the queries of a meta context option select base:allocation.
static bool selects_allocation(struct fields *data, bool list)
{
	uint32_t count = nbd_get32(take(data, 4));
	bool selected = list && count == 0;

	while (count-- && !data->bad) {
		struct string query = take_string(data);

		if (string_is(query, ALLOCATION) || (list && string_is(query, "base:")))
			selected = true;
	}
	return selected;
}

static void option_meta_context(struct nbd *nbd, uint32_t option, struct fields data, struct nbd_output *output)
{
	bool list = option == NBD_OPT_LIST_META_CONTEXT, selected;
	uint8_t body[4 + sizeof(ALLOCATION)];
	struct string name;

	// What was selected before is void, even if this fails.
	if (!list)
		nbd->allocation = false;
	name = take_string(&data);
	selected = selects_allocation(&data, list);
	if (data.bad || data.left) {
		put_error(output, option, NBD_REP_ERR_INVALID, "lengths do not add up");
		return;
	}
	if (!nbd->structured) {
		put_error(output, option, NBD_REP_ERR_INVALID, "negotiate structured replies first");
		return;
	}
	if (!is_our_export(nbd, name)) {
		put_error(output, option, NBD_REP_ERR_UNKNOWN, "no such export");
		return;
	}
	if (selected) {
		nbd_put32(body, list ? 0 : NBD_ALLOCATION_ID);
		memcpy(body + 4, ALLOCATION, strlen(ALLOCATION));
		put_reply(output, option, NBD_REP_META_CONTEXT, body, 4 + strlen(ALLOCATION));
	}
	if (!list)
		nbd->allocation = selected;
	put_ack(output, option);
}

static enum nbd_step dispatch(struct nbd *nbd, uint32_t option, struct fields data, struct nbd_output *output)
{
	switch (option) {
	case NBD_OPT_EXPORT_NAME:
		return option_export_name(nbd, data, output);
	case NBD_OPT_ABORT:
		put_ack(output, option);
		nbd->phase = NBD_PHASE_OVER;
		return NBD_GOODBYE;
	case NBD_OPT_LIST:
		option_list(nbd, data, output);
		break;
	case NBD_OPT_INFO:
	case NBD_OPT_GO:
		option_info(nbd, option, data, output);
		break;
	case NBD_OPT_STRUCTURED_REPLY:
		option_structured(nbd, data, output);
		break;
	case NBD_OPT_LIST_META_CONTEXT:
	case NBD_OPT_SET_META_CONTEXT:
		option_meta_context(nbd, option, data, output);
		break;
	default: // STARTTLS too
		put_error(output, option, NBD_REP_ERR_UNSUP, "option is not supported");
		break;
	}
	return NBD_SEND;
}

enum nbd_step nbd_client_flags(struct nbd *nbd, struct nbd_input *input)
{
	uint32_t flags;

	if (input->length < NBD_CLIENT_FLAGS_BYTES)
		return NBD_MORE;
	flags = nbd_get32(input->data);
	nbd_consume(input, NBD_CLIENT_FLAGS_BYTES);
	if (flags & ~(NBD_FIXED_NEWSTYLE | NBD_NO_ZEROES))
		return nbd_broken(nbd, "unknown client flags");
	nbd->fixed = flags & NBD_FIXED_NEWSTYLE;
	nbd->no_zeroes = flags & NBD_NO_ZEROES;
	nbd->phase = NBD_PHASE_OPTIONS;
	return NBD_SEND;
}

enum nbd_step nbd_option(struct nbd *nbd, struct nbd_input *input, struct nbd_output *output)
{
	const uint8_t *at = input->data;
	uint32_t option, length;

	if (input->length < NBD_OPTION_BYTES)
		return NBD_MORE;
	if (nbd_get64(at) != NBD_MAGIC_OPTION)
		return nbd_broken(nbd, "option without its magic number");
	option = nbd_get32(at + 8);
	length = nbd_get32(at + 12);
	if (length > OPTION_DRAIN_MAX)
		return nbd_broken(nbd, "option far too long");
	if (option == NBD_OPT_EXPORT_NAME && length > STRING_MAX)
		return nbd_broken(nbd, "export name too long");
	if (!nbd->fixed && option != NBD_OPT_EXPORT_NAME)
		return nbd_broken(nbd, "option from a client that does not speak fixed newstyle");

	if (length <= OPTION_MAX && input->length < NBD_OPTION_BYTES + length)
		return NBD_MORE;
	if (++nbd->options > OPTIONS_MAX)
		return nbd_broken(nbd, "too many options");
	nbd_consume(input, NBD_OPTION_BYTES);
	if (length > OPTION_MAX) {
		nbd->skip = length;
		put_error(output, option, NBD_REP_ERR_TOO_BIG, "option too long");
		return NBD_SEND;
	}
	struct fields data = {.at = input->data, .left = length};
	nbd_consume(input, length);
	return dispatch(nbd, option, data, output);
}
