/* Boot data in low guest memory. */
#include "t.h"

#include "x86/image.h"
#include "x86/layout.h"
#include "x86/params.h"

TestSuite(params, .timeout = T_SECONDS);

#define MIB (1ULL << 20)
#define GIB (1ULL << 30)

static const struct boot_places places = {
	.initrd = 0x3000000, .initrd_len = 12345, .cmdline_len = 17, .rsdp = LAYOUT_ACPI
};

Test(params, the_memory_map_is_ram_without_the_bios_area_and_the_hole)
{
	static const struct {
		const char *name;
		uint64_t mem;
		unsigned n;
		struct boot_e820_entry last;
	} rows[] = {
		{ "16M", 16 * MIB, 3, { MIB, 15 * MIB, 1 } },
		{ "128M", 128 * MIB, 3, { MIB, 127 * MIB, 1 } },
		{ "3G", 3 * GIB, 3, { MIB, 3 * GIB - MIB, 1 } },
		{ "6G", 6 * GIB, 4, { 4 * GIB, 3 * GIB, 1 } },
		{ "16G", 16 * GIB, 4, { 4 * GIB, 13 * GIB, 1 } },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct boot_e820_entry map[MEMORY_MAP_MAX];
		struct guest_mem m;
		unsigned n;

		t_mem_init(&m, rows[i].mem);
		n = params_memory_map(&m, map);
		t_row_int(rows[i].name, n, rows[i].n);
		t_row_hex(rows[i].name, map[0].addr, 0);
		t_row_hex(rows[i].name, map[0].size, LAYOUT_LOW_END);
		t_row_int(rows[i].name, map[1].type, 2); /* where the tables are */
		t_row_hex(rows[i].name, map[1].addr, LAYOUT_ACPI);
		t_row_hex(rows[i].name, map[1].addr + map[1].size, MIB);
		t_row_hex(rows[i].name, map[n - 1].addr, rows[i].last.addr);
		t_row_hex(rows[i].name, map[n - 1].size, rows[i].last.size);
		t_row_int(rows[i].name, map[n - 1].type, 1);
		guest_mem_fini(&m);
	}
}

Test(params, the_memory_map_is_sorted_and_nothing_overlaps)
{
	struct boot_e820_entry map[MEMORY_MAP_MAX];
	struct guest_mem m;
	unsigned n;

	t_mem_init(&m, 6 * GIB);
	n = params_memory_map(&m, map);
	for (unsigned i = 1; i < n; i++)
		cr_expect(le(u64, map[i - 1].addr + map[i - 1].size, map[i].addr), "entry %u", i);
	guest_mem_fini(&m);
}

/* All RAM that the map offers lies in RAM, and none of it where mvm keeps the tables. */
Test(params, what_the_map_calls_ram_is_ram)
{
	struct boot_e820_entry map[MEMORY_MAP_MAX];
	struct guest_mem m;
	unsigned n;

	t_mem_init(&m, 6 * GIB);
	n = params_memory_map(&m, map);
	for (unsigned i = 0; i < n; i++)
		cr_expect(ne(ptr, mem_ptr(&m, map[i].addr, map[i].size), NULL), "entry %u", i);
	guest_mem_fini(&m);
}

/* --- the zero page --- */

static struct boot_params zero_page(const struct image *img, uint64_t mem)
{
	struct boot_params bp;
	struct guest_mem m;

	t_mem_init(&m, mem);
	params_write_zero_page(&m, img, &places);
	t_int(mem_read(&m, &bp, LAYOUT_ZERO_PAGE, sizeof(bp)), 0);
	guest_mem_fini(&m);
	return bp;
}

Test(params, the_zero_page_of_a_vmlinux_has_a_header_made_for_it)
{
	static const struct image img = { .kind = IMAGE_ELF };
	struct boot_params bp = zero_page(&img, 128 * MIB);

	t_hex(bp.hdr.boot_flag, 0xaa55);
	t_hex(bp.hdr.header, 0x53726448);
	t_hex(bp.hdr.type_of_loader, 0xff);
	t_hex(bp.hdr.cmd_line_ptr, LAYOUT_CMDLINE);
	t_uint(bp.hdr.cmdline_size, 17);
	t_hex(bp.hdr.ramdisk_image, 0x3000000);
	t_uint(bp.hdr.ramdisk_size, 12345);
	t_hex(bp.acpi_rsdp_addr, LAYOUT_ACPI);
	t_uint(bp.e820_entries, 3);
	t_hex(bp.e820_table[2].addr, MIB);
}

Test(params, the_zero_page_of_a_bzimage_has_the_files_own_header)
{
	static const struct image img = { .kind = IMAGE_BZIMAGE,
		.setup = { .version = 0x020d,
			.kernel_alignment = 0x400000,
			.cmdline_size = 2047,
			.xloadflags = 0x7f,
			.init_size = 0x12345 } };
	struct boot_params bp = zero_page(&img, 128 * MIB);

	t_hex(bp.hdr.version, 0x020d);
	t_hex(bp.hdr.kernel_alignment, 0x400000);
	t_hex(bp.hdr.xloadflags, 0x7f);
	t_hex(bp.hdr.init_size, 0x12345);
	t_hex(bp.hdr.type_of_loader, 0xff);
	t_uint(bp.hdr.cmdline_size, 17);
}

Test(params, the_zero_page_tells_of_memory_above_the_hole)
{
	static const struct image img = { .kind = IMAGE_ELF };
	struct boot_params bp = zero_page(&img, 6 * GIB);

	t_uint(bp.e820_entries, 4);
	t_hex(bp.e820_table[3].addr, 4 * GIB);
	t_hex(bp.e820_table[3].size, 3 * GIB);
}

/* --- PVH --- */

struct start_info {
	uint32_t magic, version, flags, nr_modules;
	uint64_t modlist, cmdline, rsdp, memmap;
	uint32_t memmap_entries, reserved;
};

Test(params, pvh_start_info_points_to_everything)
{
	struct guest_mem m;
	struct start_info info;
	uint64_t module[4];

	t_mem_init(&m, 6 * GIB);
	params_write_pvh(&m, &places);
	t_int(mem_read(&m, &info, LAYOUT_PVH_INFO, sizeof(info)), 0);
	t_hex(info.magic, 0x336ec578);
	t_uint(info.version, 1);
	t_hex(info.cmdline, LAYOUT_CMDLINE);
	t_hex(info.rsdp, LAYOUT_ACPI);
	t_uint(info.memmap_entries, 4);
	t_uint(info.nr_modules, 1);
	t_int(mem_read(&m, module, info.modlist, sizeof(module)), 0);
	t_hex(module[0], 0x3000000);
	t_uint(module[1], 12345);
	t_uint(module[2] | module[3], 0);
	guest_mem_fini(&m);
}

Test(params, pvh_memory_map_is_the_same_as_the_zero_pages)
{
	struct boot_e820_entry want[MEMORY_MAP_MAX];
	struct guest_mem m;
	unsigned n;

	t_mem_init(&m, 6 * GIB);
	n = params_memory_map(&m, want);
	params_write_pvh(&m, &places);
	for (unsigned i = 0; i < n; i++) {
		struct {
			uint64_t addr, size;
			uint32_t type, reserved;
		} got;

		t_int(mem_read(&m, &got, LAYOUT_PVH_MEMMAP + i * sizeof(got), sizeof(got)), 0);
		cr_expect(eq(u64, got.addr, want[i].addr), "entry %u", i);
		cr_expect(eq(u64, got.size, want[i].size), "entry %u", i);
		cr_expect(eq(u32, got.type, want[i].type), "entry %u", i);
		cr_expect(eq(u32, got.reserved, 0), "entry %u", i);
	}
	guest_mem_fini(&m);
}

Test(params, pvh_without_an_initrd_has_no_module)
{
	static const struct boot_places none = { .rsdp = LAYOUT_ACPI };
	struct guest_mem m;
	struct start_info info;

	t_mem_init(&m, 16 * MIB);
	params_write_pvh(&m, &none);
	t_int(mem_read(&m, &info, LAYOUT_PVH_INFO, sizeof(info)), 0);
	t_uint(info.nr_modules, 0);
	t_uint(info.modlist, 0);
	guest_mem_fini(&m);
}

Test(params, the_areas_do_not_overlap)
{
	/* Base and longest length of everything below 1 MiB, in order. */
	static const struct {
		const char *name;
		uint64_t base, len;
	} rows[] = {
		{ "GDT", LAYOUT_GDT, 48 },
		{ "PVH info", LAYOUT_PVH_INFO, sizeof(struct start_info) },
		{ "PVH modules", LAYOUT_PVH_MODULES, 32 },
		{ "PVH memory map", LAYOUT_PVH_MEMMAP, MEMORY_MAP_MAX * 24ULL },
		{ "zero page", LAYOUT_ZERO_PAGE, sizeof(struct boot_params) },
		{ "stack", LAYOUT_BOOT_STACK, 16 },
		{ "PML4", LAYOUT_PML4, 4096 },
		{ "PDPT", LAYOUT_PDPT, 4096 },
		{ "PD", LAYOUT_PD, 4 * 4096 },
		{ "command line", LAYOUT_CMDLINE, LAYOUT_CMDLINE_MAX },
		{ "ACPI", LAYOUT_ACPI, LAYOUT_MPTABLE - LAYOUT_ACPI },
		{ "MP table", LAYOUT_MPTABLE, LAYOUT_BIOS_END - LAYOUT_MPTABLE },
	};

	for (unsigned i = 1; i < ARRAY_SIZE(rows); i++)
		t_row_true(rows[i].name, rows[i - 1].base + rows[i - 1].len <= rows[i].base);
	t_true(LAYOUT_CMDLINE + LAYOUT_CMDLINE_MAX <= LAYOUT_LOW_END);
}

/* --- GDT and page tables --- */

static uint64_t limit_of(uint64_t descriptor)
{
	uint64_t limit = (descriptor & 0xffff) | (descriptor >> 32 & 0xf0000);

	return descriptor >> 55 & 1 ? limit << 12 | 0xfff : limit;
}

Test(params, the_gdt_has_flat_code_and_data_and_a_task_segment)
{
	for (int is_64bit = 0; is_64bit < 2; is_64bit++) {
		struct guest_mem m;
		uint64_t gdt[6];

		t_mem_init(&m, 16 * MIB);
		params_write_gdt(&m, is_64bit);
		t_int(mem_read(&m, gdt, LAYOUT_GDT, sizeof(gdt)), 0);
		cr_expect(eq(u64, gdt[0], 0));
		cr_expect(eq(u64, limit_of(gdt[2]), 0xffffffff));
		cr_expect(eq(u64, limit_of(gdt[3]), 0xffffffff));
		cr_expect(eq(u64, gdt[2] >> 40 & 0xff, 0x9b)); /* present code, accessed */
		cr_expect(eq(u64, gdt[3] >> 40 & 0xff, 0x93)); /* present data, accessed */
		cr_expect(eq(u64, gdt[4] >> 40 & 0xff, 0x8b)); /* busy TSS */
		cr_expect(eq(u64, gdt[2] >> 53 & 1, (uint64_t)is_64bit));  /* L */
		cr_expect(eq(u64, gdt[2] >> 54 & 1, (uint64_t)!is_64bit)); /* D */
		guest_mem_fini(&m);
	}
}

Test(params, the_page_tables_map_the_first_four_gib_onto_themselves)
{
	struct guest_mem m;
	uint64_t entry;

	t_mem_init(&m, 16 * MIB);
	params_write_page_tables(&m);
	t_int(mem_read(&m, &entry, LAYOUT_PML4, 8), 0);
	t_hex(entry, LAYOUT_PDPT | 3);
	for (uint64_t i = 0; i < 4; i++) {
		t_int(mem_read(&m, &entry, LAYOUT_PDPT + i * 8, 8), 0);
		t_hex(entry, (LAYOUT_PD + i * 4096) | 3);
	}
	for (uint64_t i = 0; i < 4 * 512; i++) {
		t_int(mem_read(&m, &entry, LAYOUT_PD + i * 8, 8), 0);
		cr_expect(eq(u64, entry, i << 21 | 0x83), "entry %llu", (unsigned long long)i);
	}
	guest_mem_fini(&m);
}
