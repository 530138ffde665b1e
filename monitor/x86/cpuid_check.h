/*
 * Can this host run a guest that was told of another CPU?
 */
#ifndef MVM_X86_CPUID_CHECK_H
#define MVM_X86_CPUID_CHECK_H

#include "base/check.h"
#include "core/kvm.h"

struct err;

/*
 * host is what its KVM supports (KVM_GET_SUPPORTED_CPUID), guest a table that cpuid_apply_policy()
 * made.  0 where the host has each feature that the guest was told of, is of the same vendor and
 * lays out the vector state the same way; else -EOPNOTSUPP, and e names what comes first of what is
 * missing: features as /proc/cpuinfo does where it has a name for them.
 */
MUST_CHECK int cpuid_check_subset(
	const struct cpuid_table *host, const struct cpuid_table *guest, struct err *e);

#endif
