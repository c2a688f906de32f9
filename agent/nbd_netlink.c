// SPDX-License-Identifier: Apache-2.0
#include "nbd_netlink.h"

#include "device_use.h"

#include "common/log.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/nbd-netlink.h>
#include <netlink/attr.h>
#include <netlink/genl/ctrl.h>
#include <netlink/genl/genl.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <sched.h>
#include <stddef.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

// How long requests wait for a process that takes the device up: for as long
// as anybody may need.
#define DEAD_CONNECTION_SECONDS (UINT64_C(366) * 24 * 3600)

// No time limit for requests: a slow disk must not cost the connection.
#define REQUEST_SECONDS 0

// -- messages --

static struct nl_msg *new_message(int family, uint8_t command)
{
	struct nl_msg *message = nlmsg_alloc();

	if (message && genlmsg_put(message, NL_AUTO_PORT, NL_AUTO_SEQ, family, 0, 0, command, NBD_GENL_VERSION))
		return message;
	nlmsg_free(message);
	return NULL;
}

static int put_socket(struct nl_msg *message, int fd)
{
	struct nlattr *sockets = nla_nest_start(message, NBD_ATTR_SOCKETS);
	struct nlattr *item = sockets ? nla_nest_start(message, NBD_SOCK_ITEM) : NULL;

	if (!item || nla_put_u32(message, NBD_SOCK_FD, (uint32_t)fd))
		return -ENOMEM;
	nla_nest_end(message, item);
	nla_nest_end(message, sockets);
	return 0;
}

static int put_client(struct nl_msg *message, const struct nbd_client *client)
{
	if (nla_put_u64(message, NBD_ATTR_SIZE_BYTES, client->size) ||
	    nla_put_u64(message, NBD_ATTR_BLOCK_SIZE_BYTES, client->block) ||
	    nla_put_u64(message, NBD_ATTR_SERVER_FLAGS, client->flags) ||
	    nla_put_u64(message, NBD_ATTR_TIMEOUT, REQUEST_SECONDS) ||
	    nla_put_u64(message, NBD_ATTR_DEAD_CONN_TIMEOUT, DEAD_CONNECTION_SECONDS) ||
	    nla_put_string(message, NBD_ATTR_BACKEND_IDENTIFIER, client->id))
		return -ENOMEM;
	return put_socket(message, client->fd);
}

static struct nl_msg *finished(struct nl_msg *message, int result)
{
	if (result == 0)
		return message;
	nlmsg_free(message);
	return NULL;
}

struct nl_msg *nbd_message_connect(int family, const struct nbd_client *client, unsigned index)
{
	struct nl_msg *message = new_message(family, NBD_CMD_CONNECT);

	if (message && index != NBD_ANY && nla_put_u32(message, NBD_ATTR_INDEX, index))
		return finished(message, -ENOMEM);
	return message ? finished(message, put_client(message, client)) : NULL;
}

struct nl_msg *nbd_message_reconnect(int family, const struct nbd_client *client, unsigned index)
{
	struct nl_msg *message = new_message(family, NBD_CMD_RECONFIGURE);

	if (message && nla_put_u32(message, NBD_ATTR_INDEX, index))
		return finished(message, -ENOMEM);
	return message ? finished(message, put_client(message, client)) : NULL;
}

struct nl_msg *nbd_message_disconnect(int family, unsigned index)
{
	struct nl_msg *message = new_message(family, NBD_CMD_DISCONNECT);

	return message ? finished(message, nla_put_u32(message, NBD_ATTR_INDEX, index)) : NULL;
}

// -- talking --

struct talk {
	struct nl_sock *socket;
	int family;
};

struct answer {
	int error; // 1: none yet
	unsigned index;
};

static int got_message(struct nl_msg *message, void *user)
{
	struct nlattr *attributes[NBD_ATTR_MAX + 1];
	struct answer *answer = user;

	if (genlmsg_parse(nlmsg_hdr(message), 0, attributes, NBD_ATTR_MAX, NULL) == 0 && attributes[NBD_ATTR_INDEX] &&
	    nla_len(attributes[NBD_ATTR_INDEX]) == sizeof(uint32_t))
		answer->index = nla_get_u32(attributes[NBD_ATTR_INDEX]);
	return NL_OK;
}

static int got_end(struct nl_msg *message, void *user)
{
	struct answer *answer = user;

	(void)message;
	answer->error = 0;
	return NL_STOP;
}

static int got_error(struct sockaddr_nl *from, struct nlmsgerr *error, void *user)
{
	struct answer *answer = user;

	(void)from;
	answer->error = error->error;
	return NL_STOP;
}

static void talk_end(struct talk *talk)
{
	nl_socket_free(talk->socket);
}

static int connect_here(struct talk *talk, struct error *err)
{
	int result;

	talk->socket = nl_socket_alloc();
	if (!talk->socket)
		return fail(err, ENOMEM, "nbd: out of memory");
	result = genl_connect(talk->socket);
	if (result < 0) {
		talk_end(talk);
		return fail(err, EIO, "nbd: generic netlink: %s", nl_geterror(result));
	}
	talk->family = genl_ctrl_resolve(talk->socket, NBD_GENL_FAMILY_NAME);
	if (talk->family >= 0)
		return 0;
	talk_end(talk);
	return fail(err, ENODEV, "nbd: the driver is not there: modprobe nbd (Linux 5.14 or newer)");
}

// The driver listens in the machine's own network namespace only; a socket
// stays in the one that it was made in, this thread does not.
static int connect_outside(struct talk *talk, struct error *err)
{
	int own = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	int machine = open("/proc/1/ns/net", O_RDONLY | O_CLOEXEC);
	int result = fail(err, ENODEV, "nbd: the driver is not to be had in this network namespace");

	if (own >= 0 && machine >= 0 && setns(machine, CLONE_NEWNET) == 0) {
		result = connect_here(talk, err);
		if (setns(own, CLONE_NEWNET) < 0)
			log_event(LOG_LEVEL_ERROR, "network-namespace", "reason=%s", strerror(errno));
	}
	if (own >= 0)
		close(own);
	if (machine >= 0)
		close(machine);
	return result;
}

static bool in_other_namespace(void)
{
	struct stat own, machine;

	return stat("/proc/thread-self/ns/net", &own) == 0 && stat("/proc/1/ns/net", &machine) == 0 &&
	       own.st_ino != machine.st_ino;
}

static int talk_begin(struct talk *talk, struct error *err)
{
	struct error reason;
	int result;

	if (device_permission(&reason) < 0)
		return fail(err, EPERM, "nbd: %s", reason.text);
	result = connect_here(talk, err);
	return result == -ENODEV && in_other_namespace() ? connect_outside(talk, err) : result;
}

// The message is used up. 0 or -errno of the kernel.
static int ask(struct talk *talk, struct nl_msg *message, struct answer *answer)
{
	struct nl_cb *callbacks = nl_cb_alloc(NL_CB_DEFAULT);
	int result = message && callbacks ? nl_send_auto(talk->socket, message) : -NLE_NOMEM;

	*answer = (struct answer){.error = 1};
	if (callbacks) {
		nl_cb_set(callbacks, NL_CB_VALID, NL_CB_CUSTOM, got_message, answer);
		nl_cb_set(callbacks, NL_CB_ACK, NL_CB_CUSTOM, got_end, answer);
		nl_cb_err(callbacks, NL_CB_CUSTOM, got_error, answer);
	}
	while (result >= 0 && answer->error == 1) {
		result = nl_recvmsgs(talk->socket, callbacks);
		if (result == -NLE_INTR)
			result = 0;
	}
	nl_cb_put(callbacks);
	nlmsg_free(message);
	if (answer->error <= 0)
		return answer->error;
	return result == -NLE_NOMEM ? -ENOMEM : -EIO;
}

int nbd_netlink_probe(struct error *reason)
{
	struct talk talk = {0};
	int result = talk_begin(&talk, reason);

	if (!result)
		talk_end(&talk);
	return result;
}

int nbd_netlink_connect(const struct nbd_client *client, unsigned *index, struct error *err)
{
	struct answer answer;
	struct talk talk = {0};
	int result = talk_begin(&talk, err);

	if (result < 0)
		return result;
	result = ask(&talk, nbd_message_connect(talk.family, client, *index), &answer);
	talk_end(&talk);
	if (result < 0)
		return fail(err, -result, "nbd: make a device: %s", strerror(-result));
	*index = answer.index;
	return 0;
}

int nbd_netlink_reconnect(const struct nbd_client *client, unsigned index, struct error *err)
{
	struct answer answer;
	struct talk talk = {0};
	int result = talk_begin(&talk, err);

	if (result < 0)
		return result;
	result = ask(&talk, nbd_message_reconnect(talk.family, client, index), &answer);
	talk_end(&talk);
	if (result < 0)
		return fail(err, -result, "nbd: take /dev/nbd%u up: %s", index, strerror(-result));
	return 0;
}

int nbd_netlink_disconnect(unsigned index, struct error *err)
{
	struct answer answer;
	struct talk talk = {0};
	int result = talk_begin(&talk, err);

	if (result < 0)
		return result;
	result = ask(&talk, nbd_message_disconnect(talk.family, index), &answer);
	talk_end(&talk);
	if (result < 0)
		return fail(err, -result, "nbd: disconnect /dev/nbd%u: %s", index, strerror(-result));
	return 0;
}
