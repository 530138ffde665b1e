/*
 * A KVM that is not there: ioctl, open, mmap and their kind are replaced (--wrap) for the code
 * under test, so that machines are built and run without /dev/kvm, and any step can be made to
 * fail.
 *
 * A program that uses it is linked with the calls of t_kvm_wraps in meson.build.
 */
#ifndef MVM_TESTS_T_KVM_H
#define MVM_TESTS_T_KVM_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The path at which the device is found. */
#define T_KVM_PATH "/fake/kvm"

enum { T_KVM_VCPUS = 32, T_KVM_TRACE = 1024, T_KVM_MSRS = 512, T_KVM_EVENTFDS = 64 };

/* What a vCPU was told. */
struct t_vcpu {
	int fd;
	struct kvm_run *run; /* the fake's own mapping of the shared page */
	struct kvm_cpuid2 *cpuid;
	struct kvm_regs regs;
	struct kvm_sregs sregs;
	struct kvm_lapic_state lapic;
	unsigned nmsrs;
	struct kvm_msr_entry msr[T_KVM_MSRS]; /* of the last KVM_SET_MSRS */
	unsigned nkept;
	struct kvm_msr_entry kept[T_KVM_MSRS]; /* all that were set, where msrs_are_kept */
	struct kvm_xcrs xcrs;
	struct kvm_debugregs debugregs;
	struct kvm_vcpu_events events;
	struct kvm_mp_state mp_state;
	uint8_t xsave[16384];
	unsigned long tsc_khz;  /* KVM_SET_TSC_KHZ */
	uint64_t fault_address; /* of a page fault that waits: CR2 has it when the events are asked
				   for */
	bool has_regs, has_sregs, has_lapic;
};

struct t_kvm {
	/* how it behaves: set before use */
	int open_errno;       /* open fails with it */
	bool is_other_device; /* no ioctl is known */
	int api_version;
	unsigned missing_cap;  /* this capability is missing */
	int run_size;          /* of struct kvm_run's page */
	int tsc_khz;           /* negative: KVM_GET_TSC_KHZ fails */
	bool msrs_are_read;    /* msrs_refused is for writing only */
	uint64_t msr_value;    /* what each MSR holds */
	int clock_errno;       /* KVM_KVMCLOCK_CTRL fails with it */
	unsigned msrs_refused; /* so many MSRs at the end of a list are refused */
	bool msrs_are_kept; /* they hold what they were set to, and msr_value where they were not */
	uint32_t odd_msr[4]; /* MSRs that can neither be read nor written; 0: none */
	unsigned nlisted;    /* KVM_GET_MSR_INDEX_LIST */
	uint32_t listed[T_KVM_MSRS];
	int xsave_size; /* KVM_CAP_XSAVE2 */
	bool has_tsc_control;
	int cpuid_entries; /* in the supported table; negative: more than fit */
	/* Sets the bits of the pages that the guest wrote to since the last call, in a log that
	 * was asked for; NULL: none. */
	void (*take_log)(unsigned slot, uint64_t *bits);
	/* called for KVM_RUN, returns 0 or -errno; NULL: waits until it is kicked */
	int (*on_run)(struct t_vcpu *v);
	/*
	 * The step that fails, from 1 on (0: none), with fail_errno.  A step is a call that mvm
	 * cannot do without: open, mmap, eventfd, calloc, pthread_create and every ioctl but the
	 * questions that have a default.
	 */
	unsigned fail_step;
	int fail_errno;

	/* what happened */
	unsigned steps;
	unsigned ntrace;
	unsigned long trace[T_KVM_TRACE]; /* requests in order */
	unsigned nslots;
	struct kvm_userspace_memory_region slot[4];
	unsigned long tss;
	struct kvm_enable_cap enabled; /* the last KVM_ENABLE_CAP of the VM */
	struct kvm_pit_config pit;
	struct kvm_irqchip irqchip[3];
	struct kvm_pit_state2 pit_state;
	struct kvm_clock_data clock;
	unsigned nirq;
	struct kvm_irq_level irq[64];
	unsigned nioeventfds, nirqfds;
	struct kvm_ioeventfd ioeventfd[T_KVM_EVENTFDS];
	struct kvm_irqfd irqfd[T_KVM_EVENTFDS];
	unsigned nvcpus;
	struct t_vcpu vcpu[T_KVM_VCPUS];
	int vm_fd;
};

extern struct t_kvm t_kvm;

/* As a good KVM is; forgets what happened. */
void t_kvm_init(void);

/* Position of the first such request in the trace, or -1. */
int t_kvm_position(unsigned long request);
int t_kvm_last_position(unsigned long request); /* likewise, of the last */

/* How often it was made. */
unsigned t_kvm_calls(unsigned long request);

/* A descriptor that answers as a vCPU's, for code that only has that. */
int t_kvm_vcpu(void);

/* Steps are counted and failed only while this is on, so that a test's own calls are not. */
void t_kvm_count(bool on);

#endif
