// SPDX-License-Identifier: Apache-2.0
#include "http.h"
#include "http_stream.h"

#include <errno.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define CLIENT_MEMORY (16 << 10) // of requests; no document is limited by it
#define SEND_BUFFER (64 << 10) // what a slow reader gets late

struct slot {
	const struct http_document *document;
	struct MHD_Response *response; // counts its users by itself
};

struct http {
	struct MHD_Daemon *daemon;
	char name[sizeof(((struct net_address *)NULL)->host)]; // as configured
	bool loopback;
	const char *events; // path
	struct http_stream *stream;
	pthread_mutex_t mutex; // of the slots
	struct slot slots[HTTP_DOCUMENTS_MAX];
	unsigned slot_count;
};

static void add(struct MHD_Response *response, const char *name, const char *value)
{
	(void)MHD_add_response_header(response, name, value);
}

// Whatever it is: no other site may embed it, and no browser guess what it is.
static void add_headers(struct MHD_Response *response, const char *type)
{
	add(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
	add(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
	add(response, "X-Content-Type-Options", "nosniff");
	add(response, "Cross-Origin-Resource-Policy", "same-origin");
}

// Takes the response over.
static enum MHD_Result queue(struct MHD_Connection *connection, unsigned status, struct MHD_Response *response)
{
	enum MHD_Result result = MHD_queue_response(connection, status, response);

	MHD_destroy_response(response);
	return result;
}

static enum MHD_Result answer_text(struct MHD_Connection *connection, unsigned status, const char *text)
{
	struct MHD_Response *response =
	        MHD_create_response_from_buffer(strlen(text), (void *)text, MHD_RESPMEM_PERSISTENT);

	if (!response)
		return MHD_NO;
	add_headers(response, "text/plain; charset=utf-8");
	if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
		add(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
	return queue(connection, status, response);
}

static const char *header(struct MHD_Connection *connection, const char *name)
{
	return MHD_lookup_connection_value(connection, MHD_HEADER_KIND, name);
}

// Whether the client calls us by a name that is ours. None: no browser.
static bool names_us(const struct http *http, const char *host)
{
	struct net_address named;
	struct error err;

	if (!http->loopback || !host)
		return true;
	if (net_parse(host, 80, &named, &err) < 0)
		return false;
	return !strcasecmp(named.host, "localhost") || !strcasecmp(named.host, http->name) ||
	       net_host_is_loopback(named.host);
}

static struct slot *find(struct http *http, const char *path, const char *accept)
{
	for (unsigned i = 0; i < http->slot_count; i++) {
		const struct http_document *document = http->slots[i].document;

		if (!strcmp(document->path, path) &&
		    (!document->accept || (accept && strstr(accept, document->accept))))
			return &http->slots[i];
	}
	return NULL;
}

// Only for the page that is served here: the places are few.
static enum MHD_Result answer_events(struct http *http, struct MHD_Connection *connection)
{
	const char *site = header(connection, "Sec-Fetch-Site");
	struct MHD_Response *response;

	if (site && strcmp(site, "same-origin") != 0 && strcmp(site, "none") != 0)
		return answer_text(connection, MHD_HTTP_FORBIDDEN, "not for pages of other sites\n");
	response = http_stream_join(http->stream, connection);
	if (!response)
		return answer_text(connection, MHD_HTTP_SERVICE_UNAVAILABLE, "too many look at it; come again later\n");
	add_headers(response, "text/event-stream");
	return queue(connection, MHD_HTTP_OK, response);
}

static enum MHD_Result answer_document(struct http *http, struct MHD_Connection *connection, const char *path)
{
	enum MHD_Result result = MHD_NO;
	struct slot *slot;

	pthread_mutex_lock(&http->mutex);
	slot = find(http, path, header(connection, MHD_HTTP_HEADER_ACCEPT));
	if (slot)
		result = MHD_queue_response(connection, MHD_HTTP_OK, slot->response);
	pthread_mutex_unlock(&http->mutex);
	return slot ? result : answer_text(connection, MHD_HTTP_NOT_FOUND, "not here; there are / and /metrics\n");
}

// On the server's thread. The first call for a request has only its header.
static enum MHD_Result answer(void *user, struct MHD_Connection *connection, const char *url, const char *method,
                              const char *version, const char *upload, size_t *upload_size, void **context)
{
	static int seen;
	struct http *http = user;

	(void)version;
	(void)upload;
	if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0)
		return *upload_size ? MHD_NO
		                    : answer_text(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "only GET and HEAD\n");
	if (!*context) {
		*context = &seen;
		return MHD_YES;
	}
	if (*upload_size)
		return MHD_NO;
	if (!names_us(http, header(connection, MHD_HTTP_HEADER_HOST)))
		return answer_text(connection, MHD_HTTP_MISDIRECTED_REQUEST,
		                   "not the name of this machine; ask for localhost or 127.0.0.1\n");
	if (!strcmp(url, http->events))
		return answer_events(http, connection);
	return answer_document(http, connection, url);
}

// Handed down to each connection: who is gone without a word, or reads
// nothing, is hung up on, and what waits for a slow one is not old.
static void bound_clients(int fd)
{
	const unsigned timeout = HTTP_IDLE_SECONDS * 1000;
	const int buffer = SEND_BUFFER;

	(void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout, sizeof(timeout));
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof(buffer));
}

static int start(struct http *http, int fd, struct error *err)
{
	bound_clients(fd);
	http->loopback = net_local_is_loopback(fd);
	http->daemon =
	        MHD_start_daemon(MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_POLL | MHD_ALLOW_SUSPEND_RESUME, 0, NULL,
	                         NULL, answer, http, MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT,
	                         (unsigned)HTTP_CLIENTS_MAX, MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)HTTP_IDLE_SECONDS,
	                         MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CLIENT_MEMORY, MHD_OPTION_END);
	return http->daemon ? 0 : fail(err, EIO, "serve HTTP: the server does not start");
}

static void forget(struct http *http)
{
	http_stream_free(http->stream);
	pthread_mutex_destroy(&http->mutex);
	free(http);
}

struct http *http_start(struct net_address *address, const struct http_events *events, struct error *err)
{
	struct http *http = calloc(1, sizeof(*http));
	struct http_stream *stream = http_stream_new(events);
	int fd;

	if (!http || !stream) {
		free(http);
		http_stream_free(stream);
		fail(err, ENOMEM, "serve HTTP: out of memory");
		return NULL;
	}
	strcpy(http->name, address->host);
	http->events = events->path;
	http->stream = stream;
	pthread_mutex_init(&http->mutex, NULL);
	fd = net_listen(address, err);
	if (fd >= 0 && start(http, fd, err) == 0) {
		address->port = net_local_port(fd);
		return http;
	}
	if (fd >= 0)
		close(fd);
	forget(http);
	return NULL;
}

void http_stop(struct http *http)
{
	if (!http)
		return;
	http_stream_end(http->stream);
	MHD_stop_daemon(http->daemon); // closes the socket and ends its thread
	for (unsigned i = 0; i < http->slot_count; i++)
		MHD_destroy_response(http->slots[i].response);
	forget(http);
}

void http_publish(struct http *http, const struct http_document *document, char *body, size_t length)
{
	struct MHD_Response *response = MHD_create_response_from_buffer(length, body, MHD_RESPMEM_MUST_FREE),
	                    *old = NULL;
	unsigned i = 0;

	if (!response) {
		free(body);
		return;
	}
	add_headers(response, document->type);
	if (document->policy) {
		add(response, "Content-Security-Policy", document->policy);
		add(response, "Referrer-Policy", "no-referrer");
	}
	pthread_mutex_lock(&http->mutex);
	while (i < http->slot_count && http->slots[i].document != document)
		i++;
	if (i == HTTP_DOCUMENTS_MAX) {
		old = response;
	} else {
		old = i < http->slot_count ? http->slots[i].response : NULL;
		http->slots[i] = (struct slot){document, response};
		http->slot_count += i == http->slot_count;
	}
	pthread_mutex_unlock(&http->mutex);
	if (old)
		MHD_destroy_response(old);
}

void http_event(struct http *http, char *body, size_t length)
{
	http_stream_publish(http->stream, body, length);
}
