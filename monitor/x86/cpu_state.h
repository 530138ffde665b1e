/*
 * All that KVM knows of a vCPU, of the interrupt controllers, the timer and the clock, out of KVM
 * and back into it.
 *
 * The structures of KVM's own interface (linux/kvm.h) are kept as they are: their layout is an ABI
 * that never changes. Section names are those of Documentation/virt/kvm/api.rst.
 */
#ifndef MVM_X86_CPU_STATE_H
#define MVM_X86_CPU_STATE_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/check.h"
#include "core/kvm.h"

struct err;

enum {
	CPU_XSAVE_MAX = 16384, /* AVX-512 and AMX tiles need less than 12 KiB */
	CPU_MSRS_MAX = 512,
	CHIP_IRQCHIPS = 3, /* two PICs and the I/O APIC */
};

/* The numbers of the MSRs that a host's KVM can save; laid out as struct kvm_msr_list. */
struct msr_list {
	unsigned n;
	uint32_t index[CPU_MSRS_MAX];
};

struct cpu_state {
	struct kvm_regs regs;
	struct kvm_sregs sregs;
	struct kvm_xcrs xcrs;
	struct kvm_debugregs debugregs;
	struct kvm_lapic_state lapic;
	struct kvm_vcpu_events events;
	struct kvm_mp_state mp_state;
	uint32_t tsc_khz; /* 0: unknown */
	uint32_t xsave_len;
	uint8_t xsave[CPU_XSAVE_MAX]; /* compacted or not as KVM_GET_XSAVE2 gives it: the standard
					 format */
	unsigned nmsrs;
	struct kvm_msr_entry msr[CPU_MSRS_MAX];
};

struct chip_state {
	struct kvm_irqchip irqchip[CHIP_IRQCHIPS];
	struct kvm_pit_state2 pit;
};

/* The guest's clocks at one moment. */
struct clock_state {
	uint64_t kvmclock_ns; /* KVM_GET_CLOCK */
	uint64_t realtime_ns; /* the host's CLOCK_REALTIME at that moment */
};

/* What cpu_state_save() asks for: KVM_GET_MSR_INDEX_LIST of the device, without what no guest has
 * (performance counters), and with what KVM keeps but does not list (MTRRs, machine check banks).
 * 0 or -errno with e filled. */
MUST_CHECK int msr_list_get(int dev_fd, struct msr_list *ret, struct err *e);

/* Does a host with this list have each MSR of s that is not zero?  0, or -EOPNOTSUPP with e naming
 * the first that it has not. */
MUST_CHECK int msr_check_known(
	const struct msr_list *host, const struct cpu_state *s, struct err *e);

/*
 * Everything of one vCPU, which stands still.  An MSR that this vCPU does not have is left out. Any
 * thread, while nobody else uses vcpu_fd.  0, or -errno with e filled.
 */
MUST_CHECK int cpu_state_save(const struct kvm *k, int vcpu_fd, const struct msr_list *msrs,
	struct cpu_state *ret, struct err *e);

/*
 * The other way, into a vCPU that has its CPUID (KVM_SET_CPUID2) and never ran.  tsc_ns is by how
 * much the guest's time went on meanwhile: the TSC is advanced by that much.  A TSC frequency that
 * differs from the host's is scaled where KVM can (KVM_SET_TSC_KHZ), and is an error otherwise
 * (more than 250 ppm apart, as Linux guests tolerate).  0, or -errno with e naming the call or the
 * MSR that was refused.
 */
MUST_CHECK int cpu_state_load(const struct kvm *k, int vcpu_fd, const struct cpu_state *s,
	uint64_t tsc_ns, struct err *e);

/* Interrupt controllers and timer.  load: before the first vCPU runs, after they were created. */
MUST_CHECK int chip_state_save(const struct kvm *k, struct chip_state *ret, struct err *e);
MUST_CHECK int chip_state_load(const struct kvm *k, const struct chip_state *s, struct err *e);

/* The clock; advance_ns is added to what was saved.  load: before any vCPU's MSRs are loaded, some
 * of which make KVM write times into guest memory. */
MUST_CHECK int clock_state_save(const struct kvm *k, struct clock_state *ret, struct err *e);
MUST_CHECK int clock_state_load(
	const struct kvm *k, const struct clock_state *s, uint64_t advance_ns, struct err *e);

#endif
