/* The KVM calls that build a machine (kvm.h). */
#include "core/kvm.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/err.h"

const struct kvm_cap kvm_caps[] = {
	{ "IRQCHIP", "interrupt controllers in the kernel", KVM_CAP_IRQCHIP, true },
	{ "PIT2", "interval timer in the kernel", KVM_CAP_PIT2, true },
	{ "USER_MEMORY", "guest memory", KVM_CAP_USER_MEMORY, true },
	{ "SET_TSS_ADDR", "real mode on Intel", KVM_CAP_SET_TSS_ADDR, true },
	{ "EXT_CPUID", "CPUID policy", KVM_CAP_EXT_CPUID, true },
	{ "IMMEDIATE_EXIT", "stopping a vCPU without a race", KVM_CAP_IMMEDIATE_EXIT, true },
	{ "IOEVENTFD", "queue kicks without an exit to the monitor", KVM_CAP_IOEVENTFD, true },
	{ "IRQFD", "interrupts without a system call of the vCPU", KVM_CAP_IRQFD, true },
	{ "MP_STATE", "vCPU state of a snapshot", KVM_CAP_MP_STATE, true },
	{ "VCPU_EVENTS", "vCPU state of a snapshot", KVM_CAP_VCPU_EVENTS, true },
	{ "DEBUGREGS", "vCPU state of a snapshot", KVM_CAP_DEBUGREGS, true },
	{ "XSAVE", "vCPU state of a snapshot", KVM_CAP_XSAVE, true },
	{ "XCRS", "vCPU state of a snapshot", KVM_CAP_XCRS, true },
	{ "ADJUST_CLOCK", "kvm-clock of a snapshot", KVM_CAP_ADJUST_CLOCK, true },
	{ "TSC_DEADLINE_TIMER", "the guest's cheapest timer", KVM_CAP_TSC_DEADLINE_TIMER, false },
	{ "GET_TSC_KHZ", "TSC frequency told to the guest", KVM_CAP_GET_TSC_KHZ, false },
	{ "TSC_CONTROL", "restore on a host of another TSC frequency", KVM_CAP_TSC_CONTROL, false },
	{ "X2APIC_API", "interrupt remapping-free APIC ids", KVM_CAP_X2APIC_API, false },
	{ "SYNC_REGS", "registers without a call", KVM_CAP_SYNC_REGS, false },
	{ "XSAVE2", "large vector state in a snapshot", KVM_CAP_XSAVE2, false },
	{ "DIRTY_LOG_RING", "diff snapshots", KVM_CAP_DIRTY_LOG_RING, false },
	{ "MANUAL_DIRTY_LOG_PROTECT2", "diff snapshots", KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, false },
};

const unsigned kvm_caps_count = ARRAY_SIZE(kvm_caps);

static const char *open_hint(int code)
{
	switch (code) {
	case -ENOENT:
		return "is KVM loaded? modprobe kvm_intel or kvm_amd, and enable virtualisation in "
		       "the firmware; "
		       "'mvm doctor' tells more";
	case -EACCES:
	case -EPERM:
		return "add this user to the group that owns it, usually kvm; 'mvm doctor' tells "
		       "more";
	default: return "'mvm doctor' tells more";
	}
}

int kvm_open(struct kvm *k, const char *path, struct err *e)
{
	int fd CLEANUP(fd_closep) = open(path, O_RDWR | O_CLOEXEC);
	int version, size;

	*k = (struct kvm){ .dev_fd = -1, .vm_fd = -1 };
	if (fd < 0) {
		int code = -errno;

		return err_sys(e, code, open_hint(code), "cannot open %s", path);
	}
	version = ioctl(fd, KVM_GET_API_VERSION, 0);
	if (version < 0)
		return err_set(
			e, -EPROTO, "%s is not a KVM device (KVM_GET_API_VERSION failed)", path);
	if (version != KVM_API_VERSION)
		return err_set(e, -EPROTO,
			"%s speaks KVM API version %d, mvm needs %d: use a kernel of this century",
			path, version, KVM_API_VERSION);
	for (unsigned i = 0; i < kvm_caps_count; i++) {
		if (kvm_caps[i].required && ioctl(fd, KVM_CHECK_EXTENSION, kvm_caps[i].number) <= 0)
			return err_set(e, -EOPNOTSUPP,
				"%s lacks KVM_CAP_%s (%s): a newer host kernel is needed", path,
				kvm_caps[i].name, kvm_caps[i].use);
	}
	size = ioctl(fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (size < (int)sizeof(struct kvm_run))
		return err_set(
			e, -EPROTO, "%s reports a vCPU page of %d bytes, too small", path, size);
	k->run_size = (size_t)size;
	k->dev_fd = fd_take(&fd);
	return 0;
}

void kvm_close(struct kvm *k)
{
	if (k->vm_fd >= 0)
		(void)close(k->vm_fd);
	if (k->dev_fd >= 0)
		(void)close(k->dev_fd);
	*k = (struct kvm){ .dev_fd = -1, .vm_fd = -1 };
}

/*
 * No performance counters.  Without its CPUID leaf an Intel guest has none, but AMD's first four
 * have no CPUID bit and are taken away only here (Linux 5.18).
 */
static int disable_pmu(int vm_fd)
{
	struct kvm_enable_cap cap = { .cap = KVM_CAP_PMU_CAPABILITY,
		.args = { KVM_PMU_CAP_DISABLE } };
	int offered = ioctl(vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_PMU_CAPABILITY);

	if (offered < 0 || !(offered & KVM_PMU_CAP_DISABLE))
		return 0;
	return ioctl(vm_fd, KVM_ENABLE_CAP, &cap);
}

int kvm_create_vm(struct kvm *k, gpa_t tss, struct err *e)
{
	int fd CLEANUP(fd_closep) = -1;

	/* A pending signal interrupts the wait for mm locks; nothing has happened yet then. */
	do {
		fd = ioctl(k->dev_fd, KVM_CREATE_VM, 0);
	} while (fd < 0 && errno == EINTR);
	if (fd < 0) {
		int code = -errno;

		return err_sys(e, code,
			code == -ENOMEM ? "the host or the cgroup is out of memory"
					: "is another hypervisor using the CPU?",
			"KVM_CREATE_VM failed");
	}
	if (ioctl(fd, KVM_SET_TSS_ADDR, (unsigned long)tss) < 0)
		return err_sys(e, -errno, NULL, "KVM_SET_TSS_ADDR failed");
	if (disable_pmu(fd) < 0)
		return err_sys(e, -errno, NULL, "KVM_ENABLE_CAP failed for KVM_CAP_PMU_CAPABILITY");
	k->vm_fd = fd_take(&fd);
	return 0;
}

int kvm_set_memory(const struct kvm *k, const struct guest_mem *m, bool logs_dirty, struct err *e)
{
	for (unsigned i = 0; i < m->n; i++) {
		struct kvm_userspace_memory_region slot = {
			.slot = i,
			.flags = logs_dirty ? KVM_MEM_LOG_DIRTY_PAGES : 0,
			.guest_phys_addr = m->r[i].gpa,
			.memory_size = m->r[i].len,
			.userspace_addr = (uintptr_t)m->r[i].hva,
		};

		if (ioctl(k->vm_fd, KVM_SET_USER_MEMORY_REGION, &slot) < 0)
			return err_sys(e, -errno, "less guest memory may help",
				"KVM_SET_USER_MEMORY_REGION failed for %llu bytes at 0x%llx",
				(unsigned long long)slot.memory_size,
				(unsigned long long)slot.guest_phys_addr);
	}
	return 0;
}

static int take_slots(const struct kvm *k, const struct guest_mem *m, uint64_t *log, uint64_t *bits,
	struct err *e)
{
	uint64_t first = 0;

	for (unsigned i = 0; i < m->n; i++) {
		struct kvm_dirty_log arg = { .slot = i, .dirty_bitmap = log };
		uint64_t pages = m->r[i].len / MEM_PAGE_SIZE;

		if (ioctl(k->vm_fd, KVM_GET_DIRTY_LOG, &arg) < 0)
			return err_sys(e, -errno, NULL, "KVM_GET_DIRTY_LOG failed for slot %u", i);
		/* Regions follow each other in the map, and all but the last are whole words. */
		INVARIANT(first % 64 == 0);
		for (uint64_t w = 0; w < align_up(pages, 64) / 64; w++)
			bits[first / 64 + w] |= log[w];
		first += pages;
	}
	return 0;
}

int kvm_take_dirty(const struct kvm *k, const struct guest_mem *m, uint64_t *bits, struct err *e)
{
	uint64_t *log = calloc(align_up(mem_pages(m), 64) / 64, sizeof(*log));
	int rc = log ? take_slots(k, m, log, bits, e)
		     : err_sys(e, -ENOMEM, NULL, "cannot read the log of dirty pages");

	free(log);
	return rc;
}

int kvm_create_irqchip(const struct kvm *k, struct err *e)
{
	if (ioctl(k->vm_fd, KVM_CREATE_IRQCHIP, 0) < 0)
		return err_sys(e, -errno, NULL, "KVM_CREATE_IRQCHIP failed");
	return 0;
}

int kvm_create_pit(const struct kvm *k, struct err *e)
{
	/* The speaker's port 0x61 is a dummy in the kernel: guests gate PIT channel 2 with it. */
	struct kvm_pit_config pit = { .flags = KVM_PIT_SPEAKER_DUMMY };

	if (ioctl(k->vm_fd, KVM_CREATE_PIT2, &pit) < 0)
		return err_sys(e, -errno, NULL, "KVM_CREATE_PIT2 failed");
	return 0;
}

int kvm_add_ioeventfd(
	const struct kvm *k, gpa_t gpa, uint32_t len, uint64_t value, int fd, struct err *e)
{
	struct kvm_ioeventfd arg = { .addr = gpa,
		.len = len,
		.datamatch = value,
		.fd = fd,
		.flags = KVM_IOEVENTFD_FLAG_DATAMATCH };

	if (ioctl(k->vm_fd, KVM_IOEVENTFD, &arg) < 0)
		return err_sys(
			e, -errno, NULL, "KVM_IOEVENTFD failed at 0x%llx", (unsigned long long)gpa);
	return 0;
}

int kvm_add_irqfd(const struct kvm *k, uint32_t gsi, int fd, struct err *e)
{
	struct kvm_irqfd arg = { .fd = (uint32_t)fd, .gsi = gsi };

	if (ioctl(k->vm_fd, KVM_IRQFD, &arg) < 0)
		return err_sys(e, -errno, NULL, "KVM_IRQFD failed for GSI %u", gsi);
	return 0;
}

int kvm_get_supported_cpuid(const struct kvm *k, struct cpuid_table *ret, struct err *e)
{
	ret->head.nent = KVM_CPUID_MAX;
	if (ioctl(k->dev_fd, KVM_GET_SUPPORTED_CPUID, &ret->head) < 0)
		return err_sys(e, -errno, NULL, "KVM_GET_SUPPORTED_CPUID failed");
	return 0;
}

int kvm_create_vcpu(
	const struct kvm *k, unsigned id, int *ret_fd, struct kvm_run **ret_run, struct err *e)
{
	int fd CLEANUP(fd_closep) = ioctl(k->vm_fd, KVM_CREATE_VCPU, (unsigned long)id);
	void *run;

	if (fd < 0)
		return err_sys(e, -errno, NULL, "KVM_CREATE_VCPU failed for vCPU %u", id);
	run = mmap(NULL, k->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (run == MAP_FAILED)
		return err_sys(e, -errno, NULL, "cannot map the shared page of vCPU %u", id);
	*ret_run = run;
	*ret_fd = fd_take(&fd);
	return 0;
}
