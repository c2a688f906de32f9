// SPDX-License-Identifier: Apache-2.0
// The NBD export from the outside: a socket of the test's own against a loop
// in another thread, in front of a source that does only what it is told.
#include "agent/export_socket.h"
#include "agent/listen_unix.h"
#include "nbd-bytes.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define SIZE (UINT64_C(1) << 30)
#define LONG (UINT32_C(32) << 20)

// READ gives bytes that tell their offset. A held source completes nothing
// until it is let go.
struct source {
	struct loop *loop;
	struct task work;
	bool posted, hold;
	int error; // of every request
	struct disk_io *first, **end;
	unsigned in_flight;
	sem_t arrived; // once a request
};

static struct fixture {
	char directory[32], path[64];
	pthread_t thread;
	struct loop *loop;
	struct source source;
	struct socket_export *export;
	struct error err;
	sem_t done, closed;
	struct task task;
	void (*call)(struct fixture *f);
} fixture;

static uint8_t byte_at(uint64_t offset)
{
	return (uint8_t)(offset * 7 ^ offset >> 12);
}

static void work(struct task *task)
{
	struct source *source = (struct source *)((char *)task - offsetof(struct source, work));
	struct disk_io *io = source->first, *next;

	source->posted = false;
	if (source->hold)
		return;
	source->first = NULL;
	source->end = &source->first;
	for (; io; io = next) {
		struct request *request = (struct request *)((char *)io - offsetof(struct request, io));
		uint8_t *data = request->data;

		next = io->next;
		for (uint64_t i = 0; request->op == REQUEST_READ && i < request->length; i++)
			data[i] = byte_at(request->offset + i);
		source->in_flight--;
		request->done(request, source->error);
	}
}

void source_submit(struct source *source, struct request *request)
{
	request->io.next = NULL;
	*source->end = &request->io;
	source->end = &request->io.next;
	source->in_flight++;
	sem_post(&source->arrived);
	if (!source->posted) {
		source->posted = true;
		loop_post(source->loop, &source->work);
	}
}

bool source_hole(struct source *source, unsigned volume, uint64_t offset, uint64_t *length)
{
	(void)source;
	(void)volume;
	(void)offset;
	(void)length;
	return false;
}

static void run_call(struct task *task)
{
	struct fixture *f = (struct fixture *)((char *)task - offsetof(struct fixture, task));

	f->call(f);
	sem_post(&f->done);
}

// Runs a function on the loop's thread.
static void in_loop(void (*call)(struct fixture *f))
{
	fixture.call = call;
	loop_post(fixture.loop, &fixture.task);
	sem_wait(&fixture.done);
}

static void *run_loop(void *arg)
{
	struct fixture *f = arg;

	f->loop = loop_new(&f->err);
	sem_post(&f->done);
	if (f->loop)
		loop_run(f->loop);
	loop_free(f->loop);
	return NULL;
}

static void do_open(struct fixture *f)
{
	struct export_config config = {.path = f->path, .name = "data", .size = SIZE, .source = &f->source};

	f->export = socket_export_open(f->loop, &config, &f->err);
}

static void closed(void *user)
{
	sem_post(&((struct fixture *)user)->closed);
}

static void do_close(struct fixture *f)
{
	socket_export_close(f->export, closed, f);
	f->export = NULL;
}

static void do_quit(struct fixture *f)
{
	loop_quit(f->loop);
}

static void do_hold(struct fixture *f)
{
	f->source.hold = true;
}

static void do_let_go(struct fixture *f)
{
	f->source.hold = false;
	work(&f->source.work);
}

static int setup(void **state)
{
	struct fixture *f = &fixture;

	(void)state;
	memset(f, 0, sizeof(*f));
	strcpy(f->directory, "/tmp/test-export-XXXXXX");
	if (!mkdtemp(f->directory))
		return -1;
	strcat(strcpy(f->path, f->directory), "/socket");
	sem_init(&f->done, 0, 0);
	sem_init(&f->closed, 0, 0);
	sem_init(&f->source.arrived, 0, 0);
	f->task.run = run_call;
	f->source.work.run = work;
	f->source.end = &f->source.first;
	pthread_create(&f->thread, NULL, run_loop, f);
	sem_wait(&f->done);
	if (!f->loop)
		return -1;
	f->source.loop = f->loop;
	in_loop(do_open);
	return f->export ? 0 : -1;
}

static int teardown(void **state)
{
	struct fixture *f = &fixture;

	(void)state;
	if (f->export) {
		in_loop(do_let_go);
		in_loop(do_close);
		sem_wait(&f->closed);
	}
	in_loop(do_quit);
	pthread_join(f->thread, NULL);
	sem_destroy(&f->done);
	sem_destroy(&f->closed);
	sem_destroy(&f->source.arrived);
	return rmdir(f->directory); // the socket is gone
}

static void wait_for_requests(unsigned count)
{
	while (count--)
		sem_wait(&fixture.source.arrived);
}

static int dial(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(address.sun_path, fixture.path);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

static void put(int fd, const void *data, size_t length)
{
	for (size_t sent = 0; sent < length;) {
		ssize_t result = send(fd, (const uint8_t *)data + sent, length - sent, MSG_NOSIGNAL);

		assert_true(result > 0);
		sent += (size_t)result;
	}
}

static void get(int fd, void *data, size_t length)
{
	assert_int_equal(recv(fd, data, length, MSG_WAITALL), (ssize_t)length);
}

static void expect_end(int fd)
{
	uint8_t byte;

	assert_true(recv(fd, &byte, 1, 0) <= 0);
	close(fd);
}

static void greet(int fd)
{
	static struct bytes bytes;
	uint8_t in[18 + 10];

	bytes.length = 0;
	add32(&bytes, NBD_FIXED_NEWSTYLE | NBD_NO_ZEROES);
	add_option(&bytes, NBD_OPT_EXPORT_NAME, 0);
	put(fd, bytes.data, bytes.length);
	get(fd, in, sizeof(in));
	assert_int_equal(nbd_get64(in + 18), SIZE);
}

static int client(void)
{
	int fd = dial();

	greet(fd);
	return fd;
}

static void ask(int fd, unsigned command, uint64_t cookie, uint64_t offset, uint32_t length)
{
	static struct bytes bytes;

	bytes.length = 0;
	add_request(&bytes, command, 0, cookie, offset, length);
	put(fd, bytes.data, bytes.length);
}

static void expect_reply(int fd, uint64_t cookie, enum nbd_error error)
{
	uint8_t in[NBD_SIMPLE_BYTES];

	get(fd, in, sizeof(in));
	assert_int_equal(nbd_get32(in), NBD_MAGIC_SIMPLE);
	assert_int_equal(nbd_get32(in + 4), error);
	if (cookie)
		assert_int_equal(nbd_get64(in + 8), cookie);
}

static void expect_data(int fd, uint64_t offset, uint32_t length)
{
	static uint8_t data[65536];

	while (length) {
		uint32_t piece = length < sizeof(data) ? length : (uint32_t)sizeof(data);

		get(fd, data, piece);
		for (uint32_t i = 0; i < piece; i++) {
			if (data[i] != byte_at(offset + i))
				assert_int_equal(data[i], byte_at(offset + i));
		}
		offset += piece;
		length -= piece;
	}
}

static void works(int fd)
{
	ask(fd, NBD_CMD_READ, 77, 12345, 4096);
	expect_reply(fd, 77, 0);
	expect_data(fd, 12345, 4096);
}

static void the_socket_is_its_owners(void **state)
{
	struct unix_listener listener;
	struct error err;
	struct stat st;
	char path[200];
	int fd;

	(void)state;
	assert_int_equal(stat(fixture.path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);

	// A live one is left alone.
	assert_int_equal(unix_listen(&listener, fixture.path, &err), -EADDRINUSE);
	assert_non_null(strstr(err.text, "another process serves it"));
	close(client());

	// A dead one is replaced; what is no socket is not.
	snprintf(path, sizeof(path), "%s/other", fixture.directory);
	assert_int_equal(unix_listen(&listener, path, &err), 0);
	close(listener.fd);
	assert_int_equal(unix_listen(&listener, path, &err), 0);
	close(listener.fd);
	unix_unlink(&listener);
	assert_int_equal(access(path, F_OK), -1);
	fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	close(fd);
	assert_int_equal(unix_listen(&listener, path, &err), -EADDRINUSE);
	assert_non_null(strstr(err.text, "no socket"));
	unlink(path);

	// Somebody else's is not removed.
	assert_int_equal(unix_listen(&listener, path, &err), 0);
	unlink(path);
	fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	close(fd);
	unix_unlink(&listener);
	assert_int_equal(access(path, F_OK), 0);
	unlink(path);
	close(listener.fd);

	memset(path, 'x', 150);
	path[150] = 0;
	assert_int_equal(unix_listen(&listener, path, &err), -ENAMETOOLONG);
	snprintf(path, sizeof(path), "%s/none/socket", fixture.directory);
	assert_int_equal(unix_listen(&listener, path, &err), -ENOENT);
}

static void close_answers_what_is_under_way(void **state)
{
	int idle = client(), raw = dial(), busy = client();

	(void)state;
	in_loop(do_hold);
	ask(busy, NBD_CMD_READ, 1, 4096, 4096);
	ask(busy, NBD_CMD_FLUSH, 2, 0, 0);
	wait_for_requests(2);
	in_loop(do_close);
	expect_end(idle);
	assert_int_equal(access(fixture.path, F_OK), -1);
	assert_int_equal(sem_trywait(&fixture.closed), -1);

	in_loop(do_let_go);
	expect_reply(busy, 1, 0);
	expect_data(busy, 4096, 4096);
	expect_reply(busy, 2, 0);
	expect_end(busy);
	sem_wait(&fixture.closed);
	close(raw);
}

static void close_does_not_wait_for_a_deaf_client(void **state)
{
	int deaf = client();

	(void)state;
	ask(deaf, NBD_CMD_READ, 1, 0, LONG);
	wait_for_requests(1);
	in_loop(do_close);
	sem_wait(&fixture.closed);
	close(deaf);
}

static void disc_answers_what_is_under_way(void **state)
{
	int fd = client();

	(void)state;
	in_loop(do_hold);
	ask(fd, NBD_CMD_READ, 1, 0, 512);
	ask(fd, NBD_CMD_DISC, 2, 0, 0);
	wait_for_requests(1);
	in_loop(do_let_go);
	expect_reply(fd, 1, 0);
	expect_data(fd, 0, 512);
	expect_end(fd);
}

static void clients_that_vanish_do_no_harm(void **state)
{
	static const uint8_t payload[100];

	(void)state;
	in_loop(do_hold);
	for (unsigned i = 0; i < 10; i++) {
		int fd = client();

		ask(fd, NBD_CMD_READ, 1, 0, 4096);
		ask(fd, NBD_CMD_WRITE, 2, 0, 100);
		put(fd, payload, 100);
		wait_for_requests(2);
		ask(fd, NBD_CMD_WRITE, 3, 0, LONG); // its payload never comes
		put(fd, payload, i);
		close(fd);
	}
	assert_int_equal(fixture.source.in_flight, 20);
	in_loop(do_let_go);
	int fd = client();
	works(fd);
	close(fd);
}

static void errors_reach_the_client(void **state)
{
	int fd = client();

	(void)state;
	fixture.source.error = -ESHUTDOWN;
	ask(fd, NBD_CMD_READ, 1, 0, 4096);
	expect_reply(fd, 1, NBD_ESHUTDOWN);
	fixture.source.error = -ENODATA;
	ask(fd, NBD_CMD_WRITE_ZEROES, 2, 0, 4096);
	expect_reply(fd, 2, NBD_EIO);
	fixture.source.error = 0;
	works(fd);
	ask(fd, 99, 3, 0, 4096);
	expect_reply(fd, 3, NBD_EINVAL);
	works(fd);
	ask(fd, NBD_CMD_READ, 4, 0, 0);
	expect_reply(fd, 4, 0);
	close(fd);
}

// Clients that announced more payload than there is memory, and stall.
static void stalled_payloads_stop_nobody(void **state)
{
	enum {
		STALLED = 8
	};
	static uint8_t piece[65536];
	int stalled[STALLED], fd;

	(void)state;
	for (unsigned i = 0; i < STALLED; i++) {
		stalled[i] = client();
		ask(stalled[i], NBD_CMD_WRITE, i + 1, 0, LONG);
		put(stalled[i], piece, 1000);
	}
	fd = client();
	works(fd);
	ask(fd, NBD_CMD_READ, 5, 0, LONG);
	expect_reply(fd, 5, 0);
	expect_data(fd, 0, LONG);

	for (unsigned i = STALLED; i-- > 0;) {
		for (size_t sent = 1000; sent < LONG;) {
			size_t length = LONG - sent < sizeof(piece) ? LONG - sent : sizeof(piece);

			put(stalled[i], piece, length);
			sent += length;
		}
		expect_reply(stalled[i], i + 1, 0);
		close(stalled[i]);
	}
	close(fd);
}

// A client that asks for far more than it takes: it gets all of it in the end,
// and others are served meanwhile.
static void unread_replies_stop_nobody(void **state)
{
	enum {
		REQUESTS = 200,
		READ = 1 << 20
	};
	int greedy = client(), fd;

	(void)state;
	for (unsigned i = 0; i < REQUESTS; i++)
		ask(greedy, NBD_CMD_READ, i + 1, (uint64_t)i << 20, READ);
	fd = client();
	works(fd);
	close(fd);
	for (unsigned i = 0; i < REQUESTS; i++) {
		expect_reply(greedy, i + 1, 0);
		expect_data(greedy, (uint64_t)i << 20, READ);
	}
	close(greedy);
}

// More requests than there are slots, small ones: none is lost.
static void more_requests_than_slots(void **state)
{
	enum {
		REQUESTS = 1000
	};
	static bool seen[REQUESTS];
	static struct bytes bytes;
	int fd = client();

	(void)state;
	in_loop(do_hold);
	bytes.length = 0;
	for (unsigned i = 0; i < REQUESTS; i++)
		add_request(&bytes, NBD_CMD_TRIM, 0, i, i, 1);
	put(fd, bytes.data, bytes.length);
	wait_for_requests(128);
	in_loop(do_let_go);
	memset(seen, 0, sizeof(seen));
	for (unsigned i = 0; i < REQUESTS; i++) {
		uint8_t in[NBD_SIMPLE_BYTES];

		get(fd, in, sizeof(in));
		assert_true(nbd_get64(in + 8) < REQUESTS);
		assert_false(seen[nbd_get64(in + 8)]);
		seen[nbd_get64(in + 8)] = true;
	}
	close(fd);
}

static void further_clients_wait_for_a_place(void **state)
{
	int clients[EXPORT_CLIENTS_MAX], further;
	struct pollfd pollfd;

	(void)state;
	for (unsigned i = 0; i < EXPORT_CLIENTS_MAX; i++)
		clients[i] = client();
	further = dial();
	pollfd = (struct pollfd){.fd = further, .events = POLLIN};
	works(clients[0]);
	assert_int_equal(poll(&pollfd, 1, 0), 0);
	close(clients[7]);
	clients[7] = further;
	greet(further);
	works(further);
	for (unsigned i = 0; i < EXPORT_CLIENTS_MAX; i++)
		close(clients[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(the_socket_is_its_owners, setup, teardown),
	        cmocka_unit_test_setup_teardown(close_answers_what_is_under_way, setup, teardown),
	        cmocka_unit_test_setup_teardown(close_does_not_wait_for_a_deaf_client, setup, teardown),
	        cmocka_unit_test_setup_teardown(disc_answers_what_is_under_way, setup, teardown),
	        cmocka_unit_test_setup_teardown(clients_that_vanish_do_no_harm, setup, teardown),
	        cmocka_unit_test_setup_teardown(errors_reach_the_client, setup, teardown),
	        cmocka_unit_test_setup_teardown(stalled_payloads_stop_nobody, setup, teardown),
	        cmocka_unit_test_setup_teardown(unread_replies_stop_nobody, setup, teardown),
	        cmocka_unit_test_setup_teardown(more_requests_than_slots, setup, teardown),
	        cmocka_unit_test_setup_teardown(further_clients_wait_for_a_place, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
