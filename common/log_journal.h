// SPDX-License-Identifier: Apache-2.0
// Events for journald with their pairs as fields: STEAD_EVENT, and STEAD_PAIR
// for pair= and so on. https://systemd.io/JOURNAL_NATIVE_PROTOCOL
#ifndef STEAD_LOG_JOURNAL_H
#define STEAD_LOG_JOURNAL_H

#include "log.h"

#include <stdbool.h>

#define JOURNAL_ENTRY_MAX (3 * LOG_LINE_MAX) // bytes; fields that do not fit are left out

extern const int log_priorities[]; // by level

// False: it does not take them now, and the line has to go to stderr.
bool journal_send(enum log_level level, const char *event, const char *format, va_list args)
        __attribute__((format(printf, 3, 0)));

// What is sent; returns its length. For tests.
size_t journal_entry(char *out, size_t size, enum log_level level, const char *event, const char *format, va_list args)
        __attribute__((format(printf, 5, 0)));

#endif
