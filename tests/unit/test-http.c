// SPDX-License-Identifier: Apache-2.0
// The HTTP port gives out what was published last and whole, whatever clients
// do, and takes no more of them than it says.
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

static struct http *http;
static struct net_address address;

static int begin(void **state)
{
	struct error err;

	(void)state;
	assert_int_equal(net_parse("127.0.0.1:0", 0, &address, &err), 0);
	http = http_start(&address, &err);
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

	dprintf(fd, "%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n%s\r\n", method, path, header);
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

static void a_port_that_is_taken_is_told(void **state)
{
	struct net_address same = address;
	struct error err;

	(void)state;
	assert_null(http_start(&same, &err));
	assert_non_null(strstr(err.text, "another program uses the port"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(documents_are_chosen_by_path_and_accept, begin, end),
	        cmocka_unit_test_setup_teardown(nobody_reads_half_of_it, begin, end),
	        cmocka_unit_test_setup_teardown(clients_that_say_nothing_hold_nobody_up, begin, end),
	        cmocka_unit_test_setup_teardown(a_port_that_is_taken_is_told, begin, end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
