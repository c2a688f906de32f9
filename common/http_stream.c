// SPDX-License-Identifier: Apache-2.0
#include "http_stream.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define PIECE (8 << 10)

struct text {
	unsigned users;
	size_t length;
	char *bytes;
};

struct client {
	struct http_stream *stream;
	struct MHD_Connection *connection; // NULL: nobody
	struct text *text; // on its way
	size_t sent; // of it
	uint64_t number; // of the event that it was given last
	bool waits; // suspended, until there is a newer one
};

struct http_stream {
	struct http_events events;
	pthread_mutex_t mutex; // of all below, but not of a client's text once it is given
	struct text *newest;
	uint64_t number; // its own
	bool ended;
	struct client clients[HTTP_STREAMS_MAX];
};

// NULL without memory; the bytes are gone in either case.
static struct text *text_new(char *bytes, size_t length)
{
	struct text *text = bytes ? malloc(sizeof(*text)) : NULL;

	if (text)
		*text = (struct text){.users = 1, .length = length, .bytes = bytes};
	else
		free(bytes);
	return text;
}

static void text_drop(struct text *text)
{
	if (!text || --text->users > 0)
		return;
	free(text->bytes);
	free(text);
}

struct http_stream *http_stream_new(const struct http_events *events)
{
	struct http_stream *stream = calloc(1, sizeof(*stream));

	if (!stream)
		return NULL;
	stream->events = *events;
	pthread_mutex_init(&stream->mutex, NULL);
	return stream;
}

void http_stream_free(struct http_stream *stream)
{
	if (!stream)
		return;
	text_drop(stream->newest);
	pthread_mutex_destroy(&stream->mutex);
	free(stream);
}

// Who waits has something to be given now. A suspended connection stays until
// it is resumed, so that needs no lock.
static void wake(struct http_stream *stream)
{
	struct MHD_Connection *waiting[HTTP_STREAMS_MAX];
	unsigned count = 0;

	pthread_mutex_lock(&stream->mutex);
	for (unsigned i = 0; i < HTTP_STREAMS_MAX; i++) {
		if (!stream->clients[i].waits)
			continue;
		stream->clients[i].waits = false;
		waiting[count++] = stream->clients[i].connection;
	}
	pthread_mutex_unlock(&stream->mutex);
	for (unsigned i = 0; i < count; i++)
		MHD_resume_connection(waiting[i]);
}

void http_stream_end(struct http_stream *stream)
{
	pthread_mutex_lock(&stream->mutex);
	stream->ended = true;
	pthread_mutex_unlock(&stream->mutex);
	wake(stream);
}

void http_stream_publish(struct http_stream *stream, char *body, size_t length)
{
	struct text *text = text_new(body, length);

	if (!text)
		return;
	pthread_mutex_lock(&stream->mutex);
	text_drop(stream->newest);
	stream->newest = text;
	stream->number++;
	pthread_mutex_unlock(&stream->mutex);
	wake(stream);
}

// The text that the client is to be sent now, NULL: none.
static struct text *next_text(struct client *client)
{
	struct http_stream *stream = client->stream;

	if (!client->text && client->number < stream->number) {
		client->text = stream->newest;
		client->text->users++;
		client->number = stream->number;
		client->sent = 0;
	}
	return client->text;
}

// MHD asks again and again while it is told of nothing: the connection waits
// for wake().
static void await(struct client *client)
{
	struct http_stream *stream = client->stream;
	bool idle;

	MHD_suspend_connection(client->connection);
	pthread_mutex_lock(&stream->mutex);
	idle = !stream->ended && !next_text(client);
	client->waits = idle;
	pthread_mutex_unlock(&stream->mutex);
	if (!idle)
		MHD_resume_connection(client->connection);
}

static ssize_t give(void *user, uint64_t position, char *buffer, size_t room)
{
	struct client *client = user;
	struct http_stream *stream = client->stream;
	struct text *text;
	size_t length;
	bool ended;

	(void)position;
	pthread_mutex_lock(&stream->mutex);
	ended = stream->ended;
	text = next_text(client);
	pthread_mutex_unlock(&stream->mutex);
	if (ended)
		return MHD_CONTENT_READER_END_OF_STREAM;
	if (!text) {
		await(client);
		return 0;
	}
	length = text->length - client->sent < room ? text->length - client->sent : room;
	memcpy(buffer, text->bytes + client->sent, length);
	client->sent += length;
	if (client->sent == text->length) {
		pthread_mutex_lock(&stream->mutex);
		text_drop(text);
		client->text = NULL;
		pthread_mutex_unlock(&stream->mutex);
	}
	return (ssize_t)length;
}

static void leave(void *user)
{
	struct client *client = user;
	struct http_stream *stream = client->stream;

	pthread_mutex_lock(&stream->mutex);
	text_drop(client->text);
	*client = (struct client){.stream = NULL};
	pthread_mutex_unlock(&stream->mutex);
}

static struct client *free_place(struct http_stream *stream)
{
	for (unsigned i = 0; i < HTTP_STREAMS_MAX; i++)
		if (!stream->clients[i].connection)
			return &stream->clients[i];
	return NULL;
}

struct MHD_Response *http_stream_join(struct http_stream *stream, struct MHD_Connection *connection)
{
	struct MHD_Response *response;
	struct client *client;
	struct text *greeting;
	size_t length;
	char *bytes;

	// Only this thread lets clients in.
	pthread_mutex_lock(&stream->mutex);
	client = free_place(stream);
	pthread_mutex_unlock(&stream->mutex);
	if (!client)
		return NULL;
	bytes = stream->events.greet(stream->events.user, &length);
	greeting = text_new(bytes, length);
	if (!greeting)
		return NULL;
	pthread_mutex_lock(&stream->mutex);
	*client = (struct client){.stream = stream, .connection = connection, .text = greeting};
	pthread_mutex_unlock(&stream->mutex);
	response = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, PIECE, give, client, leave);
	if (!response)
		leave(client);
	return response;
}
