// SPDX-License-Identifier: Apache-2.0
// A small HTTP server on a thread of its own, which gives out what was
// published last: no client can hold up whoever publishes, and none sees half
// of anything. GET and HEAD only. On loopback it is asked by a name of this
// machine or not at all: else a page of any site, whose name resolves to
// loopback for a moment, could have a browser here read it.
#ifndef STEAD_HTTP_H
#define STEAD_HTTP_H

#include "error.h"
#include "net.h"

#include <stddef.h>

#define HTTP_CLIENTS_MAX 32 // at once; further ones wait, or are turned away
#define HTTP_IDLE_SECONDS 10 // then a client is hung up on
#define HTTP_DOCUMENTS_MAX 8
#define HTTP_STREAMS_MAX 8 // of the clients may be sent events; a further one is told to come later

struct http;

// What GET path streams (text/event-stream): first what greet() makes, on the
// server's thread, then the newest event, again and again. path must outlive
// the server.
struct http_events {
	const char *path;
	char *(*greet)(void *user, size_t *length); // NULL without memory
	void *user;
};

// address gets the real port. NULL with the reason.
struct http *http_start(struct net_address *address, const struct http_events *events, struct error *err);
void http_stop(struct http *http); // hangs up; NULL: does nothing

// What GET path answers from now on. accept: only where the client's Accept
// has this word; of the documents of one path the first that fits is given,
// NULL fits all. Texts other than body must outlive the server, and a document
// is known by their addresses. Takes the body over.
struct http_document {
	const char *path, *accept, *type;
	const char *policy; // Content-Security-Policy; NULL: none
};
void http_publish(struct http *http, const struct http_document *document, char *body, size_t length);

// An event whole, with the empty line at its end. Takes the body over.
void http_event(struct http *http, char *body, size_t length);

#endif
