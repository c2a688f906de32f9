// SPDX-License-Identifier: Apache-2.0
// A sync in place, of all blocks or of more changes than the journal holds:
// epochs that are written past the journal. Before the first write the state
// says, durably, that the standby is inconsistent, and the journal holds
// nothing that a crash could bring back over it.
#include "sink_impl.h"

#include "common/mutant.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

void direct_begin(struct sink *sink)
{
	struct direct *direct = &sink->direct;

	direct->stage = DIRECT_DRAINING;
	sink->session.too_large = false;
	direct->begin = sink->session.begin;
	direct->abandoned = false;
	direct->session = sink->session.number;
}

bool direct_idle(const struct sink *sink)
{
	return sink->direct.stage == DIRECT_NONE && !sink->direct.marking;
}

// The peer gave up, or is gone. What is on its way is finished.
void direct_abandon(struct sink *sink)
{
	struct direct *direct = &sink->direct;

	if (direct->stage == DIRECT_DRAINING)
		direct->stage = DIRECT_NONE;
	else if (direct->stage == DIRECT_SAVING)
		direct->abandoned = true;
	else if (direct->stage == DIRECT_READY)
		direct->stage = DIRECT_LEAVING;
}

static bool peer_waits(const struct sink *sink)
{
	return sink->session.stage == SESSION_OPEN && sink->session.number == sink->direct.session;
}

// The epoch cannot go on. The peer begins another one, from the cursor.
static void give_up(struct sink *sink, const struct error *err)
{
	struct direct *direct = &sink->direct;

	direct->stage = DIRECT_LEAVING;
	if (peer_waits(sink))
		session_reject(sink, direct->begin.epoch, REJECT_ERROR, err->text);
}

static void save_failed(struct sink *sink, int error)
{
	struct error err;

	fail(&err, -error, "write pair state: %s", strerror(-error));
	give_up(sink, &err);
}

static void inconsistent_saved(struct sink *sink, int error)
{
	struct direct *direct = &sink->direct;

	if (error) {
		save_failed(sink, error);
		return;
	}
	sink->consistent = sink->state.consistent;
	if (direct->stage == DIRECT_SAVING)
		direct->stage = direct->abandoned ? DIRECT_NONE : DIRECT_READY;
	sink_event(sink, SINK_SYNC_STARTED, direct->begin.epoch, NULL);
}

static void prepare(struct sink *sink)
{
	struct direct *direct = &sink->direct;

	if (!apply_done(sink->apply) || !journal_drained(sink->journal) || sink->saving)
		return;
	volumes_forgive(sink->volumes);
	if (!sink->state.consistent && id_equal(&sink->state.sync, &direct->begin.sync) &&
	    sink->state.partial == direct->begin.partial) {
		direct->stage = DIRECT_READY; // goes on from its cursor
		return;
	}
	sink->next = sink->state;
	sink->next.consistent = sink->consistent && direct->begin.partial && MUTANT(OVERSIZE_STAYS_CONSISTENT);
	sink->next.partial = direct->begin.partial;
	sink->next.sync = direct->begin.sync;
	sink->next.sync_volume = 0;
	sink->next.sync_block = 0;
	direct->stage = DIRECT_SAVING;
	sink_save(sink, inconsistent_saved);
}

int direct_blocks(struct sink *sink, const struct wire_blocks *blocks, struct error *err)
{
	int error;

	if (sink->direct.stage != DIRECT_READY || volumes_error(sink->volumes, NULL))
		return -EAGAIN;
	error = volumes_put(sink->volumes, blocks, disk_stream(sink->config.volumes[blocks->volume]));
	if (error == -EBADMSG)
		return fail(err, EPROTO, "content of a BLOCKS frame does not unpack");
	return error;
}

// A MARK promises that all before it is durable.

static void mark_saved(struct sink *sink, int error)
{
	struct direct *direct = &sink->direct;
	uint8_t body[WIRE_BODY_MAX];

	direct->marking = false;
	if (error)
		save_failed(sink, error);
	else if (peer_waits(sink))
		session_send(sink, FRAME_MARKED, body, wire_put_mark(body, &direct->mark));
}

static void mark_flushed(void *user, int error, const struct error *err)
{
	struct sink *sink = user;

	if (error) {
		sink->direct.marking = false;
		if (sink->direct.stage == DIRECT_READY)
			give_up(sink, err);
	} else {
		sink->direct.mark_flushed = true;
	}
	sink_advance(sink);
}

static void save_mark(struct sink *sink)
{
	struct direct *direct = &sink->direct;

	if (sink->saving)
		return;
	direct->mark_flushed = false;
	sink->next = sink->state;
	sink->next.sync_volume = direct->mark.volume;
	sink->next.sync_block = direct->mark.block;
	sink_save(sink, mark_saved);
}

int direct_mark(struct sink *sink, const struct wire_mark *mark)
{
	struct direct *direct = &sink->direct;

	if (direct->stage != DIRECT_READY || direct->marking || !volumes_idle(sink->volumes) ||
	    volumes_error(sink->volumes, NULL))
		return -EAGAIN;
	direct->marking = true;
	direct->mark = *mark;
	direct->mark_flushed = MUTANT(MARKED_BEFORE_FLUSH);
	if (direct->mark_flushed)
		save_mark(sink);
	else
		volumes_flush(sink->volumes, sink, mark_flushed);
	return 0;
}

// The end: flush, cursor, number.

static void end_saved(struct sink *sink, int error)
{
	struct direct *direct = &sink->direct;

	if (error) {
		save_failed(sink, error);
		return;
	}
	if (MUTANT(CONSISTENT_TOO_EARLY))
		sink->consistent = true;
	direct->stage = DIRECT_NUMBERING;
	journal_skip_to(sink->journal, direct->begin.epoch, direct->begin.cut_wall);
}

static void end_flushed(void *user, int error, const struct error *err)
{
	struct sink *sink = user;

	if (error) {
		give_up(sink, err);
	} else {
		sink->direct.stage = DIRECT_ENDING;
		sink->next = sink->state;
		sink->next.sync_volume = sink->state.volume_count;
		sink->next.sync_block = 0;
		if (MUTANT(CONSISTENT_TOO_EARLY))
			sink->next.consistent = true;
		sink_save(sink, end_saved);
	}
	sink_advance(sink);
}

int direct_end(struct sink *sink)
{
	if (sink->direct.stage != DIRECT_READY || sink->direct.marking || !volumes_idle(sink->volumes) ||
	    volumes_error(sink->volumes, NULL) || !compare_idle(sink) || sink->saving)
		return -EAGAIN;
	sink->direct.stage = DIRECT_FLUSHING;
	volumes_flush(sink->volumes, sink, end_flushed);
	return 0;
}

static void numbered(struct sink *sink)
{
	struct direct *direct = &sink->direct;

	direct->stage = DIRECT_NONE;
	sink->again = true;
	sink->recovery_point = direct->begin.cut_wall;
	if (peer_waits(sink))
		session_durable(sink, direct->begin.epoch);
	sink_event(sink, SINK_DURABLE, direct->begin.epoch, NULL);
}

void direct_advance(struct sink *sink)
{
	struct direct *direct = &sink->direct;
	enum direct_stage before = direct->stage;
	struct error err;

	if (direct->marking && direct->mark_flushed)
		save_mark(sink);
	switch (direct->stage) {
	case DIRECT_DRAINING:
		prepare(sink);
		break;
	case DIRECT_READY:
		if (volumes_error(sink->volumes, &err))
			give_up(sink, &err);
		break;
	case DIRECT_LEAVING:
		if (volumes_idle(sink->volumes)) {
			volumes_forgive(sink->volumes);
			direct->stage = DIRECT_NONE;
		}
		break;
	case DIRECT_NUMBERING:
		if (journal_saved(sink->journal))
			numbered(sink);
		else if (sink->stopping && journal_trouble(sink->journal))
			direct->stage = DIRECT_NONE;
		break;
	default:
		break;
	}
	if (direct->stage != before)
		sink->again = true;
}
