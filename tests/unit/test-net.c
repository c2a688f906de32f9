// SPDX-License-Identifier: Apache-2.0
#include "common/net.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static void assert_parsed(const char *text, const char *host, unsigned port, const char *formatted)
{
	struct net_address address;
	struct error err = {""};
	char back[NET_ADDRESS_MAX];

	if (net_parse(text, 7420, &address, &err))
		fail_msg("%s: %s", text, err.text);
	assert_string_equal(address.host, host);
	assert_int_equal(address.port, port);
	net_format(&address, back);
	assert_string_equal(back, formatted);
}

static void assert_bad(const char *text, uint16_t default_port)
{
	struct net_address address;
	struct error err = {""};

	if (net_parse(text, default_port, &address, &err) != -EINVAL)
		fail_msg("%s was accepted", text);
	assert_non_null(strstr(err.text, "bad address"));
	assert_null(strchr(err.text, '\n'));
}

static void test_parse(void **state)
{
	(void)state;
	assert_parsed("host", "host", 7420, "host:7420");
	assert_parsed("host:1", "host", 1, "host:1");
	assert_parsed("10.0.0.1:65535", "10.0.0.1", 65535, "10.0.0.1:65535");
	assert_parsed("[::1]:7421", "::1", 7421, "[::1]:7421");
	assert_parsed("[fe80::1%eth0]", "fe80::1%eth0", 7420, "[fe80::1%eth0]:7420");
	assert_parsed("[::]:7420", "::", 7420, "[::]:7420");
	assert_parsed("*:5", "::", 5, "[::]:5");
	assert_parsed(":5", "::", 5, "[::]:5");
	assert_parsed("host:0", "host", 0, "host:0");
}

static void test_bad(void **state)
{
	static const char *const bad[] = {
	        "",        "[",          "[]:1",          "[]",      "[::1",    "[::1]7420", "::1",    "a:b:c",
	        "host:",   "host:65536", "host:-1",       "host:+1", "host: 1", "host:1 ",   "host:x", "host:01",
	        "ho st:1", "ho\nst",     "host:99999999", "a/b:1",   "[::1]:",  "a[b]:1",
	};
	char long_host[400];

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_bad(bad[i], 7420);
	assert_bad("host", 0);
	assert_bad("[::1]", 0);
	memset(long_host, 'a', sizeof(long_host));
	long_host[sizeof(long_host) - 1] = '\0';
	assert_bad(long_host, 7420);
	strcpy(long_host + 254, ":1");
	assert_bad(long_host, 7420);
}

static void test_listen(void **state)
{
	struct net_address address;
	struct error err = {""};
	char text[NET_ADDRESS_MAX];
	int fd, again;

	(void)state;
	assert_int_equal(net_parse("127.0.0.1:0", 0, &address, &err), 0);
	fd = net_listen(&address, &err);
	assert_true(fd >= 0);
	address.port = net_local_port(fd);
	assert_int_not_equal(address.port, 0);

	again = net_listen(&address, &err);
	assert_int_equal(again, -EADDRINUSE);
	net_format(&address, text);
	assert_non_null(strstr(err.text, text));
	assert_non_null(strstr(err.text, "another program"));
	close(fd);

	assert_int_equal(net_parse("192.0.2.77:7420", 0, &address, &err), 0); // for documentation only
	assert_int_equal(net_listen(&address, &err), -EADDRNOTAVAIL);
	assert_non_null(strstr(err.text, "no such address"));

	assert_int_equal(net_parse("no-such-host.invalid:7420", 0, &address, &err), 0);
	assert_true(net_listen(&address, &err) < 0);
	assert_non_null(strstr(err.text, "no-such-host.invalid"));
}

// The default address takes both families.
static void test_dual_stack(void **state)
{
	struct net_address address = {.host = "::", .port = 0};
	struct net_candidate candidates[4];
	struct error err = {""};
	char peer[NET_PEER_MAX], expected[NET_PEER_MAX];
	unsigned count;
	int listener, client, server;

	(void)state;
	listener = net_listen(&address, &err);
	assert_true(listener >= 0);
	strcpy(address.host, "127.0.0.1");
	address.port = net_local_port(listener);
	assert_int_equal(net_resolve(&address, candidates, 4, &count, &err), 0);
	assert_int_equal(count, 1);
	net_text((struct sockaddr *)&candidates[0].address, candidates[0].length, peer);
	snprintf(expected, sizeof(expected), "127.0.0.1:%u", address.port);
	assert_string_equal(peer, expected);

	client = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(connect(client, (struct sockaddr *)&candidates[0].address, candidates[0].length), 0);
	server = accept(listener, NULL, NULL);
	assert_true(server >= 0);
	net_tune(server);
	net_peer(server, peer);
	snprintf(expected, sizeof(expected), "127.0.0.1:%u", net_local_port(client));
	assert_string_equal(peer, expected);
	close(client);
	close(server);
	close(listener);

	address.port = 0;
	assert_int_equal(net_resolve(&address, candidates, 4, &count, &err), -EINVAL);
	strcpy(address.host, "no-such-host.invalid");
	address.port = 1;
	assert_int_not_equal(net_resolve(&address, candidates, 4, &count, &err), 0);
	assert_non_null(strstr(err.text, "resolve no-such-host.invalid:1"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_parse),
	        cmocka_unit_test(test_bad),
	        cmocka_unit_test(test_listen),
	        cmocka_unit_test(test_dual_stack),
	};

	return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
