// SPDX-License-Identifier: Apache-2.0
#include "exporter.h"
#include "feed.h"
#include "http.h"
#include "log.h"
#include "metrics.h"
#include "page.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

struct exporter {
	struct loop *loop;
	struct http *http;
	struct feed *feed;
	struct timer timer;
	json_t *(*status)(void *user);
	void *user;
};

// In the order of preference where a client takes either.
static struct http_document documents[METRICS_FORMATS] = {
        [0] = {.path = "/metrics", .accept = "application/openmetrics-text"},
        [1] = {.path = "/metrics"},
};
static const enum metrics_format formats[METRICS_FORMATS] = {METRICS_OPENMETRICS, METRICS_PROMETHEUS};

static const struct http_document page = {.path = "/", .type = "text/html; charset=utf-8", .policy = page_policy};

static void publish_metrics(struct exporter *exporter, json_t *pairs)
{
	for (unsigned i = 0; i < METRICS_FORMATS; i++) {
		size_t length;
		char *text = metrics_text(pairs, formats[i], &length);

		if (text)
			http_publish(exporter->http, &documents[i], text, length);
	}
}

static void publish(struct timer *timer)
{
	struct exporter *exporter = (struct exporter *)((char *)timer - offsetof(struct exporter, timer));
	struct clock *clock = loop_clock(exporter->loop);
	json_t *pairs = exporter->status(exporter->user);
	size_t length;
	char *event;

	if (pairs) {
		publish_metrics(exporter, pairs);
		event = feed_now(exporter->feed, pairs, clock_now(clock), clock_wall(clock), &length);
		if (event)
			http_event(exporter->http, event, length);
	}
	json_decref(pairs);
	clock_set(clock, timer, clock_now(clock) + NSEC_PER_SEC);
}

static int start(struct exporter *exporter, const char *program, struct net_address *address, struct error *err)
{
	char *text = strdup(page_text);
	struct http_events events = {.path = "/events", .greet = feed_history};

	exporter->feed = events.user = feed_new(program);
	if (!text || !exporter->feed) {
		free(text);
		return fail(err, ENOMEM, "serve metrics: out of memory");
	}
	exporter->http = http_start(address, &events, err);
	if (!exporter->http) {
		free(text);
		return -EIO;
	}
	for (unsigned i = 0; i < METRICS_FORMATS; i++)
		documents[i].type = metrics_content_type(formats[i]);
	http_publish(exporter->http, &page, text, strlen(text));
	publish(&exporter->timer);
	return 0;
}

int exporter_new(struct loop *loop, const char *program, const char *address, json_t *(*status)(void *user), void *user,
                 struct exporter **exporter, struct error *err)
{
	char text[NET_ADDRESS_MAX];
	struct net_address parsed;
	struct error why;

	*exporter = NULL;
	if (!strcmp(address, "off"))
		return 0;
	if (net_parse(address, 0, &parsed, &why) < 0)
		return fail(err, EINVAL, "--metrics: %s, or off", why.text);
	*exporter = calloc(1, sizeof(**exporter));
	if (!*exporter)
		return fail(err, ENOMEM, "serve metrics: out of memory");
	**exporter = (struct exporter){.loop = loop, .timer = {.fire = publish}, .status = status, .user = user};
	if (start(*exporter, program, &parsed, &why) < 0) {
		log_event(LOG_LEVEL_WARNING, "metrics-off", "reason=%s", why.text);
		exporter_free(*exporter);
		*exporter = NULL;
		return 0;
	}
	net_format(&parsed, text);
	log_event(LOG_LEVEL_INFO, "metrics", "address=%s", text);
	return 0;
}

void exporter_free(struct exporter *exporter)
{
	if (!exporter)
		return;
	clock_cancel(loop_clock(exporter->loop), &exporter->timer);
	http_stop(exporter->http);
	feed_free(exporter->feed);
	free(exporter);
}
