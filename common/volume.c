// SPDX-License-Identifier: Apache-2.0
#include "volume.h"

#include "lock.h"
#include "paths.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

static bool same_file(const struct stat *a, const struct stat *b)
{
	if (S_ISBLK(a->st_mode) && S_ISBLK(b->st_mode))
		return a->st_rdev == b->st_rdev;
	return (a->st_mode & S_IFMT) == (b->st_mode & S_IFMT) && a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

static bool names_same_file(const char *path, const struct stat *st)
{
	struct stat other;

	return path[0] == '/' && stat(path, &other) == 0 && same_file(&other, st);
}

// Undoes \040 and the like, as /proc/self/mountinfo and /proc/swaps write them.
static void unescape(char *text)
{
	char *out = text;

	for (; *text; text++) {
		unsigned value;

		if (text[0] == '\\' && sscanf(text + 1, "%3o", &value) == 1 && strlen(text) >= 4) {
			*out++ = (char)value;
			text += 3;
		} else {
			*out++ = *text;
		}
	}
	*out = 0;
}

// Where the block device is mounted: by its number, and for file systems that
// show another number (btrfs) by the name of their source.
static bool find_mount(const struct stat *st, char *place)
{
	FILE *stream = fopen("/proc/self/mountinfo", "re");
	size_t room = 0;
	char *line = NULL;
	bool found = false;

	while (stream && !found && getline(&line, &room, stream) > 0) {
		char mount[PATHS_MAX], source[PATHS_MAX] = "";
		const char *rest = strstr(line, " - ");
		unsigned a, b;

		if (sscanf(line, "%*d %*d %u:%u %*s %1023s", &a, &b, mount) != 3)
			continue;
		if (rest && sscanf(rest, " - %*s %1023s", source) == 1)
			unescape(source);
		if (makedev(a, b) == st->st_rdev || names_same_file(source, st)) {
			unescape(mount);
			strcpy(place, mount);
			found = true;
		}
	}
	free(line);
	if (stream)
		fclose(stream);
	return found;
}

static bool is_swap(const struct stat *st)
{
	FILE *stream = fopen("/proc/swaps", "re");
	size_t room = 0;
	char *line = NULL;
	bool found = false;

	while (stream && !found && getline(&line, &room, stream) > 0) {
		line[strcspn(line, " \t\n")] = 0;
		unescape(line);
		found = names_same_file(line, st);
	}
	free(line);
	if (stream)
		fclose(stream);
	return found;
}

static bool read_line(const char *path, char *text, size_t size)
{
	FILE *stream = fopen(path, "re");
	bool ok = stream && fgets(text, (int)size, stream);

	if (stream)
		fclose(stream);
	if (ok)
		text[strcspn(text, "\n")] = 0;
	return ok;
}

// Whether a loop device over the regular file is mounted.
static bool find_loop_mount(const struct stat *st, char *place, char *device)
{
	DIR *directory = opendir("/sys/block");
	struct dirent *entry;
	bool found = false;

	while (directory && !found && (entry = readdir(directory))) {
		char path[PATHS_MAX], text[PATHS_MAX];
		struct stat loop = {.st_mode = S_IFBLK};
		unsigned a, b;

		if (strncmp(entry->d_name, "loop", 4) != 0)
			continue;
		snprintf(path, sizeof(path), "/sys/block/%s/loop/backing_file", entry->d_name);
		if (!read_line(path, text, sizeof(text)) || !names_same_file(text, st))
			continue;
		snprintf(path, sizeof(path), "/sys/block/%s/dev", entry->d_name);
		if (!read_line(path, text, sizeof(text)) || sscanf(text, "%u:%u", &a, &b) != 2)
			continue;
		loop.st_rdev = makedev(a, b);
		found = find_mount(&loop, place);
		if (found)
			snprintf(device, 64, "/dev/%.50s", entry->d_name);
	}
	if (directory)
		closedir(directory);
	return found;
}

static int check_use(const struct volume_want *want, const struct stat *st, struct error *err)
{
	char place[PATHS_MAX], device[64];

	if (S_ISBLK(st->st_mode) && find_mount(st, place))
		return fail(err, EBUSY, "volume %s: %s is mounted at %s; unmount it first", want->name, want->path,
		            place);
	if (S_ISREG(st->st_mode) && find_loop_mount(st, place, device))
		return fail(err, EBUSY, "volume %s: %s is mounted at %s through %s; unmount it first", want->name,
		            want->path, place, device);
	if (is_swap(st))
		return fail(err, EBUSY, "volume %s: %s is in use as swap; swapoff it first", want->name, want->path);
	for (unsigned i = 0; i < want->user_count; i++) {
		const struct volume_user *user = &want->users[i];

		if (names_same_file(user->path, st))
			return fail(err, EBUSY, "volume %s: %s is volume %s of pair %s already; give another path",
			            want->name, want->path, user->volume, user->pair);
	}
	return 0;
}

static int measure(const struct volume_want *want, int fd, const struct stat *st, uint64_t *bytes, struct error *err)
{
	*bytes = (uint64_t)st->st_size;
	if (S_ISBLK(st->st_mode) && ioctl(fd, BLKGETSIZE64, bytes) < 0)
		return fail(err, errno, "volume %s: size of %s: %s", want->name, want->path, strerror(errno));
	if (*bytes == 0)
		return fail(err, EINVAL,
		            "volume %s: %s is empty; make it as large as its other copy, or as large as you need",
		            want->name, want->path);
	if (*bytes < want->bytes)
		return fail(err, ENOSPC, "volume %s: %s has %" PRIu64 " bytes, but needs %" PRIu64, want->name,
		            want->path, *bytes, want->bytes);
	return 0;
}

static int missing(const struct volume_want *want, struct error *err)
{
	char size[32] = "SIZE";

	if (want->in_use)
		return fail(err, ENOENT, "volume %s: %s does not exist; bring back what was there, or remove the pair",
		            want->name, want->path);
	if (want->bytes)
		snprintf(size, sizeof(size), "%" PRIu64, want->bytes);
	return fail(err, ENOENT, "volume %s: %s does not exist; create it with: truncate -s %s %s", want->name,
	            want->path, size, want->path);
}

int volume_check(const struct volume_want *want, uint64_t *bytes, struct error *err)
{
	struct stat st;
	int fd, result;

	if (want->path[0] != '/')
		return fail(err, EINVAL, "volume %s: path %s is not absolute; it begins with /", want->name,
		            want->path);
	if (strlen(want->path) >= PATHS_MAX)
		return fail(err, ENAMETOOLONG, "volume %s: path is longer than %d bytes", want->name, PATHS_MAX - 1);
	if (stat(want->path, &st) < 0) {
		if (errno == ENOENT)
			return missing(want, err);
		return fail(err, errno, "volume %s: %s: %s", want->name, want->path, strerror(errno));
	}
	if (S_ISDIR(st.st_mode))
		return fail(err, EISDIR, "volume %s: %s is a directory; give a block device or a file", want->name,
		            want->path);
	if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
		return fail(err, EINVAL, "volume %s: %s is neither a block device nor a regular file", want->name,
		            want->path);
	result = check_use(want, &st, err);
	if (result < 0)
		return result;
	fd = open(want->path, O_RDWR | O_CLOEXEC | O_NONBLOCK | (S_ISBLK(st.st_mode) ? O_EXCL : 0));
	if (fd < 0 && errno == EBUSY)
		return fail(err, EBUSY, "volume %s: %s is in use by the system (RAID, LVM, device mapper, a partition)",
		            want->name, want->path);
	if (fd < 0)
		return fail(err, errno, "volume %s: open %s for reading and writing: %s", want->name, want->path,
		            strerror(errno));
	if (lock_file(fd) == -EWOULDBLOCK)
		result = fail(err, EBUSY, "volume %s: %s is open in another process that has locked it", want->name,
		              want->path);
	else
		result = measure(want, fd, &st, bytes, err);
	close(fd);
	return result;
}
