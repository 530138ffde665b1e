/*
 * What a kernel finds in memory when it starts: the memory map, the Linux zero page, PVH's start
 * info, the GDT and page tables of the 64-bit entry.  Everything here writes into guest RAM below 1
 * MiB (layout.h), which always exists.
 */
#ifndef MVM_X86_PARAMS_H
#define MVM_X86_PARAMS_H

#include <asm/bootparam.h>
#include <stdint.h>

#include "core/mem.h"

struct image;

/* Where things are that the boot protocols hand over. */
struct boot_places {
	gpa_t initrd;         /* 0: none */
	uint64_t initrd_len;  /* bytes */
	uint32_t cmdline_len; /* bytes without the NUL; the text is at LAYOUT_CMDLINE */
	gpa_t rsdp;
};

enum { MEMORY_MAP_MAX = 8 };

/* The E820 view of m: RAM, and the BIOS area that holds the tables as reserved.  Returns the number
 * of entries. */
unsigned params_memory_map(const struct guest_mem *m, struct boot_e820_entry map[MEMORY_MAP_MAX]);

/* The zero page of the 64-bit boot protocol (boot.rst, "64-bit Boot Protocol") at LAYOUT_ZERO_PAGE.
 */
void params_write_zero_page(
	const struct guest_mem *m, const struct image *img, const struct boot_places *at);

/* hvm_start_info, one module and the memory map at LAYOUT_PVH_*. */
void params_write_pvh(const struct guest_mem *m, const struct boot_places *at);

/*
 * Code at LAYOUT_REAL_RESET that resets the machine.  There is no firmware, but a kernel with EFI
 * that finds hardware-reduced ACPI and no EFI ends up there: Linux tries "EFI", then "BIOS".
 */
void params_write_real_reset(const struct guest_mem *m);

/* The GDT at LAYOUT_GDT: selectors 0x10 code (64-bit or flat 32-bit), 0x18 data, 0x20 TSS. */
void params_write_gdt(const struct guest_mem *m, int is_64bit);

/* Identity map of the first four GiB by 2 MiB pages: a kernel may lie anywhere below the hole. */
void params_write_page_tables(const struct guest_mem *m);

#endif
