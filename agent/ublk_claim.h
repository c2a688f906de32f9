// SPDX-License-Identifier: Apache-2.0
// The device of a volume in the ublk driver: the one that a former process served,
// or a new one.
#ifndef STEAD_UBLK_CLAIM_H
#define STEAD_UBLK_CLAIM_H

#include "export.h"
#include "ublk_control.h"

struct ublk_claim {
	struct ublk_dev_info info;
	bool taken_up; // of a former process
};

// What the devices of a volume carry, for us to know them by.
uint64_t ublk_claim_tag(const char *id);

// Takes the device up that is there, or makes one; that with zero copy where it
// is wanted and the driver can. Blocks. 0 or -errno with the reason.
int ublk_claim(struct ublk_control *control, const struct export_config *config, bool zero_copy,
               struct ublk_claim *claim, struct error *err);
bool ublk_claim_zero_copy(const struct ublk_claim *claim);

#endif
