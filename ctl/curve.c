// SPDX-License-Identifier: Apache-2.0
#include "curve.h"
#include "ctl.h"

#define LABEL 11 // columns left of the axis
#define HEADROOM 1.25 // over the RPO

struct curve {
	const double *values;
	unsigned count, width, rows;
	double step; // seconds a row
	unsigned limit; // row that begins at the RPO
	bool colour;
};

static void put_label(FILE *out, double seconds)
{
	json_t *value = json_real(seconds);
	char text[CELL_MAX];

	fprintf(out, "%*s ", LABEL - 1, seconds_cell(value, text));
	json_decref(value);
}

static char cell(const struct curve *curve, unsigned row, unsigned column)
{
	unsigned blank = curve->width - curve->count;

	if (column >= blank) {
		double value = curve->values[column - blank];

		if (value < 0 && row == 0)
			return '?';
		if (value > 0 && value > row * curve->step)
			return '#';
	}
	return row == curve->limit ? '-' : ' ';
}

static void put_row(FILE *out, const struct curve *curve, unsigned row)
{
	bool red = false;

	fprintf(out, "|");
	for (unsigned column = 0; column < curve->width; column++) {
		char character = cell(curve, row, column);
		bool over = character == '#' && row >= curve->limit;

		if (curve->colour && over != red)
			fprintf(out, over ? "\033[1;31m" : "\033[0m");
		red = over;
		fputc(character, out);
	}
	fprintf(out, "%s\n", curve->colour && red ? "\033[0m" : "");
}

void curve_draw(FILE *out, const double *values, unsigned count, double rpo, unsigned columns, unsigned rows,
                bool colour)
{
	struct curve curve = {.rows = rows, .colour = colour};
	double top = rpo * HEADROOM;

	if (columns < LABEL + 20 || rows < CURVE_ROWS_MIN || rpo <= 0)
		return;
	curve.width = columns - LABEL - 1;
	curve.count = count < curve.width ? count : curve.width;
	curve.values = values + (count - curve.count);
	for (unsigned i = 0; i < curve.count; i++)
		if (curve.values[i] > top)
			top = curve.values[i];
	// The line of the RPO is where a row begins, so that one is over it or not.
	curve.limit = (unsigned)(rpo / top * rows);
	if (curve.limit == 0)
		curve.limit = 1;
	curve.step = rpo / curve.limit;
	for (unsigned row = rows; row-- > 0;) {
		if (row == rows - 1 && row != curve.limit)
			put_label(out, curve.step * rows);
		else if (row == curve.limit)
			put_label(out, rpo);
		else
			fprintf(out, "%*s", LABEL, "");
		put_row(out, &curve, row);
	}
	fprintf(out, "%*s+%u s ago%*s\n", LABEL, "lag ", curve.width,
	        (int)curve.width - snprintf(NULL, 0, "%u s ago", curve.width), "now");
}
