/* Kernel files: ELF and bzImage headers, checked (image.h). */
#include "x86/image.h"

#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/io.h"
#include "x86/layout.h"

#define SETUP_HEADER_AT  0x1f1       /* boot.rst, "The Real-Mode Kernel Header" */
#define HEADER_JUMP_FROM 0x202       /* the jump at 0x200 counts from here */
#define SETUP_MAGIC      0x53726448U /* "HdrS" */
#define PROTOCOL_64BIT   0x020c      /* the first with xloadflags */
#define ENTRY_64BIT      0x200       /* from the start of the protected-mode code */
#define SECTOR           512
#define XEN_PHYS32_ENTRY 18 /* note type XEN_ELFNOTE_PHYS32_ENTRY */

static const char *const WANTED = "mvm boots an uncompressed 64-bit ELF vmlinux or an x86 bzImage";

static int read_at(int fd, const char *path, void *buf, size_t len, uint64_t off, struct err *e)
{
	int rc = io_pread_full(fd, buf, len, off);

	if (rc == -ENODATA)
		return err_set(e, rc,
			"kernel '%s' is truncated: nothing at offset %llu; was it copied "
			"completely?",
			path, (unsigned long long)off);
	return rc < 0 ? err_sys(e, rc, NULL, "cannot read kernel '%s'", path) : 0;
}

/* --- ELF --- */

/* A note's name and descriptor are padded to four bytes each. */
static uint64_t note_pad(uint32_t len)
{
	return align_up(len, 4);
}

/* Looks for Xen's PVH note among the notes in buf. */
static void scan_notes(const uint8_t *buf, uint64_t len, struct image *img)
{
	uint64_t at = 0;

	while (len - at >= sizeof(Elf64_Nhdr)) {
		Elf64_Nhdr note;
		uint64_t name, desc;

		memcpy(&note, buf + at, sizeof(note));
		name = at + sizeof(note);
		/* 32-bit lengths on a 64-bit offset below 64 KiB: no sum here can wrap. */
		desc = name + note_pad(note.n_namesz);
		if (desc + note_pad(note.n_descsz) > len)
			return;
		if (note.n_type == XEN_PHYS32_ENTRY && note.n_namesz == 4 &&
			memcmp(buf + name, "Xen", 4) == 0 &&
			(note.n_descsz == 4 || note.n_descsz == 8)) {
			memcpy(&img->pvh_entry, buf + desc, 4);
			img->has_pvh = true;
		}
		at = desc + note_pad(note.n_descsz);
	}
}

static int read_notes(int fd, const char *path, const Elf64_Phdr *ph, uint64_t size,
	struct image *img, struct err *e)
{
	uint8_t *buf CLEANUP(freep) = NULL;
	int rc;

	/* No kernel's notes come near this; a file whose notes do is left without a PVH entry. */
	if (ph->p_filesz == 0 || ph->p_filesz > IMAGE_NOTES_MAX)
		return 0;
	if (ph->p_offset > size || ph->p_filesz > size - ph->p_offset)
		return err_set(e, -ENODATA,
			"kernel '%s' is truncated: its notes lie at byte %llu of %llu", path,
			(unsigned long long)ph->p_offset, (unsigned long long)size);
	buf = malloc(ph->p_filesz);
	if (!buf)
		return err_sys(e, -ENOMEM, NULL, "cannot read kernel '%s'", path);
	rc = read_at(fd, path, buf, ph->p_filesz, ph->p_offset, e);
	if (rc == 0)
		scan_notes(buf, ph->p_filesz, img);
	return rc;
}

static int add_segment(
	const Elf64_Phdr *ph, const char *path, uint64_t size, struct image *img, struct err *e)
{
	uint64_t end;

	if (ph->p_memsz == 0)
		return 0;
	if (ph->p_filesz > ph->p_memsz)
		return err_set(e, -ENOEXEC,
			"kernel '%s': a segment has more bytes in the file than in memory", path);
	if (__builtin_add_overflow(ph->p_offset, ph->p_filesz, &end))
		end = UINT64_MAX;
	if (end > size)
		return err_set(e, -ENODATA,
			"kernel '%s' is truncated: a segment ends at byte %llu of a file of %llu; "
			"was it copied "
			"completely?",
			path, (unsigned long long)end, (unsigned long long)size);
	if (__builtin_add_overflow(ph->p_paddr, ph->p_memsz, &end))
		return err_set(e, -ENOEXEC,
			"kernel '%s': the segment at 0x%llx wraps around the address space", path,
			(unsigned long long)ph->p_paddr);
	if (img->n == IMAGE_SEGMENTS_MAX)
		return err_set(e, -ENOEXEC, "kernel '%s' has more than %d segments", path,
			IMAGE_SEGMENTS_MAX);
	img->segment[img->n++] = (struct image_segment){ .file_off = ph->p_offset,
		.file_len = ph->p_filesz,
		.mem_len = ph->p_memsz,
		.gpa = ph->p_paddr };
	return 0;
}

static int check_elf_header(const Elf64_Ehdr *h, const char *path, struct err *e)
{
	if (h->e_ident[EI_CLASS] != ELFCLASS64)
		return err_set(e, -ENOEXEC, "kernel '%s' is a 32-bit ELF file; %s", path, WANTED);
	if (h->e_ident[EI_DATA] != ELFDATA2LSB || h->e_machine != EM_X86_64)
		return err_set(e, -ENOEXEC,
			"kernel '%s' is an ELF file of another machine (e_machine %u); %s", path,
			h->e_machine, WANTED);
	if (h->e_type != ET_EXEC && h->e_type != ET_DYN)
		return err_set(e, -ENOEXEC,
			"kernel '%s' is an ELF file that cannot be started (type %u); %s", path,
			h->e_type, WANTED);
	if (h->e_phentsize != sizeof(Elf64_Phdr) || h->e_phnum == 0)
		return err_set(e, -ENOEXEC, "kernel '%s' has no program headers; %s", path, WANTED);
	return 0;
}

static int read_elf(int fd, const char *path, uint64_t size, struct image *ret, struct err *e)
{
	Elf64_Ehdr h;
	int rc = read_at(fd, path, &h, sizeof(h), 0, e);

	if (rc == 0)
		rc = check_elf_header(&h, path, e);
	if (rc < 0)
		return rc;
	ret->kind = IMAGE_ELF;
	ret->entry64 = h.e_entry;
	for (unsigned i = 0; i < h.e_phnum; i++) {
		Elf64_Phdr ph;
		uint64_t off;

		if (__builtin_add_overflow(h.e_phoff, (uint64_t)i * sizeof(ph), &off) || off > size)
			return err_set(e, -ENODATA,
				"kernel '%s' is truncated: its program headers lie at byte %llu",
				path, (unsigned long long)h.e_phoff);
		rc = read_at(fd, path, &ph, sizeof(ph), off, e);
		if (rc == 0 && ph.p_type == PT_LOAD)
			rc = add_segment(&ph, path, size, ret, e);
		else if (rc == 0 && ph.p_type == PT_NOTE)
			rc = read_notes(fd, path, &ph, size, ret, e);
		if (rc < 0)
			return rc;
	}
	if (ret->n == 0)
		return err_set(e, -ENOEXEC, "kernel '%s' has nothing to load; %s", path, WANTED);
	return 0;
}

/* --- bzImage --- */

static int read_bzimage(int fd, const char *path, uint64_t size, struct image *ret, struct err *e)
{
	struct setup_header *h = &ret->setup;
	uint64_t start;
	size_t len;
	int rc = read_at(fd, path, h, sizeof(*h), SETUP_HEADER_AT, e);

	if (rc < 0)
		return rc;
	/* The header ends where its first jump leads (boot.rst, "Details of Header Fields"); what
	 * follows is code, and zero means "not there" for every field. */
	len = (size_t)(HEADER_JUMP_FROM - SETUP_HEADER_AT) + (h->jump >> 8);
	if (len < sizeof(*h))
		memset((uint8_t *)h + len, 0, sizeof(*h) - len);
	if (h->version < PROTOCOL_64BIT || !(h->xloadflags & XLF_KERNEL_64))
		return err_set(e, -ENOEXEC,
			"kernel '%s' is a bzImage without a 64-bit entry (boot protocol %u.%02u); "
			"use a 64-bit kernel, "
			"3.8 or newer",
			path, h->version >> 8, h->version & 0xff);
	if (!(h->loadflags & LOADED_HIGH))
		return err_set(e, -ENOEXEC, "kernel '%s' is a zImage; %s", path, WANTED);
	start = ((uint64_t)(h->setup_sects ? h->setup_sects : 4) + 1) * SECTOR;
	if (start >= size || size - start <= ENTRY_64BIT)
		return err_set(e, -ENODATA,
			"kernel '%s' is truncated: its code would begin at byte %llu of %llu", path,
			(unsigned long long)start, (unsigned long long)size);
	/* syssize counts 16-byte paragraphs; a shorter file was cut off, a longer one carries a
	 * signature behind. */
	if ((uint64_t)h->syssize * 16 > align_up(size - start, 16))
		return err_set(e, -ENODATA,
			"kernel '%s' is truncated: %llu bytes of code announced, %llu there", path,
			(unsigned long long)h->syssize * 16, (unsigned long long)(size - start));
	ret->kind = IMAGE_BZIMAGE;
	ret->n = 1;
	ret->segment[0] = (struct image_segment){ .file_off = start, .file_len = size - start };
	ret->segment[0].mem_len = MAX(ret->segment[0].file_len, (uint64_t)h->init_size);
	return 0;
}

int image_read(int fd, const char *path, uint64_t size, struct image *ret, struct err *e)
{
	uint8_t magic[4] = { 0 };
	uint32_t hdrs = 0;
	int rc;

	*ret = (struct image){ 0 };
	if (size == 0)
		return err_set(e, -ENOEXEC, "kernel '%s' is empty", path);
	if (size > IMAGE_SIZE_MAX)
		return err_set(e, -EFBIG, "kernel '%s' is larger than 4G; %s", path, WANTED);
	if (size < sizeof(Elf64_Ehdr)) /* the shorter of the two headers */
		return err_set(e, -ENOEXEC, "'%s' is too short for a kernel (%llu bytes); %s", path,
			(unsigned long long)size, WANTED);
	rc = read_at(fd, path, magic, sizeof(magic), 0, e);
	if (rc < 0)
		return rc;
	if (memcmp(magic, ELFMAG, SELFMAG) == 0)
		return read_elf(fd, path, size, ret, e);
	if (size >= SETUP_HEADER_AT + sizeof(struct setup_header)) {
		rc = read_at(fd, path, &hdrs, sizeof(hdrs),
			SETUP_HEADER_AT + offsetof(struct setup_header, header), e);
		if (rc < 0)
			return rc;
		if (hdrs == SETUP_MAGIC)
			return read_bzimage(fd, path, size, ret, e);
	}
	return err_set(
		e, -ENOEXEC, "'%s' is not a kernel: neither ELF nor bzImage; %s", path, WANTED);
}

/* --- placing --- */

static bool holds(const struct image *img, uint64_t addr)
{
	for (unsigned i = 0; i < img->n; i++) {
		if (addr >= img->segment[i].gpa &&
			addr - img->segment[i].gpa < img->segment[i].mem_len)
			return true;
	}
	return false;
}

static int check_segment(
	const struct image *img, unsigned i, const char *path, uint64_t low_size, struct err *e)
{
	const struct image_segment *s = &img->segment[i];

	if (s->gpa < LAYOUT_HIMEM)
		return err_set(e, -ENOSPC,
			"kernel '%s' wants to be at 0x%llx; below 1M is the place of the boot data",
			path, (unsigned long long)s->gpa);
	if (s->gpa + s->mem_len > LAYOUT_HOLE_START)
		return err_set(e, -ENOSPC,
			"kernel '%s' wants to be at 0x%llx to 0x%llx; mvm loads kernels below 3G "
			"only",
			path, (unsigned long long)s->gpa, (unsigned long long)s->gpa + s->mem_len);
	if (s->gpa > low_size || s->mem_len > low_size - s->gpa)
		return err_set(e, -ENOSPC,
			"kernel '%s' needs memory from 0x%llx to 0x%llx and the guest has 0x%llx "
			"below the hole at 3G: "
			"give it more (--mem)",
			path, (unsigned long long)s->gpa, (unsigned long long)s->gpa + s->mem_len,
			(unsigned long long)low_size);
	for (unsigned k = 0; k < i; k++) {
		if (ranges_overlap(
			    s->gpa, s->mem_len, img->segment[k].gpa, img->segment[k].mem_len))
			return err_set(e, -ENOEXEC,
				"kernel '%s': the segments at 0x%llx and 0x%llx overlap", path,
				(unsigned long long)img->segment[k].gpa,
				(unsigned long long)s->gpa);
	}
	return 0;
}

int image_place(struct image *img, const char *path, uint64_t low_size, struct err *e)
{
	int rc = 0;

	/* Where it prefers to be: loaded anywhere below, even a relocatable kernel moves itself
	 * there (boot.rst, "pref_address"), and above there is no reason to be. */
	if (img->kind == IMAGE_BZIMAGE)
		img->segment[0].gpa = img->setup.pref_address;
	for (unsigned i = 0; i < img->n && rc == 0; i++) {
		rc = check_segment(img, i, path, low_size, e);
		img->end = MAX(img->end, img->segment[i].gpa + img->segment[i].mem_len);
	}
	if (rc < 0)
		return rc;
	if (img->kind == IMAGE_BZIMAGE)
		img->entry64 = img->segment[0].gpa + ENTRY_64BIT;
	if (img->has_pvh && !holds(img, img->pvh_entry))
		return err_set(e, -ENOEXEC,
			"kernel '%s': its PVH entry 0x%x is in none of its segments", path,
			img->pvh_entry);
	/* A kernel for PVH alone may give a virtual address here, which nobody uses then. */
	img->has_entry64 = holds(img, img->entry64);
	if (!img->has_entry64 && !img->has_pvh)
		return err_set(e, -ENOEXEC,
			"kernel '%s': its entry 0x%llx is in none of its segments", path,
			(unsigned long long)img->entry64);
	return 0;
}
