// SPDX-License-Identifier: Apache-2.0
#include "export_socket.h"

#include "connection.h"
#include "listen_unix.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define RETRY_NSEC (100 * NSEC_PER_MSEC) // after accept() found no descriptor or memory
#define PATIENCE_NSEC (2 * NSEC_PER_SEC) // with clients, when closing

struct socket_export {
	struct connection_host host;
	struct buffers *own_buffers;
	char *name, *description;
	struct unix_listener listener;

	struct op accept;
	bool accepting;
	struct timer retry;
	struct connection *clients[EXPORT_CLIENTS_MAX];
	unsigned client_count;

	bool closing, ending;
	struct timer patience;
	struct task end;
	void (*closed)(void *user);
	void *user;
};

static void start_accept(struct socket_export *export)
{
	struct io_uring_sqe *sqe;

	if (export->closing || export->accepting || export->client_count == EXPORT_CLIENTS_MAX)
		return;
	sqe = loop_sqe(export->host.loop, &export->accept);
	io_uring_prep_accept(sqe, export->listener.fd, NULL, NULL, SOCK_CLOEXEC);
	export->accepting = true;
}

static void end(struct task *task)
{
	struct socket_export *export = (struct socket_export *)((char *)task - offsetof(struct socket_export, end));
	void (*closed)(void *user) = export->closed;
	void *user = export->user;

	clock_cancel(loop_clock(export->host.loop), &export->patience);
	close(export->listener.fd);
	buffers_free(export->own_buffers);
	free(export->name);
	free(export->description);
	free(export);
	closed(user);
}

static void settle(struct socket_export *export)
{
	if (!export->closing || export->ending || export->accepting || export->client_count)
		return;
	export->ending = true;
	loop_post(export->host.loop, &export->end);
}

static void ended(struct connection_host *host, struct connection *connection)
{
	struct socket_export *export = (struct socket_export *)((char *)host - offsetof(struct socket_export, host));

	for (unsigned i = 0; i < export->client_count; i++) {
		if (export->clients[i] == connection) {
			export->clients[i] = export->clients[--export->client_count];
			break;
		}
	}
	if (!export->retry.armed)
		start_accept(export);
	settle(export);
}

static void retry(struct timer *timer)
{
	start_accept((struct socket_export *)((char *)timer - offsetof(struct socket_export, retry)));
}

static void accepted(struct op *op, int result, unsigned flags)
{
	struct socket_export *export = (struct socket_export *)((char *)op - offsetof(struct socket_export, accept));
	struct connection *connection;

	(void)flags;
	export->accepting = false;
	if (export->closing) {
		if (result >= 0)
			close(result);
		settle(export);
		return;
	}
	if (result >= 0) {
		connection = connection_new(&export->host, result);
		if (connection)
			export->clients[export->client_count++] = connection;
		else
			result = -ENOMEM;
	}
	if (result == -EMFILE || result == -ENFILE || result == -ENOBUFS || result == -ENOMEM) {
		struct clock *clock = loop_clock(export->host.loop);

		clock_set(clock, &export->retry, clock_now(clock) + RETRY_NSEC);
		return;
	}
	start_accept(export);
}

static void lose_patience(struct timer *timer)
{
	struct socket_export *export =
	        (struct socket_export *)((char *)timer - offsetof(struct socket_export, patience));

	// From the end: a connection that ends at once has the last one take its place.
	for (unsigned i = export->client_count; i-- > 0;)
		connection_drop(export->clients[i]);
}

static int check_config(const struct export_config *config, struct error *err)
{
	if (strlen(config->name) > NBD_NAME_BYTES_MAX)
		return fail(err, EINVAL, "export %s: name is longer than %d bytes", config->path, NBD_NAME_BYTES_MAX);
	if (config->size > INT64_MAX)
		return fail(err, EINVAL, "export %s: size is beyond what NBD clients can address", config->path);
	return 0;
}

struct socket_export *socket_export_open(struct loop *loop, const struct export_config *config, struct error *err)
{
	struct socket_export *export;

	if (check_config(config, err))
		return NULL;
	export = calloc(1, sizeof(*export));
	if (!export) {
		fail(err, ENOMEM, "export %s: out of memory", config->path);
		return NULL;
	}
	export->name = strdup(config->name);
	export->description = strdup(config->description ? config->description : "");
	if (!config->buffers)
		export->own_buffers = buffers_new(loop, EXPORT_MEMORY);
	export->host = (struct connection_host){
	        .loop = loop,
	        .buffers = config->buffers ? config->buffers : export->own_buffers,
	        .export = {.name = export->name, .description = export->description, .size = config->size},
	        .source = config->source,
	        .volume = config->volume,
	        .ended = ended,
	};
	export->accept.done = accepted;
	export->retry.fire = retry;
	export->patience.fire = lose_patience;
	export->end.run = end;
	if (!export->name || !export->description || !export->host.buffers) {
		fail(err, ENOMEM, "export %s: out of memory", config->path);
		goto err;
	}
	if (unix_listen(&export->listener, config->path, err))
		goto err;
	start_accept(export);
	return export;
err:
	buffers_free(export->own_buffers);
	free(export->name);
	free(export->description);
	free(export);
	return NULL;
}

void socket_export_close(struct socket_export *export, void (*closed)(void *user), void *user)
{
	struct loop *loop = export->host.loop;
	struct clock *clock = loop_clock(loop);

	export->closing = true;
	export->closed = closed;
	export->user = user;
	unix_unlink(&export->listener);
	clock_cancel(clock, &export->retry);
	if (export->client_count)
		clock_set(clock, &export->patience, clock_now(clock) + PATIENCE_NSEC);
	if (export->accepting)
		loop_cancel(loop, &export->accept);
	for (unsigned i = export->client_count; i-- > 0;)
		connection_finish(export->clients[i]);
	settle(export);
}
