// SPDX-License-Identifier: Apache-2.0
// One line an event on stderr: time (unless journald adds it), level, event
// name, then key=value. Where stderr is journald's, each pair is a field of its
// own as well. Thread-safe: a line is one write().
#ifndef STEAD_LOG_H
#define STEAD_LOG_H

#include <stdarg.h>
#include <stddef.h>

enum log_level {
	LOG_LEVEL_ERROR, // somebody must act
	LOG_LEVEL_WARNING, // somebody should know
	LOG_LEVEL_INFO,
};

#define LOG_LINE_MAX 2048 // longer lines are cut

// event is a word or words-with-dashes. format is key=VALUE pairs separated by
// single spaces, "pair=%s epoch=%" PRIu64 " reason=%s": a value that came out
// with spaces, quotes or control characters, or empty, is quoted and escaped
// as in JSON, so texts of any origin may be given. NULL or "": no pairs.
// Conversions: d i u x X o c s f g % with the usual flags, widths and lengths.
void log_event(enum log_level level, const char *event, const char *format, ...) __attribute__((format(printf, 3, 4)));

// The pairs alone, as log_event() writes them; returns the length, less than
// size. For tests.
size_t log_format(char *out, size_t size, const char *format, va_list args) __attribute__((format(printf, 3, 0)));

// Each pair, as it would be written: key is length bytes long, value NULL where
// there is only a key, and not escaped.
typedef void log_pair(void *user, const char *key, size_t length, const char *value);
void log_pairs(const char *format, va_list args, log_pair *pair, void *user) __attribute__((format(printf, 1, 0)));

#endif
