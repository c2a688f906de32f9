// SPDX-License-Identifier: Apache-2.0
// Which kind of export a volume gets. No system calls.
#ifndef STEAD_EXPORT_CHOICE_H
#define STEAD_EXPORT_CHOICE_H

#include "common/config.h"
#include "common/error.h"

#include <stdbool.h>

// Of one kind of kernel device.
struct export_facts {
	int works; // 0 or -errno
	struct error why_not;
	bool there; // a device of the volume is there already
};

// The kind, with the reason for the log. What is there already comes first:
// somebody may have it mounted.
enum export_kind export_choose(enum export_kind wanted, const struct export_facts *ublk, const struct export_facts *nbd,
                               struct error *why);

#endif
