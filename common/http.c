// SPDX-License-Identifier: Apache-2.0
#include "http.h"

#include <errno.h>
#include <microhttpd.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CLIENT_MEMORY (16 << 10) // of requests; no document is limited by it

struct slot {
	const struct http_document *document;
	struct MHD_Response *response; // counts its users by itself
};

struct http {
	struct MHD_Daemon *daemon;
	pthread_mutex_t mutex; // of the slots
	struct slot slots[HTTP_DOCUMENTS_MAX];
	unsigned slot_count;
};

static enum MHD_Result answer_text(struct MHD_Connection *connection, unsigned status, const char *text)
{
	struct MHD_Response *response =
	        MHD_create_response_from_buffer(strlen(text), (void *)text, MHD_RESPMEM_PERSISTENT);
	enum MHD_Result result;

	if (!response)
		return MHD_NO;
	(void)MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, "text/plain; charset=utf-8");
	if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
		(void)MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
	result = MHD_queue_response(connection, status, response);
	MHD_destroy_response(response);
	return result;
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

// On the server's thread. The first call for a request has only its header.
static enum MHD_Result answer(void *user, struct MHD_Connection *connection, const char *url, const char *method,
                              const char *version, const char *upload, size_t *upload_size, void **context)
{
	static int seen;
	struct http *http = user;
	enum MHD_Result result;
	struct slot *slot;

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
	pthread_mutex_lock(&http->mutex);
	slot = find(http, url, MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_ACCEPT));
	result = slot ? MHD_queue_response(connection, MHD_HTTP_OK, slot->response) : MHD_NO;
	pthread_mutex_unlock(&http->mutex);
	return slot ? result : answer_text(connection, MHD_HTTP_NOT_FOUND, "not here; there is /metrics\n");
}

static int start(struct http *http, int fd, struct error *err)
{
	http->daemon =
	        MHD_start_daemon(MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_POLL | MHD_USE_ITC, 0, NULL, NULL, answer,
	                         http, MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT,
	                         (unsigned)HTTP_CLIENTS_MAX, MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)HTTP_IDLE_SECONDS,
	                         MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CLIENT_MEMORY, MHD_OPTION_END);
	return http->daemon ? 0 : fail(err, EIO, "serve HTTP: the server does not start");
}

struct http *http_start(struct net_address *address, struct error *err)
{
	struct http *http = calloc(1, sizeof(*http));
	int fd;

	if (!http) {
		fail(err, ENOMEM, "serve HTTP: out of memory");
		return NULL;
	}
	pthread_mutex_init(&http->mutex, NULL);
	fd = net_listen(address, err);
	if (fd >= 0 && start(http, fd, err) == 0) {
		address->port = net_local_port(fd);
		return http;
	}
	if (fd >= 0)
		close(fd);
	pthread_mutex_destroy(&http->mutex);
	free(http);
	return NULL;
}

void http_stop(struct http *http)
{
	if (!http)
		return;
	MHD_stop_daemon(http->daemon); // closes the socket and ends its thread
	for (unsigned i = 0; i < http->slot_count; i++)
		MHD_destroy_response(http->slots[i].response);
	pthread_mutex_destroy(&http->mutex);
	free(http);
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
	(void)MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, document->type);
	(void)MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
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
