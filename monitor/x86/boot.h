/*
 * Puts a kernel into guest memory and says how to enter it.
 */
#ifndef MVM_X86_BOOT_H
#define MVM_X86_BOOT_H

#include <stdint.h>

#include "core/mem.h"
#include "x86/acpi.h"

struct err;

enum boot_protocol {
	BOOT_AUTO,    /* PVH where the kernel offers it, else the 64-bit protocol */
	BOOT_PVH,     /* 32-bit protected mode, RBX = start info */
	BOOT_LINUX64, /* long mode, RSI = zero page */
};

struct boot_config {
	const char *kernel; /* path */
	const char *initrd; /* path or NULL */
	const char *cmdline;
	enum boot_protocol protocol;
	struct acpi_config machine; /* what ACPI and the MP table describe */
};

/* How the boot vCPU starts. */
struct boot_entry {
	enum boot_protocol protocol; /* BOOT_PVH or BOOT_LINUX64 */
	uint64_t rip;
};

/*
 * Loads kernel, initrd and command line, writes the boot data, ACPI and MP tables.  Before the
 * first KVM_RUN. 0, or -errno with e filled: file errors, -ENOEXEC (not a kernel), -ENOSPC (does
 * not fit the guest's memory), -E2BIG (command line too long), -EINVAL (the kernel has no such
 * entry).
 */
MUST_CHECK int boot_load(
	struct guest_mem *m, const struct boot_config *c, struct boot_entry *ret, struct err *e);

#endif
