// SPDX-License-Identifier: Apache-2.0
#include "common/file_disk.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define SIZE (UINT64_C(4) << 20)
#define MANY 300

static char directory[] = "/tmp/test-file-disk-XXXXXX";
static char path[100];
static struct loop *loop;
static struct error err;

static struct {
	struct disk_io io; // first
	int error;
	unsigned done;
} ios[MANY];
static unsigned left;

static int setup(void **state)
{
	(void)state;
	snprintf(path, sizeof(path), "%s/file", directory);
	unlink(path);
	loop = loop_new(&err);
	return loop ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	loop_free(loop);
	unlink(path);
	return 0;
}

static void io_done(struct disk_io *io, int error)
{
	size_t index = (size_t)((char *)io - (char *)ios) / sizeof(ios[0]);

	ios[index].error = error;
	ios[index].done++;
	if (!--left)
		loop_quit(loop);
}

static void submit(struct disk *disk, unsigned index, enum disk_op op, unsigned flags, uint64_t offset, uint64_t length,
                   void *data)
{
	ios[index].io = (struct disk_io){
	        .op = op, .flags = flags, .offset = offset, .length = length, .data = data, .done = io_done};
	ios[index].done = 0;
	left++;
	disk_submit(disk, &ios[index].io);
	assert_int_equal(ios[index].done, 0); // never from within
}

static int run(struct disk *disk, enum disk_op op, unsigned flags, uint64_t offset, uint64_t length, void *data)
{
	submit(disk, 0, op, flags, offset, length, data);
	assert_int_equal(loop_run(loop), 0);
	assert_int_equal(ios[0].done, 1);
	return ios[0].error;
}

static struct disk *make(uint64_t size)
{
	const struct file_disk_options options = {.create = true, .size = size};
	struct disk *disk = file_disk_open(loop, path, &options, &err);

	assert_non_null(disk);
	assert_int_equal(disk->size, size);
	return disk;
}

static uint8_t *memory(size_t size)
{
	return aligned_alloc(4096, size);
}

static bool all(const uint8_t *bytes, size_t count, uint8_t value)
{
	for (size_t i = 0; i < count; i++)
		if (bytes[i] != value)
			return false;
	return true;
}

static void test_many_in_flight(void **state)
{
	struct disk *disk = make(SIZE);
	uint8_t *data = memory(MANY * 8192);

	(void)state;
	for (unsigned i = 0; i < MANY; i++) {
		memset(data + i * 8192, (int)(i % 251 + 1), 8192);
		submit(disk, i, DISK_WRITE, i % 3 ? 0 : DISK_FUA, i * 8192, 8192, data + i * 8192);
	}
	assert_int_equal(loop_run(loop), 0);
	for (unsigned i = 0; i < MANY; i++) {
		assert_int_equal(ios[i].done, 1);
		assert_int_equal(ios[i].error, 0);
	}
	assert_int_equal(run(disk, DISK_FLUSH, 0, 0, 0, NULL), 0);
	memset(data, 0, MANY * 8192);
	for (unsigned i = 0; i < MANY; i++)
		submit(disk, i, DISK_READ, 0, i * 8192, 8192, data + i * 8192);
	assert_int_equal(loop_run(loop), 0);
	for (unsigned i = 0; i < MANY; i++) {
		assert_int_equal(ios[i].error, 0);
		assert_true(all(data + i * 8192, 8192, (uint8_t)(i % 251 + 1)));
	}
	free(data);
	file_disk_close(disk);
}

// Pages of the file or device that the page cache holds.
static unsigned cached(const char *of)
{
	unsigned char pages[SIZE / 4096];
	unsigned count = 0;
	int fd = open(of, O_RDONLY | O_CLOEXEC);
	void *map = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, fd, 0);

	assert_true(fd >= 0 && map != MAP_FAILED);
	assert_int_equal(mincore(map, SIZE, pages), 0);
	for (size_t i = 0; i < sizeof(pages); i++)
		count += pages[i] & 1;
	munmap(map, SIZE);
	close(fd);
	return count;
}

static void woken(struct timer *timer)
{
	(void)timer;
	loop_quit(loop);
}

// Who streams and who does not see the same, and the cache is left as it was.
static void test_stream(void **state)
{
	struct disk *disk = make(SIZE);
	struct timer timer = {.fire = woken};
	uint8_t *data = memory(SIZE);

	(void)state;
	memset(data, 1, SIZE);
	assert_int_equal(run(disk, DISK_WRITE, 0, 0, SIZE, data), 0);
	assert_int_equal(run(disk, DISK_READ, DISK_STREAM, 0, SIZE, data), 0);
	assert_true(all(data, SIZE, 1));
	memset(data, 2, 8192);
	assert_int_equal(run(disk, DISK_WRITE, 0, 4096, 8192, data), 0);
	assert_int_equal(run(disk, DISK_READ, DISK_STREAM, 0, 16384, data), 0);
	assert_true(all(data, 4096, 1) && all(data + 4096, 8192, 2) && all(data + 12288, 4096, 1));
	memset(data, 3, 65536);
	assert_int_equal(run(disk, DISK_WRITE, DISK_STREAM, 65536, 65536, data), 0);
	assert_int_equal(run(disk, DISK_READ, 0, 0, 196608, data), 0);
	assert_true(all(data + 65536, 65536, 3) && all(data + 131072, 65536, 1));
	memset(data, 4, 4096);
	assert_int_equal(run(disk, DISK_WRITE, DISK_STREAM, 65536, 4096, data), 0);
	assert_int_equal(run(disk, DISK_FLUSH, 0, 0, 0, NULL), 0);
	if (disk->streams) {
		do
			assert_int_equal(run(disk, DISK_READ, DISK_STREAM, 0, SIZE, data), 0);
		while (!cached(path));
		while (cached(path)) {
			clock_set(loop_clock(loop), &timer, clock_now(loop_clock(loop)) + 10 * NSEC_PER_MSEC);
			assert_int_equal(loop_run(loop), 0);
		}
	}
	assert_int_equal(run(disk, DISK_READ, 0, 0, SIZE, data), 0);
	assert_true(all(data + 65536, 4096, 4) && all(data + 69632, 61440, 3));
	free(data);
	file_disk_close(disk);
}

static void check_zero(struct disk *disk)
{
	uint8_t *data = memory(SIZE);

	for (unsigned flags = 0; flags < 8; flags++) {
		int result;

		memset(data, 0xee, SIZE);
		assert_int_equal(run(disk, DISK_WRITE, 0, 0, SIZE, data), 0);
		result = run(disk, DISK_ZERO, flags, 8192, 1 << 20, NULL);
		assert_true(result == 0 || (result == -EOPNOTSUPP && (flags & (DISK_FAST | DISK_UNMAP))));
		assert_int_equal(run(disk, DISK_READ, 0, 0, SIZE, data), 0);
		assert_true(all(data, 8192, 0xee));
		assert_true(all(data + 8192, 1 << 20, result ? 0xee : 0));
		assert_true(all(data + 8192 + (1 << 20), SIZE - 8192 - (1 << 20), 0xee));
	}
	free(data);
}

static void test_zero(void **state)
{
	struct disk *disk = make(SIZE);

	(void)state;
	check_zero(disk);
	file_disk_close(disk);
}

// A memory file punches holes but cannot zero a range: zeroes are written,
// unless that must be fast.
static void test_zero_where_the_kernel_cannot(void **state)
{
	int fd = memfd_create("test", MFD_CLOEXEC);
	const struct file_disk_options options = {0};
	struct disk *disk;

	(void)state;
	assert_int_equal(ftruncate(fd, SIZE), 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	disk = file_disk_open(loop, path, &options, &err);
	assert_non_null(disk);
	assert_int_equal(run(disk, DISK_ZERO, DISK_FAST, 0, 4096, NULL), -EOPNOTSUPP);
	assert_int_equal(run(disk, DISK_ZERO, DISK_FAST, 0, 4096, NULL), -EOPNOTSUPP); // remembered
	check_zero(disk);
	file_disk_close(disk);
	close(fd);
}

static void test_unaligned_zero_on_a_file(void **state)
{
	struct disk *disk = make(SIZE);
	uint8_t *data = memory(8192);

	(void)state;
	memset(data, 1, 8192);
	assert_int_equal(run(disk, DISK_WRITE, 0, 0, 8192, data), 0);
	assert_int_equal(run(disk, DISK_ZERO, DISK_UNMAP, 100, 5000, NULL), 0);
	assert_int_equal(run(disk, DISK_READ, 0, 0, 8192, data), 0);
	assert_true(all(data, 100, 1) && all(data + 100, 5000, 0) && all(data + 5100, 8192 - 5100, 1));
	free(data);
	file_disk_close(disk);
}

static void test_holes(void **state)
{
	struct disk *disk = make(SIZE);
	uint8_t *data = memory(65536);
	uint64_t length = SIZE;

	(void)state;
	memset(data, 1, 65536);
	assert_true(disk_hole(disk, 0, &length));
	assert_int_equal(length, SIZE);
	assert_int_equal(run(disk, DISK_WRITE, DISK_FUA, 65536, 65536, data), 0);
	assert_true(disk_hole(disk, 0, &length));
	assert_int_equal(length, 65536);
	length = SIZE;
	assert_false(disk_hole(disk, 65536 + 4096, &length));
	assert_int_equal(length, 65536 - 4096);
	length = 1000; // no more than was asked about
	assert_false(disk_hole(disk, 65536, &length));
	assert_int_equal(length, 1000);
	assert_true(disk_hole(disk, 131072, &length));
	assert_int_equal(length, 1000);
	length = 2 * SIZE; // no further than the disk
	assert_true(disk_hole(disk, 131072, &length));
	assert_int_equal(length, SIZE - 131072);
	free(data);
	file_disk_close(disk);
}

static void test_ranges_are_checked(void **state)
{
	struct disk *disk = make(SIZE);
	uint8_t *data = memory(8192);
	struct stat st;

	(void)state;
	assert_int_equal(run(disk, DISK_READ, 0, SIZE - 4096, 8192, data), -EINVAL);
	assert_int_equal(run(disk, DISK_WRITE, 0, SIZE, 4096, data), -EINVAL);
	assert_int_equal(run(disk, DISK_ZERO, 0, UINT64_MAX - 4095, 4096, NULL), -EINVAL);
	assert_int_equal(run(disk, DISK_ZERO, 0, 4096, UINT64_MAX - 4095, NULL), -EINVAL);
	assert_int_equal(run(disk, DISK_READ, 0, SIZE, 0, data), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_size, SIZE);

	// Cut short behind our back: an error, not a read that never ends.
	assert_int_equal(truncate(path, SIZE / 2), 0);
	assert_int_equal(run(disk, DISK_READ, 0, SIZE - 8192, 8192, data), -EIO);
	free(data);
	file_disk_close(disk);
}

static void test_odd_size_is_reached(void **state)
{
	struct disk *disk = make(10001);
	uint8_t data[101];

	(void)state;
	assert_int_equal(disk->align, 1);
	memset(data, 7, sizeof(data));
	assert_int_equal(run(disk, DISK_WRITE, DISK_FUA, 9900, 101, data), 0);
	memset(data, 0, sizeof(data));
	assert_int_equal(run(disk, DISK_READ, 0, 9900, 101, data), 0);
	assert_true(all(data, 101, 7));
	file_disk_close(disk);
}

static void test_create_and_size(void **state)
{
	struct file_disk_options options = {.create = true, .size = SIZE, .preallocate = true};
	struct disk *disk = file_disk_open(loop, path, &options, &err);
	struct stat st;

	(void)state;
	assert_non_null(disk);
	file_disk_close(disk);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_true((uint64_t)st.st_blocks * 512 >= SIZE);

	options.size = 2 * SIZE; // what is there stays as it is ...
	disk = file_disk_open(loop, path, &options, &err);
	assert_non_null(disk);
	assert_int_equal(disk->size, SIZE);
	file_disk_close(disk);
	options.resize = true; // ... unless asked
	disk = file_disk_open(loop, path, &options, &err);
	assert_non_null(disk);
	assert_int_equal(disk->size, 2 * SIZE);
	file_disk_close(disk);

	// Too large for any disk: refused with the path, and nothing is left.
	unlink(path);
	options.size = UINT64_C(1) << 50;
	assert_null(file_disk_open(loop, path, &options, &err));
	assert_non_null(strstr(err.text, path));
	assert_int_equal(access(path, F_OK), -1);
}

static void test_refusals(void **state)
{
	struct file_disk_options options = {.lock = true};
	struct disk *disk;

	(void)state;
	assert_null(file_disk_open(loop, path, &options, &err));
	assert_int_equal(errno, ENOENT);
	assert_non_null(strstr(err.text, path));
	assert_null(file_disk_open(loop, directory, &options, &err));
	assert_null(file_disk_open(loop, "/dev/null", &options, &err));
	assert_non_null(strstr(err.text, "block device"));

	disk = make(SIZE);
	file_disk_close(disk);
	disk = file_disk_open(loop, path, &options, &err);
	assert_non_null(disk);
	assert_null(file_disk_open(loop, path, &options, &err));
	assert_int_equal(errno, EWOULDBLOCK);
	assert_non_null(strstr(err.text, "another process"));
	file_disk_close(disk);
}

// A real block device, where this machine lets us have one.
static void test_block_device(void **state)
{
	const struct file_disk_options options = {.exclusive = true};
	struct disk *disk = make(SIZE);
	char command[200], device[64] = "";
	uint64_t length = SIZE;
	uint8_t *data = memory(SIZE);
	int other;
	FILE *stream;

	(void)state;
	file_disk_close(disk);
	snprintf(command, sizeof(command), "losetup --find --show %s 2>/dev/null", path);
	stream = popen(command, "r");
	assert_non_null(stream);
	if (fscanf(stream, "%63s", device) != 1) {
		pclose(stream);
		free(data);
		skip();
	}
	pclose(stream);
	other = open(device, O_RDONLY | O_CLOEXEC); // has it open all the time, so that its cache stays
	assert_int_equal(pread(other, data, SIZE, 0), SIZE);
	assert_int_not_equal(cached(device), 0);
	disk = file_disk_open(loop, device, &options, &err);
	if (disk) {
		assert_int_equal(cached(device), 0);
		assert_int_equal(disk_stream(disk), 0);
		assert_int_equal(run(disk, DISK_READ, DISK_STREAM, 0, SIZE, data), 0);
		assert_int_equal(run(disk, DISK_WRITE, DISK_STREAM, 0, SIZE, data), 0);
		assert_int_equal(cached(device), 0);
		assert_int_equal(disk->size, SIZE);
		assert_true(disk->align >= 512);
		check_zero(disk);
		assert_false(disk_hole(disk, 0, &length));
		assert_int_equal(length, SIZE);
		assert_int_equal(pread(other, data, SIZE, 0), SIZE);
		file_disk_close(disk);
		assert_int_equal(cached(device), 0);
	}
	close(other);
	free(data);
	snprintf(command, sizeof(command), "losetup -d %s", device);
	assert_int_equal(system(command), 0);
	assert_non_null(disk);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(test_many_in_flight, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_stream, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_zero, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_zero_where_the_kernel_cannot, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_unaligned_zero_on_a_file, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_holes, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_ranges_are_checked, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_odd_size_is_reached, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_create_and_size, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_refusals, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_block_device, setup, teardown),
	};
	int failed;

	if (!mkdtemp(directory))
		return 1;
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	rmdir(directory);
	return failed != 0;
}
