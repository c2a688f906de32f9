// SPDX-License-Identifier: Apache-2.0
#include "state_file.h"

#include "disk.h"
#include "slots.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

// Past the page cache, where that can be, as the daemon of the pair writes it: in
// the cache may be what it was before (see file_open.c).
static int open_direct(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC | O_DIRECT, 0600);

	return fd < 0 && errno == EINVAL ? open(path, flags | O_CLOEXEC, 0600) : fd;
}

int state_file_read(const char *path, struct pair_state *state, struct error *err)
{
	_Alignas(4096) uint8_t area[SLOTS_BYTES];
	const void *payload;
	size_t length;
	bool damaged;
	struct error reason;
	int fd = open_direct(path, O_RDONLY), result;
	ssize_t got;

	if (fd < 0)
		return fail(err, errno, "open %s: %s", path, strerror(errno));
	got = pread(fd, area, sizeof(area), 0);
	result = got < 0 ? -errno : 0;
	close(fd);
	if (result < 0)
		return fail(err, -result, "read %s: %s", path, strerror(-result));
	if (got != sizeof(area))
		return fail(err, EILSEQ, "%s is damaged: it has %zd bytes instead of %d", path, got, SLOTS_BYTES);
	result = slots_pick(area, STATE_SLOT_KIND_PAIR, &payload, &length, &damaged);
	if (result < 0)
		return fail(
		        err, result == -ENOENT ? EILSEQ : -result,
		        "%s is damaged: neither of its two copies is valid; restore it, or remove the pair and pair anew",
		        path);
	result = state_decode(payload, length, state, &reason);
	if (result < 0)
		return fail(err, -result, "%s: %s", path, reason.text);
	return 0;
}

// A disk that does its work when told to, so that the one implementation of
// slots serves here too.
struct patient_disk {
	struct disk disk; // first
	int fd;
	struct disk_io *first, **end;
};

static void patient_submit(struct disk *base, struct disk_io *io)
{
	struct patient_disk *disk = (struct patient_disk *)base;

	io->next = NULL;
	*disk->end = io;
	disk->end = &io->next;
}

static bool patient_hole(struct disk *disk, uint64_t offset, uint64_t *length)
{
	(void)disk;
	(void)offset;
	(void)length;
	return false;
}

static int perform(int fd, struct disk_io *io)
{
	ssize_t count = 0;

	switch (io->op) {
	case DISK_READ:
		count = pread(fd, io->data, io->length, (off_t)io->offset);
		break;
	case DISK_WRITE:
		count = pwrite(fd, io->data, io->length, (off_t)io->offset);
		break;
	case DISK_ZERO:
		return -EOPNOTSUPP;
	case DISK_FLUSH:
		return fdatasync(fd) < 0 ? -errno : 0;
	}
	if (count < 0)
		return -errno;
	if ((uint64_t)count != io->length)
		return -EIO;
	return io->flags & DISK_FUA && fdatasync(fd) < 0 ? -errno : 0;
}

static void patient_run(struct patient_disk *disk)
{
	while (disk->first) {
		struct disk_io *io = disk->first;

		disk->first = io->next;
		if (!disk->first)
			disk->end = &disk->first;
		io->done(io, perform(disk->fd, io));
	}
}

static void remember(void *user, int error)
{
	*(int *)user = error;
}

static void loaded(void *user, int error, const void *payload, size_t length, bool damaged)
{
	(void)payload;
	(void)length;
	(void)damaged;
	*(int *)user = error;
}

int state_file_write(const char *path, const struct pair_state *state, struct error *err)
{
	static const struct disk_ops ops = {patient_submit, patient_hole};
	struct patient_disk disk = {{.ops = &ops, .size = SLOTS_BYTES, .align = 1}, -1, NULL, &disk.first};
	uint8_t payload[STATE_ENCODED_MAX];
	struct slots *slots = slots_new(&disk.disk, 0, STATE_SLOT_KIND_PAIR);
	int result = -ENOMEM;

	if (!slots)
		return fail(err, ENOMEM, "write %s: out of memory", path);
	disk.fd = open_direct(path, O_RDWR | O_CREAT);
	if (disk.fd < 0 || ftruncate(disk.fd, SLOTS_BYTES) < 0) {
		result = -errno;
	} else {
		// The load learns the sequence number to go on from.
		slots_load(slots, &result, loaded);
		patient_run(&disk);
		slots_save(slots, payload, state_encode(state, payload), &result, remember);
		patient_run(&disk);
		if (!result && fsync(disk.fd) < 0)
			result = -errno;
	}
	slots_free(slots);
	if (disk.fd >= 0)
		close(disk.fd);
	if (result < 0)
		return fail(err, -result, "write %s: %s", path, strerror(-result));
	return 0;
}
