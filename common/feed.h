// SPDX-License-Identifier: Apache-2.0
// What the web page is fed with, as server-sent events: one of the last hour
// (history), then what is so now, again and again.
#ifndef STEAD_FEED_H
#define STEAD_FEED_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

struct feed;

// program tells which daemon it is, and must outlive the feed. NULL without
// memory.
struct feed *feed_new(const char *program);
void feed_free(struct feed *feed); // NULL: does nothing

// An event of the pairs, an array of status_json(), which go into the history,
// at clock_now() and the wall clock. Takes out of them what the page does not
// show, such as paths. The text is the caller's; NULL without memory.
char *feed_now(struct feed *feed, json_t *pairs, uint64_t now, int64_t wall, size_t *length);

// An event of the last hour. feed is a struct feed. For any thread; holds up
// feed_now() for no longer than one pair is copied. The text is the caller's;
// NULL without memory.
char *feed_history(void *feed, size_t *length);

#endif
