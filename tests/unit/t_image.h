/*
 * Kernel files made by hand, for the tests of the parser, of booting and for the seeds of its fuzz
 * target.  What is made is well-formed; a test then breaks one thing in it.
 */
#ifndef MVM_TESTS_T_IMAGE_H
#define MVM_TESTS_T_IMAGE_H

#include <asm/bootparam.h>
#include <elf.h>
#include <stddef.h>
#include <stdint.h>

enum { T_FILE_MAX = 256 * 1024, T_SETUP_HEADER_AT = 0x1f1 };

struct t_file {
	size_t len;
	_Alignas(16) uint8_t data[T_FILE_MAX];
};

/* --- ELF: begin, add segments, done --- */

/* room is how many program headers will be added. */
void t_elf_begin(struct t_file *f, unsigned room, uint64_t entry);

Elf64_Ehdr *t_elf_header(struct t_file *f);
Elf64_Phdr *t_elf_phdr(struct t_file *f, unsigned i);

/*
 * Appends a segment whose bytes begin at the next multiple of align in the file; data may be NULL
 * for a pattern that differs from byte to byte.
 */
Elf64_Phdr *t_elf_add(struct t_file *f, uint32_t type, uint64_t paddr, uint64_t memsz, size_t align,
	const void *data, size_t len);

/* Appends a PT_NOTE with Xen's PVH note in it. */
Elf64_Phdr *t_elf_add_pvh(struct t_file *f, uint32_t entry);

/* A whole kernel: two segments at 2 MiB (page-aligned in the file) and 3 MiB (not), a PVH note. */
enum {
	T_ELF_ENTRY = 0x200010,
	T_ELF_PVH_ENTRY = 0x200020,
	T_ELF_TEXT = 0x200000,
	T_ELF_TEXT_LEN = 0x1800,
	T_ELF_DATA = 0x300000,
	T_ELF_DATA_LEN = 0x234,
	T_ELF_DATA_MEM = 0x5000,
};
void t_elf_kernel(struct t_file *f);

/* --- bzImage --- */

struct setup_header *t_bzimage_setup(struct t_file *f);

enum { T_BZIMAGE_PREFERRED = 0x1000000, T_BZIMAGE_CODE_AT = 1024 };

/* A relocatable bzImage with code_len bytes of code, which needs 1 MiB and prefers to be at 16 MiB.
 */
void t_bzimage(struct t_file *f, size_t code_len);

/* A descriptor of a memory file with these contents, or -1; *ret_path (if not NULL) is a path that
 * opens it. */
int t_file_open(const struct t_file *f, char ret_path[64]);
int t_bytes_open(const void *data, size_t len, char ret_path[64]);

#endif
