/*
 * Changes to what a guest sees of its CPU, on top of the policy (cpuid.h): bits of CPUID leaves and
 * of MSRs that are set or cleared, and capabilities that KVM must have or need not have.
 *
 * A modifier is a mask of the bits that it speaks of and the values that these get.  Plain values:
 * nothing here allocates.
 */
#ifndef MVM_X86_CPU_TEMPLATE_H
#define MVM_X86_CPU_TEMPLATE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/check.h"
#include "core/kvm.h"

struct err;

enum { CPU_TEMPLATE_LEAVES = 64, CPU_TEMPLATE_MSRS = 64, CPU_TEMPLATE_CAPS = 32 };

enum cpuid_register { CPUID_EAX, CPUID_EBX, CPUID_ECX, CPUID_EDX, CPUID_REGISTERS };

struct cpuid_modifier {
	uint32_t leaf, subleaf, flags; /* flags as in struct kvm_cpuid_entry2 */
	uint32_t mask[CPUID_REGISTERS], value[CPUID_REGISTERS];
};

struct msr_modifier {
	uint32_t addr;
	uint64_t mask, value;
};

struct cap_modifier {
	uint32_t cap; /* KVM_CAP_... */
	bool drop;    /* the check for it is left out; otherwise it is added */
};

struct cpu_template {
	unsigned nleaves, nmsrs, ncaps;
	struct cpuid_modifier leaf[CPU_TEMPLATE_LEAVES];
	struct msr_modifier msr[CPU_TEMPLATE_MSRS];
	struct cap_modifier cap[CPU_TEMPLATE_CAPS];
};

/* Every leaf that t names must be in c.  0, or -ENOENT with e naming the leaf. */
MUST_CHECK int cpu_template_apply_cpuid(
	const struct cpu_template *t, struct cpuid_table *c, struct err *e);

/* On a vCPU that has its CPUID: reads each MSR, changes it, writes it back.  0, or -errno with e
 * naming the MSR (api.rst, 4.18 and 4.19). */
MUST_CHECK int cpu_template_apply_msrs(const struct cpu_template *t, int vcpu_fd, struct err *e);

/* 0, or -ENOTSUP with e naming the capability that this KVM lacks. */
MUST_CHECK int cpu_template_check_caps(
	const struct cpu_template *t, const struct kvm *k, struct err *e);

#endif
