// SPDX-License-Identifier: Apache-2.0
// What the primary sends once it has our WELCOME: each frame is checked whole,
// then acted on, or has to wait.
#include "sink_impl.h"

#include "common/codec.h"
#include "common/mutant.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define DRIFT ((int64_t)(NSEC_PER_MSEC / 10)) // of two clocks from one heartbeat to the next: 200 ppm
#define DELAY_MAX ((int64_t)(60 * NSEC_PER_SEC))

static int malformed(const struct frame *frame, struct error *err)
{
	return fail(err, EPROTO, "%s frame from the primary is malformed", frame_type_name(frame->type));
}

static int out_of_place(const struct frame *frame, struct error *err)
{
	return fail(err, EPROTO, "%s frame from the primary is out of place", frame_type_name(frame->type));
}

// The journal cannot take the epoch.
static int reject(struct sink *sink, int error, const struct error *err)
{
	uint64_t epoch = sink->session.begin.epoch;

	journal_drop(sink->journal);
	session_reject(sink, epoch, error == -ENOSPC ? REJECT_TOO_LARGE : REJECT_ERROR, err->text);
	return 0;
}

// Heartbeats wait behind content. How long, say those that did not: clocks drift
// apart little, and one that is off by a minute was set.
static void note_clock(struct sink *sink, int64_t wall)
{
	uint64_t now = clock_now(sink->clock), delay;
	int64_t apart = wall - (int64_t)now;

	if (!sink->told || apart > sink->peer_clock - DRIFT || apart < sink->peer_clock - DELAY_MAX)
		sink->peer_clock = apart;
	else
		sink->peer_clock -= DRIFT;
	delay = (uint64_t)(sink->peer_clock - apart);
	sink->told = delay < now ? now - delay : 1;
}

static int take_heartbeat(struct sink *sink, const struct frame *frame, struct error *err)
{
	struct wire_heartbeat heartbeat;

	if (wire_get_heartbeat(frame, &heartbeat))
		return malformed(frame, err);
	sink->primary_cut = heartbeat.cut;
	sink->primary_lag = heartbeat.lag;
	sink->primary_outlook = heartbeat.outlook;
	sink->session.trouble = heartbeat.trouble;
	note_clock(sink, heartbeat.wall);
	if (sink->session.takes_epochs && heartbeat.clean && heartbeat.cut == journal_durable(sink->journal) &&
	    id_equal(&sink->session.hello.lineage.generation, &sink->lineage.generation))
		sink->recovery_point = heartbeat.wall;
	return 0;
}

static int check_begin(struct sink *sink, const struct wire_begin *begin, struct error *err)
{
	const struct session *session = &sink->session;

	if (!session->takes_epochs)
		return fail(err, EPROTO, "primary sent epoch %" PRIu64 " of a generation that is not ours",
		            begin->epoch);
	if (begin->base != session->received)
		return fail(err, EPROTO, "epoch %" PRIu64 " is based on %" PRIu64 ", must be based on %" PRIu64,
		            begin->epoch, begin->base, session->received);
	if (begin->epoch <= begin->base)
		return fail(err, EPROTO, "epoch %" PRIu64 " does not come after its base %" PRIu64, begin->epoch,
		            begin->base);
	if (begin->kind == EPOCH_ATOMIC && begin->adopts != session->adopting)
		return fail(err, EPROTO, "epoch %" PRIu64 " %s", begin->epoch,
		            begin->adopts ? "makes us follow a generation that is ours already"
		                          : "is of a generation that we do not follow yet");
	if (begin->kind == EPOCH_DIRECT && id_is_none(&begin->sync))
		return fail(err, EPROTO, "epoch %" PRIu64 " belongs to a full sync that is not named", begin->epoch);
	if (begin->kind == EPOCH_DIRECT && sink->consistent && id_equal(&begin->sync, &sink->state.sync))
		return fail(err, EPROTO, "epoch %" PRIu64 " belongs to a full sync that is complete", begin->epoch);
	if (begin->partial && !sink->consistent && !id_equal(&begin->sync, &sink->state.sync))
		return fail(err, EPROTO, "epoch %" PRIu64 " is a part of what this standby does not have",
		            begin->epoch);
	return 0;
}

static int take_begin(struct sink *sink, const struct frame *frame, struct error *err)
{
	struct session *session = &sink->session;
	struct wire_begin begin;
	int error;

	if (wire_get_begin(frame, &begin))
		return malformed(frame, err);
	if (session->mode == MODE_ATOMIC || session->mode == MODE_DIRECT)
		return out_of_place(frame, err);
	if (session->mode == MODE_DROPPING && begin.base != session->received)
		return 0;
	error = check_begin(sink, &begin, err);
	if (error)
		return error;
	if (!direct_idle(sink))
		return -EAGAIN;
	if (begin.kind == EPOCH_ATOMIC) {
		error = journal_begin(sink->journal, begin.epoch);
		if (error == -ENOMEM)
			return fail(err, ENOMEM, "no memory for epoch %" PRIu64, begin.epoch);
		if (error)
			return error;
	}
	session->begin = begin;
	session->frames = 0;
	session->digest = 0;
	session->mode = begin.kind == EPOCH_ATOMIC ? MODE_ATOMIC : MODE_DIRECT;
	if (begin.kind == EPOCH_DIRECT)
		direct_begin(sink);
	return 0;
}

// What cannot be unpacked must not become durable: it could never be applied.
static int append(struct sink *sink, const struct frame *frame, const struct wire_blocks *blocks, struct error *err)
{
	int error;

	if (blocks_unpack(sink->unpacker, blocks, sink->scratch))
		return malformed(frame, err);
	error = journal_append(sink->journal, frame, (uint32_t)(blocks->payload - frame->bytes), err);
	if (error && error != -EAGAIN)
		return reject(sink, error, err);
	return error;
}

static int take_blocks(struct sink *sink, const struct frame *frame, struct error *err)
{
	struct session *session = &sink->session;
	struct wire_blocks blocks;
	int error;

	if (session->mode == MODE_DROPPING)
		return 0;
	if (session->mode == MODE_NONE)
		return out_of_place(frame, err);
	if (wire_get_blocks(frame, &blocks) || blocks_fit(&blocks, sink->state.volumes, sink->state.volume_count))
		return malformed(frame, err);
	if (frame->type == FRAME_COMPARE)
		return compare_take(sink, &blocks, err);
	if (session->mode == MODE_ATOMIC)
		error = append(sink, frame, &blocks, err);
	else
		error = direct_blocks(sink, &blocks, err);
	if (!error) {
		session->frames++;
		session->digest = epoch_digest(session->digest, frame_checksum(frame));
	}
	return error;
}

static int check_end(const struct session *session, const struct wire_end *end, struct error *err)
{
	if (end->epoch != session->begin.epoch)
		return fail(err, EPROTO, "END of epoch %" PRIu64 " within epoch %" PRIu64, end->epoch,
		            session->begin.epoch);
	if (end->frames != session->frames)
		return fail(err, EPROTO, "epoch %" PRIu64 " ended after %" PRIu64 " frames, its END says %" PRIu64,
		            end->epoch, session->frames, end->frames);
	if (end->digest != session->digest)
		return fail(err, EPROTO, "epoch %" PRIu64 " does not match the digest in its END", end->epoch);
	return 0;
}

static int take_end(struct sink *sink, const struct frame *frame, struct error *err)
{
	struct session *session = &sink->session;
	struct wire_end end;
	struct commit commit;
	int error;

	if (wire_get_end(frame, &end))
		return malformed(frame, err);
	if (session->mode == MODE_DROPPING)
		return 0;
	if (session->mode == MODE_NONE)
		return out_of_place(frame, err);
	error = check_end(session, &end, err);
	if (error)
		return error;
	if (session->mode == MODE_DIRECT) {
		error = direct_end(sink);
	} else {
		commit = (struct commit){
		        .epoch = session->begin.epoch,
		        .base = session->begin.base,
		        .cut_wall = session->begin.cut_wall,
		        .completes = session->begin.completes,
		        .sync = sink->state.sync,
		        .adopts = session->begin.adopts,
		        .lineage = session->hello.lineage,
		        .born = session->hello.born,
		        .frames = session->frames,
		        .digest = session->digest,
		};
		error = journal_commit(sink->journal, &commit, err);
		if (!error && commit.adopts && MUTANT(ADOPTED_BEFORE_DURABLE))
			roles_adopt(sink, &commit);
		if (error && error != -EAGAIN)
			return reject(sink, error, err);
	}
	if (error)
		return error;
	if (session->begin.adopts) {
		session->adopting = false;
		session->adoption = end.epoch;
	}
	session->received = end.epoch;
	session->mode = MODE_NONE;
	return 0;
}

static int take_abort(struct sink *sink, const struct frame *frame, struct error *err)
{
	struct session *session = &sink->session;
	struct wire_epoch gone;

	if (wire_get_epoch(frame, &gone))
		return malformed(frame, err);
	if (session->mode == MODE_DROPPING)
		return 0;
	if (session->mode == MODE_NONE || gone.epoch != session->begin.epoch)
		return out_of_place(frame, err);
	if (session->mode == MODE_ATOMIC)
		journal_drop(sink->journal);
	else
		direct_abandon(sink);
	session->mode = MODE_NONE;
	return 0;
}

static bool cursor_fits(const struct pair_state *state, const struct wire_mark *mark)
{
	if (mark->volume >= state->volume_count)
		return mark->volume == state->volume_count && mark->block == 0; // the very end
	return mark->block <= bytes_to_blocks(state->volumes[mark->volume].bytes);
}

static int take_mark(struct sink *sink, const struct frame *frame, struct error *err)
{
	const struct pair_state *state = &sink->state;
	struct wire_mark mark;

	if (wire_get_mark(frame, &mark))
		return malformed(frame, err);
	if (sink->session.mode == MODE_DROPPING)
		return 0;
	if (sink->session.mode != MODE_DIRECT)
		return out_of_place(frame, err);
	if (!cursor_fits(state, &mark))
		return malformed(frame, err);
	return direct_mark(sink, &mark);
}

static int take_takeover(struct sink *sink, const struct frame *frame, struct error *err)
{
	struct wire_epoch last;

	if (wire_get_epoch(frame, &last))
		return malformed(frame, err);
	if (sink->session.mode != MODE_NONE || sink->session.takeover)
		return out_of_place(frame, err);
	roles_takeover(sink, last.epoch);
	return 0;
}

static int take_decline(struct sink *sink, const struct frame *frame, struct error *err)
{
	struct wire_decline decline;

	if (wire_get_decline(frame, &decline))
		return malformed(frame, err);
	sink_event(sink, SINK_DECLINED, 0, decline.reason);
	return 0;
}

int frames_take(struct sink *sink, const struct frame *frame, struct error *err)
{
	if (sink->session.stage == SESSION_SETTLING)
		return -EAGAIN;
	if (frame->type != FRAME_HEARTBEAT && session_crowded(sink))
		return -EAGAIN;
	switch (frame->type) {
	case FRAME_HEARTBEAT:
		return take_heartbeat(sink, frame, err);
	case FRAME_BEGIN:
		return take_begin(sink, frame, err);
	case FRAME_BLOCKS:
	case FRAME_COMPARE:
		return take_blocks(sink, frame, err);
	case FRAME_END:
		return take_end(sink, frame, err);
	case FRAME_ABORT:
		return take_abort(sink, frame, err);
	case FRAME_MARK:
		return take_mark(sink, frame, err);
	case FRAME_TAKEOVER:
		return take_takeover(sink, frame, err);
	case FRAME_DECLINE:
		return take_decline(sink, frame, err);
	default:
		return out_of_place(frame, err);
	}
}
