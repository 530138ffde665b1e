/*
 * ACPI tables of the machine: RSDP, XSDT, hardware-reduced FADT, MADT, DSDT.
 *
 * Hardware-reduced (ACPI 6.4, 3.11.1): no SCI, no PM timer, no legacy interrupt overrides.  Sleep
 * and reset are the registers of legacy/acpi_pm.h; the power button and a new generation id
 * (vmgenid.h) are announced by a generic event device (5.6.9).
 */
#ifndef MVM_X86_ACPI_H
#define MVM_X86_ACPI_H

#include <stdint.h>

#include "core/mem.h"

enum { ACPI_SLOTS_MAX = 32 };

/* A virtio-mmio window as the guest finds it. */
struct acpi_slot {
	uint32_t base, len;
	uint32_t gsi;
};

struct acpi_config {
	unsigned cpus; /* 1 to LAYOUT_CPUS_MAX; APIC ids 0 to cpus - 1 */
	unsigned nslots;
	struct acpi_slot slot[ACPI_SLOTS_MAX];
};

/* Writes all tables at LAYOUT_ACPI, the RSDP first. */
void acpi_write_tables(const struct guest_mem *m, const struct acpi_config *c);

#endif
