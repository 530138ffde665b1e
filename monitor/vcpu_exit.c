/*
 * What KVM_RUN comes back with (api.rst, section 5): one line a reason, and everything that is not
 * expected stops the machine with the reason's name and the registers.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/log.h"
#include "vcpu.h"

static const char *const reasons[] = {
	[KVM_EXIT_UNKNOWN] = "UNKNOWN",
	[KVM_EXIT_EXCEPTION] = "EXCEPTION",
	[KVM_EXIT_IO] = "IO",
	[KVM_EXIT_HYPERCALL] = "HYPERCALL",
	[KVM_EXIT_DEBUG] = "DEBUG",
	[KVM_EXIT_HLT] = "HLT",
	[KVM_EXIT_MMIO] = "MMIO",
	[KVM_EXIT_IRQ_WINDOW_OPEN] = "IRQ_WINDOW_OPEN",
	[KVM_EXIT_SHUTDOWN] = "SHUTDOWN",
	[KVM_EXIT_FAIL_ENTRY] = "FAIL_ENTRY",
	[KVM_EXIT_INTR] = "INTR",
	[KVM_EXIT_SET_TPR] = "SET_TPR",
	[KVM_EXIT_TPR_ACCESS] = "TPR_ACCESS",
	[KVM_EXIT_NMI] = "NMI",
	[KVM_EXIT_INTERNAL_ERROR] = "INTERNAL_ERROR",
	[KVM_EXIT_SYSTEM_EVENT] = "SYSTEM_EVENT",
	[KVM_EXIT_IOAPIC_EOI] = "IOAPIC_EOI",
	[KVM_EXIT_HYPERV] = "HYPERV",
	[KVM_EXIT_X86_RDMSR] = "X86_RDMSR",
	[KVM_EXIT_X86_WRMSR] = "X86_WRMSR",
	[KVM_EXIT_DIRTY_RING_FULL] = "DIRTY_RING_FULL",
	[KVM_EXIT_X86_BUS_LOCK] = "X86_BUS_LOCK",
	[KVM_EXIT_XEN] = "XEN",
};

static const char *reason_name(uint32_t reason)
{
	return reason < ARRAY_SIZE(reasons) && reasons[reason] ? reasons[reason]
							       : "(unknown to mvm)";
}

static void log_registers(const struct vcpu *v)
{
	struct kvm_sregs s = { 0 };
	struct kvm_regs r = { 0 };

	if (v->fd < 0 || ioctl(v->fd, KVM_GET_REGS, &r) < 0 ||
		ioctl(v->fd, KVM_GET_SREGS, &s) < 0) {
		log_error("vCPU %u: registers not available", v->id);
		return;
	}
	log_error("vCPU %u: rip %016llx rsp %016llx rflags %08llx cs %04x cpl %u", v->id, r.rip,
		r.rsp, r.rflags, s.cs.selector, s.ss.dpl);
	log_error("vCPU %u: rax %016llx rbx %016llx rcx %016llx rdx %016llx", v->id, r.rax, r.rbx,
		r.rcx, r.rdx);
	log_error("vCPU %u: rsi %016llx rdi %016llx rbp %016llx r8  %016llx", v->id, r.rsi, r.rdi,
		r.rbp, r.r8);
	log_error("vCPU %u: r9  %016llx r10 %016llx r11 %016llx r12 %016llx", v->id, r.r9, r.r10,
		r.r11, r.r12);
	log_error("vCPU %u: r13 %016llx r14 %016llx r15 %016llx efer %08llx", v->id, r.r13, r.r14,
		r.r15, s.efer);
	log_error("vCPU %u: cr0 %08llx cr2 %016llx cr3 %016llx cr4 %08llx", v->id, s.cr0, s.cr2,
		s.cr3, s.cr4);
	log_error("vCPU %u: gdt %016llx/%04x idt %016llx/%04x", v->id, s.gdt.base, s.gdt.limit,
		s.idt.base, s.idt.limit);
}

/* Ends the machine with the registers in the log.  Always false, for the caller to return. */
static bool give_up(struct vcpu *v, enum vm_end end, const char *fmt, ...) PRINTF_LIKE(3, 4);

static bool give_up(struct vcpu *v, enum vm_end end, const char *fmt, ...)
{
	char why[256];
	va_list args;
	int at;

	if (atomic_load(&v->group->over))
		return false;
	count_add(&v->count.failures, 1);
	at = snprintf(why, sizeof(why), "vCPU %u: ", v->id);

	va_start(args, fmt);
	(void)vsnprintf(why + at, sizeof(why) - (size_t)at, fmt, args);
	va_end(args);
	log_registers(v);
	v->group->ended(v->group->ctx, end, why);
	return false;
}

static bool handle_io(struct vcpu *v)
{
	struct kvm_run *run = v->run;
	uint8_t *data = (uint8_t *)run + run->io.data_offset;
	uint16_t port = run->io.port;
	uint32_t size = run->io.size;
	bool is_in = run->io.direction == KVM_EXIT_IO_IN;
	uint64_t began = tick_now();

	/* A string instruction is several accesses to the same port, at most a page of them. */
	for (uint32_t i = 0; i < run->io.count; i++, data += size) {
		bool claimed = is_in ? bus_read(v->group->pio, port, data, size)
				     : bus_write(v->group->pio, port, data, size);

		if (!claimed)
			log_guest(LOG_DEBUG,
				"vCPU %u: %s of %u bytes at port 0x%x, which is nobody's", v->id,
				is_in ? "read" : "write", size, port);
	}
	tally_add(&v->count.access[is_in ? VCPU_IO_IN : VCPU_IO_OUT], tick_now() - began);
	return true;
}

static bool handle_mmio(struct vcpu *v)
{
	struct kvm_run *run = v->run;
	bool is_write = run->mmio.is_write;
	uint64_t began = tick_now();
	bool claimed;

	/* KVM splits accesses at eight bytes; more would be KVM's mistake, and the array ends
	 * there. */
	if (run->mmio.len > sizeof(run->mmio.data))
		return give_up(
			v, VM_FAILED, "KVM reports an MMIO access of %u bytes", run->mmio.len);
	claimed = is_write ? bus_write(v->group->mmio, run->mmio.phys_addr, run->mmio.data,
				     run->mmio.len)
			   : bus_read(v->group->mmio, run->mmio.phys_addr, run->mmio.data,
				     run->mmio.len);
	if (!claimed)
		log_guest(LOG_DEBUG, "vCPU %u: %s of %u bytes at 0x%llx, which is nobody's", v->id,
			is_write ? "write" : "read", run->mmio.len, run->mmio.phys_addr);
	tally_add(
		&v->count.access[is_write ? VCPU_MMIO_WRITE : VCPU_MMIO_READ], tick_now() - began);
	return true;
}

static bool handle_internal_error(struct vcpu *v)
{
	const struct kvm_run *run = v->run;

	switch (run->internal.suberror) {
	case KVM_INTERNAL_ERROR_EMULATION:
		return give_up(v, VM_CRASHED,
			"KVM cannot execute the guest's instruction (INTERNAL_ERROR, emulation): a "
			"jump to nowhere, or an "
			"instruction that this KVM does not emulate");
	case KVM_INTERNAL_ERROR_SIMUL_EX:
	case KVM_INTERNAL_ERROR_DELIVERY_EV:
		return give_up(v, VM_CRASHED,
			"an exception while another was delivered (INTERNAL_ERROR %u)",
			run->internal.suberror);
	default:
		return give_up(
			v, VM_CRASHED, "KVM gave up (INTERNAL_ERROR %u)", run->internal.suberror);
	}
}

static bool handle_system_event(struct vcpu *v)
{
	uint32_t type = v->run->system_event.type;

	switch (type) {
	case KVM_SYSTEM_EVENT_SHUTDOWN:
		v->group->ended(v->group->ctx, VM_SHUTDOWN, "KVM system event");
		return false;
	case KVM_SYSTEM_EVENT_RESET:
		v->group->ended(v->group->ctx, VM_RESET, "KVM system event");
		return false;
	default: return give_up(v, VM_CRASHED, "the guest reports a crash (SYSTEM_EVENT %u)", type);
	}
}

bool vcpu_handle_exit(struct vcpu *v)
{
	const struct kvm_run *run = v->run;

	switch (run->exit_reason) {
	case KVM_EXIT_IO: return handle_io(v);
	case KVM_EXIT_MMIO: return handle_mmio(v);
	case KVM_EXIT_INTR: return true; /* a signal; the loop looks at stop */
	case KVM_EXIT_SHUTDOWN: return give_up(v, VM_CRASHED, "triple fault (SHUTDOWN)");
	case KVM_EXIT_FAIL_ENTRY:
		return give_up(v, VM_CRASHED,
			"the CPU refuses the guest's state (FAIL_ENTRY 0x%llx)",
			run->fail_entry.hardware_entry_failure_reason);
	case KVM_EXIT_INTERNAL_ERROR: return handle_internal_error(v);
	case KVM_EXIT_SYSTEM_EVENT: return handle_system_event(v);
	default: /* KVM_EXIT_HLT too: with interrupt controllers in the kernel, a halt never comes
		    here */
		return give_up(v, VM_CRASHED, "exit that mvm has not asked for: %s (%u)",
			reason_name(run->exit_reason), run->exit_reason);
	}
}

bool vcpu_handle_error(struct vcpu *v, int code)
{
	switch (code) {
	case -EINTR: /* a signal */
	case -EAGAIN: /* an application CPU got its INIT; it runs with the next call */ return true;
	case -EFAULT:
		return give_up(v, VM_FAILED,
			"KVM_RUN: a page of guest memory cannot be had; is the host out of memory "
			"or huge pages, or was the "
			"kernel file shortened meanwhile?");
	default: return give_up(v, VM_FAILED, "KVM_RUN failed: %s", strerror(-code));
	}
}
