/*
 * Makes kernel files that are wrong in one way each, and a good one to compare with.
 *
 * usage: badkernel KIND FILE; without arguments it lists the kinds
 */
#include <asm/bootparam.h>
#include <elf.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

enum { LOAD_AT = 0x100000, CODE_AT = 0x1000, CODE_LEN = 0x1000, SEGMENTS = 40, SECTOR = 512 };

/* The good one: powers off by its first instructions. */
static const unsigned char code[] = { 0xb0, 0x34, 0x66, 0xba, 0x00, 0x06, 0xee, 0xf4, 0xeb, 0xfd };

static struct {
	Elf64_Ehdr head;
	Elf64_Phdr segment[SEGMENTS];
	struct {
		Elf64_Nhdr head;
		char name[4];
		Elf64_Word entry;
	} note;
	unsigned char text[CODE_LEN];
} elf;

static struct {
	unsigned char before[0x1f1];
	struct setup_header setup;
	unsigned char rest[4 * SECTOR];
	unsigned char text[CODE_LEN];
} bz;

static size_t file_len;

static void make_elf(void)
{
	Elf64_Ehdr *h = &elf.head;

	memcpy(h->e_ident, ELFMAG, SELFMAG);
	h->e_ident[EI_CLASS] = ELFCLASS64;
	h->e_ident[EI_DATA] = ELFDATA2LSB;
	h->e_ident[EI_VERSION] = EV_CURRENT;
	h->e_type = ET_EXEC;
	h->e_machine = EM_X86_64;
	h->e_version = EV_CURRENT;
	h->e_entry = LOAD_AT;
	h->e_phoff = offsetof(__typeof__(elf), segment);
	h->e_ehsize = sizeof(*h);
	h->e_phentsize = sizeof(Elf64_Phdr);
	h->e_phnum = 2;
	elf.segment[0] = (Elf64_Phdr){ .p_type = PT_LOAD,
		.p_offset = offsetof(__typeof__(elf), text),
		.p_paddr = LOAD_AT,
		.p_filesz = CODE_LEN,
		.p_memsz = CODE_LEN };
	elf.segment[1] = (Elf64_Phdr){ .p_type = PT_NOTE,
		.p_offset = offsetof(__typeof__(elf), note),
		.p_filesz = sizeof(elf.note),
		.p_memsz = sizeof(elf.note) };
	elf.note.head = (Elf64_Nhdr){ .n_namesz = 4, .n_descsz = 4, .n_type = 18 };
	memcpy(elf.note.name, "Xen", 4);
	elf.note.entry = LOAD_AT;
	memcpy(elf.text, code, sizeof(code));
	file_len = sizeof(elf);
}

static void add_segment(Elf64_Addr at, Elf64_Xword filesz, Elf64_Xword memsz)
{
	elf.segment[elf.head.e_phnum] = elf.segment[0];
	elf.segment[elf.head.e_phnum].p_paddr = at;
	elf.segment[elf.head.e_phnum].p_filesz = filesz;
	elf.segment[elf.head.e_phnum].p_memsz = memsz;
	elf.head.e_phnum++;
}

static void elf32(void)
{
	elf.head.e_ident[EI_CLASS] = ELFCLASS32;
}

static void elf_arm(void)
{
	elf.head.e_machine = EM_AARCH64;
}

static void elf_object(void)
{
	elf.head.e_type = ET_REL;
}

static void elf_no_segments(void)
{
	elf.head.e_phnum = 0;
}

static void elf_only_note(void)
{
	elf.segment[0].p_type = PT_NULL;
}

static void elf_headers_behind(void)
{
	elf.head.e_phoff = 1ULL << 40;
}

static void elf_headers_wrap(void)
{
	elf.head.e_phoff = ~0ULL - 16;
}

static void elf_cut_segment(void)
{
	file_len -= 100;
}

static void elf_cut_header(void)
{
	file_len = 20;
}

static void elf_outside(void)
{
	add_segment(0x80000000, 16, 16);
}

static void elf_in_hole(void)
{
	add_segment(0xd0000000, 16, 16);
}

static void elf_high(void)
{
	add_segment(1ULL << 40, 16, 16);
}

static void elf_low(void)
{
	add_segment(0x6000, 16, 16);
}

static void elf_big(void)
{
	elf.segment[0].p_memsz = 1ULL << 30;
}

static void elf_wraps(void)
{
	add_segment(~0ULL - 0xfff, 16, 0x2000);
}

static void elf_offset_wraps(void)
{
	add_segment(0x200000, 16, 16);
	elf.segment[2].p_offset = ~0ULL - 7;
}

static void elf_overlaps(void)
{
	add_segment(LOAD_AT + 0x800, 16, 16);
}

static void elf_file_larger(void)
{
	add_segment(0x200000, 16, 8);
}

static void elf_many(void)
{
	while (elf.head.e_phnum < SEGMENTS)
		add_segment(0x200000 + elf.head.e_phnum * 0x1000ULL, 16, 16);
}

static void elf_no_note(void)
{
	elf.note.head.n_type = 17;
}

static void elf_entry_outside(void)
{
	elf_no_note(); /* with a PVH entry nobody would use this one */
	elf.head.e_entry = 0x300000;
}

static void elf_only_pvh(void)
{
	elf.head.e_entry = 0x300000;
}

static void elf_pvh_outside(void)
{
	elf.note.entry = 0x300000;
}

static void elf_note_overruns(void)
{
	elf.note.head.n_descsz = 0xfffffffd;
}

static void make_bzimage(void)
{
	struct setup_header *h = &bz.setup;

	*h = (struct setup_header){ .setup_sects = 4,
		.syssize = CODE_LEN / 16,
		.boot_flag = 0xaa55,
		.jump = (0x1f1 + sizeof(*h) - 0x202) << 8 | 0xeb,
		.header = 0x53726448,
		.version = 0x020f,
		.loadflags = LOADED_HIGH,
		.initrd_addr_max = 0x7fffffff,
		.kernel_alignment = 0x200000,
		.relocatable_kernel = 1,
		.xloadflags = XLF_KERNEL_64,
		.cmdline_size = 2047,
		.pref_address = 0x1000000,
		.init_size = CODE_LEN };
	/* The code begins behind five sectors, and the 64-bit entry another 512 bytes on. */
	memcpy((unsigned char *)&bz + 5 * SECTOR + 0x200, code, sizeof(code));
	file_len = 5 * SECTOR + CODE_LEN;
}

static void bz_old(void)
{
	bz.setup.version = 0x020a;
}

static void bz_32bit(void)
{
	bz.setup.xloadflags = 0;
}

static void bz_low(void)
{
	bz.setup.loadflags = 0;
}

static void bz_cut(void)
{
	file_len -= 100;
}

static void bz_no_code(void)
{
	bz.setup.setup_sects = 200;
}

static void bz_big(void)
{
	bz.setup.init_size = 1U << 30;
}

static void bz_far(void)
{
	bz.setup.pref_address = 1ULL << 40;
}

static void bz_short_cmdline(void)
{
	bz.setup.cmdline_size = 255;
}

static const struct {
	const char *name;
	void (*make)(void), (*spoil)(void);
} kinds[] = {
	{ "elf", make_elf, NULL },
	{ "elf32", make_elf, elf32 },
	{ "elf-arm", make_elf, elf_arm },
	{ "elf-object", make_elf, elf_object },
	{ "elf-no-segments", make_elf, elf_no_segments },
	{ "elf-only-note", make_elf, elf_only_note },
	{ "elf-headers-behind", make_elf, elf_headers_behind },
	{ "elf-headers-wrap", make_elf, elf_headers_wrap },
	{ "elf-cut-segment", make_elf, elf_cut_segment },
	{ "elf-cut-header", make_elf, elf_cut_header },
	{ "elf-outside", make_elf, elf_outside },
	{ "elf-in-hole", make_elf, elf_in_hole },
	{ "elf-high", make_elf, elf_high },
	{ "elf-low", make_elf, elf_low },
	{ "elf-big", make_elf, elf_big },
	{ "elf-wraps", make_elf, elf_wraps },
	{ "elf-offset-wraps", make_elf, elf_offset_wraps },
	{ "elf-overlaps", make_elf, elf_overlaps },
	{ "elf-file-larger", make_elf, elf_file_larger },
	{ "elf-many", make_elf, elf_many },
	{ "elf-entry-outside", make_elf, elf_entry_outside },
	{ "elf-only-pvh", make_elf, elf_only_pvh },
	{ "elf-pvh-outside", make_elf, elf_pvh_outside },
	{ "elf-no-note", make_elf, elf_no_note },
	{ "elf-note-overruns", make_elf, elf_note_overruns },
	{ "bz", make_bzimage, NULL },
	{ "bz-old", make_bzimage, bz_old },
	{ "bz-32bit", make_bzimage, bz_32bit },
	{ "bz-low", make_bzimage, bz_low },
	{ "bz-cut", make_bzimage, bz_cut },
	{ "bz-no-code", make_bzimage, bz_no_code },
	{ "bz-big", make_bzimage, bz_big },
	{ "bz-far", make_bzimage, bz_far },
	{ "bz-short-cmdline", make_bzimage, bz_short_cmdline },
};

int main(int argc, char **argv)
{
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		FILE *out;
		int rc;

		if (argc != 3) {
			(void)puts(kinds[i].name);
			continue;
		}
		if (strcmp(argv[1], kinds[i].name) != 0)
			continue;
		out = fopen(argv[2], "we");
		if (!out)
			return 1;
		kinds[i].make();
		if (kinds[i].spoil)
			kinds[i].spoil();
		rc = fwrite(kinds[i].make == make_elf ? (void *)&elf : (void *)&bz, 1, file_len,
			     out) != file_len;
		return fclose(out) != 0 || rc;
	}
	return argc == 3;
}
