/* vCPU registers at boot (regs.h). */
#include "x86/regs.h"

#include <errno.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/err.h"
#include "x86/layout.h"

enum {
	MSR_MISC_ENABLE = 0x1a0,
	MSR_MTRR_DEF_TYPE = 0x2ff,
	MISC_ENABLE_FAST_STRING = 1,
	MISC_ENABLE_BTS_UNAVAILABLE = 1 << 11,
	MISC_ENABLE_PEBS_UNAVAILABLE = 1 << 12,
	MTRR_ENABLE = 1 << 11,
	MTRR_WRITE_BACK = 6,
};

int regs_set_boot_msrs(int vcpu_fd, struct err *e)
{
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entry[2];
	} msrs = {
		.head.nmsrs = ARRAY_SIZE(msrs.entry),
		.entry = {
			{ .index = MSR_MISC_ENABLE, .data = MISC_ENABLE_FAST_STRING | MISC_ENABLE_BTS_UNAVAILABLE | MISC_ENABLE_PEBS_UNAVAILABLE },
			/* All of memory is write-back; the holes are the emulator's and have no type. */
			{ .index = MSR_MTRR_DEF_TYPE, .data = MTRR_ENABLE | MTRR_WRITE_BACK },
		},
	};
	int n = ioctl(vcpu_fd, KVM_SET_MSRS, &msrs);

	if (n < 0)
		return err_sys(e, -errno, NULL, "KVM_SET_MSRS failed");
	if (n < (int)msrs.head.nmsrs)
		return err_set(e, -EIO, "KVM_SET_MSRS refused MSR 0x%x", msrs.entry[n].index);
	return 0;
}

static struct kvm_segment segment(unsigned selector, unsigned type, bool is_code64, bool is_system)
{
	return (struct kvm_segment){
		.selector = (uint16_t)selector,
		.limit = is_system ? 0x67 : 0xffffffff,
		.type = (uint8_t)type,
		.present = 1,
		.s = !is_system,
		.g = !is_system,
		.l = is_code64,
		.db = !is_system && !is_code64,
	};
}

static void set_segments(struct kvm_sregs *s, bool is_64bit)
{
	enum {
		CODE = 0xb,
		DATA = 0x3,
		TSS_BUSY = 0xb,
		SEL_CODE = 0x10,
		SEL_DATA = 0x18,
		SEL_TSS = 0x20,
		GDT_BYTES = 48
	};

	s->cs = segment(SEL_CODE, CODE, is_64bit, false);
	s->ds = s->es = s->fs = s->gs = s->ss = segment(SEL_DATA, DATA, false, false);
	s->tr = segment(SEL_TSS, TSS_BUSY, false, true);
	s->gdt.base = LAYOUT_GDT;
	s->gdt.limit = GDT_BYTES - 1;
	s->idt.base = 0;
	s->idt.limit = 0; /* an exception before the kernel has its own IDT is a triple fault, and
			     reported */
}

static int set_sregs(int vcpu_fd, bool is_64bit, struct err *e)
{
	enum {
		CR0_PE = 1,
		CR0_ET = 1 << 4,
		CR4_PAE = 1 << 5,
		EFER_LME = 1 << 8,
		EFER_LMA = 1 << 10
	};
	struct kvm_sregs s;

	if (ioctl(vcpu_fd, KVM_GET_SREGS, &s) < 0)
		return err_sys(e, -errno, NULL, "KVM_GET_SREGS failed");
	set_segments(&s, is_64bit);
	s.cr0 = CR0_PE | CR0_ET;
	if (is_64bit) {
		s.cr0 |= 1U << 31; /* PG */
		s.cr3 = LAYOUT_PML4;
		s.cr4 = CR4_PAE;
		s.efer = EFER_LME | EFER_LMA;
	}
	if (ioctl(vcpu_fd, KVM_SET_SREGS, &s) < 0)
		return err_sys(e, -errno, NULL, "KVM_SET_SREGS failed");
	return 0;
}

static int set_regs(int vcpu_fd, const struct boot_entry *entry, struct err *e)
{
	struct kvm_regs r = { .rip = entry->rip, .rflags = 2 /* the bit that is always set */ };

	if (entry->protocol == BOOT_PVH) {
		r.rbx = LAYOUT_PVH_INFO;
	} else {
		r.rsi = LAYOUT_ZERO_PAGE;
		r.rsp = r.rbp = LAYOUT_BOOT_STACK;
	}
	if (ioctl(vcpu_fd, KVM_SET_REGS, &r) < 0)
		return err_sys(e, -errno, NULL, "KVM_SET_REGS failed");
	return 0;
}

/* Virtual wire mode (MP specification 3.6.2.2): the PIC's interrupts enter through LINT0, NMI
 * through LINT1. */
static int set_lapic(int vcpu_fd, struct err *e)
{
	enum { LVT_LINT0 = 0x350, LVT_LINT1 = 0x360, EXTINT = 7 << 8, NMI = 4 << 8 };
	struct kvm_lapic_state lapic;
	uint32_t value;

	if (ioctl(vcpu_fd, KVM_GET_LAPIC, &lapic) < 0)
		return err_sys(e, -errno, NULL, "KVM_GET_LAPIC failed");
	value = EXTINT;
	memcpy(lapic.regs + LVT_LINT0, &value, sizeof(value));
	value = NMI;
	memcpy(lapic.regs + LVT_LINT1, &value, sizeof(value));
	if (ioctl(vcpu_fd, KVM_SET_LAPIC, &lapic) < 0)
		return err_sys(e, -errno, NULL, "KVM_SET_LAPIC failed");
	return 0;
}

int regs_set_entry(int vcpu_fd, const struct boot_entry *entry, struct err *e)
{
	int rc = set_sregs(vcpu_fd, entry->protocol == BOOT_LINUX64, e);

	if (rc == 0)
		rc = set_regs(vcpu_fd, entry, e);
	return rc == 0 ? set_lapic(vcpu_fd, e) : rc;
}
