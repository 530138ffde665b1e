/* Kernel files: what is taken, and every way in which one may be broken. */
#include "t.h"

#include <elf.h>
#include <stdlib.h>

#include "base/err.h"
#include "t_image.h"
#include "x86/image.h"
#include "x86/layout.h"

TestSuite(image, .timeout = T_SECONDS);

#define MIB (1ULL << 20)

static struct t_file file;

/* Reads the file as it stands. */
static int read_file(struct image *img, struct err *e)
{
	int fd = t_file_open(&file, NULL), rc;

	*e = (struct err){ 0 };
	rc = image_read(fd, "vmlinux", file.len, img, e);
	(void)close(fd);
	return rc;
}

static int read_and_place(struct image *img, uint64_t low, struct err *e)
{
	int rc = read_file(img, e);

	return rc == 0 ? image_place(img, "vmlinux", low, e) : rc;
}

/* The file is refused with this code by one of the two steps, and the words name the file and this.
 */
static void refuses_in(uint64_t low, int code, const char *words)
{
	struct image img;
	struct err e;

	t_int(read_and_place(&img, low, &e), code);
	t_int(e.code, code);
	t_has(e.text, "'vmlinux'");
	t_has(e.text, words);
}

static void refuses(int code, const char *words)
{
	refuses_in(128 * MIB, code, words);
}

static void accepts(struct image *img)
{
	struct err e;

	cr_assert(eq(int, read_and_place(img, 128 * MIB, &e), 0), "%s", e.text);
}

/* --- good ELF files --- */

Test(image, a_vmlinux_gives_its_segments_and_entries)
{
	struct image img;

	t_elf_kernel(&file);
	accepts(&img);
	t_int(img.kind, IMAGE_ELF);
	t_uint(img.n, 2);
	t_hex(img.segment[0].gpa, T_ELF_TEXT);
	t_hex(img.segment[0].file_off, 4096);
	t_hex(img.segment[0].file_len, T_ELF_TEXT_LEN);
	t_hex(img.segment[1].gpa, T_ELF_DATA);
	t_hex(img.segment[1].file_len, T_ELF_DATA_LEN);
	t_hex(img.segment[1].mem_len, T_ELF_DATA_MEM);
	t_hex(img.entry64, T_ELF_ENTRY);
	t_true(img.has_pvh);
	t_hex(img.pvh_entry, T_ELF_PVH_ENTRY);
	t_hex(img.end, T_ELF_DATA + T_ELF_DATA_MEM);
}

Test(image, a_vmlinux_without_a_note_has_no_pvh_entry)
{
	struct image img;

	t_elf_begin(&file, 1, 0x200000);
	(void)t_elf_add(&file, PT_LOAD, 0x200000, 0x1000, 16, NULL, 0x100);
	accepts(&img);
	t_false(img.has_pvh);
}

Test(image, a_position_independent_vmlinux_is_taken)
{
	struct image img;

	t_elf_kernel(&file);
	t_elf_header(&file)->e_type = ET_DYN;
	accepts(&img);
}

Test(image, a_segment_without_memory_is_left_out)
{
	struct image img;

	t_elf_kernel(&file);
	t_elf_phdr(&file, 2)->p_memsz = 0;
	accepts(&img);
	t_uint(img.n, 1);
}

Test(image, a_segment_without_file_bytes_is_memory_only)
{
	struct image img;

	t_elf_kernel(&file);
	t_elf_phdr(&file, 2)->p_filesz = 0;
	accepts(&img);
	t_uint(img.n, 2);
	t_uint(img.segment[1].file_len, 0);
}

Test(image, program_headers_of_other_kinds_are_ignored)
{
	struct image img;

	t_elf_begin(&file, 3, 0x200000);
	(void)t_elf_add(&file, PT_GNU_STACK, 0, 0, 1, NULL, 0);
	(void)t_elf_add(&file, PT_LOAD, 0x200000, 0x1000, 16, NULL, 0x100);
	(void)t_elf_add(&file, PT_TLS, UINT64_MAX, UINT64_MAX, 1, NULL, 0);
	accepts(&img);
	t_uint(img.n, 1);
}

Test(image, the_notes_may_hold_others_before_the_pvh_one)
{
	struct {
		Elf64_Nhdr head;
		char name[8];
		uint8_t desc[8];
		Elf64_Nhdr pvh;
		char xen[4];
		uint32_t entry[2]; /* eight bytes that are aligned to four */
	} notes = { { 6, 6, 1 }, "Linux", { 1, 2, 3, 4, 5, 6 }, { 4, 8, 18 }, "Xen", { 0x200030 } };
	struct image img;

	t_elf_begin(&file, 2, 0x200000);
	(void)t_elf_add(&file, PT_LOAD, 0x200000, 0x1000, 16, NULL, 0x100);
	(void)t_elf_add(&file, PT_NOTE, 0, sizeof(notes), 4, &notes, sizeof(notes));
	accepts(&img);
	t_true(img.has_pvh);
	t_hex(img.pvh_entry, 0x200030);
}

/* --- what is not a kernel --- */

Test(image, an_empty_file_is_enoexec)
{
	file.len = 0;
	refuses(-ENOEXEC, "empty");
}

Test(image, a_text_file_is_enoexec_with_what_is_wanted)
{
	memset(file.data, 'x', 4096);
	file.len = 4096;
	refuses(-ENOEXEC, "bzImage");
	file.len = 10;
	refuses(-ENOEXEC, "too short");
}

Test(image, a_file_larger_than_4_gib_is_efbig)
{
	struct image img;
	struct err e = { 0 };

	t_elf_kernel(&file);
	t_int(image_read(t_file_open(&file, NULL), "vmlinux", IMAGE_SIZE_MAX + 1, &img, &e),
		-EFBIG);
	t_has(e.text, "4G");
}

Test(image, elf_files_that_are_no_x86_kernel_are_enoexec)
{
	static const struct {
		const char *name;
		size_t at;
		uint8_t value;
		const char *words;
	} rows[] = {
		{ "32-bit", EI_CLASS, ELFCLASS32, "32-bit" },
		{ "no class", EI_CLASS, 0, "32-bit" },
		{ "big-endian", EI_DATA, ELFDATA2MSB, "another machine" },
		{ "aarch64", offsetof(Elf64_Ehdr, e_machine), EM_AARCH64, "another machine" },
		{ "i386", offsetof(Elf64_Ehdr, e_machine), EM_386, "another machine" },
		{ "object file", offsetof(Elf64_Ehdr, e_type), ET_REL, "cannot be started" },
		{ "core file", offsetof(Elf64_Ehdr, e_type), ET_CORE, "cannot be started" },
		{ "no program headers", offsetof(Elf64_Ehdr, e_phnum), 0, "no program headers" },
		{ "small program headers", offsetof(Elf64_Ehdr, e_phentsize), 32,
			"no program headers" },
		{ "large program headers", offsetof(Elf64_Ehdr, e_phentsize), 64,
			"no program headers" },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct image img;
		struct err e;

		t_elf_kernel(&file);
		file.data[rows[i].at] = rows[i].value;
		t_row_int(rows[i].name, read_file(&img, &e), -ENOEXEC);
		t_row_has(rows[i].name, e.text, rows[i].words);
	}
}

Test(image, an_elf_file_with_nothing_to_load_is_enoexec)
{
	t_elf_begin(&file, 1, 0x200000);
	(void)t_elf_add_pvh(&file, 0x200000);
	refuses(-ENOEXEC, "nothing to load");
}

/* --- truncated files --- */

Test(image, a_vmlinux_cut_anywhere_is_an_error_and_never_a_kernel)
{
	static struct t_file whole;
	struct image img;
	struct err e;

	t_elf_begin(&whole, 2, 0x200000);
	(void)t_elf_add_pvh(&whole, 0x200008);
	(void)t_elf_add(&whole, PT_LOAD, 0x200000, 0x1000, 16, NULL, 0x40);
	for (size_t len = 0; len < whole.len; len++) {
		int rc;

		memcpy(&file, &whole, sizeof(file));
		file.len = len;
		rc = read_file(&img, &e);
		cr_expect(eq(int, rc == -ENODATA || rc == -ENOEXEC, 1), "cut at %zu: %d", len, rc);
		cr_expect(eq(int, e.code, rc), "cut at %zu", len);
		if (len >= sizeof(Elf64_Ehdr))
			cr_expect(ne(ptr, strstr(e.text, "truncated"), NULL), "cut at %zu: %s", len,
				e.text);
	}
}

/* Its length is told in paragraphs of 16 bytes, so the last few may be missing unnoticed. */
Test(image, a_bzimage_cut_by_a_paragraph_or_more_is_an_error_and_never_a_kernel)
{
	static struct t_file whole;
	struct image img;
	struct err e;

	t_bzimage(&whole, 0x300);
	for (size_t len = 0; len <= whole.len - 16; len++) {
		int rc;

		memcpy(&file, &whole, sizeof(file));
		file.len = len;
		rc = read_file(&img, &e);
		cr_expect(eq(int, rc == -ENODATA || rc == -ENOEXEC, 1), "cut at %zu: %d", len, rc);
		cr_expect(eq(int, e.code, rc), "cut at %zu", len);
		if (len >= T_SETUP_HEADER_AT + sizeof(struct setup_header))
			cr_expect(ne(ptr, strstr(e.text, "truncated"), NULL), "cut at %zu: %s", len,
				e.text);
	}
}

Test(image, a_file_that_is_shorter_than_its_size_says_is_enodata)
{
	struct image img;
	struct err e = { 0 };
	size_t len;

	t_elf_kernel(&file);
	len = file.len;
	file.len = 80;
	t_int(image_read(t_file_open(&file, NULL), "vmlinux", len, &img, &e), -ENODATA);
	t_has(e.text, "truncated");
}

/* --- broken program headers --- */

/* The good kernel with one number of a program header replaced. */
static Elf64_Phdr *broken(unsigned i)
{
	t_elf_kernel(&file);
	return t_elf_phdr(&file, i);
}

Test(image, a_segment_with_more_in_the_file_than_in_memory_is_enoexec)
{
	broken(0)->p_memsz = T_ELF_TEXT_LEN - 1;
	refuses(-ENOEXEC, "more bytes in the file than in memory");
}

Test(image, a_segment_behind_the_end_of_the_file_is_enodata)
{
	broken(2)->p_offset += 1;
	refuses(-ENODATA, "truncated");
	broken(2)->p_offset = file.len + 1;
	refuses(-ENODATA, "truncated");
}

Test(image, a_segment_whose_place_in_the_file_wraps_is_enodata)
{
	broken(0)->p_offset = UINT64_MAX - 100;
	refuses(-ENODATA, "truncated");
}

Test(image, a_segment_that_wraps_around_the_address_space_is_enoexec)
{
	broken(0)->p_paddr = UINT64_MAX - 100;
	refuses(-ENOEXEC, "wraps");
	broken(2)->p_memsz = UINT64_MAX;
	refuses(-ENOEXEC, "wraps");
}

Test(image, a_segment_outside_of_ram_is_enospc_and_the_remedy_is_named)
{
	broken(2)->p_paddr = 128 * MIB;
	refuses(-ENOSPC, "--mem");
	broken(2)->p_paddr = 128 * MIB - T_ELF_DATA_MEM + 1;
	refuses(-ENOSPC, "--mem");
	broken(2)->p_memsz = 128 * MIB;
	refuses(-ENOSPC, "--mem");
}

Test(image, a_segment_that_no_memory_could_hold_is_enospc_and_more_memory_is_not_the_remedy)
{
	broken(2)->p_paddr = 1ULL << 62;
	refuses(-ENOSPC, "below 3G");
	broken(2)->p_paddr = LAYOUT_HOLE_START - T_ELF_DATA_MEM + 1;
	refuses(-ENOSPC, "below 3G");
}

Test(image, a_segment_may_end_where_ram_ends)
{
	struct image img;

	broken(2)->p_paddr = 128 * MIB - T_ELF_DATA_MEM;
	accepts(&img);
	t_hex(img.end, 128 * MIB);
}

Test(image, a_segment_in_the_hole_below_4_gib_is_enospc)
{
	broken(2)->p_paddr = LAYOUT_HOLE_START;
	refuses_in(LAYOUT_HOLE_START, -ENOSPC, "below 3G");
}

Test(image, a_segment_below_1_mib_is_enospc)
{
	broken(2)->p_paddr = 0x8000;
	refuses(-ENOSPC, "below 1M");
	broken(2)->p_paddr = MIB - 1;
	refuses(-ENOSPC, "below 1M");
}

Test(image, segments_that_overlap_are_enoexec)
{
	static const struct {
		const char *name;
		uint64_t paddr, memsz;
	} rows[] = {
		{ "same place", T_ELF_TEXT, T_ELF_DATA_MEM },
		{ "last byte", T_ELF_TEXT + T_ELF_TEXT_LEN - 1, T_ELF_DATA_MEM },
		{ "first byte", T_ELF_TEXT - T_ELF_DATA_MEM + 1, T_ELF_DATA_MEM },
		{ "around", T_ELF_TEXT - 0x1000, 0x10000 },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		Elf64_Phdr *ph = broken(2);
		struct image img;
		struct err e;

		ph->p_paddr = rows[i].paddr;
		ph->p_memsz = rows[i].memsz;
		t_row_int(rows[i].name, read_and_place(&img, 128 * MIB, &e), -ENOEXEC);
		t_row_has(rows[i].name, e.text, "overlap");
	}
}

Test(image, segments_that_touch_do_not_overlap)
{
	struct image img;

	broken(2)->p_paddr = T_ELF_TEXT + T_ELF_TEXT_LEN;
	accepts(&img);
}

Test(image, a_full_table_of_segments_is_taken_and_one_more_is_enoexec)
{
	for (unsigned n = IMAGE_SEGMENTS_MAX; n <= IMAGE_SEGMENTS_MAX + 1; n++) {
		struct image img;
		struct err e;

		t_elf_begin(&file, n, 0x200000);
		for (unsigned i = 0; i < n; i++)
			(void)t_elf_add(
				&file, PT_LOAD, 0x200000 + i * 0x1000ULL, 0x1000, 4, NULL, 8);
		cr_expect(eq(int, read_and_place(&img, 128 * MIB, &e),
				  n <= IMAGE_SEGMENTS_MAX ? 0 : -ENOEXEC),
			"%u segments: %s", n, e.text);
		if (n > IMAGE_SEGMENTS_MAX)
			t_row_has("one more", e.text, "more than 32 segments");
	}
}

Test(image, program_headers_outside_of_the_file_are_enodata)
{
	static const uint64_t places[] = { 1 << 20, INT64_MAX, 1ULL << 63, UINT64_MAX,
		UINT64_MAX - 55, UINT64_MAX - 56 };

	for (unsigned i = 0; i < ARRAY_SIZE(places); i++) {
		struct image img;
		struct err e;

		t_elf_kernel(&file);
		t_elf_header(&file)->e_phoff = places[i];
		cr_expect(eq(int, read_file(&img, &e), -ENODATA), "headers at 0x%llx: %s",
			(unsigned long long)places[i], e.text);
	}
}

Test(image, program_headers_that_begin_in_the_file_and_end_outside_are_enodata)
{
	t_elf_kernel(&file);
	t_elf_header(&file)->e_phoff = file.len - 60;
	t_elf_header(&file)->e_phnum = 0xffff;
	refuses(-ENODATA, "truncated");
}

Test(image, an_entry_outside_of_all_segments_is_enoexec_without_a_pvh_entry)
{
	static const uint64_t entries[] = { 0, 0x1fffff, 0x201000, UINT64_MAX };

	for (unsigned i = 0; i < ARRAY_SIZE(entries); i++) {
		t_elf_begin(&file, 1, entries[i]);
		(void)t_elf_add(&file, PT_LOAD, 0x200000, 0x1000, 16, NULL, 0x100);
		refuses(-ENOEXEC, "entry");
	}
}

Test(image, a_kernel_for_pvh_alone_may_have_an_entry_that_is_nowhere)
{
	struct image img;

	t_elf_kernel(&file);
	accepts(&img);
	t_true(img.has_entry64);
	t_elf_header(&file)->e_entry = 0xffffffff80200000;
	accepts(&img);
	t_true(img.has_pvh);
	t_true(!img.has_entry64);
}

Test(image, a_pvh_entry_outside_of_all_segments_is_enoexec)
{
	t_elf_begin(&file, 2, 0x200000);
	(void)t_elf_add(&file, PT_LOAD, 0x200000, 0x1000, 16, NULL, 0x100);
	(void)t_elf_add_pvh(&file, 0x100);
	refuses(-ENOEXEC, "PVH entry 0x100");
}

/* --- notes --- */

Test(image, malformed_notes_leave_the_kernel_without_a_pvh_entry)
{
	static const struct {
		const char *name;
		Elf64_Nhdr head;
		char text[4];
		size_t len;
	} rows[] = {
		{ "other type", { 4, 4, 17 }, "Xen", 20 },
		{ "other name", { 4, 4, 18 }, "Zen", 20 },
		{ "name not ended", { 3, 4, 18 }, "Xen", 20 },
		{ "short descriptor", { 4, 2, 18 }, "Xen", 20 },
		{ "empty descriptor", { 4, 0, 18 }, "Xen", 20 },
		{ "descriptor behind the end", { 4, 8, 18 }, "Xen", 20 },
		{ "huge descriptor", { 4, UINT32_MAX, 18 }, "Xen", 20 },
		{ "huge name", { UINT32_MAX, 4, 18 }, "Xen", 20 },
		{ "both huge", { UINT32_MAX, UINT32_MAX, 18 }, "Xen", 20 },
		{ "header cut", { 4, 4, 18 }, "Xen", 11 },
		{ "only a header", { 4, 4, 18 }, "Xen", 12 },
		{ "descriptor cut", { 4, 4, 18 }, "Xen", 19 },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct {
			Elf64_Nhdr head;
			char text[4];
			uint32_t entry;
		} note = { rows[i].head, "", 0x200020 };
		struct image img;
		struct err e;

		memcpy(note.text, rows[i].text, 4);
		t_elf_begin(&file, 2, 0x200000);
		(void)t_elf_add(&file, PT_LOAD, 0x200000, 0x1000, 16, NULL, 0x100);
		(void)t_elf_add(&file, PT_NOTE, 0, 20, 4, &note, rows[i].len);
		t_row_int(rows[i].name, read_and_place(&img, 128 * MIB, &e), 0);
		t_row_int(rows[i].name, img.has_pvh, false);
	}
}

Test(image, notes_larger_than_any_kernel_has_are_not_read)
{
	struct image img;
	Elf64_Phdr *note;

	t_elf_kernel(&file);
	note = t_elf_phdr(&file, 1);
	note->p_filesz = IMAGE_NOTES_MAX + 1;
	accepts(&img);
	t_false(img.has_pvh);
}

Test(image, notes_behind_the_end_of_the_file_are_enodata)
{
	static const uint64_t places[] = { T_FILE_MAX, INT64_MAX - 10, 1ULL << 63, UINT64_MAX };

	for (unsigned i = 0; i < ARRAY_SIZE(places); i++) {
		struct image img;
		struct err e;

		t_elf_kernel(&file);
		t_elf_phdr(&file, 1)->p_offset = places[i];
		cr_expect(eq(int, read_file(&img, &e), -ENODATA), "notes at 0x%llx: %s",
			(unsigned long long)places[i], e.text);
	}
}

/* --- bzImage --- */

Test(image, a_bzimage_gives_one_segment_where_it_prefers_to_be)
{
	struct image img;

	t_bzimage(&file, 0x1000);
	accepts(&img);
	t_int(img.kind, IMAGE_BZIMAGE);
	t_uint(img.n, 1);
	t_hex(img.segment[0].gpa, T_BZIMAGE_PREFERRED);
	t_hex(img.segment[0].file_off, T_BZIMAGE_CODE_AT);
	t_hex(img.segment[0].file_len, 0x1000);
	t_hex(img.segment[0].mem_len, 0x100000);
	t_hex(img.entry64, T_BZIMAGE_PREFERRED + 0x200);
	t_hex(img.end, T_BZIMAGE_PREFERRED + 0x100000);
	t_false(img.has_pvh);
}

Test(image, a_bzimage_without_a_count_of_setup_sectors_has_four)
{
	struct image img;

	t_bzimage(&file, 0x1000);
	t_bzimage_setup(&file)->setup_sects = 0;
	t_bzimage_setup(&file)->syssize = 0;
	accepts(&img);
	t_hex(img.segment[0].file_off, 5 * 512);
}

Test(image, a_bzimage_may_carry_a_signature_behind_its_code)
{
	struct image img;

	t_bzimage(&file, 0x1000);
	t_bzimage_setup(&file)->syssize = 0xf00 / 16;
	accepts(&img);
	t_hex(img.segment[0].file_len, 0x1000);
}

Test(image, a_bzimage_is_never_put_below_its_preferred_place_even_if_it_is_relocatable)
{
	t_bzimage(&file, 0x1000);
	refuses_in(16 * MIB, -ENOSPC, "--mem");
	t_bzimage_setup(&file)->relocatable_kernel = 0;
	refuses_in(16 * MIB, -ENOSPC, "--mem");
}

Test(image, what_lies_behind_the_end_of_a_bzimage_header_is_not_taken_for_fields)
{
	struct image img;

	t_bzimage(&file, 0x1000);
	/* Up to the end of init_size, as a header of protocol 2.10 is; then the rest is code. */
	t_bzimage_setup(&file)->jump = (0x264 - 0x202) << 8 | 0xeb;
	t_bzimage_setup(&file)->kernel_info_offset = 0x12345678;
	accepts(&img);
	t_hex(img.setup.kernel_info_offset, 0);
	t_hex(img.setup.init_size, 0x100000);
}

Test(image, a_bzimage_that_needs_more_than_all_ram_is_enospc)
{
	t_bzimage(&file, 0x1000);
	t_bzimage_setup(&file)->init_size = 127 * MIB;
	refuses(-ENOSPC, "--mem");
	t_bzimage_setup(&file)->init_size = UINT32_MAX;
	refuses(-ENOSPC, "below 3G");
}

Test(image, a_bzimage_that_prefers_an_impossible_place_is_enospc)
{
	static const uint64_t places[] = { 128 * MIB, 1ULL << 40, UINT64_MAX,
		UINT64_MAX - 0xfffff };

	for (unsigned i = 0; i < ARRAY_SIZE(places); i++) {
		struct image img;
		struct err e;

		t_bzimage(&file, 0x1000);
		t_bzimage_setup(&file)->pref_address = places[i];
		cr_expect(eq(int, read_and_place(&img, 128 * MIB, &e), -ENOSPC), "0x%llx",
			(unsigned long long)places[i]);
	}
}

Test(image, a_bzimage_below_1_mib_is_enospc)
{
	t_bzimage(&file, 0x1000);
	t_bzimage_setup(&file)->pref_address = 0x10000;
	refuses(-ENOSPC, "below 1M");
}

Test(image, bzimages_without_a_64_bit_entry_are_enoexec)
{
	static const struct {
		const char *name;
		uint16_t version, xloadflags;
		uint8_t loadflags;
		const char *words;
	} rows[] = {
		{ "old protocol", 0x020b, XLF_KERNEL_64, LOADED_HIGH, "2.11" },
		{ "32-bit kernel", 0x020f, 0, LOADED_HIGH, "64-bit" },
		{ "zImage", 0x020f, XLF_KERNEL_64, 0, "zImage" },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct image img;
		struct err e;

		t_bzimage(&file, 0x1000);
		t_bzimage_setup(&file)->version = rows[i].version;
		t_bzimage_setup(&file)->xloadflags = rows[i].xloadflags;
		t_bzimage_setup(&file)->loadflags = rows[i].loadflags;
		t_row_int(rows[i].name, read_file(&img, &e), -ENOEXEC);
		t_row_has(rows[i].name, e.text, rows[i].words);
	}
}

Test(image, a_bzimage_that_announces_more_code_than_there_is_is_enodata)
{
	t_bzimage(&file, 0x1000);
	t_bzimage_setup(&file)->syssize++;
	refuses(-ENODATA, "truncated");
	t_bzimage_setup(&file)->syssize = UINT32_MAX;
	refuses(-ENODATA, "truncated");
}

Test(image, a_bzimage_whose_code_would_begin_behind_its_end_is_enodata)
{
	t_bzimage(&file, 0x1000);
	t_bzimage_setup(&file)->setup_sects = 255;
	refuses(-ENODATA, "truncated");
}

Test(image, every_byte_of_a_bzimage_header_may_be_anything)
{
	struct image img;
	struct err e;
	unsigned taken = 0;

	/* No answer is wrong here, but a crash, or a kernel outside of RAM. */
	for (size_t at = 0; at < sizeof(struct setup_header); at++) {
		for (unsigned value = 0; value < 256; value += 15) {
			t_bzimage(&file, 0x400);
			file.data[T_SETUP_HEADER_AT + at] = (uint8_t)value;
			if (read_and_place(&img, 32 * MIB, &e) < 0)
				continue;
			taken++;
			cr_expect(le(u64, img.end, 32 * MIB), "byte %zu, value %u", at, value);
		}
	}
	t_true(taken > 100);
}

Test(image, every_byte_of_a_vmlinux_header_may_be_anything)
{
	struct image img;
	struct err e;
	unsigned taken = 0;

	for (size_t at = 0; at < sizeof(Elf64_Ehdr) + 3 * sizeof(Elf64_Phdr); at++) {
		for (unsigned value = 0; value < 256; value += 15) {
			t_elf_kernel(&file);
			file.data[at] = (uint8_t)value;
			if (read_and_place(&img, 32 * MIB, &e) < 0)
				continue;
			taken++;
			cr_expect(le(u64, img.end, 32 * MIB), "byte %zu, value %u", at, value);
			cr_expect(ge(u64, img.segment[0].gpa, LAYOUT_HIMEM));
		}
	}
	t_true(taken > 100);
}

Test(image, nothing_leaks)
{
	unsigned fds = t_count_fds();
	struct image img;

	t_elf_kernel(&file);
	accepts(&img);
	t_elf_phdr(&file, 1)->p_offset = T_FILE_MAX;
	refuses(-ENODATA, "truncated");
	t_uint(t_count_fds(), fds);
	T_NO_LEAKS();
}
