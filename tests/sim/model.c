// SPDX-License-Identifier: Apache-2.0
#include "model.h"

#include "memory.h"
#include "stamp.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

void model_init(struct model *model, unsigned grain_bytes, unsigned volume_count, const uint64_t *volume_bytes,
                uint64_t *sequence, uint32_t first)
{
	memset(model, 0, sizeof(*model));
	model->grain_bytes = grain_bytes;
	model->volume_count = volume_count;
	model->sequence = sequence;
	model->first = first;
	model->unflushed = first;
	for (unsigned v = 0; v < volume_count; v++) {
		model->grain_count[v] = volume_bytes[v] / grain_bytes;
		model->grains[v] = allocate(model->grain_count[v] * sizeof(struct grain));
	}
}

void model_done(struct model *model)
{
	for (unsigned v = 0; v < model->volume_count; v++) {
		for (uint64_t i = 0; i < model->grain_count[v]; i++)
			free(model->grains[v][i].writes);
		free(model->grains[v]);
	}
	free(model->writes);
	free(model->cuts);
	memset(model, 0, sizeof(*model));
}

uint64_t model_moment(struct model *model)
{
	return ++*model->sequence;
}

static struct write *write_at(const struct model *model, uint32_t number)
{
	return &model->writes[number - model->first];
}

static uint32_t write_add(struct model *model, const struct write *write)
{
	if (model->write_count == model->capacity) {
		model->capacity = model->capacity ? model->capacity * 2 : 256;
		model->writes = resize(model->writes, model->capacity * sizeof(*model->writes));
	}
	model->writes[model->write_count] = *write;
	return model->first + model->write_count++;
}

static void grain_add(struct grain *grain, uint32_t write, uint32_t value)
{
	if (grain->count == grain->capacity) {
		grain->capacity = grain->capacity ? grain->capacity * 2 : 4;
		grain->writes = resize(grain->writes, grain->capacity * sizeof(*grain->writes));
	}
	grain->writes[grain->count++] = (struct grain_write){write, value};
}

uint32_t model_submit(struct model *model, enum write_kind kind, unsigned volume, uint64_t first, uint64_t count,
                      bool fua)
{
	struct write write = {kind, FATE_INFLIGHT, volume, first, count, model_moment(model), NEVER, NEVER, fua, false};
	uint32_t number = write_add(model, &write);

	for (uint64_t i = 0; i < count; i++)
		grain_add(&model->grains[volume][first + i], number, kind == WRITE_DATA ? number : STAMP_ZERO);
	return number;
}

void model_complete(struct model *model, uint32_t number, bool acked, uint64_t now)
{
	struct write *write = write_at(model, number);

	write->completed = model_moment(model);
	write->fate = acked ? FATE_ACKED : FATE_FAILED;
	if (acked)
		write->acked = now;
	write->flushed = acked && write->fua;
}

void model_flushed(struct model *model, unsigned volume, uint64_t submitted)
{
	for (uint32_t i = model->unflushed; i < model->first + model->write_count; i++) {
		struct write *write = write_at(model, i);

		if (write->volume == volume && write->fate == FATE_ACKED && write->completed < submitted)
			write->flushed = true;
	}
	while (model->unflushed < model->first + model->write_count &&
	       (write_at(model, model->unflushed)->flushed || write_at(model, model->unflushed)->fate == FATE_FAILED))
		model->unflushed++;
}

static uint32_t disk_value(const struct model *model, struct sim_disk *const *disks, unsigned volume, uint64_t place)
{
	uint64_t offset = place * model->grain_bytes;
	const uint8_t *page = sim_disk_page(disks[volume], (unsigned)(offset / PAGE));

	return page ? stamp_read(page + offset % PAGE, model->grain_bytes, volume, place) : STAMP_ZERO;
}

// Nothing but this value was possible anyway.
static bool settled(const struct model *model, const struct grain *grain, uint32_t value)
{
	const struct write *only;

	if (!grain->count)
		return value == STAMP_ZERO;
	only = write_at(model, grain->writes[0].write);
	return grain->count == 1 && grain->writes[0].value == value && only->flushed && only->kind != WRITE_TRIM;
}

void model_rebase(struct model *model, struct sim_disk *const *disks)
{
	for (uint32_t i = 0; i < model->write_count; i++)
		if (model->writes[i].fate == FATE_INFLIGHT)
			model_complete(model, model->first + i, false, 0);
	for (unsigned v = 0; v < model->volume_count; v++) {
		struct write write = {WRITE_BASE,          FATE_ACKED, v, 0,    model->grain_count[v],
		                      model_moment(model), 0,          0, true, true};
		uint32_t number;

		write.completed = write.submitted;
		number = write_add(model, &write);
		for (uint64_t i = 0; i < model->grain_count[v]; i++) {
			struct grain *grain = &model->grains[v][i];
			uint32_t value = disk_value(model, disks, v, i);

			if (settled(model, grain, value))
				continue;
			grain_add(grain, number, value);
		}
	}
}

void model_cut(struct model *model, uint64_t epoch, uint64_t now)
{
	if (model->cut_count == model->cut_capacity) {
		model->cut_capacity = model->cut_capacity ? model->cut_capacity * 2 : 64;
		model->cuts = resize(model->cuts, model->cut_capacity * sizeof(*model->cuts));
	}
	model->cuts[model->cut_count++] = (struct cut){epoch, model_moment(model), now};
}

const struct cut *model_find_cut(const struct model *model, uint64_t epoch)
{
	for (unsigned i = model->cut_count; i-- > 0;)
		if (model->cuts[i].epoch == epoch)
			return &model->cuts[i];
	return NULL;
}

// Whether a write is known to have happened as a whole before the moment.
static bool certain(const struct write *write, uint64_t moment)
{
	return write->fate == FATE_ACKED && write->kind != WRITE_TRIM && write->completed <= moment;
}

// Whether value is possible for somebody who looks between two moments: some
// write that left it was submitted by the end, and no write that was certain at
// the begin follows that one. Returns NULL then, else a write that must have
// replaced it.
static const struct write *impossible(const struct model *model, const struct grain *grain, uint32_t value,
                                      uint64_t begin, uint64_t end, bool *never_written)
{
	const struct write *last = NULL;

	*never_written = true;
	for (unsigned i = grain->count; i-- > 0;) {
		const struct write *write = write_at(model, grain->writes[i].write);

		if (grain->writes[i].value == value) {
			*never_written = false;
			if (write->submitted <= end && !(last && last->submitted > write->completed))
				return NULL;
		}
		if (!last && certain(write, begin))
			last = write;
	}
	if (!last && value == STAMP_ZERO)
		return NULL; // as the disk came
	return last ? last : model->writes;
}

static const char *kind_name(enum write_kind kind)
{
	static const char *const names[] = {"write", "zero", "trim", "base"};

	return names[kind];
}

static bool explain(const struct model *model, unsigned volume, uint64_t place, uint32_t value,
                    const struct write *last, bool never_written, char *why, size_t size)
{
	int n;

	if (value == STAMP_BAD)
		n = snprintf(why, size, "volume %u byte %" PRIu64 " is a mixture", volume, place * model->grain_bytes);
	else
		n = snprintf(why, size, "volume %u byte %" PRIu64 " holds %s%u%s", volume, place * model->grain_bytes,
		             value == STAMP_ZERO ? "zeroes of #" : "write #", value,
		             never_written ? ", which was never written there" : "");
	snprintf(why + n, size - (size_t)n,
	         "; write #%u (%s, submitted at %" PRIu64 ", done at %" PRIu64 ") is missing",
	         (unsigned)(last - model->writes) + model->first, kind_name(last->kind), last->submitted,
	         last->completed);
	return false;
}

// What each grain of all volumes holds; to be freed.
static uint32_t *read_values(const struct model *model, struct sim_disk *const *disks)
{
	uint64_t count = 0;
	uint32_t *values, *value;

	for (unsigned v = 0; v < model->volume_count; v++)
		count += model->grain_count[v];
	value = values = resize(NULL, count * sizeof(*values));
	for (unsigned v = 0; v < model->volume_count; v++)
		for (uint64_t i = 0; i < model->grain_count[v]; i++)
			*value++ = disk_value(model, disks, v, i);
	return values;
}

static bool check_values(const struct model *model, const uint32_t *values, uint64_t begin, uint64_t end, char *why,
                         size_t size)
{
	for (unsigned v = 0; v < model->volume_count; v++) {
		for (uint64_t i = 0; i < model->grain_count[v]; i++) {
			uint32_t value = *values++;
			bool never_written;
			const struct write *last =
			        impossible(model, &model->grains[v][i], value, begin, end, &never_written);

			if (last)
				return explain(model, v, i, value, last, never_written, why, size);
		}
	}
	return true;
}

// When the newest write that can be seen was submitted.
static uint64_t newest_visible(const struct model *model, const uint32_t *values)
{
	uint64_t newest = 0;

	for (unsigned v = 0; v < model->volume_count; v++) {
		for (uint64_t i = 0; i < model->grain_count[v]; i++) {
			uint32_t value = *values++;

			if (value >= model->first && value < model->first + model->write_count &&
			    write_at(model, value)->submitted > newest)
				newest = write_at(model, value)->submitted;
		}
	}
	return newest;
}

static bool check_one_cut(const struct model *model, const uint32_t *values, const struct cut *cut, char *why,
                          size_t size)
{
	if (!check_values(model, values, cut->moment, cut->moment, why, size))
		return false;
	// The same without knowing of the cut: every write that was acknowledged
	// before the newest visible one was submitted is there, or was overwritten.
	return check_values(model, values, newest_visible(model, values), *model->sequence, why, size);
}

bool model_check_cut(const struct model *model, struct sim_disk *const *disks, uint64_t epoch, char *why, size_t size)
{
	uint32_t *values = read_values(model, disks);
	bool right = false;

	snprintf(why, size, "epoch %" PRIu64 " was never cut", epoch);
	for (unsigned i = model->cut_count; i-- > 0 && !right;) {
		if (model->cuts[i].epoch != epoch)
			continue;
		right = check_one_cut(model, values, &model->cuts[i], why, size);
		if (!model->any_cut)
			break;
	}
	free(values);
	return right;
}

bool model_check_at(const struct model *model, struct sim_disk *const *disks, uint64_t moment, char *why, size_t size)
{
	uint32_t *values = read_values(model, disks);
	bool right = check_values(model, values, moment, moment, why, size);

	free(values);
	return right;
}

bool model_check_now(const struct model *model, struct sim_disk *const *disks, char *why, size_t size)
{
	return model_check_at(model, disks, *model->sequence, why, size);
}

bool model_check_read(const struct model *model, unsigned volume, uint64_t first, uint64_t count, const uint8_t *data,
                      uint64_t submitted, char *why, size_t size)
{
	for (uint64_t i = 0; i < count; i++) {
		uint32_t value = stamp_read(data + i * model->grain_bytes, model->grain_bytes, volume, first + i);
		bool never_written;
		const struct write *last = impossible(model, &model->grains[volume][first + i], value, submitted,
		                                      *model->sequence, &never_written);

		if (last)
			return explain(model, volume, first + i, value, last, never_written, why, size);
	}
	return true;
}

bool model_check_power_loss(const struct model *model, struct sim_disk *const *disks, char *why, size_t size)
{
	for (unsigned v = 0; v < model->volume_count; v++) {
		for (uint64_t i = 0; i < model->grain_count[v]; i++) {
			const struct grain *grain = &model->grains[v][i];
			uint32_t value = disk_value(model, disks, v, i);
			const struct write *last = NULL;
			bool possible = false, written = false;

			for (unsigned k = grain->count; k-- > 0 && !possible;) {
				const struct write *write = write_at(model, grain->writes[k].write);

				written |= grain->writes[k].value == value;
				possible = grain->writes[k].value == value &&
				           !(last && last->submitted > write->completed);
				if (!last && write->flushed && write->kind != WRITE_TRIM)
					last = write;
			}
			if (!possible && (last || value != STAMP_ZERO))
				return explain(model, v, i, value, last ? last : model->writes, !written, why, size);
		}
	}
	return true;
}

bool model_acked_after(const struct model *model, uint64_t moment)
{
	for (uint32_t i = model->write_count; i-- > 0 && model->writes[i].submitted > moment;)
		if (model->writes[i].fate == FATE_ACKED &&
		    (model->writes[i].kind == WRITE_DATA || model->writes[i].kind == WRITE_ZERO))
			return true;
	return false;
}

bool model_changed(const struct model *model, unsigned volume, uint64_t first, uint64_t count, uint64_t moment)
{
	for (uint64_t i = first; i < first + count && i < model->grain_count[volume]; i++) {
		const struct grain *grain = &model->grains[volume][i];

		for (unsigned k = grain->count; k-- > 0;) {
			const struct write *write = write_at(model, grain->writes[k].write);

			if (write->kind != WRITE_BASE && write->completed > moment)
				return true;
		}
	}
	return false;
}

uint64_t model_oldest_behind(const struct model *model, uint64_t durable_epoch)
{
	const struct cut *cut = model_find_cut(model, durable_epoch);
	uint64_t moment = cut ? cut->moment : 0;
	uint64_t oldest = NEVER;

	for (uint32_t i = model->write_count; i-- > model->lag_from;) {
		const struct write *write = &model->writes[i];

		if (write->submitted <= moment)
			break;
		if (write->fate == FATE_ACKED && (write->kind == WRITE_DATA || write->kind == WRITE_ZERO) &&
		    write->acked < oldest)
			oldest = write->acked;
	}
	return oldest;
}
