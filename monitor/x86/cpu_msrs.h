/*
 * The MSRs of a vCPU, out of KVM and back into it: cpu_state.c's part of them.
 */
#ifndef MVM_X86_CPU_MSRS_H
#define MVM_X86_CPU_MSRS_H

#include <stdint.h>

#include "base/check.h"
#include "x86/cpu_state.h"

struct err;

/* Reads what there is of list into ret; a number that this vCPU does not have is left out. */
MUST_CHECK int cpu_msrs_save(
	int vcpu_fd, const struct msr_list *list, struct cpu_state *ret, struct err *e);

/*
 * Writes those of s, the TSC advanced by tsc_ticks and the deadline timer last, as arming it needs
 * the TSC and the LAPIC.  One that is refused is an error with its number, but for a zero: a vCPU
 * that never ran has that already.
 */
MUST_CHECK int cpu_msrs_load(
	int vcpu_fd, const struct cpu_state *s, uint64_t tsc_ticks, struct err *e);

#endif
