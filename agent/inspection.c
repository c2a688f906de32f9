// SPDX-License-Identifier: Apache-2.0
// When the two nodes have met and go on with one another: blocks that are marked
// nowhere are on the standby as they are here, if each node's volumes are the
// ones that its state speaks of. Some of them are hashed on both sides. Only a
// difference says something, and then nothing goes on.
#include "engine.h"

#include "common/blockhash.h"
#include "common/mutant.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOOKS 16 // reads at once
#define HEAD_BLOCKS 32 // boot sector, GPT, LVM, and every superblock at up to 64 KiB
#define TAIL_BLOCKS 16
#define PATIENCE (10 * NSEC_PER_SEC)
#define CUTS 8 // connections that end while they look, before each next one looks at half as much
#define HALVINGS 10

// Where file systems keep copies of their superblocks.
static const uint64_t copies[] = {
        16384, 67108864, // btrfs
        32768, 98304,    163840, 229376, 294912, 819200, 884736, // ext4
};
#define COPIES (sizeof(copies) / sizeof(copies[0]))

struct look {
	struct capture capture;
	struct inspection *inspection;
	bool busy;
};

struct inspection {
	struct source *source;
	struct inspection *next;
	bool over; // its connection is, or all was asked
	struct blockhash *hash;
	unsigned volume;
	uint64_t at; // candidates of the volume that were taken up
	unsigned reading;
	struct wire_probe frame; // being filled
	struct look looks[LOOKS];
	uint8_t *content; // LOOKS blocks
};

static void destroy(struct inspection *inspection)
{
	struct inspection **link = &inspection->source->inspections;

	while (*link && *link != inspection)
		link = &(*link)->next;
	if (*link)
		*link = inspection->next;
	blockhash_free(inspection->hash);
	free(inspection->content);
	free(inspection);
}

// -- which blocks --

static bool marked(const struct source *source, unsigned volume, uint64_t block)
{
	for (unsigned i = 0; i < MAP_SETS; i++)
		if (bitmap_next(&source->map.sets[i].dirty[volume], block) == block)
			return true;
	return false;
}

static int any(struct range *range, void *user)
{
	(void)range;
	(void)user;
	return 1;
}

// Nothing was written to it since the standby's last epoch, nor is.
static bool settled(const struct source *source, unsigned volume, uint64_t block)
{
	if (MUTANT(PROBE_OF_MARKED))
		return true;
	return !marked(source, volume, block) && !ranges_find(&source->volumes[volume].writes, block, 1, any, NULL);
}

static uint64_t places(const struct source *source, unsigned volume)
{
	uint64_t blocks = source->volumes[volume].blocks, some = HEAD_BLOCKS + TAIL_BLOCKS + COPIES;

	some += source->config.probe_blocks;
	return blocks < some ? blocks : some;
}

// What a connection on a link that flaps can carry is looked at in the end.
static unsigned halvings(const struct source *source)
{
	unsigned cuts = source->inspections_cut;

	return cuts <= CUTS ? 0 : cuts - CUTS < HALVINGS ? cuts - CUTS : HALVINGS;
}

static uint64_t candidates(const struct source *source, unsigned volume)
{
	uint64_t some = places(source, volume) >> halvings(source);

	return some ? some : 1;
}

// A block with content, if the disk can tell.
static uint64_t draw(struct source *source, unsigned index)
{
	struct volume *volume = &source->volumes[index];
	uint64_t block = source->config.random(source->config.user) % volume->blocks;
	uint64_t length = volume->bytes - (block << BLOCK_SHIFT);

	if (!disk_hole(volume->disk, block << BLOCK_SHIFT, &length) || (block << BLOCK_SHIFT) + length >= volume->bytes)
		return block;
	return block + (length >> BLOCK_SHIFT);
}

static uint64_t candidate(struct source *source, unsigned index, uint64_t number)
{
	uint64_t blocks = source->volumes[index].blocks;

	number <<= halvings(source);
	if (places(source, index) == blocks)
		return number;
	if (number < HEAD_BLOCKS)
		return number;
	number -= HEAD_BLOCKS;
	if (number < TAIL_BLOCKS)
		return blocks - 1 - number;
	number -= TAIL_BLOCKS;
	return number < COPIES ? copies[number] : draw(source, index);
}

// -- reading and asking --

static void pump(struct inspection *inspection);

static void looked(struct capture *capture, int error)
{
	struct look *look = container_of(capture, struct look, capture);
	struct inspection *inspection = look->inspection;
	struct source *source = inspection->source;
	struct wire_probe *frame = &inspection->frame;
	uint64_t block = capture->range.first;

	look->busy = false;
	inspection->reading--;
	// It may have been written to while it was read.
	if (!inspection->over && !error && (settled(source, capture->volume, block) || MUTANT(PROBE_RACES_WRITES))) {
		frame->blocks[frame->count] = block;
		blockhash_blocks(inspection->hash, capture->data, 1,
		                 frame->hashes + (size_t)frame->count * BLOCKHASH_BYTES);
		frame->count++;
	}
	pump(inspection);
	if (source->stopping)
		source_check_stopped(source);
}

static void look_at(struct inspection *inspection, uint64_t block)
{
	unsigned i = 0;
	struct look *look;

	while (inspection->looks[i].busy)
		i++;
	look = &inspection->looks[i];
	*look = (struct look){.inspection = inspection,
	                      .busy = true,
	                      .capture = {.source = inspection->source,
	                                  .volume = inspection->volume,
	                                  .range = {.first = block, .count = 1},
	                                  .data = inspection->content + (size_t)i * BLOCK_SIZE,
	                                  .done = looked,
	                                  .open_to_writes = true,
	                                  .heedless = true}};
	inspection->reading++;
	capture_start(&look->capture);
}

static void ask(struct inspection *inspection, bool last)
{
	struct wire_probe *frame = &inspection->frame;
	uint8_t body[WIRE_BODY_MAX];

	// What was marked nowhere may have been, in parts of the map that are lost.
	if (!source_map_sound(inspection->source))
		return;
	frame->volume = last ? inspection->source->volume_count - 1 : inspection->volume;
	frame->last = last;
	if (frame->count || last)
		uplink_send(inspection->source, FRAME_PROBE, body, wire_put_probe(body, frame));
	frame->count = 0;
}

static void pump(struct inspection *inspection)
{
	struct source *source = inspection->source;

	while (!inspection->over && inspection->volume < source->volume_count) {
		uint64_t block;

		if (inspection->frame.count + inspection->reading == PROBE_BLOCKS_MAX ||
		    inspection->at == candidates(source, inspection->volume)) {
			if (inspection->reading)
				return;
			if (inspection->frame.count)
				ask(inspection, false); // may end it
			if (!inspection->over && inspection->at == candidates(source, inspection->volume)) {
				inspection->volume++;
				inspection->at = 0;
			}
			continue;
		}
		if (inspection->reading == LOOKS)
			return;
		block = candidate(source, inspection->volume, inspection->at++);
		if (block < source->volumes[inspection->volume].blocks && settled(source, inspection->volume, block))
			look_at(inspection, block);
	}
	if (!inspection->over) {
		ask(inspection, true);
		inspection->over = true;
	}
	if (!inspection->reading)
		destroy(inspection);
}

// -- from begin to end --

static void lose_patience(struct timer *timer)
{
	source_serve(container_of(timer, struct source, patience));
}

void inspection_init(struct source *source)
{
	source->patience.fire = lose_patience;
}

void inspection_begin(struct source *source)
{
	struct inspection *inspection = calloc(1, sizeof(*inspection));

	if (inspection) {
		inspection->hash = blockhash_new(source->probe_key);
		inspection->content = aligned_alloc(BLOCK_SIZE, LOOKS * BLOCK_SIZE);
	}
	if (!inspection || !inspection->hash || !inspection->content) {
		if (inspection) {
			inspection->source = source;
			destroy(inspection);
		}
		uplink_lost(source, "no memory to compare the volumes");
		return;
	}
	inspection->source = source;
	inspection->next = source->inspections;
	source->inspections = inspection;
	clock_set(source->clock, &source->patience, clock_now(source->clock) + PATIENCE);
	pump(inspection);
}

void inspection_end(struct source *source)
{
	source->inspections_cut += source->session == SESSION_PROBING;
	clock_cancel(source->clock, &source->patience);
	for (struct inspection *inspection = source->inspections; inspection; inspection = inspection->next)
		inspection->over = true;
}

void inspection_free(struct source *source)
{
	clock_cancel(source->clock, &source->patience);
	while (source->inspections)
		destroy(source->inspections);
}

void inspection_probed(struct source *source, const struct wire_probed *probed)
{
	char why[200];

	clock_cancel(source->clock, &source->patience);
	if (!probed->differ) {
		source->inspected = source->peer_run;
		source->inspections_cut = 0;
		greeting_ready(source);
		return;
	}
	snprintf(
	        why, sizeof(why),
	        "volume %s: %" PRIu32 " of %" PRIu32
	        " blocks looked at differ from the standby's, the first at offset %" PRIu64
	        " and neither has written there; if this node's are right, here: stead volume accept, else promote the "
	        "standby",
	        source->state.volumes[probed->volume < source->volume_count ? probed->volume : 0].name, probed->differ,
	        probed->looked, probed->block << BLOCK_SHIFT);
	source->state.doubt = DOUBT_REFUSED;
	source_tell(source, SOURCE_DOUBTED, 0, why);
	greeting_refuse(source, SOURCE_STATE_REFUSED, why);
}
