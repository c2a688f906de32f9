// SPDX-License-Identifier: Apache-2.0
// The handshake with the peer: what we say of ourselves, what the two nodes are
// to each other, and what therefore has to be shipped.
#include "engine.h"

#include "common/mutant.h"

#include <stdio.h>
#include <string.h>

void greeting_send(struct source *source)
{
	struct wire_hello hello = {
	        .version_min = WIRE_VERSION,
	        .version_max = WIRE_VERSION,
	        .features = WIRE_FEATURES,
	        .pair = source->state.pair,
	        .role = ROLE_PRIMARY,
	        .lineage = source->state.lineage,
	        .born = source->state.born,
	        .epoch = source->map.cut,
	        .mapped = !source->map.suspect,
	        .untouched = source->untouched,
	        .local_bytes = source_behind(source),
	        .local_since = source_oldest(source),
	        .sync = source->map.sync,
	        .volume_count = source->volume_count,
	};
	uint8_t body[WIRE_BODY_MAX];

	for (unsigned i = 0; i < source->volume_count; i++) {
		memcpy(hello.volumes[i].name, source->state.volumes[i].name, sizeof(hello.volumes[i].name));
		hello.volumes[i].bytes = source->state.volumes[i].bytes;
	}
	uplink_send(source, FRAME_HELLO, body, wire_put_hello(body, &hello));
}

// What the standby had of our generation when it was promoted is not beyond it.
static void forget_shared(struct source *source, const struct lineage *successor)
{
	const struct ancestor *ancestor = lineage_find(successor, &source->state.lineage.generation);

	if (!ancestor)
		return;
	if (!source->map.suspect && ancestor->epoch <= source->map.cut &&
	    (ancestor->epoch >= source->map.acknowledged || MUTANT(LOST_EPOCHS_BELIEVED))) {
		source->map.acknowledged = ancestor->epoch;
		if (!MUTANT(BEYOND_OF_SHARED_EPOCHS))
			epoch_settle(source, ancestor->epoch);
	} else {
		// It knows epochs that we never cut, or lacks some that it had.
		source->taken_back = source->map.suspect = true;
	}
	// What is held here is not to be taken for an epoch that the peer knows.
	if (ancestor->epoch > source->map.cut)
		source->map.cut = ancestor->epoch;
	map_save(&source->map);
	if (!source->loading)
		regions_note(source);
}

static void fence(struct source *source, const struct source_successor *successor, const char *why)
{
	source->verdict = SOURCE_STATE_DEMOTED;
	if (MUTANT(FENCE_IGNORED))
		return;
	epoch_disconnected(source);
	forget_shared(source, &successor->lineage);
	source->split = !MUTANT(FENCE_FORGETS_SPLIT) && source->serving && !source->handover && !successor->untouched &&
	                source_behind(source);
	if (source->split)
		source->verdict = SOURCE_STATE_SPLIT_BRAIN;
	source->handed = source->handover && !source->map.suspect;
	source->fenced = true;
	source->serving = false;
	source->handover = false;
	handover_end(source);
	source_tell(source, SOURCE_FENCED, 0, why);
	uplink_lost(source, why);
}

void greeting_refuse(struct source *source, enum source_state verdict, const char *why)
{
	source->verdict = verdict;
	source_tell(source, SOURCE_REFUSED, 0, why);
	uplink_lost(source, why);
}

static bool volumes_equal(const struct source *source, const struct wire_hello *peer)
{
	if (peer->volume_count != source->volume_count)
		return false;
	for (unsigned i = 0; i < source->volume_count; i++)
		if (strcmp(peer->volumes[i].name, source->state.volumes[i].name) != 0 ||
		    peer->volumes[i].bytes != source->state.volumes[i].bytes)
			return false;
	return true;
}

static bool position_valid(const struct source *source, struct position at)
{
	if (at.volume < source->volume_count)
		return at.block <= source->volumes[at.volume].blocks;
	return at.volume == source->volume_count && at.block == 0;
}

static bool same_sync(const struct source *source, const struct wire_welcome *welcome)
{
	return !id_is_none(&source->map.sync) && id_equal(&source->map.sync, &welcome->hello.sync);
}

// What the standby has of the epochs that were on their way. A part of one that
// it is in the middle of left its set with the marks.
static uint64_t received(const struct source *source, const struct wire_welcome *welcome)
{
	if (welcome->consistent)
		return welcome->hello.epoch;
	// The number of a former primary's epoch may be one of its own generation.
	return same_sync(source, welcome) && source->map.partial && !source->adopting ? welcome->hello.epoch : 0;
}

// The standby has no consistent content: a sync in place begins or goes on.
static void plan_full_sync(struct source *source, const struct wire_welcome *welcome)
{
	struct position cursor = {welcome->sync_volume, welcome->sync_block};

	if (!same_sync(source, welcome) || !position_valid(source, cursor)) {
		source->map.sync = id_random(source->config.random, source->config.user);
		source->map.partial = false;
		cursor = (struct position){0};
		source_tell(source, SOURCE_SYNC_STARTED, 0, NULL);
	}
	for (unsigned i = 0; i < source->volume_count; i++)
		source->blank[i] = welcome->hello.volumes[i].blank;
	source->marked = cursor;
	source->plan = cursor.volume == source->volume_count ? PLAN_COMPLETE
	               : source->map.partial                 ? PLAN_WALK
	                                                     : PLAN_FULL_SYNC;
}

// What has to be shipped, from what the standby has.
static void settle(struct source *source, const struct wire_welcome *welcome, enum verdict verdict)
{
	uint64_t durable = welcome->hello.epoch;

	source->adopting = verdict == VERDICT_RESYNC || verdict == VERDICT_COMPARE;
	// It lost what it had acknowledged: its disk or state was replaced.
	if (welcome->consistent && source->map.acknowledged &&
	    (source->adopting ? !MUTANT(REPLACED_TAKEN_BACK) : durable < source->map.acknowledged))
		source->map.suspect = true;
	if (verdict == VERDICT_COMPARE && !MUTANT(COMPARED_AS_RESYNC))
		source->map.suspect = true;
	source->marking = false;
	if (!welcome->consistent) {
		if (source->map.acknowledged < received(source, welcome))
			source->map.acknowledged = received(source, welcome);
		epoch_settle(source, received(source, welcome));
		plan_full_sync(source, welcome);
	} else if (source->map.suspect) {
		epoch_settle(source, 0);
		source->plan = PLAN_COMPARE;
	} else if (source->adopting) {
		epoch_settle(source, 0);
		source->plan = source->doubtful ? PLAN_COMPARE : PLAN_CHANGES;
	} else {
		if (MUTANT(LOST_ACK_NOT_SETTLED))
			durable = source->map.acknowledged;
		// As good as a DURABLE: what is cleared must not be asked for again.
		if (source->map.acknowledged < durable)
			source->map.acknowledged = durable;
		epoch_settle(source, durable);
		source->plan = source->doubtful ? PLAN_COMPARE : PLAN_CHANGES;
	}
	if (welcome->consistent) {
		source->map.sync = (struct id){{0}};
		source->map.partial = false;
	}
	if (source->map.cut < durable)
		source->map.cut = durable;
	source->base = source->settled = durable;
	source->durable = source->applied = welcome->consistent ? durable : 0;
	map_save(&source->map);
	regions_note(source);
}

void source_serve(struct source *source)
{
	if (source->serving || source->fenced || source->handover)
		return;
	source->serving = true;
	source_tell(source, SOURCE_SERVING, 0, NULL);
}

// What the standby lacks is known now.
static void learned(struct source *source)
{
	source->session = SESSION_READY;
	epoch_consider(source);
}

// Blocks that a former primary holds beyond: it is to get them back as they
// are here.
void greeting_beyond(struct source *source, const struct wire_beyond *beyond)
{
	uint64_t blocks = beyond->volume < source->volume_count ? source->volumes[beyond->volume].blocks : 0;

	for (uint32_t i = 0; i < beyond->extent_count; i++) {
		const struct extent *extent = &beyond->extents[i];

		if (extent->first >= blocks || extent->count > blocks - extent->first) {
			uplink_lost(source, "the standby told of blocks that are outside of the volumes");
			return;
		}
		if (!MUTANT(BEYOND_IGNORED))
			bitmap_set(&source->open->dirty[beyond->volume], extent->first, extent->count);
	}
	if (!source->open->opened)
		source->open->opened = clock_now(source->clock);
	if (beyond->last)
		learned(source);
}

static struct standing own_standing(const struct source *source)
{
	return (struct standing){
	        .role = ROLE_PRIMARY,
	        .lineage = source->state.lineage,
	        .born = source->state.born,
	        .epoch = source->map.cut,
	        .consistent = true,
	        .mapped = !source->map.suspect,
	};
}

// What keeps two nodes apart is told with what each of them holds.
static void refuse_peer(struct source *source, enum verdict verdict, const struct wire_welcome *welcome)
{
	char why[200];

	switch (verdict) {
	case VERDICT_PEER_FENCED:
		source_serve(source); // the peer is no primary any more: we are the newest
		if (welcome->hello.split)
			greeting_refuse(
			        source, SOURCE_STATE_SPLIT_BRAIN,
			        "both nodes were written to as primaries: decide which side loses, and there: stead resync "
			        "--discard-local");
		else
			greeting_refuse(
			        source, SOURCE_STATE_DIVERGED,
			        "the peer is a former primary and may hold writes of its own; there: stead resync");
		return;
	case VERDICT_DIVERGED:
		greeting_refuse(
		        source, SOURCE_STATE_DIVERGED,
		        "the standby holds what this primary never had; to overwrite it, there: stead resync --discard-local");
		return;
	case VERDICT_ROLLED_BACK:
		snprintf(
		        why, sizeof(why),
		        "the standby holds epoch %llu, and this node never cut one after %llu: its state was rolled back; "
		        "to overwrite the standby, there: stead resync --discard-local",
		        (unsigned long long)welcome->hello.epoch, (unsigned long long)source->map.cut);
		greeting_refuse(source, SOURCE_STATE_REFUSED, why);
		return;
	default:
		greeting_refuse(source, SOURCE_STATE_REFUSED, "the peer's generation is unrelated to ours; pair anew");
	}
}

static void split_brain(struct source *source, const struct wire_welcome *welcome, bool gives_way)
{
	static const char why[] =
	        "both nodes were promoted: decide which side loses, and there: stead resync --discard-local";
	struct source_successor successor = {.lineage = welcome->hello.lineage};

	if (gives_way) {
		fence(source, &successor, why);
		return;
	}
	source_serve(source);
	greeting_refuse(source, SOURCE_STATE_SPLIT_BRAIN, why);
}

static void follow_up(struct source *source, const struct wire_welcome *welcome, enum verdict verdict)
{
	source->verdict = SOURCE_STATE_REPLICATING;
	source->trouble = TROUBLE_NONE;
	source->not_before = 0;
	source->stuck = false;
	settle(source, welcome, verdict);
	source->session = SESSION_LEARNING;
	source->ever_ready = true;
	source->attempts = 0;
	source_tell(source, SOURCE_CONNECTED, 0, source->peer);
	handover_contact(source, "the standby did not take over");
	source_serve(source);
	if (verdict != VERDICT_RESYNC || !welcome->hello.returned)
		learned(source);
}

void greeting_welcome(struct source *source, const struct frame *frame)
{
	struct wire_welcome welcome;
	struct standing mine, peers;
	struct source_successor successor;
	enum verdict verdict;
	char why[160];

	if (wire_get_welcome(frame, &welcome) < 0) {
		greeting_refuse(source, SOURCE_STATE_REFUSED, "the peer's WELCOME is malformed or of another version");
		return;
	}
	snprintf(source->peer, sizeof(source->peer), "%s", source->channel->peer);
	source->peer_bytes = welcome.hello.local_bytes;
	source->peer_since = welcome.hello.local_since;
	source->peer_born = welcome.hello.born;
	mine = own_standing(source);
	peers = wire_standing(&welcome.hello, welcome.consistent);
	verdict = lineage_judge(&mine, &peers);
	if (verdict == VERDICT_FENCED) {
		snprintf(why, sizeof(why), "%s was promoted over this node", source->peer);
		successor = (struct source_successor){welcome.hello.lineage, welcome.hello.untouched};
		fence(source, &successor, why);
	} else if (verdict == VERDICT_SPLIT_BRAIN) {
		split_brain(source, &welcome, lineage_gives_way(&mine, &peers));
	} else if (verdict != VERDICT_CONTINUE && verdict != VERDICT_RESYNC && verdict != VERDICT_COMPARE) {
		refuse_peer(source, verdict, &welcome);
	} else if (!volumes_equal(source, &welcome.hello)) {
		greeting_refuse(source, SOURCE_STATE_REFUSED, "the peer's volumes differ in name, order or size");
	} else {
		follow_up(source, &welcome, verdict);
	}
}

void source_fence(struct source *source, const struct source_successor *successor, const char *why)
{
	if (source->fenced || source->stopping)
		return;
	clock_cancel(source->clock, &source->redial);
	if (source->session == SESSION_DIALING) {
		dialer_cancel(source->config.dialer);
		source->session = SESSION_IDLE;
	}
	fence(source, successor, why);
}
