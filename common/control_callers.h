// SPDX-License-Identifier: Apache-2.0
// The callers of a control socket: lines in, calls, replies out.
#ifndef STEAD_CONTROL_CALLERS_H
#define STEAD_CONTROL_CALLERS_H

#include "control.h"

struct caller;

struct control_callers {
	struct loop *loop;
	control_handler handler;
	void *user;
	void (*gone)(struct control_callers *callers); // one of them

	struct caller *first;
	unsigned count;
	bool stopping;
};

// Takes over a connection, or closes it where there is no memory.
void callers_add(struct control_callers *callers, int fd);

// Hangs up on all but those that a reply is on its way to; on them after it.
void callers_stop(struct control_callers *callers);

// Waits for no reply any more.
void callers_cut(struct control_callers *callers);

#endif
