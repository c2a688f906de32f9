// SPDX-License-Identifier: Apache-2.0
// Every step that two nodes, their application, their network and their
// administrator can make.
#ifndef STEAD_MODEL_STEPS_H
#define STEAD_MODEL_STEPS_H

#include "world.h"

unsigned steps_count(void);

// False: not possible now. violation (engine.h) says what is wrong with it.
bool step_make(struct world *world, const struct bounds *bounds, unsigned step);

// For a trace.
void step_text(unsigned step, char *text, size_t size);
void world_text(const struct world *world, char *text, size_t size);

// Whether a planned switchover that stopped here ends well once both nodes were
// restarted and met. NULL, or what is wrong.
const char *world_settles(const struct world *world);

#endif
