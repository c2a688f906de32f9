// SPDX-License-Identifier: Apache-2.0
// A daemon for tests of the command: serves the control socket and answers
// each request with what the file says of its command. What was asked is
// printed, one line each, before the answer. Once it listens it opens and
// closes the fifo READY.
//
//   fake-daemon SOCKET REPLIES.json READY
#include "common/control.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void answer(void *user, struct control_call *call, const char *command, json_t *request)
{
	json_t *reply = json_object_get(user, command);
	char *asked = json_dumps(request, JSON_COMPACT | JSON_SORT_KEYS);

	printf("%s\n", asked);
	fflush(stdout);
	free(asked);
	if (json_is_string(reply))
		control_refuse(call, json_string_value(reply));
	else if (json_is_object(reply))
		control_reply(call, json_incref(reply));
	else
		control_refuse(call, "no such command");
}

int main(int argc, char **argv)
{
	struct control *control;
	struct error err = {""};
	json_error_t where;
	struct loop *loop;
	json_t *replies;
	FILE *ready;

	if (argc != 4) {
		fprintf(stderr, "usage: fake-daemon SOCKET REPLIES.json READY\n");
		return 2;
	}
	replies = json_load_file(argv[2], 0, &where);
	loop = loop_new(&err);
	if (!replies || !loop || control_new(loop, argv[1], answer, replies, &control, &err)) {
		fprintf(stderr, "fake-daemon: %s%s\n", replies ? "" : where.text, err.text);
		return 1;
	}
	ready = fopen(argv[3], "w");
	if (!ready || fclose(ready)) {
		perror(argv[3]);
		return 1;
	}
	return loop_run(loop) ? 1 : 0;
}
