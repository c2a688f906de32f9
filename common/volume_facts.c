// SPDX-License-Identifier: Apache-2.0
#include "volume_facts.h"

#include "paths.h"

#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#define BOOT_ID "/proc/sys/kernel/random/boot_id"

const char *facts_find(const struct facts *facts, const char *name)
{
	for (unsigned i = 0; i < facts->count; i++)
		if (!strcmp(facts->list[i].name, name))
			return facts->list[i].text;
	return NULL;
}

void facts_add(struct facts *facts, const char *name, const char *text)
{
	struct fact *fact = &facts->list[facts->count];
	size_t length;

	text += strspn(text, " \t\n");
	length = strcspn(text, "\n");
	while (length && text[length - 1] == ' ')
		length--;
	if (!length || facts->count == FACTS_MAX || facts_find(facts, name))
		return;
	snprintf(fact->name, sizeof(fact->name), "%s", name);
	snprintf(fact->text, sizeof(fact->text), "%.*s", (int)length, text);
	facts->count++;
}

const struct fact *facts_contradiction(const struct facts *then, const struct facts *now)
{
	for (unsigned i = 0; i < now->count; i++) {
		const char *before = facts_find(then, now->list[i].name);

		if (before && strcmp(before, now->list[i].text) != 0)
			return &now->list[i];
	}
	return NULL;
}

static bool read_text(const char *path, char *text, size_t size)
{
	FILE *stream = fopen(path, "re");
	size_t length = stream ? fread(text, 1, size - 1, stream) : 0;

	if (stream)
		fclose(stream);
	text[length] = 0;
	return length > 0;
}

static void add_file(struct facts *facts, const char *name, const char *directory, const char *file)
{
	char path[PATHS_MAX], text[FACT_TEXT_MAX];

	snprintf(path, sizeof(path), "%s/%s", directory, file);
	if (read_text(path, text, sizeof(text)))
		facts_add(facts, name, text);
}

// To the nanosecond, so that two are only the same when they are one.
static void put_time(char text[FACT_TEXT_MAX], int64_t seconds, unsigned nanoseconds)
{
	time_t time = (time_t)seconds;
	char date[32];
	struct tm utc;

	if (!gmtime_r(&time, &utc) || !strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &utc))
		snprintf(date, sizeof(date), "%lld", (long long)seconds);
	snprintf(text, FACT_TEXT_MAX, "%s.%09uZ", date, nanoseconds);
}

// -- files --

#define FUSE_MAGIC 0x65735546
#define CIFS_MAGIC 0xff534d42
#define SMB2_MAGIC 0xfe534d42
#define EXFAT_MAGIC 0x2011bab0

// There, a file that nobody touched may have another number tomorrow.
static bool numbers_change(int fd)
{
	static const uint32_t magics[] = {FUSE_MAGIC, CIFS_MAGIC,        SMB2_MAGIC,  SMB_SUPER_MAGIC,
	                                  V9FS_MAGIC, MSDOS_SUPER_MAGIC, EXFAT_MAGIC, AFS_SUPER_MAGIC};
	struct statfs fs;

	if (fstatfs(fd, &fs) < 0)
		return true;
	for (unsigned i = 0; i < sizeof(magics) / sizeof(magics[0]); i++)
		if ((uint32_t)fs.f_type == magics[i])
			return true;
	return false;
}

// Its number may be given again when it is removed: the time that it was made
// at tells the two apart.
static void add_inode(struct facts *facts, int fd, const char *path, const char *prefix)
{
	char name[32], text[FACT_TEXT_MAX];
	struct statx stx;

	if (statx(fd, path, fd >= 0 ? AT_EMPTY_PATH : 0, STATX_INO | STATX_BTIME, &stx) < 0)
		return;
	if (stx.stx_mask & STATX_INO) {
		snprintf(name, sizeof(name), "%sinode", prefix);
		snprintf(text, sizeof(text), "%" PRIu64, (uint64_t)stx.stx_ino);
		facts_add(facts, name, text);
	}
	if (stx.stx_mask & STATX_BTIME && stx.stx_btime.tv_sec) {
		snprintf(name, sizeof(name), "%stime of birth", prefix);
		put_time(text, stx.stx_btime.tv_sec, stx.stx_btime.tv_nsec);
		facts_add(facts, name, text);
	}
}

#ifndef FS_IOC_GETFSUUID
struct fsuuid2 {
	__u8 len;
	__u8 uuid[16];
};
#define FS_IOC_GETFSUUID _IOR(0x15, 0, struct fsuuid2)
#endif

static void add_filesystem(struct facts *facts, int fd)
{
	static const uint8_t none[sizeof(((struct fsuuid2 *)0)->uuid)];
	char text[2 * sizeof(none) + 1] = "";
	struct fsuuid2 uuid = {0};

	if (ioctl(fd, FS_IOC_GETFSUUID, &uuid) < 0 || uuid.len > sizeof(none) || !memcmp(uuid.uuid, none, uuid.len))
		return;
	for (unsigned i = 0; i < uuid.len; i++)
		snprintf(text + 2 * i, 3, "%02x", uuid.uuid[i]);
	facts_add(facts, "file system", text);
}

// -- devices --

// Numbers of loop, nbd and dm devices are given anew at each boot: no identity.
static void add_device(struct facts *facts, const char *directory)
{
	char path[PATHS_MAX], text[PATHS_MAX];

	add_file(facts, "wwid", directory, "wwid");
	add_file(facts, "wwid", directory, "device/wwid");
	add_file(facts, "serial number", directory, "serial");
	add_file(facts, "serial number", directory, "device/serial");
	add_file(facts, "dm uuid", directory, "dm/uuid");
	add_file(facts, "md uuid", directory, "md/uuid");
	add_file(facts, "nbd backend", directory, "backend");
	snprintf(path, sizeof(path), "%s/loop/backing_file", directory);
	if (read_text(path, text, sizeof(text))) {
		text[strcspn(text, "\n")] = 0;
		add_inode(facts, -1, text, "backing ");
		add_file(facts, "loop offset", directory, "loop/offset");
	}
}

// A partition is known by its disk and its place on it.
static void add_block(struct facts *facts, dev_t device)
{
	char directory[80], parent[100];

	snprintf(directory, sizeof(directory), "/sys/dev/block/%u:%u", major(device), minor(device));
	snprintf(parent, sizeof(parent), "%s/partition", directory);
	if (access(parent, F_OK) == 0) {
		snprintf(parent, sizeof(parent), "%s/..", directory);
		add_device(facts, parent);
		add_file(facts, "first sector", directory, "start");
	} else {
		add_device(facts, directory);
	}
}

void facts_identity(int fd, struct facts *facts)
{
	struct stat st;

	facts->count = 0;
	if (fstat(fd, &st) < 0)
		return;
	if (S_ISBLK(st.st_mode)) {
		add_block(facts, st.st_rdev);
		return;
	}
	if (!numbers_change(fd))
		add_inode(facts, fd, "", "");
	add_filesystem(facts, fd);
}

// -- stillness --

#define STAT_SECTORS_WRITTEN 6

// Sectors written are counted from when the device was made, which its sequence
// number in this boot tells.
static void add_counters(struct facts *facts, int fd, dev_t device)
{
	char path[80], text[512], name[FACT_TEXT_MAX], boot[64];
	unsigned long long sequence = 0, value[7];

#ifdef BLKGETDISKSEQ
	if (ioctl(fd, BLKGETDISKSEQ, &sequence) < 0)
		return;
#else
	(void)fd;
	return;
#endif
	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/stat", major(device), minor(device));
	if (!read_text(path, text, sizeof(text)) || !read_text(BOOT_ID, boot, sizeof(boot)) ||
	    sscanf(text, "%llu %llu %llu %llu %llu %llu %llu", &value[0], &value[1], &value[2], &value[3], &value[4],
	           &value[5], &value[6]) != 7)
		return;
	// One text, so that another boot or device makes nothing to compare.
	snprintf(name, sizeof(name), "%.8s.%llu", boot, sequence);
	snprintf(text, sizeof(text), "%llu", value[STAT_SECTORS_WRITTEN]);
	facts_add(facts, name, text);
}

void facts_stillness(int fd, struct facts *facts)
{
	char text[FACT_TEXT_MAX];
	struct stat st;

	facts->count = 0;
	if (fstat(fd, &st) < 0)
		return;
	if (S_ISBLK(st.st_mode)) {
		add_counters(facts, fd, st.st_rdev);
		return;
	}
	put_time(text, st.st_mtim.tv_sec, (unsigned)st.st_mtim.tv_nsec);
	facts_add(facts, "last change", text);
}
