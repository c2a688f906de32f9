// SPDX-License-Identifier: Apache-2.0
// The configuration of a pair: what is read, what is refused and with which
// words, and that writing gives back what reading gave.
#include "common/clock.h"
#include "common/config.h"

#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define VOLUME "[volume data]\npath = /dev/vg/data\n"

static char folder[64];
static char file[100];
static struct pair_config config;

static void put_bytes(const char *bytes, size_t length)
{
	FILE *out = fopen(file, "w");

	assert_non_null(out);
	assert_int_equal(fwrite(bytes, 1, length, out), length);
	assert_int_equal(fclose(out), 0);
}

static void put(const char *text)
{
	put_bytes(text, strlen(text));
}

static void whole_file_is_read(void **state)
{
	struct error err;

	(void)state;
	put("# a comment\n"
	    "; another = one\n"
	    "\n"
	    "[pair]\r\n"
	    "peer = standby.example:7420\n"
	    "  listen=[2001:db8::1]:7421  \n"
	    "rpo = 1500ms\n"
	    "rto=2m\n"
	    "auto-resync = yes\n"
	    "start-without-peer = yes\n"
	    "bandwidth = 10M\n"
	    "bandwidth 08:00-18:00 = 5M\n"
	    "  bandwidth 22:00-06:00=none\n"
	    "capture-memory = 128M\n"
	    "spill = 0\n"
	    "journal = 8M\n"
	    "journal-full = inconsistent\n"
	    "  [volume data]  \n"
	    "path = /dev/vg/data = 1\n"
	    "export = socket\n"
	    "[volume  l.o-g_2]\n"
	    "path: /srv/my image;1#2.img\n");
	assert_int_equal(config_read(file, &config, &err), 0);
	assert_string_equal(config.name, "db");
	assert_string_equal(config.peer, "standby.example:7420");
	assert_string_equal(config.listen, "[2001:db8::1]:7421");
	assert_int_equal(config.rpo, 1500 * NSEC_PER_MSEC);
	assert_int_equal(config.rto, 120 * NSEC_PER_SEC);
	assert_true(config.auto_resync);
	assert_true(config.start_without_peer);
	assert_int_equal(config.bandwidth, 10 << 20);
	assert_int_equal(config.hours_count, 2);
	assert_int_equal(config.hours[0].rate, 5 << 20);
	assert_int_equal(config.hours[1].begin, 22 * 60);
	assert_int_equal(config.hours[1].rate, 0);
	assert_int_equal(config.capture_memory, 128 << 20);
	assert_int_equal(config.spill, 0);
	assert_int_equal(config.journal, 8 << 20);
	assert_int_equal(config.journal_full, JOURNAL_FULL_INCONSISTENT);
	assert_int_equal(config.volume_count, 2);
	assert_string_equal(config.volumes[0].name, "data");
	assert_string_equal(config.volumes[0].path, "/dev/vg/data = 1");
	assert_int_equal(config.volumes[0].export, EXPORT_SOCKET);
	assert_string_equal(config.volumes[1].name, "l.o-g_2");
	assert_string_equal(config.volumes[1].path, "/srv/my image;1#2.img");
	assert_int_equal(config.volumes[1].export, EXPORT_AUTO);
}

static void defaults_hold_where_nothing_is_said(void **state)
{
	struct error err;

	(void)state;
	put(VOLUME "[pair]"); // also without the last newline
	assert_int_equal(config_read(file, &config, &err), 0);
	assert_string_equal(config.peer, "");
	assert_string_equal(config.listen, "");
	assert_int_equal(config.rpo, 5 * NSEC_PER_SEC);
	assert_int_equal(config.rto, 60 * NSEC_PER_SEC);
	assert_false(config.auto_resync);
	assert_false(config.start_without_peer);
	assert_int_equal(config.bandwidth, 0);
	assert_int_equal(config.capture_memory, 64 << 20);
	assert_int_equal(config.spill, 1 << 30);
	assert_int_equal(config.journal, UINT64_C(4) << 30);
	assert_int_equal(config.journal_full, JOURNAL_FULL_STOP);
}

struct bad {
	const char *text;
	unsigned line;
	const char *said;
};

static const struct bad bad_files[] = {
        {"", 1, "without a [pair] section"},
        {VOLUME, 3, "without a [pair] section"},
        {"[pair]\n", 2, "without a [volume NAME] section"},
        {"[pair]\n" VOLUME "[pair]\n", 4, "the first is in line 1"},
        {"[pair]\n" VOLUME VOLUME, 4, "second section for volume data, the first is in line 2"},
        {"[pair]\n\n[volume data]\nexport = auto\n", 3, "has no path"},
        {"[pair]\n[volume data]\n[volume log]\npath = /a\n", 2, "has no path"},
        {"[pair]\n[volume a]\npath = /x\n[volume b]\npath = /x\n", 5, "volume a has the same path"},
        {"[Pair]\n", 1, "unknown section [Pair]; possible are [pair], [volume NAME] and [hooks]"},
        {"[history]\nkeep = 1d\n", 1, "unknown section [history]"},
        {"[hooks]\n", 2, "the file ends without a [pair] section"},
        {"[hooks]\nany = /x\n[hooks]\n", 3, "second [hooks] section, the first is in line 1"},
        {"[hooks]\ndone = /x\n", 2, "unknown event done; [hooks] has any, connected, "},
        {"[hooks]\npromoted = x\n", 2, "path"},
        {"[hooks]\npromoted = /x\npromoted = /y\n", 3, "promoted is given twice"},
        {"[]\n", 1, "unknown section []"},
        {"[volume]\n", 1, "unknown section [volume]"},
        {"[volume ]\n", 1, "volume name ''"},
        {"[volume a b]\n", 1, "volume name 'a b'"},
        {"[volume ../x]\n", 1, "volume name '../x'"},
        {"[volume .x]\n", 1, "use 1 to 31 of A-Z a-z 0-9 . _ -"},
        {"[volume abcdefghijklmnopqrstuvwxyz123456]\n", 1, "volume name"},
        {"[pair] # main\n", 1, "comments need their own line"},
        {"[pair\n", 1, "a section ends with ]"},
        {"[\n", 1, "a section ends with ]"},
        {"rpo = 5s\n[pair]\n", 1, "rpo before the first section; begin with [pair]"},
        {"[pair]\nrpo\n", 2, "neither a [section], nor KEY = VALUE"},
        {"[pair]\nspeed = 5\n", 2,
         "unknown key speed; [pair] has peer, listen, rpo, rto, auto-resync, "
         "start-without-peer, bandwidth, capture-memory, spill, journal, journal-full"},
        {"[pair]\nRPO = 5s\n", 2, "unknown key RPO"},
        {"[volume a]\nrpo = 5s\n", 2, "unknown key rpo; [volume NAME] has path, export"},
        {"[pair]\nrpo = 5s\nrpo = 5s\n", 3, "rpo is given twice"},
        {"[volume a]\npath = /a\npath = /b\n", 3, "path is given twice"},
        {"[volume a]\npath = /a\nexport = auto\nexport = auto\n", 4, "export is given twice"},
        {"[pair]\nrpo =\n", 2, "rpo has no value"},
        {"[pair]\nrpo = 0\n", 2, "rpo is out of range; 100ms to 7d are possible"},
        {"[pair]\nrpo = 0s\n", 2, "rpo is out of range"},
        {"[pair]\nrpo = 99ms\n", 2, "rpo is out of range"},
        {"[pair]\nrpo = 8d\n", 2, "rpo is out of range"},
        {"[pair]\nrpo = 5\n", 2, "rpo = 5 is no time; write a number with ms, s, m, h or d"},
        {"[pair]\nrpo = -5s\n", 2, "is no time"},
        {"[pair]\nrpo = 5s # or so\n", 2, "is no time"},
        {"[pair]\nrpo = 99999999999999999999s\n", 2, "is no time"},
        {"[pair]\nrto = 0\n", 2, "rto is out of range"},
        {"[pair]\npeer = host\n", 2, "peer = host is no address; write HOST:PORT or [IPV6]:PORT"},
        {"[pair]\npeer = host:0\n", 2, "is no address"},
        {"[pair]\npeer = host:65536\n", 2, "is no address"},
        {"[pair]\npeer = host:7420x\n", 2, "is no address"},
        {"[pair]\npeer = 2001:db8::1:7420\n", 2, "is no address"},
        {"[pair]\nlisten = x\n", 2, "listen = x is no address"},
        {"[pair]\nauto-resync = true\n", 2, "auto-resync = true is neither yes nor no"},
        {"[pair]\nbandwidth 8-18 = 5M\n", 2, "the hours are no hours"},
        {"[pair]\nbandwidth 08:00-18:00 = 5M\nbandwidth 17:00-19:00 = 6M\n", 3, "at the same time"},
        {"[pair]\nbandwidth = fast\n", 2, "bandwidth = fast is no rate"},
        {"[pair]\nbandwidth = 1\n", 2, "bandwidth is out of range; 4K to 1024T are possible, or none"},
        {"[pair]\ncapture-memory = 64m\n", 2, "capture-memory = 64m is no size; write a number with K, M, G or T"},
        {"[pair]\ncapture-memory = 1\n", 2, "capture-memory is out of range; 1M to 1024T are possible"},
        {"[pair]\ncapture-memory = 0\n", 2, "capture-memory is out of range"},
        {"[pair]\nspill = 1K\n", 2, "spill is out of range; 1M to 1024T are possible, or 0 for none"},
        {"[pair]\nspill = 9999999999999999T\n", 2, "spill = 9999999999999999T is no size"},
        {"[pair]\njournal = 1M\n", 2, "journal is out of range; 4M to 1024T"},
        {"[pair]\njournal = 5000001\n", 2, "journal is no multiple of 4K"},
        {"[pair]\njournal-full = yes\n", 2, "journal-full = yes is neither stop nor inconsistent"},
        {"[volume a]\npath = img\n", 2, "path img is relative"},
        {"[volume a]\npath =\n", 2, "path has no value"},
        {"[volume a]\npath = /dev/x ; the disk\n", 2, "a comment needs a line of its own"},
        {"[volume a]\npath = /dev/x # the disk\n", 2, "a comment needs a line of its own"},
        {"[volume a]\npath = /\xff\n", 2, "path is not UTF-8"},
        {"[volume a]\npath = /a\tb\n", 2, "path has a control character"},
        {"[volume a]\npath = /a\x01\n", 2, "control character 0x01"},
        {"[volume a]\npath = /a\nexport = file\n", 3, "export 'file' is not known; use auto, ublk, nbd or socket"},
};

static void every_refusal_names_file_and_line(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(bad_files) / sizeof(bad_files[0]); i++) {
		char place[120];
		struct error err = {""};

		put(bad_files[i].text);
		snprintf(place, sizeof(place), "%s:%u: ", file, bad_files[i].line);
		if (config_read(file, &config, &err) != -EINVAL || strncmp(err.text, place, strlen(place)) != 0 ||
		    !strstr(err.text + strlen(place), bad_files[i].said))
			fail_msg("\"%s\"\nwas answered by: %s", bad_files[i].text, err.text);
		assert_null(strchr(err.text, '\n'));
	}
}

static void expect_bytes(const char *bytes, size_t length, int error, const char *said)
{
	struct error err = {""};

	put_bytes(bytes, length);
	assert_int_equal(config_read(file, &config, &err), error);
	if (said && !strstr(err.text, said))
		fail_msg("%s instead of %s", err.text, said);
}

static void lines_and_files_have_a_limit(void **state)
{
	size_t size = CONFIG_FILE_MAX + 1;
	char *bytes = malloc(size), text[1600];

	(void)state;
	memset(bytes, '#', size);
	expect_bytes(bytes, size, -EINVAL, "larger than 256 KiB");
	expect_bytes(bytes, size - 1, -EINVAL, "db.conf:1: the line has 262144 bytes, more than 2046");
	expect_bytes(bytes, 2046, -EINVAL, "db.conf:2: the file ends without");
	expect_bytes(bytes, 2047, -EINVAL, "db.conf:1: the line has 2047 bytes");
	expect_bytes("[pair]\nrpo = 5\0s\n", 17, -EINVAL, "db.conf:2: control character 0x00 at byte 8");
	memset(bytes, 'x', size);
	memcpy(bytes, "[volume a]\npath = /", 19);
	expect_bytes(bytes, 19 + 1022, -EINVAL, "without a [pair]");
	expect_bytes(bytes, 19 + 1023, -EINVAL, "db.conf:2: path is longer than 1023 bytes");
	memset(bytes, '[', size);
	expect_bytes(bytes, 2000, -EINVAL, "a section ends with ]");

	size = (size_t)snprintf(bytes, size, "[pair]\n");
	for (int i = 0; i <= VOLUMES_MAX; i++)
		size += (size_t)snprintf(bytes + size, 100, "[volume v%d]\npath = /%d\n", i, i);
	expect_bytes(bytes, size, -EINVAL, "db.conf:66: more than 32 volumes");
	memset(text, 'h', sizeof(text));
	memcpy(text, "[pair]\npeer = ", 14);
	snprintf(text + 200, 100, ":7420\n");
	expect_bytes(text, strlen(text), -EINVAL, "peer is longer than 79 bytes");
	free(bytes);
}

static void files_that_cannot_be_read(void **state)
{
	char other[128];
	struct error err;

	(void)state;
	unlink(file);
	assert_int_equal(config_read(file, &config, &err), -ENOENT);
	assert_non_null(strstr(err.text, file));
	assert_int_equal(mkdir(file, 0700), 0);
	assert_int_equal(config_read(file, &config, &err), -EINVAL);
	assert_non_null(strstr(err.text, "not a regular file"));
	rmdir(file);
	assert_int_equal(mkfifo(file, 0600), 0);
	assert_int_equal(config_read(file, &config, &err), -EINVAL);
	unlink(file);
	snprintf(other, sizeof(other), "%s/db.txt", folder);
	assert_int_equal(config_read(other, &config, &err), -EINVAL);
	assert_non_null(strstr(err.text, "PAIR.conf"));
	snprintf(other, sizeof(other), "%s/.conf", folder);
	assert_int_equal(config_read(other, &config, &err), -EINVAL);
	snprintf(other, sizeof(other), "%s/d b.conf", folder);
	assert_int_equal(config_read(other, &config, &err), -EINVAL);
}

static struct pair_config example(void)
{
	struct pair_config made;

	config_init(&made);
	strcpy(made.name, "db");
	strcpy(made.peer, "[::1]:7420");
	made.rpo = 1500 * NSEC_PER_MSEC;
	made.bandwidth = 12345;
	made.auto_resync = true;
	made.volume_count = 2;
	strcpy(made.volumes[0].name, "data");
	strcpy(made.volumes[0].path, "/srv/my \"image\" = 1;.img");
	made.volumes[0].export = EXPORT_SOCKET;
	strcpy(made.volumes[1].name, "log");
	strcpy(made.volumes[1].path, "/dev/vg/l\xc3\xb6g");
	return made;
}

static void what_is_written_is_read_back(void **state)
{
	struct pair_config made = example();
	struct error err;
	struct stat info;
	char beside[160];

	(void)state;
	put("the former one");
	assert_int_equal(config_write(file, &made, &err), 0);
	assert_int_equal(config_read(file, &config, &err), 0);
	assert_memory_equal(&config, &made, sizeof(made));
	assert_int_equal(stat(file, &info), 0);
	assert_int_equal(info.st_mode & 0777, 0600);
	snprintf(beside, sizeof(beside), "%s/.db.conf.new", folder);
	assert_int_equal(access(beside, F_OK), -1);

	made.bandwidth = 0;
	made.spill = 0;
	memset(made.peer, 0, sizeof(made.peer));
	assert_int_equal(config_write(file, &made, &err), 0);
	assert_int_equal(config_read(file, &config, &err), 0);
	assert_memory_equal(&config, &made, sizeof(made));
}

static void what_cannot_be_is_not_written(void **state)
{
	struct pair_config bad[11];
	struct pair_config good = example();
	char elsewhere[128];
	struct error err;

	(void)state;
	for (size_t i = 0; i < 11; i++)
		bad[i] = good;
	strcpy(bad[0].name, "a/b");
	bad[1].rpo = 0;
	bad[2].volume_count = 0;
	bad[3].volume_count = VOLUMES_MAX + 1;
	strcpy(bad[4].volumes[1].name, "data");
	strcpy(bad[5].volumes[1].path, bad[5].volumes[0].path);
	strcpy(bad[6].volumes[1].path, "relative");
	strcpy(bad[7].volumes[1].path, "/two\nlines = 1");
	strcpy(bad[8].peer, "nowhere");
	bad[9].journal = 4097;
	strcpy(bad[10].volumes[0].path, "/ends with ");
	assert_int_equal(config_write(file, &good, &err), 0);
	for (size_t i = 0; i < 11; i++) {
		err.text[0] = '\0';
		assert_int_equal(config_write(file, &bad[i], &err), -EINVAL);
		assert_true(err.text[0] != '\0');
		assert_int_equal(config_read(file, &config, &err), 0);
		assert_memory_equal(&config, &good, sizeof(good));
	}
	snprintf(elsewhere, sizeof(elsewhere), "%s/missing/db.conf", folder);
	assert_int_equal(config_write(elsewhere, &good, &err), -ENOENT);
	assert_non_null(strstr(err.text, "missing"));
}

static void pairs_of_a_folder(void **state)
{
	static const char *const files[] = {"web.conf", "a.b.conf", ".db.conf.new", "x.conf~", "d b.conf", "conf"};
	char(*names)[NAME_MAX_LENGTH + 1];
	char path[160];
	struct error err;
	size_t count;

	(void)state;
	put("");
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		snprintf(path, sizeof(path), "%s/%s", folder, files[i]);
		fclose(fopen(path, "w"));
	}
	assert_int_equal(config_list(folder, &names, &count, &err), 0);
	assert_int_equal(count, 3);
	assert_string_equal(names[0], "a.b");
	assert_string_equal(names[1], "db");
	assert_string_equal(names[2], "web");
	free(names);
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		snprintf(path, sizeof(path), "%s/%s", folder, files[i]);
		unlink(path);
	}
	snprintf(path, sizeof(path), "%s/none", folder);
	assert_int_equal(config_list(path, &names, &count, &err), 0);
	assert_int_equal(count, 0);
	free(names);
	assert_int_equal(config_list(file, &names, &count, &err), -ENOTDIR);
}

static uint32_t draw(uint32_t *seed)
{
	*seed = *seed * 1664525 + 1013904223;
	return *seed >> 8;
}

// Whatever is accepted passes the check and survives a round trip.
static void random_input(void **state)
{
	static const char *const words[] = {
	        "[pair]\n", "[volume ", "data", "]\n", "path = ", "/dev/", "rpo", " = ",    "5s",       "\n",
	        "export",   "auto",     "=",    "[",   ";",       "#",     ":",   "\\",     "\xef\xbb", "\xbf",
	        "journal",  "4M",       " ",    "\t",  "peer",    "a:1",   "\r",  "socket", "0",        "9999999",
	};
	unsigned accepted = 0;
	uint32_t seed = 7;

	(void)state;
	for (int round = 0; round < 4000; round++) {
		char text[4096] = "";
		size_t length = 0;
		struct error err;

		if (round % 2)
			length = (size_t)snprintf(text, sizeof(text), "[pair]\nrpo = 5s\n" VOLUME);
		for (uint32_t i = draw(&seed) % 12; i > 0; i--) {
			if (draw(&seed) % 20 == 0)
				text[length++] = (char)draw(&seed);
			else
				length += (size_t)sprintf(text + length, "%s", words[draw(&seed) % 30]);
		}
		put_bytes(text, length);
		if (config_read(file, &config, &err) == 0) {
			struct pair_config again;

			accepted++;
			assert_int_equal(config_check(&config, &err), 0);
			assert_int_equal(config_write(file, &config, &err), 0);
			assert_int_equal(config_read(file, &again, &err), 0);
			assert_memory_equal(&again, &config, sizeof(config));
		}
	}
	assert_true(accepted > 50);
}

static int make_folder(void **state)
{
	(void)state;
	snprintf(folder, sizeof(folder), "/tmp/stead-test-XXXXXX");
	if (!mkdtemp(folder))
		return -1;
	snprintf(file, sizeof(file), "%s/db.conf", folder);
	return 0;
}

static int remove_folder(void **state)
{
	(void)state;
	unlink(file);
	return rmdir(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(whole_file_is_read),
	        cmocka_unit_test(defaults_hold_where_nothing_is_said),
	        cmocka_unit_test(every_refusal_names_file_and_line),
	        cmocka_unit_test(lines_and_files_have_a_limit),
	        cmocka_unit_test(files_that_cannot_be_read),
	        cmocka_unit_test(what_is_written_is_read_back),
	        cmocka_unit_test(what_cannot_be_is_not_written),
	        cmocka_unit_test(pairs_of_a_folder),
	        cmocka_unit_test(random_input),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
