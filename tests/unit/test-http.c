// SPDX-License-Identifier: Apache-2.0
// The HTTP port gives out what was published last and whole, whatever clients
// do, takes no more of them than it says, and answers to its own name only.
#include "common/http.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static const struct http_document any = {"/metrics", NULL, "text/plain"};
static const struct http_document special = {"/metrics", "special/text", "special/text"};
static const struct http_document page = {"/", NULL, "text/html", "default-src 'none'"};

static char *greet(void *user, size_t *length)
{
	*length = strlen(user);
	return strdup(user);
}

static const struct http_events events = {"/events", greet, "greeting;"};

static struct http *http;
static struct net_address address;

static int begin(void **state)
{
	struct error err;

	assert_int_equal(net_parse(*state ? *state : "127.0.0.1:0", 0, &address, &err), 0);
	http = http_start(&address, &events, &err);
	assert_non_null(http);
	assert_int_not_equal(address.port, 0);
	return 0;
}

static int end(void **state)
{
	(void)state;
	http_stop(http);
	return 0;
}

static void publish(const struct http_document *document, char letter, size_t length)
{
	char *body = malloc(length);

	assert_non_null(body);
	memset(body, letter, length);
	http_publish(http, document, body, length);
}

static int dial(void)
{
	struct sockaddr_in to = {
	        .sin_family = AF_INET, .sin_port = htons(address.port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
	return fd;
}

static char reply[1 << 20];

// The body of the answer, which begins with the status.
static const char *ask(const char *method, const char *path, const char *header, const char *status)
{
	int fd = dial();
	size_t length = 0;
	ssize_t got;
	char *body;

	dprintf(fd, "%s %s HTTP/1.1\r\n%sConnection: close\r\n%s\r\n", method, path,
	        strstr(header, "Host:") ? "" : "Host: localhost\r\n", header);
	while ((got = read(fd, reply + length, sizeof(reply) - 1 - length)) > 0)
		length += (size_t)got;
	close(fd);
	reply[length] = 0;
	assert_int_equal(strncmp(reply, status, strlen(status)), 0);
	body = strstr(reply, "\r\n\r\n");
	assert_non_null(body);
	return body + 4;
}

static void documents_are_chosen_by_path_and_accept(void **state)
{
	(void)state;
	ask("GET", "/metrics", "", "HTTP/1.1 404");
	publish(&special, 's', 3);
	publish(&any, 'a', 3);
	assert_string_equal(ask("GET", "/metrics", "", "HTTP/1.1 200"), "aaa");
	assert_string_equal(ask("GET", "/metrics", "Accept: x/y,special/text;q=1\r\n", "HTTP/1.1 200"), "sss");
	assert_non_null(strstr(reply, "Content-Type: special/text\r\n"));
	assert_string_equal(ask("HEAD", "/metrics", "", "HTTP/1.1 200"), "");
	publish(&any, 'b', 2);
	assert_string_equal(ask("GET", "/metrics?x=y", "", "HTTP/1.1 200"), "bb");
	ask("GET", "/metrics/", "", "HTTP/1.1 404");
	ask("POST", "/metrics", "Content-Length: 0\r\n", "HTTP/1.1 405");
}

static atomic_bool over;

static void *publish_on(void *unused)
{
	(void)unused;
	for (unsigned i = 0; !atomic_load(&over); i++)
		publish(&any, (char)('a' + i % 26), 100000 + i % 1000);
	return NULL;
}

static void nobody_reads_half_of_it(void **state)
{
	pthread_t thread;

	(void)state;
	publish(&any, 'a', 100000);
	atomic_store(&over, false);
	assert_int_equal(pthread_create(&thread, NULL, publish_on, NULL), 0);
	for (unsigned i = 0; i < 100; i++) {
		const char *body = ask("GET", "/metrics", "", "HTTP/1.1 200");
		size_t length = strlen(body);

		assert_true(length >= 100000);
		for (size_t j = 0; j < length; j++)
			assert_int_equal(body[j], body[0]);
	}
	atomic_store(&over, true);
	pthread_join(thread, NULL);
}

// However many there are: who publishes does not wait, and who asks is served
// once they are gone.
static void clients_that_say_nothing_hold_nobody_up(void **state)
{
	int fds[3 * HTTP_CLIENTS_MAX];

	(void)state;
	publish(&any, 'a', 1);
	for (unsigned i = 0; i < 3 * HTTP_CLIENTS_MAX; i++) {
		fds[i] = dial();
		dprintf(fds[i], "GET /met");
	}
	for (unsigned i = 0; i < 1000; i++)
		publish(&any, 'b', 1);
	for (unsigned i = 0; i < 3 * HTTP_CLIENTS_MAX; i++)
		close(fds[i]);
	assert_string_equal(ask("GET", "/metrics", "", "HTTP/1.1 200"), "b");
}

static void every_answer_is_for_this_site_only(void **state)
{
	(void)state;
	publish(&any, 'a', 3);
	publish(&page, 'p', 3);
	ask("GET", "/metrics", "", "HTTP/1.1 200");
	assert_non_null(strstr(reply, "X-Content-Type-Options: nosniff\r\n"));
	assert_non_null(strstr(reply, "Cross-Origin-Resource-Policy: same-origin\r\n"));
	assert_null(strstr(reply, "Content-Security-Policy"));
	assert_string_equal(ask("GET", "/", "", "HTTP/1.1 200"), "ppp");
	assert_non_null(strstr(reply, "Content-Security-Policy: default-src 'none'\r\n"));
	assert_non_null(strstr(reply, "Cache-Control: no-store\r\n"));
	ask("GET", "/none", "", "HTTP/1.1 404");
	assert_non_null(strstr(reply, "X-Content-Type-Options: nosniff\r\n"));
	assert_null(strstr(reply, "Access-Control-Allow-Origin"));
}

static void on_loopback_it_is_asked_by_its_own_name(void **state)
{
	static const char *const ours[] = {"localhost",    "LOCALHOST:7421", "127.0.0.1",
	                                   "127.3.2.1:80", "[::1]:7421",     "[::ffff:127.0.0.1]"};
	static const char *const others[] = {"x",
	                                     "evil.example:7421",
	                                     "127.0.0.1.evil.example",
	                                     "192.0.2.1",
	                                     "localhost.evil.example",
	                                     "[2001:db8::1]:7421",
	                                     "::1",
	                                     "[::1",
	                                     "",
	                                     "localhost:x",
	                                     "127.0.0.1@evil.example",
	                                     "*"};
	char header[80];

	(void)state;
	publish(&any, 'a', 3);
	for (unsigned i = 0; i < sizeof(ours) / sizeof(ours[0]); i++) {
		snprintf(header, sizeof(header), "Host: %s\r\n", ours[i]);
		ask("GET", "/metrics", header, "HTTP/1.1 200");
	}
	for (unsigned i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		snprintf(header, sizeof(header), "Host: %s\r\n", others[i]);
		assert_null(strstr(ask("GET", "/metrics", header, "HTTP/1.1 421"), "aaa"));
		ask("GET", "/events", header, "HTTP/1.1 421");
	}
}

static void elsewhere_it_is_asked_by_any_name(void **state)
{
	(void)state;
	publish(&any, 'a', 3);
	assert_string_equal(ask("GET", "/metrics", "Host: node.example:7421\r\n", "HTTP/1.1 200"), "aaa");
}

static void event(const char *text)
{
	http_event(http, strdup(text), strlen(text));
}

// The text of a stream up to and with these words, of which the first has not
// come yet.
static void await_words(int fd, const char *words)
{
	static char text[1 << 16];
	size_t length = 0;

	text[0] = 0;
	while (!strstr(text, words)) {
		assert_true(length < sizeof(text) - 1);
		assert_int_equal(read(fd, text + length, 1), 1);
		text[++length] = 0;
	}
}

static int listen_to_events(const char *status)
{
	int fd = dial();

	dprintf(fd, "GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n");
	await_words(fd, status);
	return fd;
}

static void events_follow_the_greeting(void **state)
{
	int fd = listen_to_events("HTTP/1.1 200");

	(void)state;
	await_words(fd, "Content-Type: text/event-stream");
	await_words(fd, "greeting;");
	event("first;");
	await_words(fd, "first;");
	event("second;");
	await_words(fd, "second;");
	close(fd);
	fd = listen_to_events("HTTP/1.1 200");
	await_words(fd, "greeting;");
	await_words(fd, "second;");
	close(fd);
	ask("HEAD", "/events", "", "HTTP/1.1 200");
	ask("GET", "/events", "Sec-Fetch-Site: cross-site\r\n", "HTTP/1.1 403");
}

static void refused_for_now(int fd)
{
	await_words(fd, "come again later");
	close(fd);
}

static void only_so_many_are_sent_events(void **state)
{
	int fds[HTTP_STREAMS_MAX], fd;

	(void)state;
	publish(&any, 'a', 3);
	for (unsigned i = 0; i < HTTP_STREAMS_MAX; i++)
		fds[i] = listen_to_events("HTTP/1.1 200");
	refused_for_now(listen_to_events("HTTP/1.1 503"));
	assert_string_equal(ask("GET", "/metrics", "", "HTTP/1.1 200"), "aaa");
	for (unsigned i = 0; i < HTTP_STREAMS_MAX; i++) {
		event("event;");
		await_words(fds[i], "event;");
	}
	close(fds[0]);
	// That it is gone is found out when it is sent something.
	do {
		char answer[16] = "";

		event("again;");
		event("again;");
		fd = dial();
		dprintf(fd, "GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n");
		assert_int_equal(recv(fd, answer, 12, MSG_WAITALL), 12);
		if (!strcmp(answer, "HTTP/1.1 200"))
			break;
		refused_for_now(fd);
	} while (true);
	await_words(fd, "greeting;");
	close(fd);
	for (unsigned i = 1; i < HTTP_STREAMS_MAX; i++)
		close(fds[i]);
}

// Who does not read misses events, each of which comes whole.
static void a_slow_reader_gets_what_is_new(void **state)
{
	int fd = listen_to_events("HTTP/1.1 200");
	size_t length = 100000;

	(void)state;
	for (unsigned i = 0; i < 1000; i++) {
		char *body = malloc(length);

		assert_non_null(body);
		memset(body, 'A' + (int)(i % 26), length);
		memcpy(body, "<", 1);
		memcpy(body + length - 1, ">", 1);
		http_event(http, body, length);
	}
	event("last;");
	await_words(fd, "greeting;");
	// No more than a few of them were on their way.
	for (unsigned got = 0; got < 100; got++) {
		char next;

		do
			assert_int_equal(read(fd, &next, 1), 1);
		while (next != '<' && next != 'l');
		if (next == 'l')
			break;
		assert_true(got < 99);
	}
	await_words(fd, "ast;");
	close(fd);
}

// Every stream comes to its end.
static void stop_and_drain(int *fds, void **state)
{
	http_stop(http);
	for (unsigned i = 0; i < HTTP_STREAMS_MAX; i++) {
		while (read(fds[i], reply, sizeof(reply)) > 0)
			;
		close(fds[i]);
	}
	begin(state);
}

// In the middle of an event, with some that read nothing of it.
static void it_stops_with_streams_open(void **state)
{
	size_t length = 8 << 20;
	char *body = malloc(length);
	int fds[HTTP_STREAMS_MAX];

	assert_non_null(body);
	memset(body, 'x', length);
	for (unsigned i = 0; i < HTTP_STREAMS_MAX; i++)
		fds[i] = listen_to_events("HTTP/1.1 200");
	for (unsigned i = 1; i < HTTP_STREAMS_MAX; i++)
		await_words(fds[i], "greeting;");
	http_event(http, body, length);
	for (unsigned i = 1; i < HTTP_STREAMS_MAX / 2; i++)
		await_words(fds[i], "xxx");
	stop_and_drain(fds, state);
}

static void it_stops_while_streams_wait(void **state)
{
	int fds[HTTP_STREAMS_MAX];

	for (unsigned i = 0; i < HTTP_STREAMS_MAX; i++) {
		fds[i] = listen_to_events("HTTP/1.1 200");
		await_words(fds[i], "greeting;");
	}
	stop_and_drain(fds, state);
}

static void a_port_that_is_taken_is_told(void **state)
{
	struct net_address same = address;
	struct error err;

	(void)state;
	assert_null(http_start(&same, &events, &err));
	assert_non_null(strstr(err.text, "another program uses the port"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(documents_are_chosen_by_path_and_accept, begin, end),
	        cmocka_unit_test_setup_teardown(nobody_reads_half_of_it, begin, end),
	        cmocka_unit_test_setup_teardown(clients_that_say_nothing_hold_nobody_up, begin, end),
	        cmocka_unit_test_setup_teardown(every_answer_is_for_this_site_only, begin, end),
	        cmocka_unit_test_setup_teardown(on_loopback_it_is_asked_by_its_own_name, begin, end),
	        cmocka_unit_test_prestate_setup_teardown(elsewhere_it_is_asked_by_any_name, begin, end, "0.0.0.0:0"),
	        cmocka_unit_test_setup_teardown(events_follow_the_greeting, begin, end),
	        cmocka_unit_test_setup_teardown(only_so_many_are_sent_events, begin, end),
	        cmocka_unit_test_setup_teardown(a_slow_reader_gets_what_is_new, begin, end),
	        cmocka_unit_test_setup_teardown(it_stops_with_streams_open, begin, end),
	        cmocka_unit_test_setup_teardown(it_stops_while_streams_wait, begin, end),
	        cmocka_unit_test_setup_teardown(a_port_that_is_taken_is_told, begin, end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
