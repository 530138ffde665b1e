/*
 * Registers, MSRs and LAPIC of a vCPU before its first instruction.
 * Entry states: Linux boot.rst, "64-bit Boot Protocol"; Xen docs/misc/pvh.pandoc.
 */
#ifndef MVM_X86_REGS_H
#define MVM_X86_REGS_H

#include "base/check.h"
#include "x86/boot.h"

struct err;

/* MSRs that firmware would have set, for every vCPU. */
MUST_CHECK int regs_set_boot_msrs(int vcpu_fd, struct err *e);

/* The boot vCPU's entry registers and its LAPIC's virtual wire; application CPUs wait for INIT and
 * need none of this. */
MUST_CHECK int regs_set_entry(int vcpu_fd, const struct boot_entry *entry, struct err *e);

#endif
