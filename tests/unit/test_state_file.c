/* The state file: what goes in comes out, and nothing else does. */
#include "t.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>

#include "base/err.h"
#include "snapshot/section.h"
#include "snapshot/snapshot.h"
#include "snapshot/state_file.h"
#include "t_state.h"

TestSuite(state_file, .timeout = 3 * T_SECONDS);

static const struct t_state_shape shapes[] = {
	{ .cpus = 1, .seed = 1 },
	{ .cpus = 1, .drives = 1, .nics = 1, .is_small = true, .seed = 2 },
	{ .cpus = 1, .drives = 2, .nics = 2, .runs = 3, .is_small = true, .seed = 3 },
	{ .cpus = 4, .drives = 9, .nics = 9, .runs = 1000, .seed = 4 },
	{ .cpus = CONFIG_CPUS_MAX, .drives = CONFIG_DEVICES_MAX, .seed = 5 },
};

enum { SMALL = 2 }; /* with every type of section */

static uint8_t *encode(const struct t_state_shape *shape, size_t *ret_len)
{
	struct snapshot *s = t_state_new(shape);
	uint8_t *data = NULL;
	struct err e = { 0 };
	int rc = state_encode(s, &data, ret_len, &e);

	cr_assert(eq(int, rc, 0), "%s", e.text);
	snapshot_free(s);
	return data;
}

/* --- there and back --- */

Test(state_file, what_is_written_is_read)
{
	for (unsigned i = 0; i < ARRAY_SIZE(shapes); i++) {
		struct snapshot *s = t_state_new(&shapes[i]), *got = NULL;
		uint8_t *data = NULL;
		struct err e = { 0 };
		size_t len;
		int rc;

		t_int(state_encode(s, &data, &len, &e), 0);
		rc = state_decode(data, len, &got, &e);
		cr_assert(eq(int, rc, 0), "%s", e.text);
		t_true(t_state_equal(s, got));
		free(data);
		snapshot_free(got);
		snapshot_free(s);
	}
	T_NO_LEAKS();
}

Test(state_file, a_machine_of_one_vcpu_is_small)
{
	static const struct t_state_shape usual = { .cpus = 1, .drives = 1, .nics = 1, .seed = 9 };
	size_t len;

	free(encode(&usual, &len));
	t_true(len < 13000);
}

Test(state_file, the_header_can_be_read_without_anything_else)
{
	static const uint8_t want[] = { 'm', 'v', 'm', 's', 't', 'a', 't', 'e', 1, 0, 0, 0, 62, 0,
		0, 0, 40, 0, 0, 0 };
	size_t len;
	uint8_t *data = encode(&shapes[SMALL], &len);

	t_int(memcmp(data, want, ARRAY_SIZE(want)), 0);
	free(data);
}

/* --- damage --- */

static int decode(const uint8_t *data, size_t len, struct err *e)
{
	struct snapshot *s = NULL;
	/* Exactly as long, so that a sanitizer sees a read behind its end. */
	uint8_t *exact = malloc(len > 0 ? len : 1);
	int rc;

	memcpy(exact, data, len);
	rc = state_decode(exact, len, &s, e);
	free(exact);
	t_int(s != NULL, rc == 0);
	snapshot_free(s);
	return rc;
}

Test(state_file, every_truncation_is_refused)
{
	size_t len;
	uint8_t *data = encode(&shapes[SMALL], &len);

	for (size_t cut = 0; cut < len; cut++) {
		struct err e = { 0 };

		t_int(decode(data, cut, &e), -EBADMSG);
		t_true(e.text[0] != '\0');
	}
	free(data);
	T_NO_LEAKS();
}

Test(state_file, every_truncation_with_right_checksums_is_refused)
{
	size_t len;
	uint8_t *data = encode(&shapes[SMALL], &len);

	for (size_t cut = FORMAT_HEADER_LEN; cut < len; cut++) {
		uint8_t *copy = malloc(cut);
		struct err e = { 0 };
		struct wire w;
		uint64_t file_len = cut;

		memcpy(copy, data, cut);
		wire_init_writer(&w, copy + 24, 8);
		wire_u64(&w, &file_len);
		section_seal(copy, cut);
		t_int(decode(copy, cut, &e), -EBADMSG);
		free(copy);
	}
	free(data);
	T_NO_LEAKS();
}

Test(state_file, every_flipped_bit_is_refused)
{
	size_t len;
	uint8_t *data = encode(&shapes[SMALL], &len);

	for (size_t bit = 0; bit < 8 * len; bit++) {
		struct err e = { 0 };
		int rc;

		data[bit / 8] ^= (uint8_t)(1U << bit % 8);
		rc = state_decode(data, len, &(struct snapshot *){ NULL }, &e);
		cr_assert(eq(int, rc, -EBADMSG), "bit %zu: %s", bit, e.text);
		data[bit / 8] ^= (uint8_t)(1U << bit % 8);
	}
	free(data);
	T_NO_LEAKS();
}

/* Behind the checksums: an error that says where, or a state that can be written again. */
Test(state_file, every_flipped_bit_with_right_checksums_is_an_error_or_a_state)
{
	size_t len;
	uint8_t *data = encode(&shapes[SMALL], &len), *copy = malloc(len);
	unsigned taken = 0, refused = 0;

	for (size_t bit = 0; bit < 8 * len; bit++) {
		struct snapshot *s = NULL;
		struct err e = { 0 };
		int rc;

		memcpy(copy, data, len);
		copy[bit / 8] ^= (uint8_t)(1U << bit % 8);
		section_seal(copy, len);
		rc = state_decode(copy, len, &s, &e);
		if (rc == 0) {
			uint8_t *again = NULL;
			size_t again_len;

			t_int(state_encode(s, &again, &again_len, &e), 0);
			free(again);
			taken++;
		} else {
			t_true(rc == -EBADMSG || rc == -EPROTONOSUPPORT);
			t_true(strstr(e.text, "section") || strstr(e.text, "header") ||
				strstr(e.text, "not a snapshot"));
			refused++;
		}
		snapshot_free(s);
	}
	t_true(taken > 1000);
	t_true(refused > 1000);
	free(copy);
	free(data);
	T_NO_LEAKS();
}

Test(state_file, bytes_behind_the_end_are_refused)
{
	size_t len;
	uint8_t *data = encode(&shapes[SMALL], &len);
	struct err e = { 0 };

	data = realloc(data, len + 1);
	data[len] = 0;
	t_int(decode(data, len + 1, &e), -EBADMSG);
	t_has(e.text, "1 bytes behind the last section");
	free(data);
}

/* --- what has to hold between values --- */

struct wrong {
	const char *says;
	void (*make)(struct snapshot *s);
};

#define WRONG(name, statement)                                                                     \
	static void name(struct snapshot *s)                                                       \
	{                                                                                          \
		statement;                                                                         \
	}

WRONG(odd_memory, s->vm->mem_size += 4096)
WRONG(little_memory, s->vm->mem_size = 8 << 20)
WRONG(much_memory, s->vm->mem_size = CONFIG_MEM_MAX + CONFIG_MEM_STEP)
WRONG(huge_pages, (s->vm->mem_size += 1 << 20, s->vm->pages = MEM_PAGES_2M))
WRONG(no_pages, s->vm->pages = (enum mem_pages)4)
WRONG(odd_threads, (s->vm->cpus = 3, s->vm->smt = true))
WRONG(devices, s->vm->ndevices--)
WRONG(drives, s->ndrives = CONFIG_DEVICES_MAX + 1)
WRONG(empty_id, s->drive[0].id[0] = '\0')
WRONG(bad_id, s->drive[1].id[0] = '/')
WRONG(same_drives, memcpy(s->drive[1].id, s->drive[0].id, sizeof(s->drive[0].id)))
WRONG(same_nics, memcpy(s->nic[1].id, s->nic[0].id, sizeof(s->nic[0].id)))
WRONG(same_ids, memcpy(s->nic[1].id, s->drive[0].id, sizeof(s->drive[0].id)))
WRONG(two_roots, s->drive[1].is_root = true)
WRONG(no_path, s->drive[1].path[0] = '\0')
WRONG(bad_partuuid, s->drive[1].partuuid[2] = ' ')
WRONG(bad_time, s->drive[0].identity.mtime_ns = 1000000000)
WRONG(bad_mtu, s->nic[0].mtu = 67)
WRONG(endless_text, memset(s->cmdline, 'x', sizeof(s->cmdline)))
WRONG(many_leaves, s->vm->cpuid.head.nent = KVM_CPUID_MAX + 1)
WRONG(many_msrs, s->vm->cpu[1].nmsrs = CPU_MSRS_MAX + 1)
WRONG(long_xsave, s->vm->cpu[1].xsave_len = CPU_XSAVE_MAX + 1)
WRONG(short_xsave, s->vm->cpu[0].xsave_len = 575)
WRONG(many_xcrs, s->vm->cpu[0].xcrs.nr_xcrs = KVM_MAX_XCRS + 1)
WRONG(bad_mp_state, s->vm->cpu[0].mp_state.mp_state = 5)
WRONG(bad_chip, s->vm->chips.irqchip[1].chip_id = 0)
WRONG(long_fifo, s->vm->serial.count = SERIAL_FIFO + 1)
WRONG(long_queue, s->vm->i8042.count = I8042_QUEUE + 1)
WRONG(other_type, s->vm->device[2].type = 2)
WRONG(bad_status, s->vm->device[0].status = 0x100)
WRONG(bad_isr, s->vm->device[0].isr = 4)
WRONG(no_queues, s->vm->device[0].nqueues = 0)
WRONG(many_queues, s->vm->device[0].nqueues = VIRTIO_QUEUES_MAX + 1)
WRONG(long_config, s->vm->device[0].config_len = VIRTIO_CONFIG_MAX + 1)
WRONG(odd_queue, (s->vm->device[0].queue[0].ready = s->vm->device[0].queue[0].running = true,
			 s->vm->device[0].queue[0].num = 3))
WRONG(queue_not_ready,
	(s->vm->device[0].queue[0].running = true, s->vm->device[0].queue[0].ready = false))
WRONG(runs_in_full, s->kind = SNAPSHOT_FULL)
WRONG(runs_unsorted, s->run[1].first = s->run[0].first)
WRONG(runs_empty, s->run[1].count = 0)
WRONG(runs_behind, s->run[2].count = (128 << 20) / 4096)
WRONG(runs_wrap, (s->run[2].first = 5000, s->run[2].count = UINT64_MAX))
WRONG(own_base, memcpy(s->base_id, s->id, sizeof(s->id)))

static const struct wrong wrongs[] = { { "MACH", odd_memory }, { "MACH", little_memory },
	{ "MACH", much_memory }, { "MACH", huge_pages }, { "MACH", odd_threads },
	{ "MACH", devices }, { "MACH", drives }, { "DRIV 0: its id", empty_id },
	{ "DRIV 1: its id", bad_id }, { "DRIV 1: a second device 'disk_0'", same_drives },
	{ "NIC 1: a second device 'net-0'", same_nics },
	{ "NIC 1: a second device 'disk_0'", same_ids }, { "DRIV 1: a second root", two_roots },
	{ "DRIV 1: it has no path", no_path }, { "DRIV 1: its PARTUUID", bad_partuuid },
	{ "DRIV 0: its file's time", bad_time }, { "NIC 0: an MTU of 67", bad_mtu },
	{ "CPID", many_leaves }, { "VCPU 1", many_msrs }, { "VCPU 1", long_xsave },
	{ "VCPU 0", short_xsave }, { "VCPU 0", many_xcrs }, { "VCPU 0", bad_mp_state },
	{ "CHIP", bad_chip }, { "UART", long_fifo }, { "I842", long_queue },
	{ "VIRT 2: a device of type 2", other_type }, { "VIRT 0: status", bad_status },
	{ "VIRT 0: interrupt", bad_isr }, { "VIRT 0", no_queues }, { "VIRT 0", many_queues },
	{ "VIRT 0", long_config }, { "VIRT 0: queue 0", odd_queue },
	{ "VIRT 0: queue 0", queue_not_ready }, { "RUNS", runs_in_full },
	{ "RUNS: run 1", runs_unsorted }, { "RUNS: run 1", runs_empty },
	{ "RUNS: run 2", runs_behind }, { "RUNS: run 2", runs_wrap }, { "SNAP", own_base },
	{ "cannot be saved", endless_text }, { "cannot be saved", no_pages } };

Test(state_file, what_no_reader_would_take_is_not_written)
{
	static const struct t_state_shape shape = {
		.cpus = 4, .drives = 2, .nics = 2, .runs = 3, .is_small = true, .seed = 3
	};

	for (unsigned i = 0; i < ARRAY_SIZE(wrongs); i++) {
		struct snapshot *s = t_state_new(&shape);
		uint8_t *data = NULL;
		struct err e = { 0 };
		size_t len;

		wrongs[i].make(s);
		t_row_int(wrongs[i].says, state_encode(s, &data, &len, &e), -EINVAL);
		t_row_has(wrongs[i].says, e.text, wrongs[i].says);
		snapshot_free(s);
	}
	T_NO_LEAKS();
}

/* --- files --- */

static void put(const char *path, const void *data, size_t len)
{
	FILE *f = fopen(path, "we");

	t_true(f != NULL);
	t_uint(fwrite(data, 1, len, f), len);
	t_int(fclose(f), 0);
}

static void scratch(char dir[64])
{
	(void)snprintf(dir, 64, "/tmp/mvm-state-XXXXXX");
	t_true(mkdtemp(dir) != NULL);
	t_int(chdir(dir), 0);
}

static void scratch_gone(const char *dir, const char *const *names, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		(void)unlink(names[i]);
	(void)rmdir(dir);
}

Test(state_file, a_file_or_its_folder_is_read)
{
	static const char *const names[] = { "state" };
	struct snapshot *s = NULL;
	struct err e = { 0 };
	unsigned major = 0, minor = 9;
	char dir[64];
	size_t len;
	uint8_t *data = encode(&shapes[SMALL], &len);

	scratch(dir);
	put("state", data, len);
	t_int(state_read("state", &s, &e), 0);
	snapshot_free(s);
	t_int(state_read(dir, &s, &e), 0);
	snapshot_free(s);
	t_int(state_read_version(dir, &major, &minor, &e), 0);
	t_uint(major, FORMAT_MAJOR);
	t_uint(minor, FORMAT_MINOR);
	free(data);
	scratch_gone(dir, names, 1);
	T_NO_LEAKS();
}

Test(state_file, a_fifo_is_refused_and_never_waited_for)
{
	static const char *const names[] = { "fifo", "big", "state" };
	struct snapshot *s = NULL;
	struct err e = { 0 };
	unsigned major, minor;
	char dir[64];

	scratch(dir);
	t_int(mkfifo("fifo", 0600), 0);
	t_int(state_read("fifo", &s, &e), -EINVAL);
	t_has(e.text, "'fifo' is not a regular file");
	t_int(state_read_version("fifo", &major, &minor, &e), -EINVAL);
	t_int(state_read("/dev/null", &s, &e), -EINVAL);
	t_int(state_read("absent", &s, &e), -ENOENT);
	t_int(state_read(dir, &s, &e), -ENOENT);
	put("big", "", 0);
	t_int(state_read("big", &s, &e), -EBADMSG);
	t_has(e.text, "'big'");
	t_int(truncate("big", STATE_FILE_MAX + 1L), 0);
	t_int(state_read("big", &s, &e), -EFBIG);
	scratch_gone(dir, names, 3);
	T_NO_LEAKS();
}

Test(state_file, the_version_of_any_file_can_be_read)
{
	static const char *const names[] = { "state" };
	struct snapshot *s = NULL;
	struct err e = { 0 };
	unsigned major = 0, minor = 0;
	char dir[64];
	size_t len;
	uint8_t *data = encode(&shapes[SMALL], &len);

	scratch(dir);
	data[8] = 77;
	data[10] = 5;
	section_seal(data, len);
	put("state", data, FORMAT_HEADER_LEN);
	t_int(state_read_version("state", &major, &minor, &e), 0);
	t_uint(major, 77);
	t_uint(minor, 5);
	t_int(state_read("state", &s, &e), -EPROTONOSUPPORT);
	t_has(e.text, "format version 77.5; this mvm reads 1.x");
	free(data);
	scratch_gone(dir, names, 1);
	T_NO_LEAKS();
}

/* --- speed: shown, and only what is far off fails --- */

Test(state_file, a_state_is_decoded_in_microseconds)
{
	enum { TIMES = 2000 };
	static const struct t_state_shape usual = { .cpus = 1, .drives = 1, .nics = 1, .seed = 9 };
	struct timespec from, to;
	size_t len;
	uint8_t *data = encode(&usual, &len);
	double us;

	(void)clock_gettime(CLOCK_MONOTONIC, &from);
	for (unsigned i = 0; i < TIMES; i++) {
		struct snapshot *s = NULL;

		t_int(state_decode(data, len, &s, NULL), 0);
		snapshot_free(s);
	}
	(void)clock_gettime(CLOCK_MONOTONIC, &to);
	us = ((double)(to.tv_sec - from.tv_sec) * 1e9 + (double)(to.tv_nsec - from.tv_nsec)) / 1e3 /
	     TIMES;
	cr_log_info("decoded %zu bytes in %.1f us", len, us);
	t_true(us < 5000);
	free(data);
}
