// SPDX-License-Identifier: Apache-2.0
// Replies of the NBD server, and its block status.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "nbd-bytes.h"

#include <errno.h>
#include <stdlib.h>

static const struct {
	int error;
	enum nbd_error wire;
} errors[] = {
        {-EPERM, NBD_EPERM},
        {-EROFS, NBD_EPERM},
        {-EIO, NBD_EIO},
        {-ENOMEM, NBD_ENOMEM},
        {-EINVAL, NBD_EINVAL},
        {-ENOSPC, NBD_ENOSPC},
        {-EDQUOT, NBD_ENOSPC},
        {-EFBIG, NBD_ENOSPC},
        {-EOVERFLOW, NBD_EOVERFLOW},
        {-EOPNOTSUPP, NBD_ENOTSUP},
        {-ESHUTDOWN, NBD_ESHUTDOWN},
        {-EBADMSG, NBD_EIO},
        {-ENODEV, NBD_EIO},
        {-4095, NBD_EIO},
};

static void errors_are_nbds_own(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
		struct nbd_request request = {.command = NBD_CMD_READ, .cookie = 0x1122334455667788, .length = 512};
		struct nbd nbd = {.structured = false};
		uint8_t out[NBD_REPLY_BYTES_MAX];

		assert_int_equal(nbd_put_reply(&nbd, &request, errors[i].error, out), 16);
		assert_int_equal(nbd_get32(out), NBD_MAGIC_SIMPLE);
		assert_int_equal(nbd_get32(out + 4), errors[i].wire);
		assert_int_equal(nbd_get64(out + 8), request.cookie);

		nbd.structured = true;
		assert_int_equal(nbd_put_reply(&nbd, &request, errors[i].error, out), 26);
		assert_int_equal(nbd_get32(out), NBD_MAGIC_STRUCTURED);
		assert_int_equal(nbd_get16(out + 4), NBD_CHUNK_DONE);
		assert_int_equal(nbd_get16(out + 6), NBD_CHUNK_ERROR);
		assert_int_equal(nbd_get64(out + 8), request.cookie);
		assert_int_equal(nbd_get32(out + 16), 6);
		assert_int_equal(nbd_get32(out + 20), errors[i].wire);
		assert_int_equal(nbd_get16(out + 24), 0);
	}
}

static void success_is_told(void **state)
{
	struct nbd_request request = {.command = NBD_CMD_READ, .cookie = 9, .offset = 1 << 20, .length = 512};
	struct nbd nbd = {.structured = false};
	uint8_t out[NBD_REPLY_BYTES_MAX];

	(void)state;
	assert_int_equal(nbd_put_reply(&nbd, &request, 0, out), 16);
	assert_int_equal(nbd_get32(out + 4), 0);

	nbd.structured = true;
	assert_int_equal(nbd_put_reply(&nbd, &request, 0, out), 28);
	assert_int_equal(nbd_get16(out + 4), NBD_CHUNK_DONE);
	assert_int_equal(nbd_get16(out + 6), NBD_CHUNK_OFFSET_DATA);
	assert_int_equal(nbd_get32(out + 16), 8 + 512);
	assert_int_equal(nbd_get64(out + 20), 1 << 20);

	request.length = 0;
	assert_int_equal(nbd_put_reply(&nbd, &request, 0, out), 20);
	assert_int_equal(nbd_get16(out + 6), NBD_CHUNK_NONE);
	assert_int_equal(nbd_get32(out + 16), 0);

	request.command = NBD_CMD_WRITE;
	assert_int_equal(nbd_put_reply(&nbd, &request, 0, out), 16);
	assert_int_equal(nbd_get32(out), NBD_MAGIC_SIMPLE);
}

// A disk of runs of this many bytes, data and holes in turn, which tells of at
// most `most` bytes at a time.
struct striped {
	uint64_t run, most;
	unsigned asked;
};

static bool hole(void *user, uint64_t offset, uint64_t *length)
{
	struct striped *disk = user;
	uint64_t left = disk->run - offset % disk->run;

	disk->asked++;
	if (*length > left)
		*length = left;
	if (*length > disk->most)
		*length = disk->most;
	return offset / disk->run % 2;
}

// Returns the number of extents after checking that they are what the disk is.
static unsigned status(struct striped *disk, uint64_t offset, uint32_t length, unsigned flags, uint64_t *told)
{
	struct nbd_request request = {.command = NBD_CMD_BLOCK_STATUS,
	                              .cookie = 5,
	                              .offset = offset,
	                              .length = length,
	                              .flags = (uint16_t)flags};
	uint8_t *out = malloc(NBD_STATUS_BYTES_MAX);
	size_t bytes;
	unsigned count;

	disk->asked = 0;
	bytes = nbd_put_status(&request, hole, disk, out);
	assert_int_equal(nbd_get32(out), NBD_MAGIC_STRUCTURED);
	assert_int_equal(nbd_get16(out + 4), NBD_CHUNK_DONE);
	assert_int_equal(nbd_get16(out + 6), NBD_CHUNK_BLOCK_STATUS);
	assert_int_equal(nbd_get64(out + 8), 5);
	assert_int_equal(nbd_get32(out + 16), bytes - 20);
	assert_int_equal(nbd_get32(out + 20), NBD_ALLOCATION_ID);
	count = (unsigned)(bytes - 24) / 8;
	assert_int_equal(bytes, 24 + 8 * count);
	assert_true(count >= 1);
	*told = 0;
	for (unsigned i = 0; i < count; i++) {
		uint32_t extent = nbd_get32(out + 24 + 8 * i), state = nbd_get32(out + 28 + 8 * i);

		assert_true(extent > 0);
		assert_int_equal(state, (offset + *told) / disk->run % 2 ? NBD_STATE_HOLE | NBD_STATE_ZERO : 0);
		assert_int_equal((offset + *told) / disk->run, (offset + *told + extent - 1) / disk->run);
		if (i)
			assert_int_not_equal(state, nbd_get32(out + 28 + 8 * (i - 1)));
		*told += extent;
	}
	assert_true(*told <= length);
	assert_true(disk->asked <= NBD_STATUS_EXTENTS_MAX);
	free(out);
	return count;
}

static void status_tells_of_extents(void **state)
{
	struct striped disk = {.run = 65536, .most = UINT64_MAX};
	uint64_t told;

	(void)state;
	assert_int_equal(status(&disk, 0, 65536, 0, &told), 1);
	assert_int_equal(told, 65536);
	assert_int_equal(status(&disk, 1000, 200000, 0, &told), 4);
	assert_int_equal(told, 200000);
	assert_int_equal(status(&disk, 1000, 200000, NBD_CMD_FLAG_REQ_ONE, &told), 1);
	assert_int_equal(told, 64536);

	// Equal neighbours are one.
	disk.most = 1000;
	assert_int_equal(status(&disk, 0, 65536, NBD_CMD_FLAG_REQ_ONE, &told), 1);
	assert_int_equal(told, 65536);
	assert_int_equal(status(&disk, 0, 65537, 0, &told), 2);
	assert_int_equal(told, 65537);
}

static void status_is_bounded(void **state)
{
	struct striped disk = {.run = 1, .most = 1};
	uint64_t told;

	(void)state;
	assert_int_equal(status(&disk, 0, UINT32_MAX, 0, &told), NBD_STATUS_EXTENTS_MAX);
	assert_int_equal(told, NBD_STATUS_EXTENTS_MAX);
	disk = (struct striped){.run = UINT64_C(1) << 40, .most = UINT64_MAX};
	assert_int_equal(status(&disk, (UINT64_C(1) << 40) - 10, UINT32_MAX, 0, &told), 2);
	assert_int_equal(told, UINT32_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(errors_are_nbds_own),
	        cmocka_unit_test(success_is_told),
	        cmocka_unit_test(status_tells_of_extents),
	        cmocka_unit_test(status_is_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
