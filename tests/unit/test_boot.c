/* Loading a kernel, an initrd and a command line. */
#include "t.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/err.h"
#include "t_image.h"
#include "x86/boot.h"
#include "x86/layout.h"

TestSuite(boot, .timeout = T_SECONDS);

#define MIB (1ULL << 20)

static struct t_file file;

/* A machine of size with a kernel made by t_elf_kernel() or t_bzimage() in file; the paths live in
 * it. */
struct pc {
	struct guest_mem m;
	struct boot_config c;
	struct boot_entry entry;
	struct err e;
	char kernel[64], initrd[64];
};

static void setup(struct pc *pc, uint64_t size, enum mem_pages pages)
{
	memset(pc, 0, sizeof(*pc));
	t_int(guest_mem_init(&pc->m, size, LAYOUT_HOLE_START, LAYOUT_HOLE_END, pages, false, NULL),
		0);
	t_true(t_file_open(&file, pc->kernel) >= 0);
	pc->c.kernel = pc->kernel;
	pc->c.cmdline = "console=ttyS0";
	pc->c.machine.cpus = 1;
}

static int load(struct pc *pc)
{
	return boot_load(&pc->m, &pc->c, &pc->entry, &pc->e);
}

static void loads(struct pc *pc)
{
	cr_assert(eq(int, load(pc), 0), "%s", pc->e.text);
}

static void refuses(struct pc *pc, int code, const char *words)
{
	t_int(load(pc), code);
	t_int(pc->e.code, code);
	t_has(pc->e.text, words);
}

static const uint8_t *at(const struct pc *pc, gpa_t gpa, uint64_t len)
{
	const uint8_t *p = mem_ptr(&pc->m, gpa, len);

	t_true(p);
	return p;
}

static void give_initrd(struct pc *pc, size_t len)
{
	uint8_t *data = malloc(len > 0 ? len : 1);

	for (size_t i = 0; i < len; i++)
		data[i] = (uint8_t)(i * 11 + 3);
	t_true(t_bytes_open(data, len, pc->initrd) >= 0);
	free(data);
	pc->c.initrd = pc->initrd;
}

static uint64_t count_zero(const uint8_t *p, uint64_t len)
{
	uint64_t n = 0;

	for (uint64_t i = 0; i < len; i++)
		n += p[i] == 0;
	return n;
}

/* --- the kernel --- */

Test(boot, the_segments_of_a_vmlinux_land_where_they_say_mapped_or_copied)
{
	static const enum mem_pages kinds[] = { MEM_PAGES_HOST, MEM_PAGES_4K, MEM_PAGES_THP };

	t_elf_kernel(&file);
	for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++) {
		struct pc pc;

		setup(&pc, 64 * MIB, kinds[i]);
		loads(&pc);
		for (unsigned k = 0; k < 3; k += 2) {
			const Elf64_Phdr *ph = t_elf_phdr(&file, k);
			const uint8_t *p = at(&pc, ph->p_paddr, ph->p_memsz);

			cr_expect(eq(int, memcmp(p, file.data + ph->p_offset, ph->p_filesz), 0),
				"segment %u, pages %u", k, kinds[i]);
			cr_expect(eq(u64, count_zero(p + ph->p_filesz, ph->p_memsz - ph->p_filesz),
					  ph->p_memsz - ph->p_filesz),
				"behind segment %u, pages %u", k, kinds[i]);
		}
		guest_mem_fini(&pc.m);
	}
}

Test(boot, the_rest_of_the_last_page_of_a_segment_is_zero_and_not_the_file)
{
	struct pc pc;

	/* The text ends in the middle of a page, and the file goes on with the note. */
	t_elf_kernel(&file);
	setup(&pc, 64 * MIB, MEM_PAGES_HOST);
	loads(&pc);
	t_uint(count_zero(at(&pc, T_ELF_TEXT + T_ELF_TEXT_LEN, 0x800), 0x800), 0x800);
	guest_mem_fini(&pc.m);
}

Test(boot, a_bzimage_lands_at_its_preferred_place)
{
	struct pc pc;

	t_bzimage(&file, 0x2345);
	setup(&pc, 64 * MIB, MEM_PAGES_HOST);
	loads(&pc);
	t_int(pc.entry.protocol, BOOT_LINUX64);
	t_hex(pc.entry.rip, T_BZIMAGE_PREFERRED + 0x200);
	t_int(memcmp(at(&pc, T_BZIMAGE_PREFERRED, 0x2345), file.data + T_BZIMAGE_CODE_AT, 0x2345),
		0);
	guest_mem_fini(&pc.m);
}

Test(boot, kernel_files_that_cannot_be_used_are_errors_that_name_them)
{
	struct pc pc;
	char fifo[] = "/tmp/mvm-test-fifo-XXXXXX", dir[] = "/tmp/mvm-test-dir-XXXXXX";
	int fd;

	t_elf_kernel(&file);
	setup(&pc, 64 * MIB, MEM_PAGES_HOST);
	pc.c.kernel = "/nonexistent/vmlinux";
	refuses(&pc, -ENOENT, "cannot open kernel '/nonexistent/vmlinux'");

	t_true(mkdtemp(dir));
	pc.c.kernel = dir;
	refuses(&pc, -EINVAL, "not a regular file");
	(void)rmdir(dir);

	fd = mkstemp(fifo);
	(void)close(fd);
	(void)unlink(fifo);
	t_int(mkfifo(fifo, 0600), 0);
	pc.c.kernel = fifo;
	refuses(&pc, -EINVAL, "not a regular file");
	(void)unlink(fifo);

	pc.c.kernel = "/dev/zero";
	refuses(&pc, -EINVAL, "not a regular file");
	t_true(t_bytes_open("", 0, pc.kernel) >= 0);
	pc.c.kernel = pc.kernel;
	refuses(&pc, -ENOEXEC, "empty");
	guest_mem_fini(&pc.m);
}

/* --- protocols --- */

Test(boot, the_protocol_is_the_one_asked_for_or_the_best_there_is)
{
	static const struct {
		const char *name;
		uint64_t rip;
		enum boot_protocol want, got;
		int rc;
		bool bzimage, pvh_note;
	} rows[] = {
		{ "auto with a note", T_ELF_PVH_ENTRY, BOOT_AUTO, BOOT_PVH, 0, false, true },
		{ "auto without", T_ELF_ENTRY, BOOT_AUTO, BOOT_LINUX64, 0, false, false },
		{ "auto bzImage", T_BZIMAGE_PREFERRED + 0x200, BOOT_AUTO, BOOT_LINUX64, 0, true,
			false },
		{ "pvh", T_ELF_PVH_ENTRY, BOOT_PVH, BOOT_PVH, 0, false, true },
		{ "pvh without a note", 0, BOOT_PVH, BOOT_AUTO, -EINVAL, false, false },
		{ "pvh of a bzImage", 0, BOOT_PVH, BOOT_AUTO, -EINVAL, true, false },
		{ "linux64 with a note", T_ELF_ENTRY, BOOT_LINUX64, BOOT_LINUX64, 0, false, true },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct pc pc;

		if (rows[i].bzimage)
			t_bzimage(&file, 0x1000);
		else
			t_elf_kernel(&file);
		if (!rows[i].pvh_note && !rows[i].bzimage)
			t_elf_phdr(&file, 1)->p_type = PT_NULL;
		setup(&pc, 64 * MIB, MEM_PAGES_HOST);
		pc.c.protocol = rows[i].want;
		t_row_int(rows[i].name, load(&pc), rows[i].rc);
		t_row_int(rows[i].name, pc.entry.protocol, rows[i].got);
		t_row_hex(rows[i].name, pc.entry.rip, rows[i].rip);
		if (rows[i].rc < 0)
			t_row_has(rows[i].name, pc.e.text, "CONFIG_PVH");
		guest_mem_fini(&pc.m);
	}
}

Test(boot, pvh_finds_its_start_info_and_linux64_its_zero_page)
{
	struct pc pc;

	t_elf_kernel(&file);
	setup(&pc, 64 * MIB, MEM_PAGES_HOST);
	loads(&pc);
	t_int(memcmp(at(&pc, LAYOUT_PVH_INFO, 4), "\x78\xc5\x6e\x33", 4), 0);
	t_uint(count_zero(at(&pc, LAYOUT_PML4, 8), 8), 8);
	guest_mem_fini(&pc.m);

	setup(&pc, 64 * MIB, MEM_PAGES_HOST);
	pc.c.protocol = BOOT_LINUX64;
	loads(&pc);
	t_int(memcmp(at(&pc, LAYOUT_ZERO_PAGE + 0x202, 4), "HdrS", 4), 0);
	t_uint(count_zero(at(&pc, LAYOUT_PVH_INFO, 4), 4), 4);
	t_true(count_zero(at(&pc, LAYOUT_PML4, 8), 8) < 8);
	guest_mem_fini(&pc.m);
}

Test(boot, both_descriptions_of_the_machine_are_always_given)
{
	static const enum boot_protocol protocols[] = { BOOT_PVH, BOOT_LINUX64 };

	t_elf_kernel(&file);
	for (unsigned i = 0; i < ARRAY_SIZE(protocols); i++) {
		struct pc pc;

		setup(&pc, 64 * MIB, MEM_PAGES_HOST);
		pc.c.protocol = protocols[i];
		loads(&pc);
		cr_expect(eq(int, memcmp(at(&pc, LAYOUT_ACPI, 8), "RSD PTR ", 8), 0));
		cr_expect(eq(int, memcmp(at(&pc, LAYOUT_MPTABLE, 4), "_MP_", 4), 0));
		guest_mem_fini(&pc.m);
	}
}

/* --- the initrd --- */

Test(boot, an_initrd_lands_at_the_top_of_low_memory_on_a_page)
{
	static const struct {
		const char *name;
		uint64_t mem;
		size_t len;
		gpa_t want;
	} rows[] = {
		{ "whole pages", 64 * MIB, 8192, 64 * MIB - 8192 },
		{ "odd size", 64 * MIB, 8193, 64 * MIB - 12288 },
		{ "one byte", 64 * MIB, 1, 64 * MIB - 4096 },
		{ "memory above the hole", 4096 * MIB, 8192, LAYOUT_HOLE_START - 8192 },
	};

	t_elf_kernel(&file);
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct pc pc;
		const uint8_t *p;
		uint64_t paddr, len, wrong = 0;

		setup(&pc, rows[i].mem, MEM_PAGES_HOST);
		give_initrd(&pc, rows[i].len);
		loads(&pc);
		memcpy(&paddr, at(&pc, LAYOUT_PVH_MODULES, 8), 8);
		memcpy(&len, at(&pc, LAYOUT_PVH_MODULES + 8, 8), 8);
		t_row_hex(rows[i].name, paddr, rows[i].want);
		t_row_hex(rows[i].name, len, rows[i].len);
		p = at(&pc, rows[i].want, rows[i].len);
		for (size_t k = 0; k < rows[i].len; k++)
			wrong += p[k] != (uint8_t)(k * 11 + 3);
		t_row_int(rows[i].name, wrong, 0);
		guest_mem_fini(&pc.m);
	}
}

Test(boot, an_initrd_stays_below_what_a_bzimage_can_reach)
{
	struct pc pc;
	uint32_t image, size;

	t_bzimage(&file, 0x1000);
	t_bzimage_setup(&file)->initrd_addr_max = 0x2ffffff;
	setup(&pc, 128 * MIB, MEM_PAGES_HOST);
	give_initrd(&pc, 5000);
	loads(&pc);
	memcpy(&image, at(&pc, LAYOUT_ZERO_PAGE + 0x218, 4), 4);
	memcpy(&size, at(&pc, LAYOUT_ZERO_PAGE + 0x21c, 4), 4);
	t_hex(image, 0x3000000 - 8192);
	t_uint(size, 5000);
	guest_mem_fini(&pc.m);
}

Test(boot, an_initrd_may_fill_all_between_the_kernel_and_the_end_of_memory)
{
	struct pc pc;
	const uint64_t room = 16 * MIB - (T_ELF_DATA + T_ELF_DATA_MEM);

	t_elf_kernel(&file);
	setup(&pc, 16 * MIB, MEM_PAGES_HOST);
	give_initrd(&pc, room);
	loads(&pc);
	guest_mem_fini(&pc.m);
	setup(&pc, 16 * MIB, MEM_PAGES_HOST);
	give_initrd(&pc, room + 1);
	refuses(&pc, -ENOSPC, "--mem");
	t_has(pc.e.text, pc.initrd);
	guest_mem_fini(&pc.m);
}

Test(boot, an_initrd_larger_than_memory_is_enospc)
{
	struct pc pc;
	int fd;

	t_elf_kernel(&file);
	setup(&pc, 16 * MIB, MEM_PAGES_HOST);
	give_initrd(&pc, 1);
	fd = open(pc.initrd, O_RDWR | O_CLOEXEC);
	t_int(ftruncate(fd, (off_t)(17 * MIB)), 0);
	refuses(&pc, -ENOSPC, "17825792 bytes");
	t_int(ftruncate(fd, (off_t)1 << 42), 0);
	refuses(&pc, -ENOSPC, "--mem");
	guest_mem_fini(&pc.m);
}

Test(boot, an_initrd_that_a_bzimage_cannot_reach_at_all_is_enospc)
{
	struct pc pc;

	t_bzimage(&file, 0x1000);
	t_bzimage_setup(&file)->initrd_addr_max = 0;
	setup(&pc, 64 * MIB, MEM_PAGES_HOST);
	give_initrd(&pc, 1);
	refuses(&pc, -ENOSPC, "initrd");
	guest_mem_fini(&pc.m);
}

Test(boot, initrd_files_that_cannot_be_used_are_errors_that_name_them)
{
	struct pc pc;

	t_elf_kernel(&file);
	setup(&pc, 64 * MIB, MEM_PAGES_HOST);
	give_initrd(&pc, 0);
	refuses(&pc, -EINVAL, "is empty");
	pc.c.initrd = "/nonexistent/initrd";
	refuses(&pc, -ENOENT, "cannot open initrd '/nonexistent/initrd'");
	pc.c.initrd = "/proc/self";
	refuses(&pc, -EINVAL, "not a regular file");
	guest_mem_fini(&pc.m);
}

Test(boot, without_an_initrd_none_is_announced)
{
	struct pc pc;

	t_elf_kernel(&file);
	setup(&pc, 64 * MIB, MEM_PAGES_HOST);
	loads(&pc);
	t_uint(count_zero(at(&pc, LAYOUT_PVH_INFO + 12, 12), 12), 12);
	guest_mem_fini(&pc.m);
}

/* --- the command line --- */

static char *line_of(size_t len)
{
	static char text[4096];

	memset(text, 'a', len);
	text[len] = '\0';
	return text;
}

Test(boot, the_command_line_is_a_string_in_guest_memory)
{
	struct pc pc;

	t_elf_kernel(&file);
	setup(&pc, 64 * MIB, MEM_PAGES_HOST);
	loads(&pc);
	t_str((const char *)at(&pc, LAYOUT_CMDLINE, 32), "console=ttyS0");
	guest_mem_fini(&pc.m);
}

Test(boot, an_empty_command_line_is_one)
{
	struct pc pc;

	t_elf_kernel(&file);
	setup(&pc, 64 * MIB, MEM_PAGES_HOST);
	pc.c.cmdline = "";
	loads(&pc);
	t_uint(*at(&pc, LAYOUT_CMDLINE, 1), 0);
	guest_mem_fini(&pc.m);
}

Test(boot, a_command_line_at_the_limit_is_taken_and_one_over_is_e2big)
{
	struct pc pc;

	t_elf_kernel(&file);
	setup(&pc, 64 * MIB, MEM_PAGES_HOST);
	pc.c.cmdline = line_of(2047);
	loads(&pc);
	t_uint(strlen((const char *)at(&pc, LAYOUT_CMDLINE, 2048)), 2047);
	pc.c.cmdline = line_of(2048);
	refuses(&pc, -E2BIG, "2048 bytes");
	t_has(pc.e.text, "takes 2047");
	guest_mem_fini(&pc.m);
}

Test(boot, a_bzimage_may_take_less_of_a_command_line)
{
	struct pc pc;

	t_bzimage(&file, 0x1000);
	setup(&pc, 64 * MIB, MEM_PAGES_HOST);
	pc.c.cmdline = line_of(255);
	loads(&pc);
	pc.c.cmdline = line_of(256);
	refuses(&pc, -E2BIG, "takes 255");
	guest_mem_fini(&pc.m);
}

Test(boot, a_bzimage_that_takes_more_still_gets_no_more_than_there_is_room_for)
{
	struct pc pc;

	t_bzimage(&file, 0x1000);
	t_bzimage_setup(&file)->cmdline_size = 1 << 20;
	setup(&pc, 64 * MIB, MEM_PAGES_HOST);
	pc.c.cmdline = line_of(2048);
	refuses(&pc, -E2BIG, "takes 2047");
	guest_mem_fini(&pc.m);
}

Test(boot, nothing_leaks_whether_it_works_or_not)
{
	unsigned fds;
	struct pc pc;

	t_elf_kernel(&file);
	setup(&pc, 64 * MIB, MEM_PAGES_HOST);
	give_initrd(&pc, 5000);
	fds = t_count_fds();
	loads(&pc);
	pc.c.initrd = "/nonexistent";
	t_int(load(&pc), -ENOENT);
	pc.c.kernel = "/proc/self";
	t_int(load(&pc), -EINVAL);
	t_uint(t_count_fds(), fds);
	guest_mem_fini(&pc.m);
	T_NO_LEAKS();
}
