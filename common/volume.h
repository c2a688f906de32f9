// SPDX-License-Identifier: Apache-2.0
// Whether a path can be a volume of a pair: asked when a pair is made and again
// when it starts. Looks, changes nothing.
#ifndef STEAD_VOLUME_H
#define STEAD_VOLUME_H

#include "error.h"

#include <stdbool.h>
#include <stdint.h>

struct volume_user {
	const char *pair;
	const char *volume;
	const char *path;
};

struct volume_want {
	const char *name;
	const char *path; // must be absolute
	uint64_t bytes; // at least; 0: any size but 0
	bool in_use; // of a pair that exists: a missing one must come back, not be made anew
	const struct volume_user *users; // what must not be the same file or device
	unsigned user_count;
};

// 0 and the size, or with one line that says what would be right: -ENOENT,
// -EISDIR, -EINVAL (not absolute, neither file nor device, empty), -EACCES and
// other errors of opening, -ENOSPC (too small), -EBUSY (mounted, swap, open in
// another daemon, in use by another pair).
int volume_check(const struct volume_want *want, uint64_t *bytes, struct error *err);

#endif
