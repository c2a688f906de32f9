// SPDX-License-Identifier: Apache-2.0
// Where everything lies, below --root: two roots on one machine are two nodes.
//
//   DIR/etc/stead/pairs/PAIR.conf
//   DIR/var/lib/stead/               the node's own: identity.pem, invitations
//   DIR/var/lib/stead/pairs/PAIR/    state.slots map intent spill journal redo lock serve
//   DIR/var/lib/stead/salvage/PAIR-TIME/   VOLUME.img VOLUME.extents
//   DIR/run/stead/                   agent.sock receiver.sock PAIR-NAME.sock PAIR-NAME
#ifndef STEAD_PATHS_H
#define STEAD_PATHS_H

#include "error.h"

#include <stddef.h>

#define PATHS_MAX 1024 // bytes of any path, with its end
#define PATHS_ROOT_MAX 768

struct paths {
	char root[PATHS_ROOT_MAX]; // absolute; "" for /
	char configs[PATHS_MAX]; // DIR/etc/stead/pairs
	char state[PATHS_MAX]; // DIR/var/lib/stead
	char states[PATHS_MAX]; // DIR/var/lib/stead/pairs
	char run[PATHS_MAX]; // DIR/run/stead
	char agent_socket[PATHS_MAX];
	char receiver_socket[PATHS_MAX];
};

// root must be a directory. Makes nothing.
int paths_init(struct paths *paths, const char *root, struct error *err);

// Makes what a daemon needs: configs with 0755, state and run with 0700. A
// state directory that is there and open to others is closed to them.
int paths_make(const struct paths *paths, struct error *err);

// Names of pairs and volumes are valid (name_valid()). Each returns out, which
// holds PATHS_MAX bytes.
const char *path_config(const struct paths *paths, const char *pair, char *out);
const char *path_pair(const struct paths *paths, const char *pair, char *out); // its state directory
const char *path_pair_file(const struct paths *paths, const char *pair, const char *file, char *out);
// where what a pair discards is kept; stamp: of this time
const char *path_salvage(const struct paths *paths, const char *pair, const char *stamp, char *out);
const char *path_device(const struct paths *paths, const char *pair, const char *volume, char *out); // the stable link
const char *path_export(const struct paths *paths, const char *pair, const char *volume, char *out); // the socket

#define FILE_STATE "state.slots"
#define FILE_MAP "map"
#define FILE_INTENT "intent"
#define FILE_SPILL "spill"
#define FILE_JOURNAL "journal"
#define FILE_REDO "redo"
#define FILE_LOCK "lock"
#define FILE_SERVE "serve" // promoted, but no agent was there yet to be told: it is to serve at its start

// mkdir -p; what is made gets mode. 0 or -errno with the reason.
int make_directories(const char *path, unsigned mode, struct error *err);

// Makes what happened in a directory (create, rename, unlink) durable.
int sync_directory(const char *path, struct error *err);

#endif
