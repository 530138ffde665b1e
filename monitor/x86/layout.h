/*
 * Every guest address that mvm chooses, in one place.
 *
 *   0x000500  GDT for the boot vCPU               0x020000  command line, at most 2048 bytes with
 * its NUL 0x006000  PVH start info, modules, memory map 0x09fc00  end of conventional memory
 *   0x007000  Linux boot_params ("zero page")     0x0e0000  ACPI tables, the RSDP first
 *   0x008ff0  stack of the 64-bit entry           0x0f0000  MP floating pointer and table
 *   0x009000  page tables of the 64-bit entry     0x0ef000  VM generation id
 *                                                 0x100000  kernel, initrd: RAM up to the hole
 *
 *   0xc0000000  the hole: virtio-mmio windows from 0xc0001000, I/O APIC, LAPIC, KVM's own pages
 *   0x100000000 RAM goes on
 */
#ifndef MVM_X86_LAYOUT_H
#define MVM_X86_LAYOUT_H

#define LAYOUT_GDT         0x500ULL
#define LAYOUT_PVH_INFO    0x6000ULL
#define LAYOUT_PVH_MODULES 0x6040ULL
#define LAYOUT_PVH_MEMMAP  0x6100ULL
#define LAYOUT_ZERO_PAGE   0x7000ULL
#define LAYOUT_BOOT_STACK  0x8ff0ULL
#define LAYOUT_PML4        0x9000ULL
#define LAYOUT_PDPT        0xa000ULL
#define LAYOUT_PD          0xb000ULL /* four of them */
#define LAYOUT_CMDLINE     0x20000ULL
#define LAYOUT_CMDLINE_MAX 2048 /* COMMAND_LINE_SIZE of Linux on x86, NUL included */
#define LAYOUT_LOW_END     0x9fc00ULL
#define LAYOUT_ACPI        0xe0000ULL
#define LAYOUT_VMGENID     0xef000ULL /* its page is its own: a restore writes to it */
#define LAYOUT_MPTABLE     0xf0000ULL
#define LAYOUT_REAL_RESET  0xffff0ULL /* F000:FFF0, where real mode jumps to reboot a PC */
#define LAYOUT_BIOS_END    0x100000ULL
#define LAYOUT_HIMEM       0x100000ULL

#define LAYOUT_HOLE_START 0xc0000000ULL
#define LAYOUT_HOLE_END   0x100000000ULL

#define LAYOUT_BOOT_TIMER  0xc0000000ULL
#define LAYOUT_VIRTIO_BASE 0xc0001000ULL
#define LAYOUT_VIRTIO_LEN  0x1000ULL
#define LAYOUT_IOAPIC      0xfec00000ULL
#define LAYOUT_LAPIC       0xfee00000ULL
#define LAYOUT_KVM_TSS                                                                             \
	0xfffbd000ULL /* three pages, KVM's own on Intel without unrestricted guest */

/* Ports. */
#define LAYOUT_I8042_DATA    0x60
#define LAYOUT_I8042_COMMAND 0x64
#define LAYOUT_POST          0x80
#define LAYOUT_COM1          0x3f8
#define LAYOUT_COM1_LEN      8
#define LAYOUT_ACPI_PM       0x600 /* sleep control, sleep status, reset: legacy/acpi_pm.h */
#define LAYOUT_ACPI_PM_LEN   3

/* GSIs: the pins of the one I/O APIC.  ISA devices have their classic ones. */
#define LAYOUT_GSI_I8042        1
#define LAYOUT_GSI_VMGENID      3
#define LAYOUT_GSI_COM1         4
#define LAYOUT_GSI_POWER_BUTTON 9
#define LAYOUT_GSI_COUNT        24

#define LAYOUT_CPUS_MAX 32

#endif
