// SPDX-License-Identifier: Apache-2.0
// The course of a lag, drawn with characters against the line of its RPO.
#ifndef STEAD_CTL_CURVE_H
#define STEAD_CTL_CURVE_H

#include <stdbool.h>
#include <stdio.h>

#define CURVE_ROWS_MIN 4 // beside the line under it

// values are seconds, one a second and the newest last, negative where it is
// not known. Uses rows + 1 lines of the columns; what does not fit is left out
// at the old end.
void curve_draw(FILE *out, const double *values, unsigned count, double rpo, unsigned columns, unsigned rows,
                bool colour);

#endif
