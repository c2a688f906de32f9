// SPDX-License-Identifier: Apache-2.0
// odd-hello: what a peer that knows the frames, but not how to behave, would
// send first. Writes it to stdout, for `openssl s_client`.
//
//   hello VERSION   a well-formed HELLO of a protocol version
//   noise           no frame at all
//   huge            a header that announces 4 GiB
//   early           an epoch before any HELLO
#include "common/wire.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void send_frame(enum frame_type type, const uint8_t *body, size_t length)
{
	static uint8_t frame[FRAME_HEADER_BYTES + WIRE_BODY_MAX];

	memcpy(frame + FRAME_HEADER_BYTES, body, length);
	frame_put_header(frame, type, 0, (uint32_t)length);
	fwrite(frame, 1, FRAME_HEADER_BYTES + length, stdout);
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";
	uint8_t body[WIRE_BODY_MAX];

	if (!strcmp(what, "hello") && argc == 3) {
		uint16_t version = (uint16_t)strtoul(argv[2], NULL, 10);
		struct wire_hello hello = {.version_min = version,
		                           .version_max = version,
		                           .pair = {{1, 2, 3}},
		                           .role = ROLE_PRIMARY,
		                           .lineage = {.generation = {{4, 5, 6}}},
		                           .volume_count = 1,
		                           .volumes = {{.name = "data", .bytes = 16 << 20}}};

		send_frame(FRAME_HELLO, body, wire_put_hello(body, &hello));
	} else if (!strcmp(what, "noise")) {
		for (unsigned i = 0; i < 1000; i++)
			putchar((int)(i * 2654435761U >> 24));
	} else if (!strcmp(what, "huge")) {
		static uint8_t header[FRAME_HEADER_BYTES];

		frame_put_header(header, FRAME_HELLO, 0, 0);
		memset(header, 0xff, 4); // where the length is
		fwrite(header, 1, sizeof(header), stdout);
	} else if (!strcmp(what, "early")) {
		struct wire_begin begin = {.epoch = 1, .kind = EPOCH_ATOMIC};

		send_frame(FRAME_BEGIN, body, wire_put_begin(body, &begin));
	} else {
		fprintf(stderr, "usage: odd-hello hello VERSION | noise | huge | early\n");
		return 2;
	}
	return fflush(stdout) ? 1 : 0;
}
