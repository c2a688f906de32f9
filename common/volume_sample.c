// SPDX-License-Identifier: Apache-2.0
#include "volume_sample.h"

#include "block.h"
#include "loop.h" // io_uring

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEPTH 64 // reads at once
#define HEAD_BLOCKS 32 // boot sector, GPT, LVM, and every superblock at up to 64 KiB
#define TAIL_BLOCKS 16 // GPT again, md, ZFS
#define FILE_DRAWS 256
#define DEVICE_DRAWS 512 // nobody says which of them have content
#define DRAWS_LEAST 32
#define EMPTY_KEPT 48 // of what was drawn, that hold zeroes

// -- reading --

struct batch {
	const struct sample_volume *volume;
	const uint64_t *blocks;
	unsigned count;
	uint8_t *content; // count blocks
	bool *read; // whether block i could be
	bool kept; // the kernel may still write to content
};

static unsigned piece(const struct batch *batch, unsigned i, uint64_t *offset)
{
	uint64_t left = batch->volume->bytes - batch->blocks[i] * BLOCK_SIZE, align = batch->volume->align;

	*offset = batch->blocks[i] * BLOCK_SIZE;
	return left < BLOCK_SIZE ? (unsigned)((left + align - 1) / align * align) : BLOCK_SIZE;
}

// Beyond its end a volume holds zeroes; so does a file that ends early.
static void note_read(struct batch *batch, unsigned i, int result)
{
	uint64_t left = batch->volume->bytes - batch->blocks[i] * BLOCK_SIZE, got = result > 0 ? (uint64_t)result : 0;

	got = got < left ? got : left;
	if (got < BLOCK_SIZE)
		memset(batch->content + (size_t)i * BLOCK_SIZE + got, 0, BLOCK_SIZE - got);
	batch->read[i] = result >= 0;
}

static void read_one_by_one(struct batch *batch, unsigned from)
{
	for (unsigned i = from; i < batch->count; i++) {
		uint64_t offset;
		unsigned length = piece(batch, i, &offset);
		ssize_t result =
		        pread(batch->volume->fd, batch->content + (size_t)i * BLOCK_SIZE, length, (off_t)offset);

		note_read(batch, i, result < 0 ? -1 : (int)result);
	}
}

// What is submitted is waited for: it goes to memory that is freed afterwards.
static void read_batch(struct batch *batch)
{
	unsigned submitted = 0, done = 0;
	struct io_uring ring;

	if (io_uring_queue_init(DEPTH, &ring, 0) < 0) {
		read_one_by_one(batch, 0);
		return;
	}
	while (done < batch->count) {
		struct io_uring_cqe *cqe;
		int result;

		for (; submitted < batch->count && submitted - done < DEPTH; submitted++) {
			struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);
			uint64_t offset;
			unsigned length = piece(batch, submitted, &offset);

			io_uring_prep_read(sqe, batch->volume->fd, batch->content + (size_t)submitted * BLOCK_SIZE,
			                   length, offset);
			io_uring_sqe_set_data64(sqe, submitted);
		}
		result = io_uring_submit_and_wait(&ring, 1);
		if (result < 0 && result != -EINTR && result != -EAGAIN && result != -EBUSY) {
			batch->kept = true;
			break;
		}
		while (io_uring_peek_cqe(&ring, &cqe) == 0) {
			note_read(batch, (unsigned)cqe->user_data, cqe->res);
			io_uring_cqe_seen(&ring, cqe);
			done++;
		}
	}
	io_uring_queue_exit(&ring);
}

// -- choosing --

struct choice {
	unsigned count;
	uint64_t blocks[HEAD_BLOCKS + TAIL_BLOCKS + DEVICE_DRAWS + 16];
};

static void choose(struct choice *choice, uint64_t total, uint64_t block)
{
	if (block >= total || choice->count == sizeof(choice->blocks) / sizeof(choice->blocks[0]))
		return;
	for (unsigned i = 0; i < choice->count; i++)
		if (choice->blocks[i] == block)
			return;
	choice->blocks[choice->count++] = block;
}

// Where what names a file system or a partition table lies, and its copies.
static void choose_places(struct choice *choice, uint64_t total)
{
	static const uint64_t copies[] = {
	        16384, 67108864, // btrfs
	        32768, 98304,    163840, 229376, 294912, 819200, 884736, // ext4
	};

	for (uint64_t i = 0; i < HEAD_BLOCKS; i++)
		choose(choice, total, i);
	for (uint64_t i = 1; i <= TAIL_BLOCKS && i <= total; i++)
		choose(choice, total, total - i);
	for (unsigned i = 0; i < sizeof(copies) / sizeof(copies[0]); i++)
		choose(choice, total, copies[i]);
}

static void draw(const struct sample_volume *volume, struct choice *choice, uint64_t total)
{
	unsigned draws = FILE_DRAWS;
	struct stat st;

	if (fstat(volume->fd, &st) == 0 && S_ISBLK(st.st_mode))
		draws = DEVICE_DRAWS;
	draws = volume->beside && draws / volume->beside > DRAWS_LEAST ? draws / volume->beside : DRAWS_LEAST;
	for (unsigned i = 0; i < draws; i++) {
		uint64_t random;
		off_t at;

		if (getrandom(&random, sizeof(random), 0) != sizeof(random))
			return;
		at = lseek(volume->fd, (off_t)(random % total * BLOCK_SIZE), SEEK_DATA);
		if (at < 0) // none from there on
			at = lseek(volume->fd, 0, SEEK_DATA);
		choose(choice, total, at < 0 ? random % total : (uint64_t)at / BLOCK_SIZE);
	}
}

static bool is_zero(const uint8_t *block)
{
	return !block[0] && !memcmp(block, block + 1, BLOCK_SIZE - 1);
}

// -- hashing --

static int hash_sample(const struct batch *batch, unsigned places, struct sample *sample)
{
	struct blockhash *hash;
	unsigned empty = 0;

	sample->count = 0;
	if (getrandom(sample->key, sizeof(sample->key), 0) != sizeof(sample->key))
		return -EIO;
	hash = blockhash_new(sample->key);
	if (!hash)
		return -ENOMEM;
	for (unsigned i = 0; i < batch->count && sample->count < SAMPLE_MAX; i++) {
		const uint8_t *content = batch->content + (size_t)i * BLOCK_SIZE;

		if (!batch->read[i] || (i >= places && is_zero(content) && ++empty > EMPTY_KEPT))
			continue;
		sample->blocks[sample->count] = batch->blocks[i];
		blockhash_blocks(hash, content, 1, sample->hashes + (size_t)sample->count * BLOCKHASH_BYTES);
		sample->count++;
	}
	blockhash_free(hash);
	return 0;
}

static int begin_batch(struct batch *batch)
{
	batch->content = aligned_alloc(BLOCK_SIZE, (size_t)batch->count * BLOCK_SIZE);
	batch->read = calloc(batch->count, sizeof(*batch->read));
	if (!batch->content || !batch->read)
		return -ENOMEM;
	read_batch(batch);
	return 0;
}

static void end_batch(struct batch *batch)
{
	if (!batch->kept)
		free(batch->content);
	free(batch->read);
}

int sample_take(const struct sample_volume *volume, struct sample *sample)
{
	struct choice *choice = calloc(1, sizeof(*choice));
	struct batch batch = {.volume = volume};
	uint64_t total = bytes_to_blocks(volume->bytes);
	unsigned places;
	int result;

	sample->count = 0;
	if (!choice)
		return -ENOMEM;
	choose_places(choice, total);
	places = choice->count;
	draw(volume, choice, total);
	batch.blocks = choice->blocks;
	batch.count = choice->count;
	result = begin_batch(&batch);
	if (!result)
		result = hash_sample(&batch, places, sample);
	end_batch(&batch);
	free(choice);
	return result;
}

int sample_compare(const struct sample_volume *volume, const struct sample *sample, uint64_t *first)
{
	struct batch batch = {.volume = volume, .blocks = sample->blocks, .count = sample->count};
	struct blockhash *hash = blockhash_new(sample->key);
	uint8_t now[BLOCKHASH_BYTES];
	int result = hash ? 0 : -ENOMEM;

	*first = UINT64_MAX;
	if (!result && sample->count)
		result = begin_batch(&batch);
	for (unsigned i = 0; result >= 0 && i < sample->count; i++) {
		if (!batch.read[i])
			continue;
		blockhash_blocks(hash, batch.content + (size_t)i * BLOCK_SIZE, 1, now);
		if (!memcmp(now, sample->hashes + (size_t)i * BLOCKHASH_BYTES, BLOCKHASH_BYTES))
			continue;
		result++;
		if (sample->blocks[i] < *first)
			*first = sample->blocks[i];
	}
	end_batch(&batch);
	blockhash_free(hash);
	return result;
}
