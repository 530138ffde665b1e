/* Changes to the guest's CPU, on tables as KVM gives them and a KVM that is not there. */
#include "t.h"

#include <fcntl.h>

#include "base/err.h"
#include "t_kvm.h"
#include "x86/cpu_template.h"

TestSuite(cpu_template, .timeout = T_SECONDS, .init = t_kvm_init);

static struct cpuid_table table(void)
{
	struct cpuid_table c = { .head.nent = 3 };

	c.entry[0] = (struct kvm_cpuid_entry2){ .function = 1, .eax = 0x0f0f0f0f, .ecx = ~0U };
	c.entry[1] = (struct kvm_cpuid_entry2){ .function = 7, .index = 0, .ebx = 0x11 };
	c.entry[2] = (struct kvm_cpuid_entry2){
		.function = 7, .index = 1, .flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX, .edx = 0x22
	};
	return c;
}

Test(cpu_template, bits_of_leaves_are_set_and_cleared_and_the_others_stay)
{
	const struct cpu_template t = { .nleaves = 2,
		.leaf = {
			{ .leaf = 1, .mask = { 0xff, [CPUID_ECX] = 1 }, .value = { 0xa5 } },
			{ .leaf = 7,
				.subleaf = 1,
				.flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
				.mask = { [CPUID_EBX] = ~0U, [CPUID_EDX] = 0x2 },
				/* What the mask does not speak of is not looked at. */
				.value = { [CPUID_EBX] = 7, [CPUID_EDX] = ~2U } },
		} };
	struct cpuid_table c = table();

	t_int(cpu_template_apply_cpuid(&t, &c, NULL), 0);
	t_hex(c.entry[0].eax, 0x0f0f0fa5);
	t_hex(c.entry[0].ecx, ~1U);
	t_hex(c.entry[1].ebx, 0x11);
	t_hex(c.entry[2].ebx, 7);
	t_hex(c.entry[2].edx, 0x20);
	t_uint(c.head.nent, 3);
}

Test(cpu_template, a_leaf_that_is_not_there_is_an_error_with_its_number)
{
	static const struct cpuid_modifier rows[] = { { .leaf = 2 }, { .leaf = 7, .subleaf = 2 },
		{ .leaf = UINT32_MAX, .subleaf = UINT32_MAX } };

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct cpu_template t = { .nleaves = 1, .leaf[0] = rows[i] };
		struct cpuid_table c = table();
		struct err e = { 0 };

		t_int(cpu_template_apply_cpuid(&t, &c, &e), -ENOENT);
		t_has(e.text, i == 0   ? "leaf 0x2, subleaf 0x0"
			      : i == 1 ? "leaf 0x7, subleaf 0x2"
				       : "0xffffffff");
	}
}

Test(cpu_template, msrs_are_read_changed_and_written)
{
	const struct cpu_template t = { .nmsrs = 2,
		.msr = { { .addr = 0x10a, .mask = 0xff00, .value = 0x1200 },
			{ .addr = 0x3a, .mask = ~0ULL, .value = 5 } } };
	int fd = t_kvm_vcpu();

	t_kvm.msr_value = 0xabcdef;
	t_int(cpu_template_apply_msrs(&t, fd, NULL), 0);
	t_uint(t_kvm_calls(KVM_GET_MSRS), 2);
	t_uint(t_kvm_calls(KVM_SET_MSRS), 2);
	t_uint(t_kvm.vcpu[0].msr[0].index, 0x3a);
	t_hex(t_kvm.vcpu[0].msr[0].data, 5);
	t_kvm_init();
	t_kvm.msr_value = 0xabcdef;
	fd = t_kvm_vcpu();
	t_int(cpu_template_apply_msrs(
		      &(struct cpu_template){ .nmsrs = 1, .msr[0] = t.msr[0] }, fd, NULL),
		0);
	t_hex(t_kvm.vcpu[0].msr[0].data, 0xab12ef);
}

Test(cpu_template, an_msr_that_kvm_refuses_is_an_error_with_its_number)
{
	const struct cpu_template t = { .nmsrs = 1, .msr = { { .addr = 0xc0011029, .mask = 1 } } };
	struct err e = { 0 };
	int fd = t_kvm_vcpu();

	t_kvm.msrs_refused = 1;
	t_int(cpu_template_apply_msrs(&t, fd, &e), -EINVAL);
	t_has(e.text, "MSR 0xc0011029 cannot be read");
	t_kvm_init();
	fd = t_kvm_vcpu();
	t_kvm.msrs_refused = 1;
	t_kvm.msrs_are_read = true;
	t_int(cpu_template_apply_msrs(&t, fd, &e), -EINVAL);
	t_has(e.text, "MSR 0xc0011029 cannot be written");
}

Test(cpu_template, a_capability_that_is_asked_for_must_be_there_and_one_that_is_dropped_need_not)
{
	struct cpu_template t = { .ncaps = 2,
		.cap = { { .cap = 56, .drop = true }, { .cap = 121 } } };
	struct kvm k = { .dev_fd = open(T_KVM_PATH, O_RDWR), .vm_fd = -1 };
	struct err e = { 0 };

	t_int(cpu_template_check_caps(&t, &k, &e), 0);
	t_kvm.missing_cap = 56;
	t_int(cpu_template_check_caps(&t, &k, &e), 0);
	t_kvm.missing_cap = 121;
	t_int(cpu_template_check_caps(&t, &k, &e), -ENOTSUP);
	t_has(e.text, "capability 121");
	kvm_close(&k);
}

Test(cpu_template, an_empty_one_changes_nothing)
{
	const struct cpu_template t = { 0 };
	struct cpuid_table c = table(), before = table();

	t_int(cpu_template_apply_cpuid(&t, &c, NULL), 0);
	t_int(memcmp(&c, &before, sizeof(c)), 0);
	t_int(cpu_template_apply_msrs(&t, -1, NULL), 0);
	t_int(cpu_template_check_caps(&t, &(struct kvm){ .dev_fd = -1 }, NULL), 0);
}
