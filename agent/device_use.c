// SPDX-License-Identifier: Apache-2.0
#include "device_use.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NAME_BYTES 64

int device_permission(struct error *reason)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {{0}};

	if (syscall(SYS_capget, &header, data) == 0 && (data[0].effective & (1u << CAP_SYS_ADMIN)))
		return 0;
	return fail(reason, EPERM, "no permission to make block devices; needs root, that is CAP_SYS_ADMIN");
}

// Whether the number is that of the disk or of one of its partitions, which
// sysfs has below the disk.
static bool is_of(unsigned major, unsigned minor, const char *name)
{
	char path[64], target[512], component[NAME_BYTES + 2];
	ssize_t length;

	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u", major, minor);
	length = readlink(path, target, sizeof(target) - 2);
	if (length < 0)
		return false;
	memcpy(target + length, "/", 2);
	snprintf(component, sizeof(component), "/%.*s/", NAME_BYTES - 1, name);
	return strstr(target, component) != NULL;
}

static bool has_open(const char *pid, const char *name)
{
	char path[300];
	struct dirent *entry;
	bool found = false;
	DIR *fds;

	snprintf(path, sizeof(path), "/proc/%s/fd", pid);
	fds = opendir(path);
	while (fds && !found && (entry = readdir(fds))) {
		struct statx stx;

		// What is known already: a file on a dead server must not stop us.
		if (entry->d_name[0] != '.' &&
		    statx(dirfd(fds), entry->d_name, AT_NO_AUTOMOUNT | AT_STATX_DONT_SYNC, STATX_TYPE, &stx) == 0 &&
		    S_ISBLK(stx.stx_mode))
			found = is_of(stx.stx_rdev_major, stx.stx_rdev_minor, name);
	}
	if (fds)
		closedir(fds);
	return found;
}

static void command_of(const char *pid, char *out, size_t size)
{
	char path[300];
	FILE *stream;

	snprintf(out, size, "?");
	snprintf(path, sizeof(path), "/proc/%s/comm", pid);
	stream = fopen(path, "re");
	if (stream && fgets(out, (int)size, stream))
		out[strcspn(out, "\n")] = 0;
	if (stream)
		fclose(stream);
}

static int open_elsewhere(const char *name, struct error *reason)
{
	DIR *processes = opendir("/proc");
	struct dirent *entry;
	int result = 0;

	while (processes && !result && (entry = readdir(processes))) {
		char command[32];

		if (!isdigit((unsigned char)entry->d_name[0]) || atoll(entry->d_name) == getpid() ||
		    !has_open(entry->d_name, name))
			continue;
		command_of(entry->d_name, command, sizeof(command));
		result = fail(reason, EBUSY, "/dev/%s is in use: process %.20s (%s) has it open", name, entry->d_name,
		              command);
	}
	if (processes)
		closedir(processes);
	return result;
}

int device_use(const char *name, struct error *reason)
{
	char path[NAME_BYTES + 8];
	int fd, result;

	snprintf(path, sizeof(path), "/dev/%.*s", NAME_BYTES - 1, name);
	// Read only: closing it makes udev look at nothing.
	fd = open(path, O_RDONLY | O_EXCL | O_CLOEXEC);
	if (fd < 0 && errno == EBUSY)
		return fail(reason, EBUSY, "%s is in use: mounted, swap, or part of another device", path);
	result = open_elsewhere(name, reason);
	if (fd >= 0)
		close(fd);
	return result;
}
