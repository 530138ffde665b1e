/* Boot data in low guest memory (params.h). */
#include "x86/params.h"

#include <string.h>

#include "base/check.h"
#include "x86/image.h"
#include "x86/layout.h"

enum { E820_RAM = 1, E820_RESERVED = 2 };

/* Low memory exists in every machine (at least 16 MiB), so a failure here is ours. */
static void put(const struct guest_mem *m, gpa_t gpa, const void *src, size_t len)
{
	INVARIANT(mem_write(m, gpa, src, len) == 0);
}

unsigned params_memory_map(const struct guest_mem *m, struct boot_e820_entry map[MEMORY_MAP_MAX])
{
	unsigned n = 0;

	map[n++] = (struct boot_e820_entry){ 0, LAYOUT_LOW_END, E820_RAM };
	map[n++] = (struct boot_e820_entry){ LAYOUT_ACPI, LAYOUT_BIOS_END - LAYOUT_ACPI,
		E820_RESERVED };
	map[n++] = (struct boot_e820_entry){ LAYOUT_HIMEM, m->r[0].len - LAYOUT_HIMEM, E820_RAM };
	for (unsigned i = 1; i < m->n; i++)
		map[n++] = (struct boot_e820_entry){ m->r[i].gpa, m->r[i].len, E820_RAM };
	return n;
}

void params_write_zero_page(
	const struct guest_mem *m, const struct image *img, const struct boot_places *at)
{
	struct boot_params bp = { 0 };

	/* A bzImage's own header, as the protocol wants; an ELF kernel has none and gets the fields
	 * it reads. */
	if (img->kind == IMAGE_BZIMAGE) {
		bp.hdr = img->setup;
	} else {
		bp.hdr.boot_flag = 0xaa55;
		bp.hdr.header = 0x53726448; /* "HdrS" */
		bp.hdr.version = 0x020f;
		bp.hdr.kernel_alignment = 0x1000000;
	}
	bp.hdr.type_of_loader = 0xff; /* "undefined": not in the protocol's list */
	bp.hdr.cmd_line_ptr = (uint32_t)LAYOUT_CMDLINE;
	bp.hdr.cmdline_size = at->cmdline_len;
	bp.hdr.ramdisk_image = (uint32_t)at->initrd;
	bp.hdr.ramdisk_size = (uint32_t)at->initrd_len;
	bp.acpi_rsdp_addr = at->rsdp;
	bp.e820_entries = (uint8_t)params_memory_map(m, bp.e820_table);
	put(m, LAYOUT_ZERO_PAGE, &bp, sizeof(bp));
}

/* Xen's public/arch-x86/hvm/start_info.h, version 1. */
struct hvm_start_info {
	uint32_t magic, version, flags, nr_modules;
	uint64_t modlist_paddr, cmdline_paddr, rsdp_paddr, memmap_paddr;
	uint32_t memmap_entries, reserved;
};

struct hvm_modlist_entry {
	uint64_t paddr, size, cmdline_paddr, reserved;
};

struct hvm_memmap_entry {
	uint64_t addr, size;
	uint32_t type, reserved;
};

void params_write_pvh(const struct guest_mem *m, const struct boot_places *at)
{
	struct boot_e820_entry map[MEMORY_MAP_MAX];
	struct hvm_start_info info = {
		.magic = 0x336ec578,
		.version = 1,
		.cmdline_paddr = LAYOUT_CMDLINE,
		.rsdp_paddr = at->rsdp,
		.memmap_paddr = LAYOUT_PVH_MEMMAP,
		.memmap_entries = params_memory_map(m, map),
	};

	if (at->initrd_len > 0) {
		struct hvm_modlist_entry initrd = { .paddr = at->initrd, .size = at->initrd_len };

		info.nr_modules = 1;
		info.modlist_paddr = LAYOUT_PVH_MODULES;
		put(m, LAYOUT_PVH_MODULES, &initrd, sizeof(initrd));
	}
	for (unsigned i = 0; i < info.memmap_entries; i++) {
		struct hvm_memmap_entry entry = { map[i].addr, map[i].size, map[i].type, 0 };

		put(m, LAYOUT_PVH_MEMMAP + i * sizeof(entry), &entry, sizeof(entry));
	}
	put(m, LAYOUT_PVH_INFO, &info, sizeof(info));
}

void params_write_real_reset(const struct guest_mem *m)
{
	static const uint8_t code[] = {
		0xb0, 0xfe,                 /* mov $0xfe, %al: pulse the CPU's reset line */
		0xe6, LAYOUT_I8042_COMMAND, /* out %al, $0x64 */
		0xf4, 0xeb, 0xfd,           /* hlt, for ever */
	};

	put(m, LAYOUT_REAL_RESET, code, sizeof(code));
}

void params_write_gdt(const struct guest_mem *m, int is_64bit)
{
	/* Base 0, limit 4 GiB, accessed; code has L (64-bit) or D (32-bit), data is writable, the
	 * TSS is busy. */
	const uint64_t gdt[] = {
		0, 0, is_64bit ? 0x00af9b000000ffffULL : 0x00cf9b000000ffffULL,
		0x00cf93000000ffffULL, 0x00008b0000000067ULL,
		0, /* the upper half of a 64-bit TSS descriptor */
	};

	put(m, LAYOUT_GDT, gdt, sizeof(gdt));
}

void params_write_page_tables(const struct guest_mem *m)
{
	enum { PRESENT_WRITABLE = 0x3, LARGE = 0x80, ENTRIES = 512, GIBS = 4 };
	uint64_t pml4 = LAYOUT_PDPT | PRESENT_WRITABLE, pdpt[GIBS], pd[ENTRIES];

	for (uint64_t gib = 0; gib < GIBS; gib++) {
		pdpt[gib] = (LAYOUT_PD + gib * sizeof(pd)) | PRESENT_WRITABLE;
		for (uint64_t i = 0; i < ENTRIES; i++)
			pd[i] = gib << 30 | i << 21 | PRESENT_WRITABLE | LARGE;
		put(m, LAYOUT_PD + gib * sizeof(pd), pd, sizeof(pd));
	}
	put(m, LAYOUT_PDPT, pdpt, sizeof(pdpt));
	put(m, LAYOUT_PML4, &pml4, sizeof(pml4));
}
