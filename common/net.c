// SPDX-License-Identifier: Apache-2.0
#include "net.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define BACKLOG 128

static int bad_address(struct error *err, const char *text, const char *cause)
{
	char shown[101] = "";

	for (size_t i = 0; text[i] && i < sizeof(shown) - 1; i++) {
		shown[i] = text[i];
		if (text[i] < ' ' || text[i] == 0x7f)
			shown[i] = '?'; // the message stays one line
	}
	return fail(err, EINVAL, "bad address \"%s\": %s; right is HOST:PORT or [IPV6]:PORT", shown, cause);
}

// Decimal without sign, blanks or leading zeroes.
static int parse_port(const char *text, uint16_t *port)
{
	unsigned long value = 0;
	size_t length = strlen(text);

	if (length == 0 || length > 5 || (length > 1 && text[0] == '0'))
		return -EINVAL;
	for (size_t i = 0; i < length; i++) {
		if (text[i] < '0' || text[i] > '9')
			return -EINVAL;
		value = value * 10 + (unsigned long)(text[i] - '0');
	}
	if (value > UINT16_MAX)
		return -EINVAL;
	*port = (uint16_t)value;
	return 0;
}

static bool host_valid(const char *host, size_t length)
{
	for (size_t i = 0; i < length; i++)
		if (host[i] <= ' ' || host[i] >= 0x7f || strchr("[]/\"'", host[i]))
			return false;
	return true;
}

int net_parse(const char *text, uint16_t default_port, struct net_address *address, struct error *err)
{
	const char *host = text, *port = NULL;
	size_t length;

	if (text[0] == '[') {
		const char *end = strchr(text, ']');

		if (!end || end == text + 1 || (end[1] && end[1] != ':'))
			return bad_address(err, text, "brackets without an address between them and :PORT after them");
		host = text + 1;
		length = (size_t)(end - host);
		port = end[1] ? end + 2 : NULL;
	} else {
		const char *colon = strchr(text, ':');

		if (colon && strchr(colon + 1, ':'))
			return bad_address(err, text, "an IPv6 address needs brackets");
		length = colon ? (size_t)(colon - text) : strlen(text);
		port = colon ? colon + 1 : NULL;
		if (!length && !colon)
			return bad_address(err, text, "it is empty");
	}
	if (length >= sizeof(address->host) || !host_valid(host, length))
		return bad_address(err, text, "no such host name");
	if (!port && !default_port)
		return bad_address(err, text, "no port");
	address->port = default_port;
	if (port && parse_port(port, &address->port))
		return bad_address(err, text, "the port is not a number from 1 to 65535");

	if (length == 0 || (length == 1 && host[0] == '*')) {
		strcpy(address->host, "::");
	} else {
		memcpy(address->host, host, length);
		address->host[length] = '\0';
	}
	return 0;
}

void net_format(const struct net_address *address, char text[NET_ADDRESS_MAX])
{
	bool brackets = strchr(address->host, ':') != NULL;

	snprintf(text, NET_ADDRESS_MAX, "%s%s%s:%u", brackets ? "[" : "", address->host, brackets ? "]" : "",
	         address->port);
}

static int resolve(const struct net_address *address, int flags, struct addrinfo **list, struct error *err)
{
	const struct addrinfo hints = {
	        .ai_family = AF_UNSPEC,
	        .ai_socktype = SOCK_STREAM,
	        .ai_flags = AI_NUMERICSERV | flags,
	};
	char port[8], text[NET_ADDRESS_MAX];
	int result;

	snprintf(port, sizeof(port), "%u", address->port);
	result = getaddrinfo(address->host, port, &hints, list);
	if (result == 0)
		return 0;
	net_format(address, text);
	if (result == EAI_SYSTEM)
		return fail(err, errno, "resolve %s: %s", text, strerror(errno));
	return fail(err, result == EAI_MEMORY ? ENOMEM : EHOSTUNREACH, "resolve %s: %s", text, gai_strerror(result));
}

static int listen_on(const struct addrinfo *info)
{
	const int on = 1, off = 0;
	int fd = socket(info->ai_family, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_TCP);
	int error;

	if (fd < 0)
		return -errno;
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (info->ai_family == AF_INET6)
		(void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
	if (bind(fd, info->ai_addr, info->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0)
		return fd;
	error = errno;
	close(fd);
	return -error;
}

// Every address of a machine without IPv6.
static int listen_ipv4(uint16_t port)
{
	struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_ANY)};
	const struct addrinfo info = {
	        .ai_family = AF_INET, .ai_addr = (struct sockaddr *)&any, .ai_addrlen = sizeof(any)};

	return listen_on(&info);
}

int net_listen(const struct net_address *address, struct error *err)
{
	char text[NET_ADDRESS_MAX];
	struct addrinfo *list;
	int fd = -EADDRNOTAVAIL, error = resolve(address, AI_PASSIVE, &list, err);

	if (error)
		return error;
	for (struct addrinfo *info = list; info && fd < 0; info = info->ai_next)
		fd = listen_on(info);
	freeaddrinfo(list);
	if (fd == -EAFNOSUPPORT && !strcmp(address->host, "::"))
		fd = listen_ipv4(address->port);
	if (fd >= 0)
		return fd;

	net_format(address, text);
	switch (-fd) {
	case EADDRINUSE:
		return fail(err, -fd, "listen on %s: another program uses the port", text);
	case EADDRNOTAVAIL:
		return fail(err, -fd, "listen on %s: this machine has no such address", text);
	case EACCES:
		return fail(err, -fd, "listen on %s: not allowed; ports below 1024 need a privilege", text);
	default:
		return fail(err, -fd, "listen on %s: %s", text, strerror(-fd));
	}
}

static uint16_t port_of(const struct sockaddr *address)
{
	if (address->sa_family == AF_INET6)
		return ntohs(((const struct sockaddr_in6 *)address)->sin6_port);
	if (address->sa_family == AF_INET)
		return ntohs(((const struct sockaddr_in *)address)->sin_port);
	return 0;
}

uint16_t net_local_port(int fd)
{
	struct sockaddr_storage address = {0};
	socklen_t length = sizeof(address);

	if (getsockname(fd, (struct sockaddr *)&address, &length) < 0)
		return 0;
	return port_of((struct sockaddr *)&address);
}

static bool ipv6_is_loopback(const struct in6_addr *address)
{
	return IN6_IS_ADDR_LOOPBACK(address) ||
	       (IN6_IS_ADDR_V4MAPPED(address) && address->s6_addr[12] == IN_LOOPBACKNET);
}

bool net_local_is_loopback(int fd)
{
	struct sockaddr_storage address = {0};
	socklen_t length = sizeof(address);

	if (getsockname(fd, (struct sockaddr *)&address, &length) < 0)
		return false;
	if (address.ss_family == AF_INET6)
		return ipv6_is_loopback(&((struct sockaddr_in6 *)&address)->sin6_addr);
	return address.ss_family == AF_INET &&
	       ntohl(((struct sockaddr_in *)&address)->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
}

bool net_host_is_loopback(const char *host)
{
	struct in6_addr v6;
	struct in_addr v4;

	if (inet_pton(AF_INET, host, &v4) == 1)
		return ntohl(v4.s_addr) >> 24 == IN_LOOPBACKNET;
	return inet_pton(AF_INET6, host, &v6) == 1 && ipv6_is_loopback(&v6);
}

int net_resolve(const struct net_address *address, struct net_candidate *candidates, unsigned max, unsigned *count,
                struct error *err)
{
	struct addrinfo *list;
	int error;

	*count = 0;
	if (address->port == 0) {
		char text[NET_ADDRESS_MAX];

		net_format(address, text);
		return bad_address(err, text, "the port is not a number from 1 to 65535");
	}
	error = resolve(address, AI_ADDRCONFIG, &list, err);
	// Numeric addresses of a family that no interface has, loopback among them.
	if (error == -EHOSTUNREACH)
		error = resolve(address, 0, &list, err);
	if (error)
		return error;
	for (struct addrinfo *info = list; info && *count < max; info = info->ai_next) {
		if (info->ai_addrlen > sizeof(candidates->address))
			continue;
		memcpy(&candidates[*count].address, info->ai_addr, info->ai_addrlen);
		candidates[(*count)++].length = info->ai_addrlen;
	}
	freeaddrinfo(list);
	return 0;
}

void net_text(const struct sockaddr *address, socklen_t length, char text[NET_PEER_MAX])
{
	struct sockaddr_in plain;
	char host[64];

	// IPv4 that came in over [::] is shown as what it is.
	if (address->sa_family == AF_INET6 && length >= sizeof(struct sockaddr_in6)) {
		const struct sockaddr_in6 *mapped = (const struct sockaddr_in6 *)address;

		if (IN6_IS_ADDR_V4MAPPED(&mapped->sin6_addr)) {
			plain = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = mapped->sin6_port};
			memcpy(&plain.sin_addr, mapped->sin6_addr.s6_addr + 12, 4);
			address = (const struct sockaddr *)&plain;
			length = sizeof(plain);
		}
	}
	if (getnameinfo(address, length, host, sizeof(host), NULL, 0, NI_NUMERICHOST) != 0)
		strcpy(host, "?");
	snprintf(text, NET_PEER_MAX, strchr(host, ':') ? "[%s]:%u" : "%s:%u", host, port_of(address));
}

void net_peer(int fd, char text[NET_PEER_MAX])
{
	struct sockaddr_storage address = {0};
	socklen_t length = sizeof(address);

	if (getpeername(fd, (struct sockaddr *)&address, &length) < 0)
		strcpy(text, "?");
	else
		net_text((struct sockaddr *)&address, length, text);
}

void net_tune(int fd)
{
	const int on = 1, idle = 10, interval = 5, probes = 4;

	// No TCP_USER_TIMEOUT: it would also end a connection whose reader has
	// shut its window for good reason, because its journal is full.
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	(void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof(interval));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof(probes));
}
