// SPDX-License-Identifier: Apache-2.0
// The control socket: a server on a loop in its own thread, and clients that
// behave, that talk nonsense, and that leave.
#include "common/control.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[64];
static char path[100];

struct server {
	struct loop *loop;
	struct control *control;
	pthread_t thread;
	sem_t ready, posted;
	int error;
	struct task task;
	struct control_call *held[CONTROL_CLIENTS_MAX];
	unsigned held_count;
};

static void handle(void *user, struct control_call *call, const char *command, json_t *request)
{
	struct server *server = user;
	struct error err;

	if (request != control_request(call))
		abort();
	if (!strcmp(command, "echo")) {
		const char *text = control_text(request, "text", &err);

		if (text)
			control_reply(call, json_pack("{s:s}", "text", text));
		else
			control_refuse(call, err.text);
	} else if (!strcmp(command, "hold")) {
		server->held[server->held_count++] = call;
	} else if (!strcmp(command, "release")) {
		unsigned count = server->held_count;

		server->held_count = 0;
		for (unsigned i = 0; i < count; i++)
			control_reply(server->held[i], NULL);
		control_reply(call, json_pack("{s:i}", "released", (int)count));
	} else if (!strcmp(command, "huge")) {
		char *text = malloc(CONTROL_LINE_MAX + 1);

		memset(text, 'x', CONTROL_LINE_MAX);
		text[CONTROL_LINE_MAX] = '\0';
		control_reply(call, json_pack("{s:s}", "text", text));
		free(text);
	} else {
		control_refuse(call, "not like this");
	}
}

static void wait_for(sem_t *semaphore)
{
	while (sem_wait(semaphore) < 0)
		;
}

// The loop belongs to the thread that makes it.
static void *serve(void *user)
{
	struct server *server = user;
	struct error err;

	server->loop = loop_new(&err);
	if (!server->loop || control_new(server->loop, path, handle, server, &server->control, &err))
		server->error = -1;
	sem_post(&server->ready);
	if (!server->error)
		server->error = loop_run(server->loop);
	wait_for(&server->posted); // nobody is in loop_post() any more
	if (server->loop)
		loop_free(server->loop);
	return NULL;
}

static void begin(struct server *server)
{
	memset(server, 0, sizeof(*server));
	sem_init(&server->ready, 0, 0);
	sem_init(&server->posted, 0, 0);
	assert_int_equal(pthread_create(&server->thread, NULL, serve, server), 0);
	wait_for(&server->ready);
	assert_int_equal(server->error, 0);
}

static void stopped(void *user)
{
	struct server *server = user;

	for (unsigned i = 0; i < server->held_count; i++)
		control_reply(server->held[i], NULL);
	control_free(server->control);
	loop_quit(server->loop);
}

static void stop(struct task *task)
{
	struct server *server = (struct server *)((char *)task - offsetof(struct server, task));

	control_stop(server->control, stopped, server);
}

static void end(struct server *server)
{
	server->task.run = stop;
	loop_post(server->loop, &server->task);
	sem_post(&server->posted);
	assert_int_equal(pthread_join(server->thread, NULL), 0);
	assert_int_equal(server->error, 0);
	sem_destroy(&server->ready);
	sem_destroy(&server->posted);
	assert_int_equal(access(path, F_OK), -1);
}

static int dial(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

static void say_bytes(int fd, const char *bytes, size_t length)
{
	while (length > 0) {
		ssize_t sent = send(fd, bytes, length, MSG_NOSIGNAL);

		if (sent < 0)
			break; // the server has hung up
		bytes += sent;
		length -= (size_t)sent;
	}
}

static void say(int fd, const char *text)
{
	say_bytes(fd, text, strlen(text));
}

// One line; NULL: hung up.
static json_t *hear(int fd)
{
	static char line[4096];
	size_t length = 0;
	json_t *reply;

	while (length < sizeof(line) - 1) {
		if (recv(fd, line + length, 1, 0) <= 0)
			return NULL;
		if (line[length++] == '\n')
			break;
	}
	reply = json_loadb(line, length, 0, NULL);
	assert_non_null(reply);
	return reply;
}

static void hear_refusal(int fd)
{
	json_t *reply = hear(fd);

	assert_non_null(reply);
	assert_true(json_is_false(json_object_get(reply, "ok")));
	assert_true(json_string_length(json_object_get(reply, "error")) > 0);
	json_decref(reply);
}

static void hear_text(int fd, const char *text)
{
	json_t *reply = hear(fd);

	assert_non_null(reply);
	assert_true(json_is_true(json_object_get(reply, "ok")));
	assert_string_equal(json_string_value(json_object_get(reply, "text")), text);
	json_decref(reply);
}

static json_t *ask_for(const char *command)
{
	return json_pack("{s:s,s:s}", "command", command, "text", "said");
}

static void request_is_answered(void **state)
{
	struct server server;
	struct error err;
	struct stat info;
	json_t *reply;

	(void)state;
	begin(&server);
	assert_int_equal(stat(path, &info), 0);
	assert_int_equal(info.st_mode & 07777, 0600);
	assert_int_equal(control_ask(path, ask_for("echo"), 60000, &reply, &err), 0);
	assert_string_equal(json_string_value(json_object_get(reply, "text")), "said");
	json_decref(reply);
	assert_int_equal(control_ask(path, ask_for("other"), -1, &reply, &err), -EREMOTEIO);
	assert_string_equal(err.text, "not like this");
	assert_int_equal(control_ask(path, ask_for("huge"), -1, &reply, &err), -EREMOTEIO);
	assert_int_equal(control_ask(path, json_pack("{s:s}", "command", "echo"), -1, &reply, &err), -EREMOTEIO);
	assert_string_equal(err.text, "the request has no \"text\"");
	end(&server);
}

static void malformed_lines_are_refused_one_by_one(void **state)
{
	static const char *const lines[] = {
	        "\n",
	        "   \r\n",
	        "promote\n",
	        "[]\n",
	        "\"echo\"\n",
	        "{}\n",
	        "{\"command\":5}\n",
	        "{\"command\":null}\n",
	        "{\"command\":\"echo\",\"command\":\"echo\"}\n",
	        "{\"command\":\"echo\",\"text\":\"said\"} x\n",
	        "{\"command\":\"echo\",\"text\":\"\\u0000\"}\n",
	        "{\"command\":\"echo\",\"text\":\"\xff\"}\n",
	        "{\"command\":\"echo\",\"text\":[\"said\"]}\n",
	        "{\"command\":\"\"}\n",
	};
	struct server server;
	char nested[8192];
	int fd;

	(void)state;
	begin(&server);
	fd = dial();
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		say(fd, lines[i]);
		hear_refusal(fd);
	}
	say_bytes(fd, "{\"a\0b\":1}\n", 10);
	hear_refusal(fd);
	memset(nested, '[', sizeof(nested) - 1);
	nested[sizeof(nested) - 1] = '\n';
	say_bytes(fd, nested, sizeof(nested));
	hear_refusal(fd);
	say(fd, "{\"command\":\"echo\",\"text\":\"still here\"}\n");
	hear_text(fd, "still here");
	close(fd);
	end(&server);
}

static void oversized_line_is_refused_and_ends(void **state)
{
	struct server server;
	char *line = malloc(CONTROL_LINE_MAX + 4096);
	int fd;

	(void)state;
	memset(line, ' ', CONTROL_LINE_MAX + 4096);
	begin(&server);
	fd = dial();
	say_bytes(fd, line, CONTROL_LINE_MAX + 4096);
	hear_refusal(fd);
	assert_null(hear(fd));
	close(fd);

	// the longest that is allowed
	fd = dial();
	line[CONTROL_LINE_MAX - 1] = '\n';
	memcpy(line, "{\"command\":\"echo\",\"text\":\"long\"}", 32);
	say_bytes(fd, line, CONTROL_LINE_MAX);
	hear_text(fd, "long");
	close(fd);
	free(line);
	end(&server);
}

static void lines_in_pieces_and_together(void **state)
{
	static const char both[] = "{\"command\":\"echo\",\"text\":\"one\"}\n{\"command\":\"echo\",\"text\":\"two\"}\n";
	struct server server;
	int fd;

	(void)state;
	begin(&server);
	fd = dial();
	say(fd, both);
	hear_text(fd, "one");
	hear_text(fd, "two");
	for (size_t i = 0; i < sizeof(both) - 1; i++)
		say_bytes(fd, both + i, 1);
	hear_text(fd, "one");
	hear_text(fd, "two");
	close(fd);
	end(&server);
}

static void slow_work_holds_nobody_back(void **state)
{
	struct server server;
	struct error err;
	json_t *reply;
	int slow, fast[CONTROL_CLIENTS_MAX];
	const int count = CONTROL_CLIENTS_MAX - 1;

	(void)state;
	begin(&server);
	slow = dial();
	say(slow, "{\"command\":\"hold\"}\n");
	for (int i = 0; i < count; i++) {
		fast[i] = dial();
		say(fast[i], "{\"command\":\"echo\",\"text\":\"x\"}\n");
	}
	for (int i = count - 1; i >= 0; i--)
		hear_text(fast[i], "x");
	close(fast[0]);
	assert_int_equal(control_ask(path, ask_for("release"), 60000, &reply, &err), 0);
	assert_int_equal(json_integer_value(json_object_get(reply, "released")), 1);
	json_decref(reply);
	reply = hear(slow);
	assert_true(json_is_true(json_object_get(reply, "ok")));
	json_decref(reply);
	for (int i = 1; i < count; i++)
		close(fast[i]);
	close(slow);
	end(&server);
}

static void one_too_many_waits_for_a_place(void **state)
{
	struct server server;
	int fds[CONTROL_CLIENTS_MAX + 1];

	(void)state;
	begin(&server);
	for (int i = 0; i <= CONTROL_CLIENTS_MAX; i++)
		fds[i] = dial();
	say(fds[CONTROL_CLIENTS_MAX], "{\"command\":\"echo\",\"text\":\"last\"}\n");
	for (int i = 0; i < CONTROL_CLIENTS_MAX; i++) {
		say(fds[i], "{\"command\":\"echo\",\"text\":\"x\"}\n");
		hear_text(fds[i], "x");
	}
	assert_int_equal(poll(&(struct pollfd){.fd = fds[CONTROL_CLIENTS_MAX], .events = POLLIN}, 1, 0), 0);
	close(fds[7]);
	hear_text(fds[CONTROL_CLIENTS_MAX], "last");
	for (int i = 0; i <= CONTROL_CLIENTS_MAX; i++)
		if (i != 7)
			close(fds[i]);
	end(&server);
}

static void leaving_early_harms_nobody(void **state)
{
	struct server server;
	struct error err;
	json_t *reply;
	int fd;

	(void)state;
	begin(&server);
	close(dial());
	fd = dial();
	say(fd, "{\"command\":\"ec");
	close(fd);
	fd = dial();
	say(fd, "{\"command\":\"echo\",\"text\":\"unread\"}\n");
	close(fd);
	fd = dial();
	say(fd, "{\"command\":\"hold\"}\n");
	close(fd);
	fd = dial();
	say(fd, "{\"command\":\"hold\"}\n{\"command\":\"echo\",\"text\":\"queued\"}\n");
	shutdown(fd, SHUT_WR);
	// ask until both are held: connections are taken in their order, but the
	// requests on them arrive as they please
	for (int released = 0; released < 2;) {
		assert_int_equal(control_ask(path, ask_for("release"), 60000, &reply, &err), 0);
		released += (int)json_integer_value(json_object_get(reply, "released"));
		json_decref(reply);
	}
	reply = hear(fd);
	assert_true(json_is_true(json_object_get(reply, "ok")));
	json_decref(reply);
	hear_text(fd, "queued");
	assert_null(hear(fd));
	close(fd);
	assert_int_equal(control_ask(path, ask_for("echo"), 60000, &reply, &err), 0);
	json_decref(reply);
	end(&server);
}

static void stopping_answers_and_hangs_up(void **state)
{
	struct server server;
	struct error err;
	json_t *reply;
	int held, idle;

	(void)state;
	begin(&server);
	held = dial();
	idle = dial();
	say(held, "{\"command\":\"hold\"}\n");
	say(idle, "{\"command\":\"echo\",\"text\":\"x\"}\n");
	hear_text(idle, "x");
	end(&server);
	assert_null(hear(held));
	assert_null(hear(idle));
	close(held);
	close(idle);
	assert_int_equal(control_ask(path, ask_for("echo"), 60000, &reply, &err), -ENOTCONN);
}

static void live_daemon_is_not_replaced_but_a_dead_one_is(void **state)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct control *second = NULL;
	struct loop *other;
	struct server server;
	struct error err;
	json_t *reply;
	FILE *file;
	int fd;

	(void)state;
	begin(&server);
	other = loop_new(&err);
	assert_non_null(other);
	assert_int_equal(control_new(other, path, handle, NULL, &second, &err), -EADDRINUSE);
	assert_non_null(strstr(err.text, "already running"));
	assert_int_equal(control_ask(path, ask_for("echo"), 60000, &reply, &err), 0);
	json_decref(reply);
	end(&server);

	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	close(fd);
	assert_int_equal(control_ask(path, ask_for("echo"), 60000, &reply, &err), -ENOTCONN);
	begin(&server);
	assert_int_equal(control_ask(path, ask_for("echo"), 60000, &reply, &err), 0);
	json_decref(reply);
	end(&server);

	file = fopen(path, "w");
	fclose(file);
	assert_int_equal(control_new(other, path, handle, NULL, &second, &err), -EEXIST);
	loop_free(other);
	unlink(path);
}

static void paths_longer_than_a_socket_may_have(void **state)
{
	char deep[200];
	struct control *control;
	struct error err;
	struct loop *loop = loop_new(&err);
	json_t *reply;

	(void)state;
	memset(deep, 'd', sizeof(deep) - 1);
	deep[0] = '/';
	deep[sizeof(deep) - 1] = '\0';
	assert_int_equal(control_new(loop, deep, handle, NULL, &control, &err), -ENAMETOOLONG);
	assert_int_equal(control_ask(deep, ask_for("echo"), 1, &reply, &err), -ENAMETOOLONG);
	loop_free(loop);
}

struct answer {
	struct loop *loop;
	int error;
	unsigned calls;
	char text[400];
};

static void answered(void *user, int error, json_t *reply, const struct error *reason)
{
	struct answer *answer = user;

	answer->error = error;
	answer->calls++;
	snprintf(answer->text, sizeof(answer->text), "%s",
	         error ? reason->text : json_string_value(json_object_get(reply, "text")));
	loop_quit(answer->loop);
}

static struct answer ask_on_loop(const char *where, const char *command, unsigned timeout)
{
	struct error err;
	struct answer answer = {.loop = loop_new(&err)};

	assert_int_equal(control_ask_on(answer.loop, where, ask_for(command), timeout, &answer, answered), 0);
	assert_int_equal(answer.calls, 0);
	assert_int_equal(loop_run(answer.loop), 0);
	loop_free(answer.loop);
	assert_int_equal(answer.calls, 1);
	return answer;
}

static void asking_on_a_loop(void **state)
{
	struct server server;
	struct answer answer;
	char long_path[200];

	(void)state;
	begin(&server);
	answer = ask_on_loop(path, "echo", 60000);
	assert_int_equal(answer.error, 0);
	assert_string_equal(answer.text, "said");
	answer = ask_on_loop(path, "other", 60000);
	assert_int_equal(answer.error, -EREMOTEIO);
	assert_string_equal(answer.text, "not like this");
	assert_int_equal(ask_on_loop(path, "hold", 20).error, -ETIMEDOUT);
	end(&server);
	assert_int_equal(ask_on_loop(path, "echo", 60000).error, -ENOTCONN);
	memset(long_path, 'x', sizeof(long_path));
	long_path[sizeof(long_path) - 1] = '\0';
	assert_int_equal(ask_on_loop(long_path, "echo", 60000).error, -ENAMETOOLONG);
}

// A daemon that takes one connection, says what it is told, and hangs up.
struct liar {
	int fd;
	const char *line;
	size_t length;
};

static void *lie(void *user)
{
	struct liar *liar = user;
	char request[4096];
	int fd = accept(liar->fd, NULL, NULL);

	if (recv(fd, request, sizeof(request), 0) > 0)
		say_bytes(fd, liar->line, liar->length);
	close(fd);
	return NULL;
}

static int ask_liar(const char *line, size_t length, bool on_loop)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct liar liar = {.line = line, .length = length};
	json_t *reply = NULL;
	struct error err;
	pthread_t thread;
	int error;

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	liar.fd = socket(AF_UNIX, SOCK_STREAM, 0);
	unlink(path);
	assert_int_equal(bind(liar.fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(liar.fd, 1), 0);
	assert_int_equal(pthread_create(&thread, NULL, lie, &liar), 0);
	error = on_loop ? ask_on_loop(path, "echo", 60000).error
	                : control_ask(path, ask_for("echo"), 60000, &reply, &err);
	pthread_join(thread, NULL);
	close(liar.fd);
	unlink(path);
	json_decref(reply);
	return error;
}

static void replies_of_no_daemon_of_ours(void **state)
{
	char *endless = malloc(CONTROL_LINE_MAX + 1);

	(void)state;
	memset(endless, 'x', CONTROL_LINE_MAX + 1);
	for (int on_loop = 0; on_loop < 2; on_loop++) {
		assert_int_equal(ask_liar("", 0, on_loop), -ECONNRESET);
		assert_int_equal(ask_liar("{\"ok\":true", 10, on_loop), -ECONNRESET);
		assert_int_equal(ask_liar("nonsense\n", 9, on_loop), -EBADMSG);
		assert_int_equal(ask_liar("{\"ok\":1}\n", 9, on_loop), -EBADMSG);
		assert_int_equal(ask_liar("{\"ok\":false}\n", 13, on_loop), -EREMOTEIO);
		assert_int_equal(ask_liar(endless, CONTROL_LINE_MAX + 1, on_loop), -EBADMSG);
	}
	free(endless);
}

static void silence_ends_with_the_timeout(void **state)
{
	struct server server;
	struct error err;
	json_t *reply;

	(void)state;
	begin(&server);
	assert_int_equal(control_ask(path, ask_for("hold"), 20, &reply, &err), -ETIMEDOUT);
	end(&server);
}

static void random_bytes(void **state)
{
	static const char alphabet[] = "{}[]\":,\\ \n0etrufalsnco\x80md\"\"";
	struct server server;
	unsigned seed = 1;

	(void)state;
	begin(&server);
	for (int round = 0; round < 300; round++) {
		char bytes[600];
		int fd = dial();

		for (size_t i = 0; i < sizeof(bytes); i++) {
			seed = seed * 1103515245 + 12345;
			bytes[i] = alphabet[(seed >> 16) % (sizeof(alphabet) - 1)];
			if (round % 2)
				bytes[i] = (char)(seed >> 16);
		}
		say_bytes(fd, bytes, sizeof(bytes));
		shutdown(fd, SHUT_WR);
		for (json_t *reply; (reply = hear(fd));) {
			assert_true(json_is_false(json_object_get(reply, "ok")));
			json_decref(reply);
		}
		close(fd);
	}
	end(&server);
}

static int make_folder(void **state)
{
	(void)state;
	snprintf(folder, sizeof(folder), "/tmp/stead-test-XXXXXX");
	if (!mkdtemp(folder))
		return -1;
	snprintf(path, sizeof(path), "%s/agent.sock", folder);
	return 0;
}

static int remove_folder(void **state)
{
	char lock[160];

	(void)state;
	snprintf(lock, sizeof(lock), "%s.lock", path);
	unlink(lock);
	return rmdir(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(request_is_answered),
	        cmocka_unit_test(malformed_lines_are_refused_one_by_one),
	        cmocka_unit_test(oversized_line_is_refused_and_ends),
	        cmocka_unit_test(lines_in_pieces_and_together),
	        cmocka_unit_test(slow_work_holds_nobody_back),
	        cmocka_unit_test(one_too_many_waits_for_a_place),
	        cmocka_unit_test(leaving_early_harms_nobody),
	        cmocka_unit_test(stopping_answers_and_hangs_up),
	        cmocka_unit_test(live_daemon_is_not_replaced_but_a_dead_one_is),
	        cmocka_unit_test(paths_longer_than_a_socket_may_have),
	        cmocka_unit_test(asking_on_a_loop),
	        cmocka_unit_test(replies_of_no_daemon_of_ours),
	        cmocka_unit_test(silence_ends_with_the_timeout),
	        cmocka_unit_test(random_bytes),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
