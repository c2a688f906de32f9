// SPDX-License-Identifier: Apache-2.0
#include "id.h"

#include <string.h>

bool id_equal(const struct id *a, const struct id *b)
{
	return memcmp(a->bytes, b->bytes, sizeof(a->bytes)) == 0;
}

bool id_is_none(const struct id *id)
{
	static const struct id none;

	return id_equal(id, &none);
}

struct id id_random(uint64_t (*random)(void *user), void *user)
{
	uint64_t words[2];
	struct id id;

	words[0] = random(user);
	words[1] = random(user);
	memcpy(id.bytes, words, sizeof(id.bytes));
	if (id_is_none(&id))
		id.bytes[0] = 1;
	return id;
}
