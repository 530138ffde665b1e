/*
 * The KVM calls that build a machine, each once, with an error that names the call and the remedy.
 * Section names are those of Documentation/virt/kvm/api.rst.
 *
 * The order of the calls decides the speed: a memory slot that is added after the interrupt routing
 * exists waits for an SRCU grace period, so kvm_create_vm and kvm_set_memory come before
 * kvm_create_irqchip.
 */
#ifndef MVM_CORE_KVM_H
#define MVM_CORE_KVM_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/check.h"
#include "core/mem.h"

struct err;

/* More entries than any CPU has today; KVM itself stops at 256. */
enum { KVM_CPUID_MAX = 256 };

struct cpuid_table {
	struct kvm_cpuid2 head;
	struct kvm_cpuid_entry2 entry[KVM_CPUID_MAX];
};

struct kvm {
	int dev_fd, vm_fd; /* -1 until opened */
	size_t run_size;   /* bytes of struct kvm_run and what follows it */
};

/* A capability that mvm uses, for kvm_open() and for "mvm doctor". */
struct kvm_cap {
	const char *name;
	const char *use; /* what it is used for, a few words */
	unsigned number;
	bool required;
};

extern const struct kvm_cap kvm_caps[];
extern const unsigned kvm_caps_count;

/*
 * Opens path (/dev/kvm), checks the API version and the required capabilities.  0, or -errno with e
 * filled: -ENOENT, -EACCES, -EPROTO (another API version, or not KVM at all), -EOPNOTSUPP (a
 * capability is missing).
 */
MUST_CHECK int kvm_open(struct kvm *k, const char *path, struct err *e);

/* Closes what is open; accepts { -1, -1 } . */
void kvm_close(struct kvm *k);

/* KVM_CREATE_VM and KVM_SET_TSS_ADDR; performance counters off where KVM can do that. */
MUST_CHECK int kvm_create_vm(struct kvm *k, gpa_t tss, struct err *e);

/* KVM_SET_USER_MEMORY_REGION for every region, slots in order.  m outlives the VM.  logs_dirty:
 * with KVM's log of the pages that vCPUs write to (4.35).  Again at any time, to switch that log on
 * or off; which waits for an SRCU grace period once the interrupt controllers exist. */
MUST_CHECK int kvm_set_memory(
	const struct kvm *k, const struct guest_mem *m, bool logs_dirty, struct err *e);

/*
 * KVM_GET_DIRTY_LOG of every region: adds the pages that vCPUs wrote to since the last time to
 * bits, one for each page of m->map (mem_pages(), 64 to a word), and begins anew.  While the guest
 * runs, too.
 */
MUST_CHECK int kvm_take_dirty(
	const struct kvm *k, const struct guest_mem *m, uint64_t *bits, struct err *e);

/* KVM_CREATE_IRQCHIP: two PICs, an I/O APIC, LAPICs; before the first vCPU. */
MUST_CHECK int kvm_create_irqchip(const struct kvm *k, struct err *e);

/* KVM_CREATE_PIT2; after the interrupt controllers, before the guest runs. */
MUST_CHECK int kvm_create_pit(const struct kvm *k, struct err *e);

/*
 * KVM_IOEVENTFD: a write of value, len bytes wide, at gpa signals fd and does not leave the kernel.
 * KVM_IRQFD: a signal of fd is an edge on gsi.  Both before the first KVM_RUN; KVM keeps fd's file.
 */
MUST_CHECK int kvm_add_ioeventfd(
	const struct kvm *k, gpa_t gpa, uint32_t len, uint64_t value, int fd, struct err *e);
MUST_CHECK int kvm_add_irqfd(const struct kvm *k, uint32_t gsi, int fd, struct err *e);

/* KVM_GET_SUPPORTED_CPUID; needs only dev_fd and is slow (0.5 ms where CPUID itself is
 * intercepted). */
MUST_CHECK int kvm_get_supported_cpuid(const struct kvm *k, struct cpuid_table *ret, struct err *e);

/* KVM_CREATE_VCPU and its shared page.  Both belong to the caller: close the one, munmap run_size
 * of the other. */
MUST_CHECK int kvm_create_vcpu(
	const struct kvm *k, unsigned id, int *ret_fd, struct kvm_run **ret_run, struct err *e);

#endif
