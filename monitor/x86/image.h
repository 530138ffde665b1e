/*
 * What a kernel file holds: ELF "vmlinux" (PVH entry, 64-bit entry) or bzImage (64-bit entry).
 *
 * The file is not trusted.  image_read() reads headers only, checks every number where it is used
 * and touches no guest memory; image_place() decides where the parts go and refuses what does not
 * fit the RAM.
 *
 * References: System V ABI for ELF-64; Linux Documentation/arch/x86/boot.rst; Xen
 * docs/misc/pvh.pandoc for the note.
 */
#ifndef MVM_X86_IMAGE_H
#define MVM_X86_IMAGE_H

#include <asm/bootparam.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/check.h"
#include "core/mem.h"

struct err;

enum { IMAGE_SEGMENTS_MAX = 32, IMAGE_NOTES_MAX = 1 << 16 };

/* Far above any kernel, far below what could make a sum of two sizes wrap. */
#define IMAGE_SIZE_MAX (4ULL << 30)

enum image_kind { IMAGE_ELF, IMAGE_BZIMAGE };

struct image_segment {
	uint64_t file_off, file_len; /* within the file */
	uint64_t mem_len;            /* at least file_len; the rest is zero */
	gpa_t gpa;
};

struct image {
	enum image_kind kind;
	unsigned n;
	struct image_segment segment[IMAGE_SEGMENTS_MAX];
	uint64_t entry64; /* of the 64-bit boot protocol; for a bzImage known after image_place() */
	bool has_pvh;
	bool has_entry64; /* entry64 lies in a segment; known after image_place() */
	uint32_t pvh_entry;
	gpa_t end; /* first byte behind everything the kernel needs; known after image_place() */
	struct setup_header setup; /* bzImage only */
};

/*
 * Reads and checks the headers of fd, which is size bytes long.  path is for messages.  0, or
 * -errno with e filled: -ENOEXEC (not a kernel that mvm can start), -ENODATA (truncated), -EFBIG,
 * or what pread says.
 */
MUST_CHECK int image_read(
	int fd, const char *path, uint64_t size, struct image *ret, struct err *e);

/*
 * Gives every segment its place in RAM of low_size bytes below the hole: -ENOSPC with e filled when
 * one lies outside of it, or below 1 MiB where the boot data is; -ENOEXEC when two overlap or an
 * entry is in none.
 */
MUST_CHECK int image_place(struct image *img, const char *path, uint64_t low_size, struct err *e);

#endif
