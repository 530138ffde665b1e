/* vCPU registers at boot. */
#include "t.h"

#include "base/err.h"
#include "t_kvm.h"
#include "x86/layout.h"
#include "x86/regs.h"

TestSuite(regs, .timeout = T_SECONDS, .init = t_kvm_init);

enum { EFER_LME = 0x100, EFER_LMA = 0x400, CR0_PE = 1, CR4_PAE = 0x20 };
#define CR0_PG 0x80000000ULL

static const struct boot_entry pvh = { BOOT_PVH, 0x1000020 }, linux64 = { BOOT_LINUX64, 0x1000200 };

static const struct t_vcpu *entered(const struct boot_entry *entry)
{
	struct err e = { 0 };

	cr_assert(eq(int, regs_set_entry(t_kvm_vcpu(), entry, &e), 0), "%s", e.text);
	return &t_kvm.vcpu[0];
}

Test(regs, boot_msrs_are_fast_strings_no_debug_store_and_write_back_memory)
{
	const struct t_vcpu *v = &t_kvm.vcpu[0];

	t_int(regs_set_boot_msrs(t_kvm_vcpu(), NULL), 0);
	t_uint(v->nmsrs, 2);
	t_hex(v->msr[0].index, 0x1a0);
	t_hex(v->msr[0].data, 1 | 1 << 11 | 1 << 12);
	t_hex(v->msr[1].index, 0x2ff);
	t_hex(v->msr[1].data, 0x806);
}

Test(regs, a_refused_msr_is_an_error_that_names_it)
{
	struct err e = { 0 };

	t_kvm.msrs_refused = 1;
	t_int(regs_set_boot_msrs(t_kvm_vcpu(), &e), -EIO);
	t_has(e.text, "0x2ff");
	t_kvm.msrs_refused = 2;
	t_int(regs_set_boot_msrs(t_kvm_vcpu(), &e), -EIO);
	t_has(e.text, "0x1a0");
}

Test(regs, pvh_enters_flat_protected_mode_without_paging)
{
	const struct t_vcpu *v = entered(&pvh);

	t_hex(v->regs.rip, 0x1000020);
	t_hex(v->regs.rbx, LAYOUT_PVH_INFO);
	t_hex(v->regs.rflags, 2);
	t_hex(v->sregs.cr0 & (CR0_PE | CR0_PG), CR0_PE);
	t_hex(v->sregs.cr4, 0);
	t_hex(v->sregs.efer, 0);
	t_uint(v->sregs.cs.db, 1);
	t_uint(v->sregs.cs.l, 0);
}

Test(regs, linux64_enters_long_mode_with_paging)
{
	const struct t_vcpu *v = entered(&linux64);

	t_hex(v->regs.rip, 0x1000200);
	t_hex(v->regs.rsi, LAYOUT_ZERO_PAGE);
	t_hex(v->regs.rsp, LAYOUT_BOOT_STACK);
	t_hex(v->regs.rflags, 2);
	t_hex(v->sregs.cr0 & (CR0_PE | CR0_PG), CR0_PE | CR0_PG);
	t_hex(v->sregs.cr3, LAYOUT_PML4);
	t_hex(v->sregs.cr4, CR4_PAE);
	t_hex(v->sregs.efer, EFER_LME | EFER_LMA);
	t_uint(v->sregs.cs.db, 0);
	t_uint(v->sregs.cs.l, 1);
}

Test(regs, segments_are_flat_and_agree_with_the_gdt)
{
	static const struct boot_entry *const entries[] = { &pvh, &linux64 };

	for (unsigned i = 0; i < ARRAY_SIZE(entries); i++) {
		const struct t_vcpu *v;
		const struct kvm_segment *data[5];

		t_kvm_init();
		v = entered(entries[i]);
		cr_expect(eq(u16, v->sregs.cs.selector, 0x10));
		cr_expect(eq(u8, v->sregs.cs.type, 0xb));
		cr_expect(eq(u16, v->sregs.tr.selector, 0x20));
		cr_expect(eq(u8, v->sregs.tr.type, 0xb));
		cr_expect(eq(u8, v->sregs.tr.s, 0));
		cr_expect(eq(u64, v->sregs.gdt.base, LAYOUT_GDT));
		cr_expect(eq(u16, v->sregs.gdt.limit, 47));
		cr_expect(eq(u16, v->sregs.idt.limit, 0));
		data[0] = &v->sregs.ds;
		data[1] = &v->sregs.es;
		data[2] = &v->sregs.fs;
		data[3] = &v->sregs.gs;
		data[4] = &v->sregs.ss;
		for (unsigned k = 0; k < ARRAY_SIZE(data); k++) {
			cr_expect(eq(u16, data[k]->selector, 0x18));
			cr_expect(eq(u64, data[k]->base, 0));
			cr_expect(eq(u32, data[k]->limit, 0xffffffff));
			cr_expect(eq(u8, data[k]->present, 1));
			cr_expect(eq(u8, data[k]->g, 1));
			cr_expect(eq(u8, data[k]->type, 3));
		}
	}
}

Test(regs, what_kvm_had_set_and_mvm_does_not_care_about_is_kept)
{
	int fd = t_kvm_vcpu();

	t_kvm.vcpu[0].sregs.apic_base = 0xfee00900;
	t_kvm.vcpu[0].lapic.regs[0x30] = 0x14;
	t_int(regs_set_entry(fd, &pvh, NULL), 0);
	t_hex(t_kvm.vcpu[0].sregs.apic_base, 0xfee00900);
	t_hex((uint8_t)t_kvm.vcpu[0].lapic.regs[0x30], 0x14);
}

Test(regs, the_local_apic_is_in_virtual_wire_mode)
{
	const struct t_vcpu *v = entered(&pvh);
	uint32_t lint0, lint1;

	t_true(v->has_lapic);
	memcpy(&lint0, v->lapic.regs + 0x350, 4);
	memcpy(&lint1, v->lapic.regs + 0x360, 4);
	t_hex(lint0, 0x700);
	t_hex(lint1, 0x400);
}

Test(regs, every_call_that_fails_is_an_error_that_names_it)
{
	static const char *const names[] = { "KVM_GET_SREGS", "KVM_SET_SREGS", "KVM_SET_REGS",
		"KVM_GET_LAPIC", "KVM_SET_LAPIC" };

	for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
		struct err e = { 0 };
		int fd;

		t_kvm_init();
		fd = t_kvm_vcpu();
		t_kvm.fail_step = i + 1;
		t_kvm.fail_errno = EINVAL;
		t_kvm_count(true);
		t_row_int(names[i], regs_set_entry(fd, &pvh, &e), -EINVAL);
		t_row_has(names[i], e.text, names[i]);
	}
}

Test(regs, a_failing_msr_call_is_an_error_that_names_it)
{
	struct err e = { 0 };
	int fd = t_kvm_vcpu();

	t_kvm.fail_step = 1;
	t_kvm_count(true);
	t_int(regs_set_boot_msrs(fd, &e), -ENOMEM);
	t_has(e.text, "KVM_SET_MSRS");
}
