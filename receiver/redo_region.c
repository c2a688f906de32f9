// SPDX-License-Identifier: Apache-2.0
// The blocks of one region that a journal has, written to the volume.
#include "redo_impl.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define WANTED_AHEAD 4 // frames

// The volume may end within its last block, the disk is written to in units
// of its own; what lies between belongs to nobody.
static uint64_t cut(const struct wrapped *wrapped, uint64_t offset, uint64_t length)
{
	uint64_t align = wrapped->raw->align, end = offset + length;

	if (end > wrapped->bytes)
		end = (wrapped->bytes + align - 1) / align * align;
	if (end > wrapped->raw->size)
		end = wrapped->raw->size;
	return end - offset;
}

static void piece_done(struct disk_io *io, int error)
{
	struct piece *piece = (struct piece *)((char *)io - offsetof(struct piece, io));
	struct job *job = piece->job;
	struct redo *redo = job->redo;
	struct wrapped *wrapped = wrapped_of(job);
	struct error err;

	if (error == -EOPNOTSUPP && io->op == DISK_ZERO && (io->flags & DISK_UNMAP)) {
		wrapped->no_unmap = true;
		io->flags = 0;
		disk_submit(wrapped->raw, io);
		return;
	}
	if (error) {
		fail(&err, -error, "redo: write to volume %s at offset %" PRIu64 ": %s", wrapped->name, io->offset,
		     strerror(-error));
		job_error(job, error, &err);
	}
	if (piece->content)
		redo_frames_put(redo->frames, piece->content);
	piece->job = NULL;
	job->pieces--;
	redo_pump(redo);
}

static struct piece *free_piece(struct redo *redo)
{
	for (unsigned i = 0; i < PIECES_MAX; i++)
		if (!redo->pieces[i].job)
			return &redo->pieces[i];
	return NULL;
}

static void put_piece(struct job *job, struct piece *piece, const struct redo_segment *segment, const uint8_t *data)
{
	struct wrapped *wrapped = wrapped_of(job);
	uint64_t offset = segment->first * BLOCK_SIZE, length = cut(wrapped, offset, segment->count * BLOCK_SIZE);

	piece->job = job;
	piece->io = (struct disk_io){
	        .op = data ? DISK_WRITE : DISK_ZERO,
	        .flags = data || wrapped->no_unmap ? 0 : DISK_UNMAP,
	        .offset = offset,
	        .length = length,
	        .data = (void *)(uintptr_t)data,
	        .done = piece_done,
	};
	job->pieces++;
	disk_submit(wrapped->raw, &piece->io);
}

static bool is_hole(const struct job *job, const struct redo_segment *segment)
{
	struct wrapped *wrapped = wrapped_of(job);
	uint64_t offset = segment->first * BLOCK_SIZE, length = cut(wrapped, offset, segment->count * BLOCK_SIZE);
	uint64_t same = length;

	return disk_hole(wrapped->raw, offset, &same) && same >= length;
}

// Frames that the job needs next are read side by side.
static void want_ahead(struct job *job, uint64_t from, uint64_t end)
{
	struct redo_segment segment;

	for (unsigned i = 0; i < WANTED_AHEAD; i++) {
		if (!redo_index_next(job->redo->index, job->volume, from, &segment) || segment.first >= end)
			return;
		if (segment.frame != REDO_ZERO)
			redo_frames_want(job->redo->frames, segment.frame);
		from = segment.first + segment.count;
	}
}

// False: it has to wait.
static bool redo_content(struct job *job, struct piece *piece, struct redo_segment *segment, uint64_t end)
{
	struct redo *redo = job->redo;
	const uint8_t *data;
	struct error err;
	int error = redo_frames_get(redo->frames, segment->frame, &piece->content, &err);

	if (error == -EAGAIN) {
		want_ahead(job, segment->first + segment->count, end);
		return false;
	}
	if (error) {
		job_error(job, error, &err);
		return false;
	}
	data = redo_content_block(piece->content, job->volume, segment->first, &segment->count);
	if (!data) {
		redo_frames_put(redo->frames, piece->content);
		error = fail(&err, EILSEQ, "journal is damaged: frame at offset %" PRIu64 ": it has changed",
		             redo_index_frame(redo->index, segment->frame)->offset);
		job_error(job, error, &err);
		return false;
	}
	put_piece(job, piece, segment, data);
	return true;
}

bool region_redo(struct job *job)
{
	struct redo *redo = job->redo;
	uint64_t end = (job->region + 1) * redo->config.region_blocks;

	while (job->next < end && !job->error) {
		struct piece *piece = free_piece(redo);
		struct redo_segment segment;

		if (!redo_index_next(redo->index, job->volume, job->next, &segment) || segment.first >= end) {
			job->next = end;
			break;
		}
		if (!piece)
			return false;
		if (segment.count > end - segment.first)
			segment.count = end - segment.first;
		piece->content = NULL;
		if (segment.frame != REDO_ZERO) {
			if (!redo_content(job, piece, &segment, end))
				break;
		} else if (!is_hole(job, &segment)) {
			put_piece(job, piece, &segment, NULL);
		}
		job->next = segment.first + segment.count;
	}
	return job->pieces == 0 && (job->next >= end || job->error);
}
