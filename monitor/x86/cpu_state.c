/* The state of a vCPU (cpu_state.h). */
#include "x86/cpu_state.h"

#include <errno.h>
#include <sys/ioctl.h>

#include "base/err.h"
#include "x86/cpu_msrs.h"

/* Of a million: what Linux guests bear, and what KVM takes for the same frequency. */
enum { TSC_TOLERANCE_PPM = 250 };

/* One call of those that need no more than their argument. */
struct step {
	unsigned long request;
	void *arg;
	const char *name;
};

static int run_steps(int vcpu_fd, const struct step *step, unsigned n, struct err *e)
{
	for (unsigned i = 0; i < n; i++) {
		if (ioctl(vcpu_fd, step[i].request, step[i].arg) < 0)
			return err_sys(e, -errno, NULL, "%s failed", step[i].name);
	}
	return 0;
}

/* --- save --- */

/* The size that KVM has for this VM's vector state: more than 4096 bytes are for KVM_GET_XSAVE2
 * only. */
static int save_xsave(const struct kvm *k, int vcpu_fd, struct cpu_state *ret, struct err *e)
{
	int size = ioctl(k->vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_XSAVE2), rc;

	ret->xsave_len = (uint32_t)MAX(size, (int)sizeof(struct kvm_xsave));
	if (ret->xsave_len > CPU_XSAVE_MAX)
		return err_set(e, -EOVERFLOW, "this CPU's vector state has %u bytes, mvm saves %d",
			ret->xsave_len, CPU_XSAVE_MAX);
	if (ret->xsave_len > sizeof(struct kvm_xsave))
		rc = ioctl(vcpu_fd, KVM_GET_XSAVE2, ret->xsave);
	else
		rc = ioctl(vcpu_fd, KVM_GET_XSAVE, ret->xsave);
	return rc < 0 ? err_sys(e, -errno, NULL, "KVM_GET_XSAVE failed") : 0;
}

int cpu_state_save(const struct kvm *k, int vcpu_fd, const struct msr_list *msrs,
	struct cpu_state *ret, struct err *e)
{
	/*
	 * KVM_GET_MP_STATE comes first because it lets an INIT or SIPI that waits take effect.  The
	 * events come last, whatever the others did to them, and before as well: only when they are
	 * asked for does KVM put the address of a page fault that waits into CR2, and the cause of
	 * a debug exception into DR6 (x86.c, kvm_deliver_exception_payload()).
	 */
	const struct step first[] = {
		{ KVM_GET_MP_STATE, &ret->mp_state, "KVM_GET_MP_STATE" },
		{ KVM_GET_VCPU_EVENTS, &ret->events, "KVM_GET_VCPU_EVENTS" },
		{ KVM_GET_REGS, &ret->regs, "KVM_GET_REGS" },
		{ KVM_GET_SREGS, &ret->sregs, "KVM_GET_SREGS" },
		{ KVM_GET_XCRS, &ret->xcrs, "KVM_GET_XCRS" },
		{ KVM_GET_DEBUGREGS, &ret->debugregs, "KVM_GET_DEBUGREGS" },
		{ KVM_GET_LAPIC, &ret->lapic, "KVM_GET_LAPIC" },
	};
	const struct step last[] = { { KVM_GET_VCPU_EVENTS, &ret->events, "KVM_GET_VCPU_EVENTS" } };
	int khz = ioctl(vcpu_fd, KVM_GET_TSC_KHZ, 0);
	int rc = run_steps(vcpu_fd, first, ARRAY_SIZE(first), e);

	ret->tsc_khz = khz > 0 ? (uint32_t)khz : 0;
	if (rc == 0)
		rc = save_xsave(k, vcpu_fd, ret, e);
	if (rc == 0)
		rc = cpu_msrs_save(vcpu_fd, msrs, ret, e);
	return rc == 0 ? run_steps(vcpu_fd, last, ARRAY_SIZE(last), e) : rc;
}

/* --- load --- */

static bool is_near(uint32_t a, uint32_t b)
{
	uint64_t apart = a > b ? a - b : b - a;

	return apart * 1000000 <= (uint64_t)b * TSC_TOLERANCE_PPM;
}

static int load_tsc_khz(const struct kvm *k, int vcpu_fd, uint32_t khz, struct err *e)
{
	int host = khz > 0 ? ioctl(vcpu_fd, KVM_GET_TSC_KHZ, 0) : 0;

	if (host <= 0 || (uint32_t)host == khz)
		return 0;
	/* Without the capability KVM takes a faster clock too, and then counts in jumps. */
	if (ioctl(k->vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_TSC_CONTROL) > 0 &&
		ioctl(vcpu_fd, KVM_SET_TSC_KHZ, (unsigned long)khz) == 0)
		return 0;
	if (is_near((uint32_t)host, khz))
		return 0;
	return err_set(e, -EOPNOTSUPP,
		"the guest's TSC runs at %u kHz and this host's at %d kHz, which its CPU cannot "
		"scale",
		khz, host);
}

int cpu_state_load(
	const struct kvm *k, int vcpu_fd, const struct cpu_state *s, uint64_t tsc_ns, struct err *e)
{
	/* KVM reads only; its arguments are not const because ioctl's are not. */
	struct cpu_state *from = (struct cpu_state *)s;
	/*
	 * sregs have the APIC's base and mode, which the LAPIC's registers follow; those say how
	 * the timer runs, which the deadline MSR needs.  KVM_SET_REGS forgets pending exceptions,
	 * so the events come last.  KVM_SET_XSAVE reads as many bytes as this host's state has,
	 * zeros where the saved one was shorter.
	 */
	const struct step first[] = {
		{ KVM_SET_SREGS, &from->sregs, "KVM_SET_SREGS" },
		{ KVM_SET_REGS, &from->regs, "KVM_SET_REGS" },
		{ KVM_SET_XCRS, &from->xcrs, "KVM_SET_XCRS" },
		{ KVM_SET_XSAVE, from->xsave, "KVM_SET_XSAVE" },
		{ KVM_SET_DEBUGREGS, &from->debugregs, "KVM_SET_DEBUGREGS" },
		{ KVM_SET_LAPIC, &from->lapic, "KVM_SET_LAPIC" },
	};
	const struct step last[] = {
		{ KVM_SET_MP_STATE, &from->mp_state, "KVM_SET_MP_STATE" },
		{ KVM_SET_VCPU_EVENTS, &from->events, "KVM_SET_VCPU_EVENTS" },
	};
	unsigned __int128 ticks = (unsigned __int128)tsc_ns * s->tsc_khz / 1000000;
	int rc = load_tsc_khz(k, vcpu_fd, s->tsc_khz, e);

	if (rc == 0)
		rc = run_steps(vcpu_fd, first, ARRAY_SIZE(first), e);
	if (rc == 0)
		rc = cpu_msrs_load(vcpu_fd, s, (uint64_t)ticks, e);
	return rc == 0 ? run_steps(vcpu_fd, last, ARRAY_SIZE(last), e) : rc;
}
