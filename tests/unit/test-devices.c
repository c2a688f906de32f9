// SPDX-License-Identifier: Apache-2.0
// What block devices need of us that can be seen without their drivers: which
// kind is taken, parameters, messages, memory of requests.
#include "agent/device_use.h"
#include "agent/export_choice.h"
#include "agent/nbd_netlink.h"
#include "agent/ublk_control.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/nbd-netlink.h>
#include <netlink/attr.h>
#include <netlink/genl/genl.h>
#include <netlink/msg.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

// -- which kind --

static const struct export_facts works, there = {.there = true};
static const struct export_facts no_ublk = {.works = -ENODEV, .why_not = {"ublk: modprobe ublk_drv"}};
static const struct export_facts no_nbd = {.works = -EPERM, .why_not = {"nbd: no permission"}};

static void what_is_configured_is_taken(void **state)
{
	struct error why;

	(void)state;
	assert_int_equal(export_choose(EXPORT_UBLK, &no_ublk, &works, &why), EXPORT_UBLK);
	assert_int_equal(export_choose(EXPORT_NBD, &works, &no_nbd, &why), EXPORT_NBD);
	assert_int_equal(export_choose(EXPORT_NBD, &there, &works, &why), EXPORT_NBD);
	assert_int_equal(export_choose(EXPORT_SOCKET, &works, &works, &why), EXPORT_SOCKET);
	assert_string_equal(why.text, "configured");
}

static void auto_takes_the_first_that_works_and_says_why(void **state)
{
	struct error why;

	(void)state;
	assert_int_equal(export_choose(EXPORT_AUTO, &works, &works, &why), EXPORT_UBLK);
	assert_int_equal(export_choose(EXPORT_AUTO, &no_ublk, &works, &why), EXPORT_NBD);
	assert_string_equal(why.text, no_ublk.why_not.text);
	assert_int_equal(export_choose(EXPORT_AUTO, &no_ublk, &no_nbd, &why), EXPORT_SOCKET);
	assert_string_equal(why.text, "ublk: modprobe ublk_drv; nbd: no permission");
}

static void auto_keeps_a_device_that_is_there(void **state)
{
	struct error why;

	(void)state;
	assert_int_equal(export_choose(EXPORT_AUTO, &works, &there, &why), EXPORT_NBD);
	assert_int_equal(export_choose(EXPORT_AUTO, &there, &works, &why), EXPORT_UBLK);
}

// -- ublk --

// The driver takes a command by its number, in which the size is.
static void commands_have_the_driver_s_numbers(void **state)
{
	(void)state;
	assert_int_equal(UBLK_ADD_DEV, 0xc0207504);
	assert_int_equal(UBLK_GET_DEV_INFO, 0x80207502);
	assert_int_equal(UBLK_END_USER_RECOVERY, 0xc0207511);
	assert_int_equal(UBLK_DEL_DEV_ASYNC, 0x80207514);
	assert_int_equal(UBLK_IO_FETCH_REQ, 0xc0107520);
	assert_int_equal(UBLK_IO_COMMIT_AND_FETCH_REQ, 0xc0107521);
}

// Without the cache there would be no flush and no FUA, without its type no discard.
static void a_device_announces_what_it_honours(void **state)
{
	struct ublk_params params;

	(void)state;
	ublk_parameters(UINT64_C(1) << 40, 512, 128 << 10, false, &params);
	assert_int_equal(params.basic.attrs, UBLK_ATTR_VOLATILE_CACHE | UBLK_ATTR_FUA);
	assert_int_equal(params.types, UBLK_PARAM_TYPE_BASIC | UBLK_PARAM_TYPE_DISCARD);
	assert_int_equal(params.len, UBLK_PARAMS_BYTES);
	assert_int_equal(params.basic.dev_sectors, UINT64_C(1) << 31);
	assert_int_equal(params.basic.max_sectors, 256);
	assert_int_equal(params.basic.logical_bs_shift, 9);
	assert_int_equal(params.basic.physical_bs_shift, 12);
	assert_int_not_equal(params.discard.discard_granularity, 0);
	assert_int_equal(params.discard.max_discard_segments, 1);
	assert_int_not_equal(params.discard.max_discard_sectors, 0);
	assert_int_not_equal(params.discard.max_write_zeroes_sectors, 0);
	ublk_parameters(1 << 20, 4096, 128 << 10, true, &params);
	assert_int_equal(params.basic.logical_bs_shift, 12);
	assert_true(params.types & UBLK_PARAM_TYPE_DMA_ALIGN);
	assert_int_equal(params.dma.alignment, 4095);
}

// -- nbd --

static const struct nbd_client client = {
        .id = "stead 0123 /run/stead/db-data",
        .size = UINT64_C(5) << 30,
        .block = 512,
        .flags = 0x6d,
        .fd = 17,
};

static void parse(struct nl_msg *message, int command, struct nlattr *attributes[NBD_ATTR_MAX + 1])
{
	struct nlmsghdr *header = nlmsg_hdr(message);

	assert_int_equal(header->nlmsg_type, 42);
	assert_int_equal(genlmsg_hdr(header)->cmd, command);
	assert_int_equal(genlmsg_hdr(header)->version, NBD_GENL_VERSION);
	assert_int_equal(genlmsg_parse(header, 0, attributes, NBD_ATTR_MAX, NULL), 0);
}

static void check_client(struct nlattr **attributes)
{
	struct nlattr *items[NBD_SOCK_ITEM_MAX + 1], *socket[NBD_SOCK_MAX + 1];

	assert_int_equal(nla_get_u64(attributes[NBD_ATTR_SIZE_BYTES]), client.size);
	assert_int_equal(nla_get_u64(attributes[NBD_ATTR_BLOCK_SIZE_BYTES]), 512);
	assert_int_equal(nla_get_u64(attributes[NBD_ATTR_SERVER_FLAGS]), 0x6d);
	assert_int_equal(nla_get_u64(attributes[NBD_ATTR_TIMEOUT]), 0);
	assert_true(nla_get_u64(attributes[NBD_ATTR_DEAD_CONN_TIMEOUT]) > 30 * 24 * 3600);
	assert_string_equal(nla_get_string(attributes[NBD_ATTR_BACKEND_IDENTIFIER]), client.id);
	assert_int_equal(nla_parse_nested(items, NBD_SOCK_ITEM_MAX, attributes[NBD_ATTR_SOCKETS], NULL), 0);
	assert_int_equal(nla_parse_nested(socket, NBD_SOCK_MAX, items[NBD_SOCK_ITEM], NULL), 0);
	assert_int_equal(nla_get_u32(socket[NBD_SOCK_FD]), 17);
}

static void a_device_is_asked_for_with_all_it_needs(void **state)
{
	struct nlattr *attributes[NBD_ATTR_MAX + 1];
	struct nl_msg *message = nbd_message_connect(42, &client, NBD_ANY);

	(void)state;
	assert_non_null(message);
	parse(message, NBD_CMD_CONNECT, attributes);
	check_client(attributes);
	assert_null(attributes[NBD_ATTR_INDEX]);
	nlmsg_free(message);

	message = nbd_message_connect(42, &client, 3);
	assert_non_null(message);
	parse(message, NBD_CMD_CONNECT, attributes);
	assert_int_equal(nla_get_u32(attributes[NBD_ATTR_INDEX]), 3);
	nlmsg_free(message);
}

static void a_device_is_taken_up_by_its_number_and_id(void **state)
{
	struct nlattr *attributes[NBD_ATTR_MAX + 1];
	struct nl_msg *message = nbd_message_reconnect(42, &client, 7);

	(void)state;
	assert_non_null(message);
	parse(message, NBD_CMD_RECONFIGURE, attributes);
	check_client(attributes);
	assert_int_equal(nla_get_u32(attributes[NBD_ATTR_INDEX]), 7);
	nlmsg_free(message);

	message = nbd_message_disconnect(42, 7);
	assert_non_null(message);
	parse(message, NBD_CMD_DISCONNECT, attributes);
	assert_int_equal(nla_get_u32(attributes[NBD_ATTR_INDEX]), 7);
	nlmsg_free(message);
}

static void a_device_that_is_not_there_is_not_in_use(void **state)
{
	struct error reason;

	(void)state;
	assert_int_equal(device_use("stead-no-such-device", &reason), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(what_is_configured_is_taken),
	        cmocka_unit_test(auto_takes_the_first_that_works_and_says_why),
	        cmocka_unit_test(auto_keeps_a_device_that_is_there),
	        cmocka_unit_test(commands_have_the_driver_s_numbers),
	        cmocka_unit_test(a_device_announces_what_it_honours),
	        cmocka_unit_test(a_device_is_asked_for_with_all_it_needs),
	        cmocka_unit_test(a_device_is_taken_up_by_its_number_and_id),
	        cmocka_unit_test(a_device_that_is_not_there_is_not_in_use),
	};

	return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
