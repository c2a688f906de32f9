// SPDX-License-Identifier: Apache-2.0
#include "nbd_sysfs.h"

#include "export.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>

static bool carries(unsigned index, const char *id)
{
	char path[64], text[EXPORT_ID_MAX] = "";
	FILE *stream;

	snprintf(path, sizeof(path), "/sys/block/nbd%u/backend", index);
	stream = fopen(path, "re");
	if (!stream)
		return false;
	if (fgets(text, sizeof(text), stream))
		text[strcspn(text, "\n")] = 0;
	fclose(stream);
	return !strcmp(text, id);
}

bool nbd_sysfs_find(const char *id, unsigned *index)
{
	DIR *devices = opendir("/sys/block");
	struct dirent *entry;
	bool found = false;

	while (devices && !found && (entry = readdir(devices)))
		found = sscanf(entry->d_name, "nbd%u", index) == 1 && carries(*index, id);
	if (devices)
		closedir(devices);
	return found;
}

static void put(unsigned index, const char *name, uint64_t value)
{
	char path[100];
	FILE *stream;

	snprintf(path, sizeof(path), "/sys/block/nbd%u/queue/%s", index, name);
	stream = fopen(path, "we");
	if (!stream)
		return;
	fprintf(stream, "%llu\n", (unsigned long long)value);
	fclose(stream);
}

void nbd_sysfs_tune(unsigned index, uint32_t bytes, unsigned retry_msec)
{
	put(index, "max_sectors_kb", bytes >> 10);
	put(index, "io_timeout", retry_msec);
}
