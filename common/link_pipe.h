// SPDX-License-Identifier: Apache-2.0
// A channel whose user is on another thread than its link. The near half
// belongs to the user's loop, the far half to the link's.
#ifndef STEAD_LINK_PIPE_H
#define STEAD_LINK_PIPE_H

#include "channel.h"
#include "loop.h"

struct link_pipe;

// Far: takes over a channel of link.h that has just opened. gone() is called on
// the near loop when the user has closed the pipe's channel, or was told of its
// end, and the last done() has been called; it is the end of the pipe. NULL
// without memory.
struct link_pipe *link_pipe_new(struct channel *channel, struct loop *far, struct loop *near, void (*gone)(void *user),
                                void *user);

// Near: what the user gets, on which link_trust() and link_exporter() work.
struct channel *link_pipe_channel(struct link_pipe *pipe);

#endif
