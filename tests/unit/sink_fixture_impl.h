// SPDX-License-Identifier: Apache-2.0
// What the parts of sink_fixture.h share: sink_fixture.c (life and steps),
// fake_channel.c, sink_primary.c (what is sent), sink_content.c, sink_promotion.c.
#ifndef STEAD_TEST_SINK_FIXTURE_IMPL_H
#define STEAD_TEST_SINK_FIXTURE_IMPL_H

#include "sink_fixture.h"

// cmocka.h needs these before it
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

extern const uint64_t volume_bytes[VOLUMES];
extern const unsigned volume_blocks[VOLUMES];

void *need(void *memory); // there is memory
uint64_t mix(uint64_t x);
void world_stopped(void *user);

// One message to the primary, one frame to the standby; false: there is none.
bool channel_carry(struct fake_channel *fake);
bool channel_deliver(struct fake_channel *fake);
void channel_free(struct fake_channel *fake); // NULL: does nothing

void content_make(struct world *world, unsigned version); // after the one before
bool content_changes(unsigned version, unsigned volume, uint64_t block); // since the version before

#endif
