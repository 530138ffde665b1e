/* Guest physical memory. */
#include "t.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/err.h"
#include "base/io.h"
#include "x86/layout.h"

TestSuite(mem, .timeout = T_SECONDS);

#define MIB (1ULL << 20)
#define GIB (1ULL << 30)

Test(mem, small_memory_is_one_region_from_zero)
{
	struct guest_mem m;

	t_mem_init(&m, 16 * MIB);
	t_uint(m.n, 1);
	t_hex(m.r[0].gpa, 0);
	t_hex(m.r[0].len, 16 * MIB);
	guest_mem_fini(&m);
}

Test(mem, memory_up_to_the_hole_is_one_region)
{
	struct guest_mem m;

	t_mem_init(&m, 3 * GIB);
	t_uint(m.n, 1);
	t_hex(m.r[0].len, LAYOUT_HOLE_START);
	guest_mem_fini(&m);
}

Test(mem, memory_leaves_out_the_hole)
{
	struct guest_mem m;

	t_mem_init(&m, 16 * GIB);
	t_uint(m.n, 2);
	t_hex(m.r[0].len, LAYOUT_HOLE_START);
	t_hex(m.r[1].gpa, LAYOUT_HOLE_END);
	t_hex(m.r[1].len, 13 * GIB);
	guest_mem_fini(&m);
}

Test(mem, host_and_guest_agree_on_where_huge_pages_begin)
{
	struct guest_mem m;

	t_mem_init(&m, 17 * MIB);
	t_hex((uintptr_t)m.r[0].hva % MEM_HUGE_PAGE_SIZE, 0);
	guest_mem_fini(&m);
}

/* KiB of this process that are in RAM. */
static long resident_kib(void)
{
	char text[128], *resident;

	t_true(io_read_text("/proc/self/statm", text, sizeof(text)) > 0);
	(void)strtol(text, &resident, 10); /* all of the address space */
	return strtol(resident, NULL, 10) * 4;
}

Test(mem, nothing_is_touched_before_it_is_used)
{
	struct guest_mem m;
	long before = resident_kib();

	t_mem_init(&m, 4 * GIB);
	t_true(resident_kib() - before < 1024);
	guest_mem_fini(&m);
}

Test(mem, prefault_touches_all_of_it)
{
	struct guest_mem m;
	struct err e = { 0 };
	long before = resident_kib();
	int rc = guest_mem_init(
		&m, 16 * MIB, LAYOUT_HOLE_START, LAYOUT_HOLE_END, MEM_PAGES_4K, true, &e);

	if (rc == -EINVAL)
		cr_skip_test("this kernel has no MADV_POPULATE_WRITE");
	cr_assert(eq(int, rc, 0), "%s", e.text);
	t_true(resident_kib() - before >= 15L * 1024);
	guest_mem_fini(&m);
}

Test(mem, every_kind_of_small_pages_can_be_written)
{
	static const enum mem_pages kinds[] = { MEM_PAGES_HOST, MEM_PAGES_4K, MEM_PAGES_THP };

	for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++) {
		struct guest_mem m;
		uint8_t byte = 7;

		t_int(guest_mem_init(&m, 16 * MIB, LAYOUT_HOLE_START, LAYOUT_HOLE_END, kinds[i],
			      false, NULL),
			0);
		cr_expect(eq(int, mem_write(&m, 16 * MIB - 1, &byte, 1), 0));
		guest_mem_fini(&m);
	}
}

Test(mem, more_than_the_address_space_is_an_error_that_says_how_much)
{
	struct guest_mem m;
	struct err e = { 0 };

	t_int(guest_mem_init(&m, 1ULL << 50, LAYOUT_HOLE_START, LAYOUT_HOLE_END, MEM_PAGES_HOST,
		      false, &e),
		-ENOMEM);
	t_has(e.text, "1125899906842624 bytes");
	guest_mem_fini(&m);
}

Test(mem, huge_pages_that_the_pool_does_not_have_are_an_error_with_the_remedy)
{
	struct guest_mem m;
	struct err e = { 0 };

	/* No host has a pool of this size. */
	t_true(guest_mem_init(&m, 1ULL << 46, LAYOUT_HOLE_START, LAYOUT_HOLE_END, MEM_PAGES_2M,
		       false, &e) < 0);
	t_has(e.text, "nr_hugepages");
	guest_mem_fini(&m);
}

Test(mem, a_zeroed_memory_may_be_finished)
{
	struct guest_mem m = { 0 };

	guest_mem_fini(&m);
	t_uint(m.n, 0);
}

Test(mem, an_address_becomes_a_pointer_only_when_all_of_the_range_is_ram)
{
	static const struct {
		const char *name;
		gpa_t gpa;
		uint64_t len;
		bool ok;
	} rows[] = {
		{ "first byte", 0, 1, true },
		{ "all below the hole", 0, LAYOUT_HOLE_START, true },
		{ "last byte below the hole", LAYOUT_HOLE_START - 1, 1, true },
		{ "into the hole", LAYOUT_HOLE_START - 1, 2, false },
		{ "the hole", LAYOUT_HOLE_START, 1, false },
		{ "end of the hole", LAYOUT_HOLE_END - 1, 1, false },
		{ "out of the hole", LAYOUT_HOLE_END - 1, 2, false },
		{ "across the hole", LAYOUT_HOLE_START - 1, LAYOUT_HOLE_END - LAYOUT_HOLE_START + 2,
			false },
		{ "first above the hole", LAYOUT_HOLE_END, 1, true },
		{ "all above the hole", LAYOUT_HOLE_END, GIB, true },
		{ "one too many", LAYOUT_HOLE_END, GIB + 1, false },
		{ "last byte", LAYOUT_HOLE_END + GIB - 1, 1, true },
		{ "behind the end", LAYOUT_HOLE_END + GIB, 1, false },
		{ "wrapping", LAYOUT_HOLE_END, UINT64_MAX, false },
		{ "wrapping to zero", UINT64_MAX, 2, false },
		{ "the last address", UINT64_MAX, 1, false },
		{ "nothing", 0, 0, false },
		{ "nothing at the end", LAYOUT_HOLE_START, 0, false },
	};
	struct guest_mem m;

	t_mem_init(&m, 4 * GIB);
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++)
		t_row_int(rows[i].name, mem_ptr(&m, rows[i].gpa, rows[i].len) != NULL, rows[i].ok);
	guest_mem_fini(&m);
}

Test(mem, what_is_written_is_read_on_both_sides_of_the_hole)
{
	static const gpa_t places[] = { 0, LAYOUT_HOLE_START - 8, LAYOUT_HOLE_END,
		LAYOUT_HOLE_END + GIB - 8 };
	struct guest_mem m;

	t_mem_init(&m, 4 * GIB);
	for (unsigned i = 0; i < ARRAY_SIZE(places); i++) {
		uint64_t in = 0x1122334455667788ULL + i, out = 0;

		cr_expect(eq(int, mem_write(&m, places[i], &in, sizeof(in)), 0));
		cr_expect(eq(int, mem_read(&m, &out, places[i], sizeof(out)), 0));
		cr_expect(eq(u64, out, in));
	}
	guest_mem_fini(&m);
}

Test(mem, a_refused_copy_copies_nothing)
{
	struct guest_mem m;
	uint64_t in = ~0ULL, out = 42;
	uint8_t last = 0;

	t_mem_init(&m, 16 * MIB);
	t_int(mem_write(&m, 16 * MIB - 4, &in, sizeof(in)), -EFAULT);
	t_int(mem_read(&m, &last, 16 * MIB - 1, 1), 0);
	t_uint(last, 0);
	t_int(mem_read(&m, &out, 16 * MIB - 4, sizeof(out)), -EFAULT);
	t_uint(out, 42);
	guest_mem_fini(&m);
}

/* --- files --- */

enum { FILE_BYTES = 3 * 4096 + 100 };

static int pattern_file(void)
{
	static uint8_t data[FILE_BYTES];
	int fd = memfd_create("file", MFD_CLOEXEC);

	for (unsigned i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 7 + i / 256 + 1);
	t_int(pwrite(fd, data, sizeof(data), 0), sizeof(data));
	return fd;
}

/* How many of len bytes at gpa are those of the pattern from off. */
static uint64_t matching(const struct guest_mem *m, gpa_t gpa, uint64_t off, uint64_t len)
{
	const uint8_t *at = mem_ptr(m, gpa, len);
	uint64_t n = 0;

	for (uint64_t i = off; i < off + len; i++)
		n += at[i - off] == (uint8_t)(i * 7 + i / 256 + 1);
	return n;
}

Test(mem, a_file_arrives_byte_by_byte_mapped_or_copied)
{
	static const struct {
		const char *name;
		enum mem_pages pages;
		gpa_t gpa;
		uint64_t off, len;
	} rows[] = {
		{ "mapped with a tail", MEM_PAGES_HOST, MIB, 0, FILE_BYTES },
		{ "mapped with a tail, 4K pages", MEM_PAGES_4K, MIB, 0, FILE_BYTES },
		{ "whole pages", MEM_PAGES_HOST, MIB, 4096, 8192 },
		{ "copied among huge pages", MEM_PAGES_THP, MIB, 0, FILE_BYTES },
		{ "copied for its address", MEM_PAGES_HOST, MIB + 16, 0, FILE_BYTES },
		{ "copied for its offset", MEM_PAGES_HOST, MIB, 16, FILE_BYTES - 16 },
		{ "copied for its size", MEM_PAGES_HOST, MIB, 0, 4095 },
		{ "one byte", MEM_PAGES_HOST, MIB, FILE_BYTES - 1, 1 },
	};
	int fd = pattern_file();

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct guest_mem m;
		uint8_t behind = 1;

		t_int(guest_mem_init(&m, 16 * MIB, LAYOUT_HOLE_START, LAYOUT_HOLE_END,
			      rows[i].pages, false, NULL),
			0);
		t_row_int(rows[i].name,
			mem_load_file(&m, rows[i].gpa, fd, rows[i].off, rows[i].len), 0);
		t_row_int(rows[i].name, matching(&m, rows[i].gpa, rows[i].off, rows[i].len),
			rows[i].len);
		/* The guest finds zeroes behind it, never more of the file. */
		t_row_int(rows[i].name, mem_read(&m, &behind, rows[i].gpa + rows[i].len, 1), 0);
		t_row_int(rows[i].name, behind, 0);
		guest_mem_fini(&m);
	}
}

Test(mem, whole_pages_of_a_file_are_mapped_not_copied)
{
	struct guest_mem m;
	FILE *maps;
	char line[512];
	bool mapped = false;

	t_mem_init(&m, 16 * MIB);
	t_int(mem_load_file(&m, MIB, pattern_file(), 0, FILE_BYTES), 0);
	maps = fopen("/proc/self/maps", "re");
	while (fgets(line, sizeof(line), maps))
		mapped |= strstr(line, "memfd:file") != NULL;
	(void)fclose(maps);
	t_true(mapped);
	guest_mem_fini(&m);
}

Test(mem, the_guest_writes_into_its_own_copy_of_a_file)
{
	struct guest_mem m;
	int fd = pattern_file();
	uint8_t byte = 0, ours = 0xee;

	t_mem_init(&m, 16 * MIB);
	t_int(mem_load_file(&m, MIB, fd, 0, FILE_BYTES), 0);
	t_int(mem_write(&m, MIB, &ours, 1), 0);
	t_int(pread(fd, &byte, 1, 0), 1);
	t_uint(byte, 1);
	guest_mem_fini(&m);
}

Test(mem, a_file_outside_of_ram_is_efault)
{
	struct guest_mem m;
	int fd = pattern_file();

	t_mem_init(&m, 16 * MIB);
	t_int(mem_load_file(&m, 16 * MIB - 4096, fd, 0, 8192), -EFAULT);
	t_int(mem_load_file(&m, 1ULL << 63, fd, 0, 8192), -EFAULT);
	t_int(mem_load_file(&m, MIB, fd, 0, 0), -EFAULT);
	guest_mem_fini(&m);
}

Test(mem, a_file_that_is_shorter_than_asked_for_is_enodata)
{
	struct guest_mem m;
	int fd = pattern_file();

	t_mem_init(&m, 16 * MIB);
	t_int(mem_load_file(&m, MIB + 16, fd, 0, FILE_BYTES + 1), -ENODATA);
	t_int(mem_load_file(&m, MIB, fd, 0, FILE_BYTES + 1), -ENODATA);
	guest_mem_fini(&m);
}

Test(mem, a_descriptor_that_cannot_be_mapped_is_read)
{
	struct guest_mem m;
	uint8_t byte = 0;
	int fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);

	t_mem_init(&m, 16 * MIB);
	/* A page and more was asked for, so a map is tried, fails, and the read says that the file
	 * ends. */
	t_int(mem_load_file(&m, MIB, fd, 0, 1 << 20), -ENODATA);
	t_int(mem_read(&m, &byte, MIB, 1), 0);
	t_true(byte != 0);
	guest_mem_fini(&m);
}

Test(mem, nothing_leaks)
{
	struct guest_mem m;
	unsigned fds = t_count_fds();
	int fd = pattern_file();

	t_mem_init(&m, 4 * GIB);
	t_int(mem_load_file(&m, MIB, fd, 0, FILE_BYTES), 0);
	guest_mem_fini(&m);
	(void)close(fd);
	t_uint(t_count_fds(), fds);
	T_NO_LEAKS();
}
