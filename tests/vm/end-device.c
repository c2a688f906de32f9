// SPDX-License-Identifier: Apache-2.0
// end-device DEVICE: ends /dev/ublkbN or /dev/nbdN as another program would do it,
// behind the back of whoever serves it.
#include "agent/nbd_netlink.h"
#include "agent/ublk_control.h"

#include <stdio.h>
#include <string.h>

int main(int argc, char **argv)
{
	struct ublk_control control;
	struct error err = {""};
	unsigned number;
	int result;

	if (argc != 2) {
		fprintf(stderr, "usage: end-device DEVICE\n");
		return 2;
	}
	if (sscanf(argv[1], "/dev/nbd%u", &number) == 1) {
		result = nbd_netlink_disconnect(number, &err);
	} else if (sscanf(argv[1], "/dev/ublkb%u", &number) == 1) {
		result = ublk_control_open(&control, &err);
		if (!result) {
			result = ublk_stop(&control, number);
			ublk_control_close(&control);
		}
	} else {
		result = fail(&err, EINVAL, "not a ublk or nbd device");
	}
	if (result < 0)
		fprintf(stderr, "end-device: %s: %s\n", argv[1], err.text[0] ? err.text : strerror(-result));
	return result < 0;
}
