// SPDX-License-Identifier: Apache-2.0
// What remains of an epoch that was given up. The standby keeps the part that it
// got, and the next epoch continues it: only the rest, and what has changed since,
// is sent then. So the work of an epoch that the link, or the room for what is
// overwritten, does not let end is not lost, and one that ends comes.
//
//   left ─► the standby says how far it got ─► split: what it has is carried,
//   the rest rejoins the open set ─► the next cut continues it
//
// Why that is the content of one cut: a block that is carried and has not changed
// since holds at the next cut what it held at its own; one that has changed is in
// the set that is cut then, is sent again, and the later content counts.
#include "engine.h"

#include "common/mutant.h"

// Between two marks; where connections are lost within epochs, four frames.
#define MARK_NSEC (5 * NSEC_PER_SEC)
#define MARK_BLOCKS ((UINT64_C(16) << 20) / BLOCK_SIZE)
#define MARK_FRAMES 4

void stage_init(struct source *source)
{
	source->stage.name = id_random(source->config.random, source->config.user);
}

static bool after(struct position a, struct position b)
{
	return a.volume != b.volume ? a.volume > b.volume : a.block > b.block;
}

static bool same(struct position a, struct position b)
{
	return a.volume == b.volume && a.block == b.block;
}

bool stage_pending(const struct source *source)
{
	return source->stage.epoch || source->stage.left.number;
}

void stage_drop(struct source *source)
{
	struct stage *stage = &source->stage;

	if (stage->carried && MUTANT(CARRIED_LOST_WITH_STAGE))
		set_release(&source->map, stage->carried);
	else if (stage->carried)
		set_rejoin(&source->map, stage->carried);
	if (stage->left.number)
		set_rejoin(&source->map, stage->left.set);
	*stage = (struct stage){.name = stage->name, .overfull = stage->overfull, .needed = stage->needed};
}

bool stage_leave(struct source *source)
{
	struct stage *stage = &source->stage;
	struct epoch *epoch = &source->capturing;

	if (epoch->kind != EPOCH_ATOMIC || !epoch->begun || !epoch->set)
		return false;
	stage->left = *epoch;
	stage->left_at = shipper_handed(source);
	stage->needed |= !uplink_ready(source);
	stage->base = epoch->base;
	stage->plan = source->plan;
	stage->adopts = source->adopting;
	return true;
}

static void send_place(struct source *source, const struct epoch *epoch, struct position at, bool leaves)
{
	struct wire_stage place = {.epoch = epoch->number, .volume = at.volume, .block = at.block, .leaves = leaves};
	uint8_t body[WIRE_BODY_MAX];

	uplink_send(source, FRAME_STAGE, body, wire_put_stage(body, &place));
}

void stage_ask(struct source *source)
{
	send_place(source, &source->stage.left, source->stage.left_at, true);
}

static void mark(struct source *source)
{
	const struct epoch *epoch = &source->capturing;
	struct position at = shipper_handed(source);

	if (!epoch->number || epoch->kind != EPOCH_ATOMIC || !epoch->begun || same(at, source->stage.marked))
		return;
	source->stage.marked = at;
	source->stage.unmarked = 0;
	source->stage.marked_at = clock_now(source->clock);
	send_place(source, epoch, at, false);
}

void stage_begin(struct source *source)
{
	source->stage.marked = source->cursor;
	source->stage.unmarked = 0;
	source->stage.marked_at = clock_now(source->clock);
}

void stage_tick(struct source *source)
{
	const struct stage *stage = &source->stage;
	uint64_t since = clock_now(source->clock) - stage->marked_at;

	if (since >= MARK_NSEC || (stage->needed && stage->unmarked >= fit_blocks(source)))
		mark(source);
}

// The channel may have much before it, and the connection end within that.
void stage_sent(struct source *source, uint32_t blocks)
{
	uint64_t most = source->stage.needed ? MARK_FRAMES * (uint64_t)fit_blocks(source) : MARK_BLOCKS;

	source->stage.unmarked += blocks;
	if (source->stage.unmarked >= most)
		mark(source);
}

// It has that much of the epoch that was left.
static void take_part(struct source *source, struct position at)
{
	struct stage *stage = &source->stage;

	if (MUTANT(STAGED_AS_SENT))
		at = stage->left_at;
	stage->epoch = stage->left.number;
	stage->at = at;
	if (stage->left.all && after(stage->left.all_from, at))
		stage->compared = stage->left.all_from;
	else if (stage->left.all)
		stage->compared = at;
	stage->split = true;
	stage->rest_moved = false;
	stage->merge_volume = at.volume;
	stage->merge_index = at.block / 64;
}

// What the standby keeps, as it says; false: that is not what it got of us.
static bool take_word(struct source *source, const struct wire_stage *staged)
{
	struct stage *stage = &source->stage;
	struct position at = {staged->volume, staged->block};

	if (!staged->epoch || stage->split)
		return false;
	if (staged->epoch == stage->left.number && !after(at, stage->left_at)) {
		take_part(source, at);
		return true;
	}
	if (staged->epoch != stage->epoch || !same(at, stage->at))
		return false;
	if (stage->left.number)
		set_rejoin(&source->map, stage->left.set);
	stage->left.number = 0;
	return true;
}

void stage_told(struct source *source, const struct wire_stage *staged)
{
	if (!source->stage.left.number || source->stage.split) {
		uplink_lost(source, "the standby told what it keeps of an epoch that was not left");
		return;
	}
	if (!take_word(source, staged))
		stage_drop(source);
	epoch_merge(source);
}

void stage_claim(struct source *source, const struct wire_welcome *welcome)
{
	struct stage *stage = &source->stage;

	for (unsigned i = 0; i < source->interrupted_count; i++) {
		const struct epoch *epoch = &source->interrupted[i];

		if (!welcome->staged.epoch || epoch->number <= welcome->hello.epoch ||
		    (epoch->number != welcome->staged.epoch && epoch->continues != welcome->staged.epoch))
			continue;
		stage_drop(source); // it came after that
		stage->left = *epoch;
		stage->left_at = (struct position){source->volume_count, 0};
		stage->epoch = epoch->continues;
		stage->at = epoch->continued_at;
		stage->carried = epoch->carried;
		stage->compared = epoch->all_from;
		stage->base = epoch->base;
		stage->plan = source->plan;
		stage->adopts = epoch->adopts;
		break;
	}
	source->interrupted_count = 0;
}

// Whether what is kept is of use for what has to be shipped now.
static bool fits(const struct source *source, const struct wire_welcome *welcome)
{
	const struct stage *stage = &source->stage;

	return id_equal(&welcome->stage, &stage->name) && stage->base == welcome->hello.epoch &&
	       stage->plan == source->plan && stage->adopts == source->adopting;
}

bool stage_meet(struct source *source, const struct wire_welcome *welcome)
{
	const struct wire_stage *staged = &welcome->staged;
	struct stage *stage = &source->stage;

	if (!stage_pending(source))
		return false;
	// Being split still: what was told then is what was kept.
	if (fits(source, welcome) && !MUTANT(STAGE_NEVER_CONTINUED) &&
	    (stage->split ? staged->epoch == stage->epoch &&
	                            same((struct position){staged->volume, staged->block}, stage->at)
	                  : take_word(source, staged)))
		return true;
	stage_drop(source);
	return false;
}

// The rest of what was left is changed, as if it had never been cut.
static bool move_rest(struct source *source)
{
	struct stage *stage = &source->stage;
	struct change_set *left = stage->left.set, *open = source->open;

	if (!set_move(&source->map, open, left, &stage->merge_volume, &stage->merge_index, stage->at.block))
		return false;
	if (!open->opened || (left->opened && left->opened < open->opened))
		open->opened = left->opened ? left->opened : clock_now(source->clock);
	stage->rest_moved = true;
	stage->merge_volume = 0;
	stage->merge_index = 0;
	return true;
}

bool stage_split(struct source *source)
{
	struct stage *stage = &source->stage;

	if (!stage->split)
		return true;
	if (!stage->rest_moved && !move_rest(source))
		return false;
	if (stage->carried) {
		if (!set_merge(&source->map, stage->carried, stage->left.set, &stage->merge_volume,
		               &stage->merge_index))
			return false;
		set_release(&source->map, stage->left.set);
		stage->carried->epoch = stage->left.number;
	} else {
		stage->carried = stage->left.set;
	}
	map_save(&source->map);
	stage->left.number = 0;
	stage->split = false;
	return true;
}

bool stage_holds(const struct source *source, unsigned volume, uint64_t block)
{
	const struct stage *stage = &source->stage;

	if (MUTANT(COMPARED_OVER_STAGE))
		return false;
	return (stage->carried && bitmap_test(&stage->carried->dirty[volume], block)) ||
	       (stage->epoch && after(stage->compared, (struct position){volume, block}));
}

struct change_set *stage_take(struct source *source)
{
	struct change_set *carried = source->stage.carried;

	if (carried)
		carried->epoch = source->capturing.number;
	source->stage = (struct stage){
	        .name = source->stage.name,
	        .overfull = source->stage.overfull,
	        .needed = source->stage.needed,
	};
	map_save(&source->map);
	return carried;
}
