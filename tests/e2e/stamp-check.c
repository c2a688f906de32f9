// SPDX-License-Identifier: Apache-2.0
// stamp-check [--complete] LOG IMAGE...: are these images one cut of what the
// stamp-writer wrote? Exit 0 yes, 1 no, 2 could not tell.
#include "stamp.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static int map_image(const char *path, struct stamp_image *image)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	void *data;

	if (fd < 0 || fstat(fd, &st) < 0 || st.st_size == 0) {
		fprintf(stderr, "stamp-check: %s: %s\n", path, fd < 0 ? strerror(errno) : "empty or unreadable");
		if (fd >= 0)
			close(fd);
		return -1;
	}
	data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
	close(fd);
	if (data == MAP_FAILED) {
		fprintf(stderr, "stamp-check: %s: map: %s\n", path, strerror(errno));
		return -1;
	}
	*image = (struct stamp_image){.data = data, .blocks = (uint64_t)st.st_size / STAMP_BLOCK};
	return 0;
}

int main(int argc, char **argv)
{
	struct stamp_image images[STAMP_VOLUMES_MAX];
	const struct stamp_log *log;
	struct stamp_verdict verdict;
	unsigned count = 0;
	bool complete = argc > 1 && !strcmp(argv[1], "--complete");
	char **arg = argv + 1 + complete;

	if (argc - complete < 3 || argc - complete > 2 + STAMP_VOLUMES_MAX) {
		fprintf(stderr, "usage: stamp-check [--complete] LOG IMAGE...\n");
		return 2;
	}
	log = stamp_log_read(*arg);
	if (!log) {
		fprintf(stderr, "stamp-check: %s: %s\n", *arg, strerror(errno));
		return 2;
	}
	while (*++arg) {
		if (map_image(*arg, &images[count++]) < 0)
			return 2;
	}
	if (stamp_check(log, images, count, complete, stderr, &verdict) < 0) {
		fprintf(stderr, "stamp-check: out of memory\n");
		return 2;
	}
	printf("%s: %" PRIu64 " stamped blocks visible, cut at %" PRIu64 ", %" PRIu64
	       " acknowledged writes lost, %" PRIu64 " violations\n",
	       verdict.violations ? "NOT ONE CUT" : "one cut", verdict.visible, verdict.cut, verdict.lost,
	       verdict.violations);
	return verdict.violations ? 1 : 0;
}
