// SPDX-License-Identifier: Apache-2.0
// The event stream of an HTTP server: each client is sent what was published
// last. Who is slow misses some; nobody holds up whoever publishes.
#ifndef STEAD_HTTP_STREAM_H
#define STEAD_HTTP_STREAM_H

#include "http.h"

#include <microhttpd.h>

struct http_stream;

struct http_stream *http_stream_new(const struct http_events *events); // NULL without memory

// Every answer under way ends: before the server is stopped.
void http_stream_end(struct http_stream *stream);
void http_stream_free(struct http_stream *stream); // after that; NULL: does nothing

// Takes the body over.
void http_stream_publish(struct http_stream *stream, char *body, size_t length);

// On the server's thread: the answer for one more client. NULL: there are
// HTTP_STREAMS_MAX, or no memory.
struct MHD_Response *http_stream_join(struct http_stream *stream, struct MHD_Connection *connection);

#endif
