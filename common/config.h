// SPDX-License-Identifier: Apache-2.0
// The configuration of one pair: the INI file etc/stead/pairs/PAIR.conf, which
// pairing writes and people edit. docs/operations.md has every key.
#ifndef STEAD_CONFIG_H
#define STEAD_CONFIG_H

#include "block.h"
#include "error.h"
#include "hours.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CONFIG_PATH_MAX 1024 // with its end
#define CONFIG_ADDRESS_MAX 80 // HOST:PORT with its end
#define CONFIG_FILE_MAX (256 << 10) // bytes; no configuration is larger

enum export_kind {
	EXPORT_AUTO, // the first of the others that works on this machine
	EXPORT_UBLK, // /dev/ublkbN
	EXPORT_NBD, // /dev/nbdN
	EXPORT_SOCKET,
};

enum journal_full {
	JOURNAL_FULL_STOP, // the standby stays at its last epoch
	JOURNAL_FULL_INCONSISTENT, // the changes are written in place
};

// What a hook may be for.
enum hook_event {
	HOOK_ANY, // of those below
	HOOK_CONNECTED,
	HOOK_DISCONNECTED,
	HOOK_SERVING,
	HOOK_PROMOTED,
	HOOK_DEMOTED,
	HOOK_SPLIT_BRAIN,
	HOOK_DIVERGED,
	HOOK_PEER_REFUSED,
	HOOK_RPO_AT_RISK,
	HOOK_RPO_BREACHED,
	HOOK_RPO_RECOVERED,
	HOOK_SYNC_STARTED,
	HOOK_SYNC_DONE,
	HOOK_RESYNC_DONE,
	HOOK_PAUSED,
	HOOK_RESUMED,
	HOOK_EVENTS,
};

struct config_volume {
	char name[NAME_MAX_LENGTH + 1];
	char path[CONFIG_PATH_MAX]; // absolute
	enum export_kind export;
};

struct pair_config {
	char name[NAME_MAX_LENGTH + 1]; // of the file, without .conf
	char peer[CONFIG_ADDRESS_MAX]; // where the peer's receiver is reached; empty: not told
	char listen[CONFIG_ADDRESS_MAX]; // where this node's own receiver is reached; empty: not told
	uint64_t rpo; // ns, never 0
	uint64_t rto; // ns, never 0
	bool auto_resync;
	bool start_without_peer;
	uint64_t bandwidth; // bytes a second; 0: no limit
	unsigned hours_count;
	struct hours hours[HOURS_MAX]; // when another bandwidth holds
	uint64_t capture_memory; // bytes
	uint64_t spill; // bytes at most; 0: no spill file
	uint64_t journal; // bytes, a multiple of 4096
	enum journal_full journal_full; // what follows from a change that the standby's journal cannot hold
	unsigned volume_count; // at least 1
	struct config_volume volumes[VOLUMES_MAX];
	char hooks[HOOK_EVENTS][CONFIG_PATH_MAX]; // executables; empty: none
};

// All defaults, no name, no volumes.
void config_init(struct pair_config *config);

// Reads and checks a whole file, NAME.conf. 0, -ENOENT when there is none, -EINVAL with
// file:line, what is wrong and what would be right, or the error of reading.
int config_read(const char *file, struct pair_config *config, struct error *err);

// What config_read() checks of the values together and one by one, for a
// configuration that was not read from a file. 0 or -EINVAL.
int config_check(const struct pair_config *config, struct error *err);

// Checks, then replaces the file as a whole and durably, or leaves it alone.
int config_write(const char *file, const struct pair_config *config, struct error *err);

// Names of the pairs configured in a directory, sorted; the caller frees
// *names. A directory that is not there has none. Files that are not NAME.conf
// are passed over.
int config_list(const char *directory, char (**names)[NAME_MAX_LENGTH + 1], size_t *count, struct error *err);

bool config_listed(char (*names)[NAME_MAX_LENGTH + 1], size_t count, const char *name);

const char *hook_name(enum hook_event event);

const char *export_name(enum export_kind kind);

// 0, or -EINVAL with the reason.
int export_parse(const char *text, enum export_kind *kind, struct error *err);

#endif
