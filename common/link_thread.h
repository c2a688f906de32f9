// SPDX-License-Identifier: Apache-2.0
// A dialer whose links run on a thread of their own, so that resolving names,
// compression, hashing and TLS never delay the loop of the user. All functions
// and callbacks here belong to the user's loop.
#ifndef STEAD_LINK_THREAD_H
#define STEAD_LINK_THREAD_H

#include "channel.h"
#include "error.h"
#include "loop.h"
#include "net.h"
#include "tls.h"

#include <stdint.h>

struct link_thread;

// Starts the thread; tls must outlive it. NULL with the reason.
struct link_thread *link_thread_start(struct loop *loop, struct tls_context *tls, const struct net_address *address,
                                      const uint8_t key[FINGERPRINT_BYTES], struct error *err);

// As link_dialer_new(): one at a time, valid until link_thread_stop().
struct dialer *link_thread_dialer(struct link_thread *thread);

// Cancels a dial under way and calls stopped(), never from within, when the
// thread has ended, done() of every message was called, and everything is
// freed. The user closes its channels itself, before or after.
void link_thread_stop(struct link_thread *thread, void (*stopped)(void *user), void *user);

#endif
