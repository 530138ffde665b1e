/*
 * The CPUID policy: what the guest is told about its CPU.
 *
 * Everything that the host has and KVM supports, except what a guest must not have (performance
 * counters, nested virtualisation, user-mode wait) and what mvm itself knows better: topology,
 * hypervisor leaves, TSC frequency. Leaf numbers are those of the Intel SDM (volume 2A, CPUID) and
 * the AMD APM (volume 3, appendix E).
 */
#ifndef MVM_X86_CPUID_H
#define MVM_X86_CPUID_H

#include <stdbool.h>
#include <stdint.h>

#include "base/check.h"
#include "core/kvm.h"

struct cpuid_config {
	unsigned cpus;    /* one package */
	bool smt;         /* two threads to a core, otherwise one; cpus is even, or 1 */
	uint32_t tsc_khz; /* 0: unknown, and then not told */
	bool tsc_deadline;
};

/*
 * Turns what KVM supports (c, as KVM_GET_SUPPORTED_CPUID left it) into what the guest sees, but for
 * the per-vCPU fields. -EOVERFLOW when the table is full, which no CPU comes near.
 */
MUST_CHECK int cpuid_apply_policy(struct cpuid_table *c, const struct cpuid_config *cfg);

/* Fills in the APIC id; for each vCPU on its own copy. */
void cpuid_set_apic_id(struct cpuid_table *c, uint32_t apic_id);

#endif
