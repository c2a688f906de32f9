// SPDX-License-Identifier: Apache-2.0
// What the effort is decided from: how long a whole batch waits, and whether for
// the wire, or for the peer to read.
#include "link_internal.h"

// netinet/tcp.h has a shorter struct tcp_info, and cannot be beside it.
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>

// What the socket has not sent yet: nothing, or what the peer has no room for, as
// it does not read what is there; otherwise the wire is what holds it up.
static void look(const struct link *link, bool *nothing, bool *shut)
{
	struct tcp_info info = {0};
	socklen_t length = sizeof(info);
	uint64_t gone, acked;

	*nothing = *shut = false;
	if (getsockopt(link->fd, IPPROTO_TCP, TCP_INFO, &info, &length))
		return;
	gone = info.tcpi_bytes_sent - info.tcpi_bytes_retrans;
	acked = info.tcpi_bytes_acked; // the first of which is the handshake's
	*nothing = info.tcpi_notsent_bytes == 0;
	*shut = !*nothing && (gone > acked ? gone - acked : 0) + info.tcpi_snd_mss > info.tcpi_snd_wnd;
}

void link_blocked(struct link *link)
{
	struct link_watch *watch = &link->watch;
	bool nothing;

	if (watch->blocked)
		return;
	watch->blocked = clock_now(link->links->clock);
	look(link, &nothing, &watch->shut);
}

void link_unblocked(struct link *link)
{
	struct link_watch *watch = &link->watch;

	if (watch->blocked && !watch->shut)
		watch->waited += clock_now(link->links->clock) - watch->blocked;
	watch->blocked = 0;
}

void link_round(struct link *link)
{
	struct link_watch *watch = &link->watch;
	uint64_t now = clock_now(link->links->clock);
	bool nothing, shut;

	look(link, &nothing, &shut);
	effort_round(&link->effort, &(struct effort_round){
	                                    .period = now - watch->began,
	                                    .waited = watch->waited,
	                                    .dry = nothing || shut,
	                                    .backlog = link->queue && link->batch_content > 0,
	                                    .limit = link->rate_limit,
	                                    .sent = link->output_length,
	                            });
	*watch = (struct link_watch){.began = now};
}
