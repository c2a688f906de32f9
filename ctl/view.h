// SPDX-License-Identifier: Apache-2.0
// The status of pairs for people: 80 columns, colours where a terminal shows
// them. What it prints is what `stead status --json` holds.
#ifndef STEAD_CTL_VIEW_H
#define STEAD_CTL_VIEW_H

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

// Whether standard output takes colours.
bool view_colours(void);

void view_table(FILE *out, json_t *pairs, bool colour);
void view_pair(FILE *out, json_t *pair, bool colour);

#endif
