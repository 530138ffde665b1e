/* Kernel files made by hand (t_image.h). */
#include "t_image.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/check.h"

/* --- ELF --- */

void t_elf_begin(struct t_file *f, unsigned room, uint64_t entry)
{
	Elf64_Ehdr *h = t_elf_header(f);

	memset(f, 0, sizeof(*f));
	memcpy(h->e_ident, ELFMAG, SELFMAG);
	h->e_ident[EI_CLASS] = ELFCLASS64;
	h->e_ident[EI_DATA] = ELFDATA2LSB;
	h->e_ident[EI_VERSION] = EV_CURRENT;
	h->e_type = ET_EXEC;
	h->e_machine = EM_X86_64;
	h->e_version = EV_CURRENT;
	h->e_entry = entry;
	h->e_phoff = sizeof(*h);
	h->e_ehsize = sizeof(*h);
	h->e_phentsize = sizeof(Elf64_Phdr);
	f->len = sizeof(*h) + room * sizeof(Elf64_Phdr);
}

Elf64_Ehdr *t_elf_header(struct t_file *f)
{
	return (Elf64_Ehdr *)(void *)f->data;
}

Elf64_Phdr *t_elf_phdr(struct t_file *f, unsigned i)
{
	return (Elf64_Phdr *)(void *)(f->data + sizeof(Elf64_Ehdr)) + i;
}

static void append(struct t_file *f, size_t align, const uint8_t *data, size_t len)
{
	f->len = align_up(f->len, align);
	INVARIANT(len <= sizeof(f->data) - f->len);
	for (size_t i = 0; i < len; i++)
		f->data[f->len + i] = data ? data[i] : (uint8_t)(i * 7 + (i >> 8) + 1);
	f->len += len;
}

Elf64_Phdr *t_elf_add(struct t_file *f, uint32_t type, uint64_t paddr, uint64_t memsz, size_t align,
	const void *data, size_t len)
{
	Elf64_Phdr *ph = t_elf_phdr(f, t_elf_header(f)->e_phnum++);

	append(f, align, data, len);
	*ph = (Elf64_Phdr){ .p_type = type,
		.p_flags = PF_R | PF_W | PF_X,
		.p_offset = f->len - len,
		.p_vaddr = paddr,
		.p_paddr = paddr,
		.p_filesz = len,
		.p_memsz = memsz,
		.p_align = align };
	return ph;
}

Elf64_Phdr *t_elf_add_pvh(struct t_file *f, uint32_t entry)
{
	struct {
		Elf64_Nhdr head;
		char name[4];
		uint32_t entry;
	} note = { { 4, 4, 18 }, "Xen", entry };

	return t_elf_add(f, PT_NOTE, 0, sizeof(note), 4, &note, sizeof(note));
}

void t_elf_kernel(struct t_file *f)
{
	t_elf_begin(f, 3, T_ELF_ENTRY);
	(void)t_elf_add(f, PT_LOAD, T_ELF_TEXT, T_ELF_TEXT_LEN, 4096, NULL, T_ELF_TEXT_LEN);
	(void)t_elf_add_pvh(f, T_ELF_PVH_ENTRY);
	(void)t_elf_add(f, PT_LOAD, T_ELF_DATA, T_ELF_DATA_MEM, 4, NULL, T_ELF_DATA_LEN);
}

/* --- bzImage --- */

struct setup_header *t_bzimage_setup(struct t_file *f)
{
	/* The header is packed: no alignment is asked of it. */
	return (struct setup_header *)(f->data + T_SETUP_HEADER_AT);
}

void t_bzimage(struct t_file *f, size_t code_len)
{
	struct setup_header *h = t_bzimage_setup(f);

	memset(f, 0, sizeof(*f));
	h->setup_sects = 1;
	h->syssize = (uint32_t)((code_len + 15) / 16);
	h->boot_flag = 0xaa55;
	h->jump = (uint16_t)((T_SETUP_HEADER_AT + sizeof(*h) - 0x202) << 8 | 0xeb);
	h->header = 0x53726448;
	h->version = 0x020f;
	h->loadflags = LOADED_HIGH;
	h->code32_start = 0x100000;
	h->initrd_addr_max = 0x7fffffff;
	h->kernel_alignment = 0x200000;
	h->relocatable_kernel = 1;
	h->min_alignment = 21;
	h->xloadflags = XLF_KERNEL_64;
	h->cmdline_size = 255;
	h->pref_address = T_BZIMAGE_PREFERRED;
	h->init_size = 0x100000;
	f->len = T_BZIMAGE_CODE_AT;
	append(f, 1, NULL, code_len);
}

/* --- files --- */

int t_bytes_open(const void *data, size_t len, char ret_path[64])
{
	int fd = memfd_create("kernel", MFD_CLOEXEC);

	if (fd < 0 || (len > 0 && pwrite(fd, data, len, 0) != (ssize_t)len))
		return -1;
	if (ret_path)
		(void)snprintf(ret_path, 64, "/proc/self/fd/%d", fd);
	return fd;
}

int t_file_open(const struct t_file *f, char ret_path[64])
{
	return t_bytes_open(f->data, f->len, ret_path);
}
