// SPDX-License-Identifier: Apache-2.0
#include "volume_guard.h"

#include "clock.h"
#include "file_disk.h"
#include "log.h"
#include "status.h"
#include "volume_record.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define PATH_SHOWN 80 // characters: what is to be done has to fit behind it

const char *volume_guard_reason(int error)
{
	return error == -VOLUME_REPLACED ? "volume-replaced" : error == -VOLUME_CHANGED ? "volume-changed" : NULL;
}

// What cannot be read says nothing; the nodes still compare what they hold.
static struct volume_records *load(const char *pair, const char *path, struct error *err)
{
	struct volume_records *records = malloc(sizeof(*records));
	struct error damage;

	if (!records) {
		fail(err, ENOMEM, "read %s: out of memory", path);
		return NULL;
	}
	if (volume_records_read(path, records, &damage) < 0)
		log_event(LOG_LEVEL_WARNING, "volumes-forgotten", "pair=%s reason=%s", pair, damage.text);
	return records;
}

static int replaced(const struct pair_config *config, const struct config_volume *volume,
                    const struct volume_record *record, const struct fact *now, struct error *err)
{
	return fail(err, VOLUME_REPLACED,
	            "volume %s: %.*s is not the disk that it was: its %s was %.60s and is %.60s; if it is right: "
	            "stead volume accept %s %s",
	            volume->name, PATH_SHOWN, volume->path, now->name, facts_find(&record->identity, now->name),
	            now->text, config->name, volume->name);
}

static int changed(const struct pair_config *config, const struct config_volume *volume,
                   const struct volume_record *record, const char *how, struct error *err)
{
	char when[WALL_TEXT_MAX];

	wall_text(record->stopped_at, when);
	return fail(
	        err, VOLUME_CHANGED,
	        "volume %s: %.*s was written to, or restored, behind stead's back since %s: %s; if it is right: stead "
	        "volume accept %s %s",
	        volume->name, PATH_SHOWN, volume->path, when, how, config->name, volume->name);
}

static int compare_content(const struct pair_config *config, const struct config_volume *volume,
                           const struct volume_record *record, const struct sample_volume *place, struct error *err)
{
	struct facts now;
	uint64_t first;
	char how[120];
	int differ;

	facts_stillness(place->fd, &now);
	differ = sample_compare(place, &record->sample, &first);
	if (differ > 0) {
		snprintf(how, sizeof(how), "%d of %u blocks looked at differ, the first at offset %" PRIu64, differ,
		         record->sample.count, first * BLOCK_SIZE);
		return changed(config, volume, record, how, err);
	}
	if (facts_contradiction(&record->stillness, &now))
		return changed(config, volume, record, "the system has counted a write", err);
	return 0;
}

static int check(const struct pair_config *config, const struct config_volume *volume,
                 const struct volume_record *record, const struct sample_volume *place, const struct facts *identity,
                 struct error *err)
{
	const struct fact *other = facts_contradiction(&record->identity, identity);

	if (other)
		return replaced(config, volume, record, other, err);
	return record->stopped ? compare_content(config, volume, record, place, err) : 0;
}

// What is known of it now, and what was known and is not to be had now.
static bool learn(struct volume_record *record, const struct facts *now)
{
	struct facts all = *now;
	bool news;

	for (unsigned i = 0; i < record->identity.count; i++)
		facts_add(&all, record->identity.list[i].name, record->identity.list[i].text);
	news = record->stopped || all.count != record->identity.count;
	record->stopped = false;
	record->identity = all;
	return news;
}

static struct sample_volume place_of(const struct disk *disk, const struct pair_state *state, unsigned index)
{
	return (struct sample_volume){.fd = file_disk_fd(disk),
	                              .align = disk->align,
	                              .bytes = state->volumes[index].bytes,
	                              .beside = state->volume_count};
}

int volume_guard_open(const struct paths *paths, const struct pair_config *config, const struct pair_state *state,
                      struct disk *const *volumes, struct error *err)
{
	char path[PATHS_MAX];
	struct volume_records *records =
	        load(config->name, path_pair_file(paths, config->name, FILE_VOLUMES, path), err);
	struct facts identity[VOLUMES_MAX];
	bool news = false;
	int result = 0;

	if (!records)
		return -ENOMEM;
	for (unsigned i = 0; !result && i < state->volume_count; i++) {
		struct sample_volume place = place_of(volumes[i], state, i);
		const struct volume_record *record = volume_record_find(records, config->volumes[i].name, false);

		facts_identity(place.fd, &identity[i]);
		if (record)
			result = check(config, &config->volumes[i], record, &place, &identity[i], err);
	}
	for (unsigned i = 0; !result && i < state->volume_count; i++) {
		struct volume_record *record = volume_record_find(records, config->volumes[i].name, true);

		news |= record && learn(record, &identity[i]);
	}
	if (!result && news)
		result = volume_records_write(path, records, err);
	free(records);
	return result;
}

static int witness(struct volume_record *record, const struct sample_volume *place)
{
	struct facts identity;
	struct timespec now;
	int result;

	if (fsync(place->fd) < 0)
		return -errno;
	result = sample_take(place, &record->sample);
	if (result < 0)
		return result;
	facts_identity(place->fd, &identity);
	(void)learn(record, &identity);
	facts_stillness(place->fd, &record->stillness);
	clock_gettime(CLOCK_REALTIME, &now);
	record->stopped_at = (int64_t)now.tv_sec * (int64_t)NSEC_PER_SEC + now.tv_nsec;
	record->stopped = true;
	return 0;
}

void volume_guard_close(const struct paths *paths, const struct pair_config *config, const struct pair_state *state,
                        struct disk *const *volumes)
{
	char path[PATHS_MAX];
	struct error err;
	struct volume_records *records =
	        load(config->name, path_pair_file(paths, config->name, FILE_VOLUMES, path), &err);
	int result = records ? 0 : -ENOMEM;

	for (unsigned i = 0; !result && i < state->volume_count; i++) {
		struct sample_volume place = place_of(volumes[i], state, i);
		struct volume_record *record = volume_record_find(records, config->volumes[i].name, true);

		if (record)
			result = witness(record, &place);
		if (result < 0)
			fail(&err, -result, "volume %s: %s", config->volumes[i].name, strerror(-result));
	}
	if (!result)
		result = volume_records_write(path, records, &err);
	if (result < 0)
		log_event(LOG_LEVEL_WARNING, "volumes-not-noted", "pair=%s reason=%s", config->name, err.text);
	free(records);
}

static const struct config_volume *find_volume(const struct pair_config *config, const char *name)
{
	for (unsigned i = 0; i < config->volume_count; i++)
		if (!strcmp(config->volumes[i].name, name))
			return &config->volumes[i];
	return NULL;
}

int volume_guard_accept(const struct paths *paths, const struct pair_config *config, const char *name,
                        struct error *err)
{
	const struct config_volume *volume = find_volume(config, name);
	struct volume_records *records;
	struct volume_record *record;
	char path[PATHS_MAX];
	int fd, result = -ENOMEM;

	if (!volume)
		return fail(err, ENOENT, "pair %s has no volume %s; see stead status %s", config->name, name,
		            config->name);
	fd = open(volume->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return fail(err, errno, "volume %s: open %s: %s", name, volume->path, strerror(errno));
	records = load(config->name, path_pair_file(paths, config->name, FILE_VOLUMES, path), err);
	record = records ? volume_record_find(records, name, true) : NULL;
	if (record) {
		record->stopped = false;
		facts_identity(fd, &record->identity);
		result = volume_records_write(path, records, err);
	}
	close(fd);
	free(records);
	return result;
}
