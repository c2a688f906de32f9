// SPDX-License-Identifier: Apache-2.0
// Steps and worlds for people.
#include "engine.h"
#include "steps.h"

#include <stdarg.h>
#include <stdio.h>

struct text {
	char *at;
	size_t left;
};

__attribute__((format(printf, 2, 3))) static void say(struct text *text, const char *format, ...)
{
	va_list arguments;
	int length;

	va_start(arguments, format);
	length = vsnprintf(text->at, text->left, format, arguments);
	va_end(arguments);
	if (length < 0 || (size_t)length >= text->left)
		length = text->left ? (int)text->left - 1 : 0;
	text->at += length;
	text->left -= (size_t)length;
}

static char bit(blocks bits, unsigned block)
{
	return bits & (1u << block) ? (char)('a' + block) : '-';
}

static void say_bits(struct text *text, const char *name, blocks bits)
{
	if (bits)
		say(text, " %s=%c%c", name, bit(bits, 0), bit(bits, 1));
}

static void say_node(struct text *text, const struct world *world, const struct node *node)
{
	bool primary = node->role == ROLE_PRIMARY;

	say(text, "%s%s g%u", node->up ? "" : "DOWN ", primary ? "primary" : "standby", node->generation);
	if (node->generation)
		say(text, "(g%u@%u)", world->parents[node->generation], world->left_at[node->generation]);
	say(text, " e%u", node->epoch);
	if (primary || node->returned)
		say(text, " cut=%u ack=%u", node->cut, node->acknowledged);
	say(text, " [%u %u]", node->content[0], node->content[1]);
	say_bits(text, "unflushed",
	         (blocks)((node->content[0] != node->flushed[0]) | (node->content[1] != node->flushed[1]) << 1));
	say_bits(text, "open", node->open);
	for (unsigned i = 0; i < IN_FLIGHT; i++)
		if (node->frozen[i].epoch)
			say(text, " frozen%u=%c%c", node->frozen[i].epoch, bit(node->frozen[i].bits, 0),
			    bit(node->frozen[i].bits, 1));
	say_bits(text, "log", node->logged);
	say(text, "%s%s%s%s%s%s%s%s%s%s%s%s", serves(node) ? " SERVES" : "", node->fenced ? " fenced" : "",
	    node->untouched ? " untouched" : "", node->handover ? " handover" : "", node->returned ? " returned" : "",
	    node->yields ? " yields" : "", node->suspect ? " suspect" : "", node->doubtful ? " doubtful" : "",
	    node->adopting ? " adopting" : "", node->comparing ? " comparing" : "", node->asked ? " asked" : "",
	    node->learnt ? " learnt" : "");
}

void world_text(const struct world *world, char *buffer, size_t size)
{
	struct text text = {buffer, size};

	for (unsigned i = 0; i < NODES; i++) {
		say(&text, "      %c: ", 'A' + (int)i);
		say_node(&text, world, &world->nodes[i]);
		say(&text, "\n");
	}
}
