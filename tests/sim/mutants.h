// SPDX-License-Identifier: Apache-2.0
// The mutation check: each deliberate defect of common/mutant.h must be caught.
#ifndef STEAD_SIM_MUTANTS_H
#define STEAD_SIM_MUTANTS_H

#include <stdbool.h>
#include <stdint.h>

const char *mutant_name(unsigned mutant); // NULL: there is none
const char *mutant_current(void); // NULL: none is active
bool mutant_select(const char *name);

// Prints a table. 0: the engines without a defect are clean and each defect is
// caught by a seed from 0 to last.
int mutants_check(uint64_t last, unsigned jobs);

#endif
