// SPDX-License-Identifier: Apache-2.0
// PROBE: before the first epoch of a connection the primary names blocks that
// must be here as they are there, and is told how many are not. One that is not
// makes this standby doubtful, durably, until everything was compared.
#include "sink_impl.h"

#include "common/mutant.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct look {
	struct disk_io io;
	struct probed *probed;
	bool failed;
};

struct probed {
	struct sink *sink;
	uint64_t session; // that it is for
	struct wire_probe probe;
	unsigned reading;
	bool answers; // all was asked
	bool saving; // the doubt
	struct wire_probed result; // so far
	struct look looks[PROBE_BLOCKS_MAX];
	uint8_t *content; // PROBE_BLOCKS_MAX blocks
};

void probed_free(struct sink *sink)
{
	if (sink->probed)
		free(sink->probed->content);
	free(sink->probed);
	sink->probed = NULL;
}

bool probed_idle(const struct sink *sink)
{
	return !sink->probed || (!sink->probed->reading && !sink->probed->answers);
}

static void judge(struct probed *probed)
{
	struct sink *sink = probed->sink;
	struct wire_probed *result = &probed->result;
	const struct wire_probe *probe = &probed->probe;
	uint8_t hash[BLOCKHASH_BYTES];

	if (!sink->session.hash || sink->session.number != probed->session)
		return;
	for (uint32_t i = 0; i < probe->count; i++) {
		if (probed->looks[i].failed)
			continue; // who needs it will say so
		blockhash_blocks(sink->session.hash, probed->content + (size_t)i * BLOCK_SIZE, 1, hash);
		result->looked++;
		if (!memcmp(hash, probe->hashes + (size_t)i * BLOCKHASH_BYTES, BLOCKHASH_BYTES) ||
		    MUTANT(PROBE_ALL_ALIKE))
			continue;
		if (result->differ++ == 0) {
			result->volume = probe->volume;
			result->block = probe->blocks[i];
		}
	}
	probed->answers = probe->last;
}

static void read_done(struct disk_io *io, int error)
{
	struct look *look = (struct look *)((char *)io - offsetof(struct look, io));
	struct probed *probed = look->probed;
	struct sink *sink = probed->sink;
	uint64_t bytes = sink->state.volumes[probed->probe.volume].bytes;

	look->failed = error != 0;
	if (io->offset + BLOCK_SIZE > bytes)
		memset((uint8_t *)io->data + (bytes - io->offset), 0, BLOCK_SIZE - (bytes - io->offset));
	if (--probed->reading == 0)
		judge(probed);
	sink_advance(sink);
}

static void read_blocks(struct probed *probed)
{
	struct sink *sink = probed->sink;
	const struct wire_probe *probe = &probed->probe;
	struct disk *disk = sink->config.volumes[probe->volume];
	uint64_t bytes = sink->state.volumes[probe->volume].bytes;

	probed->reading = probe->count;
	for (uint32_t i = 0; i < probe->count; i++) {
		uint64_t offset = probe->blocks[i] * BLOCK_SIZE, left = bytes - offset;

		probed->looks[i] = (struct look){
		        .io = {.op = DISK_READ,
		               .offset = offset,
		               .length = left < BLOCK_SIZE ? (left + disk->align - 1) / disk->align * disk->align
		                                           : BLOCK_SIZE,
		               .data = probed->content + (size_t)i * BLOCK_SIZE,
		               .done = read_done},
		        .probed = probed,
		};
		disk_submit(disk, &probed->looks[i].io);
	}
	if (!probe->count)
		judge(probed);
}

static bool fits(const struct sink *sink, const struct wire_probe *probe)
{
	if (probe->volume >= sink->state.volume_count)
		return false;
	for (uint32_t i = 0; i < probe->count; i++)
		if (probe->blocks[i] >= bytes_to_blocks(sink->state.volumes[probe->volume].bytes))
			return false;
	return true;
}

static int make(struct sink *sink)
{
	if (sink->probed)
		return 0;
	sink->probed = calloc(1, sizeof(*sink->probed));
	if (sink->probed)
		sink->probed->content = aligned_alloc(BLOCK_SIZE, PROBE_BLOCKS_MAX * BLOCK_SIZE);
	if (sink->probed && sink->probed->content) {
		sink->probed->sink = sink;
		return 0;
	}
	probed_free(sink);
	return -ENOMEM;
}

int probed_take(struct sink *sink, const struct frame *frame, struct error *err)
{
	struct session *session = &sink->session;
	struct probed *probed;
	struct wire_probe probe;

	if (wire_get_probe(frame, &probe) || !fits(sink, &probe))
		return fail(err, EPROTO, "PROBE frame from the primary is malformed");
	if (session->mode != MODE_NONE || !session->takes_epochs || session->adopting || !sink->consistent ||
	    session->received != journal_durable(sink->journal))
		return fail(err, EPROTO, "PROBE frame from the primary is out of place");
	// What the primary has hashed is the content as of the last durable epoch.
	// Where that cannot be written to the volumes nothing is said of them: what
	// comes goes on becoming durable.
	if (!probed_idle(sink))
		return -EAGAIN;
	if (!apply_done(sink->apply) && !MUTANT(PROBE_BEFORE_APPLIED)) {
		if (!apply_trouble(sink->apply, NULL))
			return -EAGAIN;
		probe.count = 0;
	}
	if (make(sink))
		return fail(err, ENOMEM, "no memory to compare the volumes");
	probed = sink->probed;
	if (probed->session != session->number)
		probed->result = (struct wire_probed){0};
	probed->session = session->number;
	probed->probe = probe;
	read_blocks(probed);
	return 0;
}

static void answer(struct probed *probed)
{
	uint8_t body[WIRE_BODY_MAX];

	probed->answers = false;
	if (probed->sink->session.number == probed->session)
		session_send(probed->sink, FRAME_PROBED, body, wire_put_probed(body, &probed->result));
	probed->result = (struct wire_probed){0};
}

// Where it could not be saved, it is known until this process ends, and the
// primary is told.
static void saved(struct sink *sink, int error)
{
	struct probed *probed = sink->probed;
	const struct wire_probed *result = &probed->result;
	struct error text;

	(void)error;
	sink->doubt = MUTANT(DOUBT_FORGOTTEN) ? DOUBT_NONE : DOUBT_REFUSED;
	probed->saving = false;
	fail(&text, EUCLEAN,
	     "volume %s: %" PRIu32 " of %" PRIu32
	     " blocks looked at differ from the primary's, the first at offset %" PRIu64
	     ", and neither node has written to them",
	     sink->state.volumes[result->volume].name, result->differ, result->looked,
	     result->block * (uint64_t)BLOCK_SIZE);
	sink->session.takes_epochs = false;
	answer(probed);
	sink_event(sink, SINK_DOUBTED, 0, text.text);
}

void probed_advance(struct sink *sink)
{
	struct probed *probed = sink->probed;

	if (!probed || !probed->answers || probed->saving)
		return;
	if (!probed->result.differ) {
		answer(probed);
		return;
	}
	if (sink->saving)
		return;
	probed->saving = true;
	sink->next = sink->state;
	sink->next.consistent = sink->consistent;
	roles_next(sink);
	sink->next.doubt = MUTANT(DOUBT_FORGOTTEN) ? DOUBT_NONE : DOUBT_REFUSED;
	// An epoch of this one's will have compared everything.
	sink->next.sync = id_random(sink->config.random, sink->config.user);
	sink_save(sink, saved);
}
