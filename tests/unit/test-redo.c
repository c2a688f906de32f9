// SPDX-License-Identifier: Apache-2.0
// What a promotion left, redone under the application's requests.
#include "sink_fixture.h"

#include "receiver/record.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

// cmocka.h needs these before it
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define REGION 4 // blocks
#define VERSION 6 // what is promoted to
#define PATTERN 0xa7

struct request {
	struct disk_io io;
	bool over;
	int error;
};

static void over(struct disk_io *io, int error)
{
	struct request *request = (struct request *)io;

	assert_false(request->over);
	request->over = true;
	request->error = error;
}

static void submit(struct world *world, struct request *request, unsigned volume, enum disk_op op, uint64_t block,
                   uint64_t count, void *data)
{
	struct disk *disk = redo_disk(world->redo, volume);
	uint64_t length = count * 4096;

	if (block * 4096 + length > disk->size)
		length = disk->size - block * 4096;
	*request = (struct request){
	        .io = {.op = op, .offset = block * 4096, .length = length, .data = data, .done = over}};
	if (op == DISK_FLUSH)
		request->io.offset = request->io.length = 0;
	disk_submit(disk, &request->io);
	assert_false(request->over);
}

// Promoted with epochs that are durable and not applied.
static struct world *promoted_packed(unsigned seed, enum pack_level level)
{
	struct world *world = world_new(JOURNAL);

	if (level != PACK_RAW)
		world_pack(world, level);
	world_start(world);
	world_run(world);
	world_connect(world);
	world_run(world);
	send_all(world, 2);
	world_run(world);
	assert_version(world, 2);
	world->seed = seed;
	world->frozen = true;
	send_on(world, VERSION);
	world_run(world);
	world->frozen = false;
	world_promote(world, true);
	assert_int_equal(world->promote_error, 0);
	assert_true(world_status(world).state.redo);
	world_stop(world);
	assert_false(is_version(world, VERSION));
	assert_true(level >= PACK_ZSTD_FAST ? world->zstd_frames > 10 : world->zstd_frames == 0);
	return world;
}

// Packed with zstd where the seed is odd.
static struct world *promoted(unsigned seed)
{
	return promoted_packed(seed, seed % 2 ? PACK_ZSTD : PACK_RAW);
}

// Opened, with nothing redone yet.
static void open_redo(struct world *world)
{
	world->frozen = true;
	world_redo_start(world, REGION);
	world_run(world);
	assert_true(world->redo_opened);
	assert_int_equal(world->redo_error, 0);
	assert_false(world->redo_done);
}

static bool holds(const struct world *world, uint64_t block, const uint8_t *expected)
{
	return !memcmp(world->volumes[0]->bytes + block * 4096, expected, 4096);
}

// A block that the promotion left to be redone.
static uint64_t pending_block(const struct world *world)
{
	uint64_t block = 0;

	while (holds(world, block, world->content[VERSION][0] + block * 4096))
		block++;
	return block;
}

static void on_stopped(void *user)
{
	*(bool *)user = true;
}

static void close_redo(struct world *world)
{
	bool stopped = false;

	redo_stop(world->redo, on_stopped, &stopped);
	assert_false(stopped);
	world_run(world);
	assert_true(stopped);
	redo_free(world->redo);
	world->redo = NULL;
}

static uint8_t *buffer(void)
{
	uint8_t *bytes = aligned_alloc(4096, BLOCKS_0 * 4096);

	assert_non_null(bytes);
	memset(bytes, PATTERN, BLOCKS_0 * 4096);
	return bytes;
}

static void goes_on_by_itself(void **state)
{
	(void)state;
	for (unsigned seed = 0; seed < 20; seed++) {
		struct world *world = promoted(seed);
		struct redo_status status;

		open_redo(world);
		redo_status(world->redo, &status);
		assert_true(status.done < status.total && !status.trouble); // holes that are to be zeroes are done
		world->frozen = false;
		world_run(world);
		assert_true(world->redo_done);
		assert_version(world, VERSION);
		redo_status(world->redo, &status);
		assert_true(status.done == status.total);
		redo_release(world->redo);
		close_redo(world);
		world_free(world);
	}
}

static void reads_wait_for_what_is_pending(void **state)
{
	(void)state;
	for (unsigned seed = 0; seed < 20; seed++) {
		struct world *world = promoted(seed);
		uint8_t *bytes[VOLUMES] = {buffer(), buffer()};
		struct request requests[VOLUMES];

		open_redo(world);
		submit(world, &requests[0], 0, DISK_READ, 0, BLOCKS_0, bytes[0]);
		submit(world, &requests[1], 1, DISK_READ, 0, BLOCKS_1, bytes[1]);
		world_run(world);
		assert_false(requests[0].over || requests[1].over);
		world->frozen = false;
		world_run(world);
		assert_true(requests[0].over && !requests[0].error && requests[1].over && !requests[1].error);
		assert_memory_equal(bytes[0], world->content[VERSION][0], BYTES_0);
		assert_memory_equal(bytes[1], world->content[VERSION][1], BYTES_1);
		free(bytes[0]);
		free(bytes[1]);
		close_redo(world);
		world_free(world);
	}
}

static void check_survived(struct world *world, uint64_t first, uint64_t count, bool certain, const uint8_t *pattern)
{
	for (uint64_t b = 0; b < BLOCKS_0 - 1; b++) {
		const uint8_t *content = world->content[VERSION][0] + b * 4096;

		if (b < first || b >= first + count) {
			assert_true(holds(world, b, content));
		} else if (certain) {
			assert_true(holds(world, b, pattern));
		} else {
			for (unsigned s = 0; s < 8; s++) { // sectors of either
				const uint8_t *sector = world->volumes[0]->bytes + b * 4096 + s * 512;

				assert_true(!memcmp(sector, pattern, 512) || !memcmp(sector, content + s * 512, 512));
			}
		}
	}
	assert_memory_equal(world->volumes[1]->bytes, world->content[VERSION][1], BYTES_1);
}

// The power fails after any operation: what the application wrote over what was
// redone is never redone again once it may be there.
static void writes_are_never_redone_over(void **state)
{
	(void)state;
	for (unsigned seed = 0; seed < 3; seed++) {
		bool whole = false;

		for (uint64_t op = 0; !whole; op++) {
			struct world *world = promoted(seed);
			struct request write, flush = {.over = false};
			uint8_t *pattern = buffer();
			uint64_t first = 3 + op % 20, count = 1 + op % 9;
			bool certain;

			open_redo(world);
			world->frozen = false;
			world->ops_left = op;
			submit(world, &write, 0, DISK_WRITE, first, count, pattern);
			while (!write.over && world_step(world))
				;
			if (write.over) {
				assert_int_equal(write.error, 0);
				submit(world, &flush, 0, DISK_FLUSH, 0, 0, NULL);
				world_run(world);
			}
			certain = write.over && flush.over;
			whole = !world->crashed;
			world_crash(world, true, (unsigned)op);
			world->ops_left = UINT64_MAX;
			world_redo(world);
			check_survived(world, first, count, certain, pattern);
			free(pattern);
			world_free(world);
		}
	}
}

static void zeroes_written_are_not_redone_over(void **state)
{
	struct world *world = promoted(1);
	uint8_t *zeroes = calloc(1, 4096);
	struct request zero;

	(void)state;
	open_redo(world);
	world->frozen = false;
	submit(world, &zero, 0, DISK_ZERO, 0, BLOCKS_0 - 1, NULL);
	while (!zero.over)
		assert_true(world_step(world));
	assert_int_equal(zero.error, 0);
	world_crash(world, false, 1);
	world_redo(world);
	for (uint64_t b = 0; b < BLOCKS_0 - 1; b++)
		assert_true(holds(world, b, zeroes));
	free(zeroes);
	world_free(world);
}

// A flush that fails says so once: what was redone before it is redone again,
// and who waits for it learns of it.
static void failed_flush_redoes_again(void **state)
{
	struct world *world = promoted(0);
	uint8_t *pattern = buffer();
	struct request write;
	uint64_t block;

	(void)state;
	open_redo(world);
	block = pending_block(world);
	world->frozen = false;
	memdisk_fail(world->volumes[0], 1 << DISK_FLUSH, 0, -EIO, false);
	submit(world, &write, 0, DISK_WRITE, block, 1, pattern);
	world_run(world);
	assert_true(write.over && write.error == -EIO);
	assert_int_equal(world->redo_troubles, 1);
	assert_false(world->redo_done);
	submit(world, &write, 0, DISK_WRITE, block, 1, pattern);
	world_run(world);
	assert_true(write.over && !write.error);
	world_sleep(world, 2 * NSEC_PER_SEC);
	assert_true(world->redo_done);
	check_survived(world, block, 1, true, pattern);
	free(pattern);
	close_redo(world);
	world_free(world);
}

static struct superblock superblock_of(const struct world *world)
{
	struct superblock found[2];

	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(superblock_get(world->journal->bytes + (size_t)i * SUPERBLOCK_BYTES, &found[i]), 0);
	return found[found[1].sequence > found[0].sequence];
}

static uint8_t *record_at(struct world *world, uint64_t position, struct record_header *header)
{
	uint8_t *record = world->journal->bytes + RING_OFFSET + position % superblock_of(world).ring_bytes;
	uint64_t chain;

	assert_int_equal(record_get(record, header, &chain), 0);
	return record;
}

// The last one with content: nothing newer hides it.
static uint8_t *last_record(struct world *world)
{
	uint64_t at = superblock_of(world).durable_position - RECORD_ALIGN;
	struct record_header commit, data;

	record_at(world, at, &commit);
	assert_int_equal(commit.type, RECORD_COMMIT);
	return record_at(world, at - commit.before[0] * (uint64_t)RECORD_ALIGN, &data);
}

static struct wire_blocks blocks_at(const uint8_t *frame)
{
	struct wire_blocks blocks;
	struct frame checked;
	int64_t payload = frame_payload_length(frame, FRAME_PAYLOAD_MAX);

	assert_true(payload > 0);
	assert_int_equal(frame_check(frame, FRAME_HEADER_BYTES + (size_t)payload, &checked), 0);
	assert_int_equal(wire_get_blocks(&checked, &blocks), 0);
	assert_true(blocks.payload_length > 64);
	return blocks;
}

// One bit of the content.
static void flip(uint8_t *frame)
{
	struct wire_blocks blocks = blocks_at(frame);

	frame[(size_t)(blocks.payload - frame) + blocks.payload_length / 2] ^= 1;
}

// The last record is as if it had come that way, and so is the COMMIT behind it.
static void seal(uint8_t *record)
{
	struct record_header header, commit;
	uint64_t chain;
	uint8_t *behind;

	assert_int_equal(record_get(record, &header, &chain), 0);
	behind = record + record_bytes(header.payload);
	assert_int_equal(record_get(behind, &commit, &chain), 0);
	assert_int_equal(commit.type, RECORD_COMMIT);
	header.heads = 0;
	for (uint32_t offset = 0; offset < header.payload;) {
		const uint8_t *frame = record + RECORD_HEADER_BYTES + offset;
		struct wire_blocks blocks;

		assert_int_equal(wire_peek_blocks(frame, header.payload - offset, &blocks), 0);
		header.heads = record_heads(header.heads, frame, (size_t)(blocks.payload - frame));
		offset += FRAME_HEADER_BYTES + (uint32_t)frame_payload_length(frame, FRAME_PAYLOAD_MAX);
	}
	header.checksum = record_checksum(record + RECORD_HEADER_BYTES, header.payload);
	commit.chain = record_put(record, &header);
	record_put(behind, &commit);
}

// Content that is not packed as it says, though nothing changed it on its way.
static void spoil(uint8_t *frame)
{
	struct wire_blocks blocks = blocks_at(frame);
	size_t half = blocks.payload_length / 2;
	struct frame sealed;

	assert_int_equal(frame_check(frame, FRAME_HEADER_BYTES + (size_t)frame_payload_length(frame, FRAME_PAYLOAD_MAX),
	                             &sealed),
	                 0);
	memset(frame + (blocks.payload - frame) + half, 0xff, blocks.payload_length - half);
	frame_put_header(frame, FRAME_BLOCKS, sealed.sequence, sealed.length);
	(void)blocks_at(frame);
	seal(frame - RECORD_HEADER_BYTES);
}

struct damage {
	enum pack_level level;
	enum codec codec; // that comes of it
	void (*harm)(uint8_t *frame);
	const char *why;
};

static const uint64_t sizes[VOLUMES] = {BYTES_0, BYTES_1};

static uint64_t block_bytes(unsigned volume, uint64_t block)
{
	return sizes[volume] - block * 4096 < 4096 ? sizes[volume] - block * 4096 : 4096;
}

// A block that is not what it is to become is as it was.
static void check_untouched(const struct world *world, uint8_t *const before[VOLUMES])
{
	for (unsigned v = 0; v < VOLUMES; v++) {
		for (uint64_t b = 0; b * 4096 < sizes[v]; b++) {
			const uint8_t *now = world->volumes[v]->bytes + b * 4096;
			uint64_t length = block_bytes(v, b);

			assert_true(!memcmp(now, world->content[VERSION][v] + b * 4096, length) ||
			            !memcmp(now, before[v] + b * 4096, length));
		}
	}
}

static int request_one(struct world *world, unsigned volume, enum disk_op op, uint64_t block, void *data)
{
	struct request request;

	submit(world, &request, volume, op, block, 1, data);
	while (!request.over)
		assert_true(world_step(world));
	return request.error;
}

// The frame has content of that block, or only of others in its region.
static bool has(const struct wire_blocks *blocks, unsigned volume, uint64_t block, bool region)
{
	uint64_t unit = region ? REGION : 1;

	for (uint32_t i = 0; i < blocks->extent_count && volume == blocks->volume; i++) {
		struct extent extent = blocks_extent(blocks, i);

		if (!extent.zero && block / unit >= extent.first / unit &&
		    block / unit <= (extent.first + extent.count - 1) / unit)
			return true;
	}
	return false;
}

// What needs content of that frame fails, reads of everything else are right.
// What else is to be redone of a region that has some may fail, too.
static void check_served(struct world *world, const struct wire_blocks *damaged)
{
	uint8_t *bytes = buffer();
	unsigned failed = 0, passed = 0;

	for (unsigned v = 0; v < VOLUMES; v++) {
		for (uint64_t b = 0; (b + 1) * 4096 <= sizes[v]; b++) {
			int error = request_one(world, v, DISK_READ, b, bytes);

			if (has(damaged, v, b, false)) {
				assert_int_equal(error, -EIO);
				memset(bytes, PATTERN, 4096);
				assert_int_equal(request_one(world, v, DISK_WRITE, b, bytes), -EIO);
				failed++;
			} else if (error) {
				assert_true(error == -EIO && has(damaged, v, b, true));
			} else {
				assert_memory_equal(bytes, world->content[VERSION][v] + b * 4096, 4096);
				passed++;
			}
		}
	}
	assert_true(failed > 0 && passed > failed);
	free(bytes);
}

// Content in the journal that was damaged since: what needs it fails, nothing
// else does, nothing of it comes into a volume, and the log has one line; the
// same after a restart. When it can be read again all goes on.
static void check_damage(const struct damage *damage)
{
	struct world *world = promoted_packed(0, damage->level);
	uint8_t *frame = last_record(world) + RECORD_HEADER_BYTES, *saved = malloc(JOURNAL);
	uint8_t *before[VOLUMES] = {malloc(BYTES_0), malloc(BYTES_1)};
	struct wire_blocks blocks = blocks_at(frame);

	assert_true(saved && before[0] && before[1]);
	assert_int_equal(blocks.codec, damage->codec);
	memcpy(saved, world->journal->bytes, JOURNAL);
	for (unsigned v = 0; v < VOLUMES; v++)
		memcpy(before[v], world->volumes[v]->bytes, sizes[v]);
	damage->harm(frame);
	for (unsigned start = 1; start <= 2; start++) {
		open_redo(world);
		world->frozen = false;
		check_served(world, &blocks);
		world_sleep(world, 5 * NSEC_PER_SEC);
		assert_int_equal(world->redo_troubles, start);
		assert_non_null(strstr(world->redo_reason.text, "journal is damaged"));
		assert_non_null(strstr(world->redo_reason.text, damage->why));
		assert_false(world->redo_done);
		check_untouched(world, before);
		if (start == 1)
			close_redo(world);
	}
	memcpy(world->journal->bytes, saved, JOURNAL);
	world_sleep(world, 5 * NSEC_PER_SEC);
	assert_true(world->redo_done);
	assert_version(world, VERSION);
	free(before[0]);
	free(before[1]);
	free(saved);
	close_redo(world);
	world_free(world);
}

static void damage_is_not_served(void **state)
{
	static const struct damage damages[] = {
	        {PACK_RAW, CODEC_NONE, flip, "frame checksum does not match"},
	        {PACK_LZ4, CODEC_LZ4, flip, "frame checksum does not match"},
	        {PACK_LZ4, CODEC_LZ4, spoil, "content does not unpack"},
	        {PACK_ZSTD_FAST, CODEC_ZSTD, flip, "frame checksum does not match"},
	        {PACK_ZSTD_FAST, CODEC_ZSTD, spoil, "content does not unpack"},
	        {PACK_ZSTD, CODEC_ZSTD, flip, "frame checksum does not match"},
	        {PACK_ZSTD, CODEC_ZSTD, spoil, "content does not unpack"},
	};

	(void)state;
	for (unsigned i = 0; i < sizeof(damages) / sizeof(damages[0]); i++)
		check_damage(&damages[i]);
}

// The journal cannot be opened, and that is told.
static void refused(struct world *world)
{
	world_redo_start(world, REGION);
	world_run(world);
	assert_true(world->redo_opened);
	assert_int_equal(world->redo_error, -EILSEQ);
	assert_non_null(strstr(world->redo_reason.text, "journal is damaged"));
	close_redo(world);
}

struct heads {
	unsigned frames, zeroes, several; // frames with an extent of zeroes, with more than one extent
};

// Each bit before the content.
static uint32_t check_head(struct world *world, uint8_t *frame, struct heads *heads)
{
	uint32_t length = FRAME_HEADER_BYTES + (uint32_t)frame_payload_length(frame, FRAME_PAYLOAD_MAX);
	struct wire_blocks blocks;
	size_t head;

	assert_int_equal(wire_peek_blocks(frame, length, &blocks), 0);
	head = (size_t)(blocks.payload - frame);
	heads->frames++;
	heads->several += blocks.extent_count > 1;
	for (uint32_t i = 0; i < blocks.extent_count; i++)
		heads->zeroes += blocks_extent(&blocks, i).zero;
	for (size_t bit = 0; bit < head * 8; bit++) {
		frame[bit / 8] ^= (uint8_t)(1 << bit % 8);
		refused(world);
		frame[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	return length;
}

// What a frame touches is trusted before its content is looked at, that of
// zeroes ever after. A bit of it that is wrong, in what the superblock calls
// durable, leaves nothing to be served; when it is right again all goes on.
static void damaged_heads_are_refused(void **state)
{
	struct world *world = promoted(1);
	struct superblock superblock = superblock_of(world);
	uint64_t at = superblock.durable_position - RECORD_ALIGN;
	struct heads heads = {0};
	struct record_header last;

	(void)state;
	world->frozen = true;
	record_at(world, at, &last);
	for (unsigned i = 0; at > superblock.tail; i++) {
		struct record_header header;
		uint32_t offset = 0;
		uint8_t *record;

		assert_true(i < RECORD_BEFORE && last.before[i]);
		at -= last.before[i] * (uint64_t)RECORD_ALIGN;
		record = record_at(world, at, &header);
		while (header.type == RECORD_DATA && offset < header.payload)
			offset += check_head(world, record + RECORD_HEADER_BYTES + offset, &heads);
	}
	assert_true(heads.frames > 10 && heads.zeroes > 0 && heads.several > 0);
	world->frozen = false;
	world_redo(world);
	assert_version(world, VERSION);
	world_free(world);
}

static void damaged_log_is_refused(void **state)
{
	struct world *world = promoted(0);
	struct request write;
	uint8_t *pattern = buffer();

	(void)state;
	open_redo(world);
	world->frozen = false;
	submit(world, &write, 0, DISK_WRITE, 8, 1, pattern);
	world_run(world);
	close_redo(world);
	memset(world->redo_log->bytes, 0x5a, 2 * 4096);
	world_redo_start(world, REGION);
	world_run(world);
	assert_true(world->redo_opened);
	assert_int_equal(world->redo_error, -EILSEQ);
	close_redo(world);
	free(pattern);
	world_free(world);
}

// A journal that does not reach as far as was promoted.
static void lost_epochs_are_refused(void **state)
{
	struct world *world = promoted(0);

	(void)state;
	memset(world->journal->bytes + 8192 + 4096, 0, JOURNAL - 8192 - 4096);
	refused(world);
	world_free(world);
}

static void goes_on_after_a_stop(void **state)
{
	struct world *world = promoted(3);

	(void)state;
	open_redo(world);
	world->frozen = false;
	for (unsigned i = 0; i < 20; i++)
		world_step(world);
	close_redo(world);
	world_redo(world);
	assert_version(world, VERSION);
	world_free(world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(goes_on_by_itself),
	        cmocka_unit_test(reads_wait_for_what_is_pending),
	        cmocka_unit_test(writes_are_never_redone_over),
	        cmocka_unit_test(zeroes_written_are_not_redone_over),
	        cmocka_unit_test(failed_flush_redoes_again),
	        cmocka_unit_test(damage_is_not_served),
	        cmocka_unit_test(damaged_heads_are_refused),
	        cmocka_unit_test(damaged_log_is_refused),
	        cmocka_unit_test(lost_epochs_are_refused),
	        cmocka_unit_test(goes_on_after_a_stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
