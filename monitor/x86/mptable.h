/*
 * The Intel MultiProcessor Specification 1.4 tables, for kernels without ACPI: CPUs, one ISA bus,
 * one I/O APIC, and the identity of ISA interrupts and I/O APIC pins.
 */
#ifndef MVM_X86_MPTABLE_H
#define MVM_X86_MPTABLE_H

#include "core/mem.h"

/* Writes the floating pointer and the table at LAYOUT_MPTABLE; cpus is 1 to LAYOUT_CPUS_MAX. */
void mptable_write(const struct guest_mem *m, unsigned cpus);

#endif
