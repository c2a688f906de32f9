// SPDX-License-Identifier: Apache-2.0
// Sizes and times as people write and read them. The functions that make text
// write at most size bytes, UNITS_TEXT_MAX is always enough; all return text.
#ifndef STEAD_UNITS_H
#define STEAD_UNITS_H

#include <stddef.h>
#include <stdint.h>

#define UNITS_TEXT_MAX 32

// "4096", "64K", "10G": K M G T are powers of 1024. 0, -EINVAL when it is no
// size, -ERANGE when it is 2^63 bytes or more; what it belongs to, and what
// would be right there, is for the caller to say.
int parse_size(const char *text, uint64_t *bytes);

// "500ms", "5s", "1m", "1h", "7d" in nanoseconds; only "0" needs no unit.
// Likewise.
int parse_duration(const char *text, uint64_t *ns);

// What the parse functions read back as the same value: "64K", "1500ms". A part
// of a duration below a millisecond is left out.
char *format_size(uint64_t bytes, char *text, size_t size);
char *format_duration(uint64_t ns, char *text, size_t size);

// For people: "512 B", "1.5 GiB"; "41 ms", "0.8 s", "2 min 5 s", "5 d 1 h".
char *human_size(uint64_t bytes, char *text, size_t size);
char *human_duration(uint64_t ns, char *text, size_t size);

#endif
