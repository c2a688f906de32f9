// SPDX-License-Identifier: Apache-2.0
// The text of an error is made once, where the cause is known, and carried up
// beside the -errno that says what kind it is.
#ifndef STEAD_ERROR_H
#define STEAD_ERROR_H

struct error {
	char text[400]; // one line, lower case, no full stop: operation, object, cause, what is right
};

// Formats the text and returns -errnum. err may be NULL.
int fail(struct error *err, int errnum, const char *format, ...) __attribute__((format(printf, 3, 4)));

#endif
