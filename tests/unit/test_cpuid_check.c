/* Can a host run a guest that was told of another CPU? */
#include "t.h"

#include <stdio.h>

#include "base/err.h"
#include "x86/cpuid.h"
#include "x86/cpuid_check.h"

TestSuite(cpuid_check, .timeout = T_SECONDS);

#define INDEXED KVM_CPUID_FLAG_SIGNIFCANT_INDEX
#define BIT(n)  (1U << (n))

static void add(struct cpuid_table *c, uint32_t leaf, uint32_t subleaf, const uint32_t reg[4])
{
	c->entry[c->head.nent++] = (struct kvm_cpuid_entry2){ .function = leaf,
		.index = subleaf,
		.flags = leaf == 7 || leaf == 0xd || leaf == 0x14 ? INDEXED : 0,
		.eax = reg[0],
		.ebx = reg[1],
		.ecx = reg[2],
		.edx = reg[3] };
}

/* A CPU with every feature and two parts of vector state. */
static void everything(struct cpuid_table *c)
{
	static const uint32_t all[4] = { UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX };
	static const uint32_t intel[4] = { 0x16, 0x756e6547, 0x6c65746e, 0x49656e69 };
	static const uint32_t leaves[] = { 1, 6, 0x14, 0x40000001, 0x80000001, 0x80000007,
		0x80000008, 0x80000021 };

	memset(c, 0, sizeof(*c));
	add(c, 0, 0, intel);
	for (unsigned i = 0; i < ARRAY_SIZE(leaves); i++)
		add(c, leaves[i], 0, all);
	for (uint32_t i = 0; i < 3; i++)
		add(c, 7, i, all);
	add(c, 0xd, 0, (const uint32_t[]){ 7, 832, 832, 0 });
	add(c, 0xd, 1, (const uint32_t[]){ 15, 832, 0, 0 });
	add(c, 0xd, 2, (const uint32_t[]){ 256, 576, 0, 0 });
}

static struct kvm_cpuid_entry2 *at(struct cpuid_table *c, uint32_t leaf, uint32_t subleaf)
{
	for (unsigned i = 0; i < c->head.nent; i++) {
		if (c->entry[i].function == leaf && c->entry[i].index == subleaf)
			return &c->entry[i];
	}
	cr_fatal("no leaf 0x%x.%u", leaf, subleaf);
	return NULL;
}

static uint32_t *reg_of(struct kvm_cpuid_entry2 *e, unsigned reg)
{
	uint32_t *const regs[] = { &e->eax, &e->ebx, &e->ecx, &e->edx };

	return regs[reg];
}

enum { EAX, EBX, ECX, EDX };

Test(cpuid_check, a_host_runs_what_it_is_itself_and_what_is_less)
{
	static struct cpuid_table host, guest;

	everything(&host);
	everything(&guest);
	t_int(cpuid_check_subset(&host, &guest, NULL), 0);
	for (unsigned i = 1; i < guest.head.nent; i++) {
		if (guest.entry[i].function != 0xd)
			guest.entry[i].eax = guest.entry[i].ebx = guest.entry[i].ecx =
				guest.entry[i].edx = 0;
	}
	t_int(cpuid_check_subset(&host, &guest, NULL), 0);
	memset(&guest, 0, sizeof(guest));
	t_int(cpuid_check_subset(&host, &guest, NULL), 0);
}

Test(cpuid_check, a_table_of_the_policy_fits_the_host_that_it_was_made_of)
{
	const struct cpuid_config c = {
		.cpus = 4, .smt = true, .tsc_khz = 2500000, .tsc_deadline = true
	};
	static struct cpuid_table host, guest;

	everything(&host);
	/* What KVM does not report and the policy adds. */
	at(&host, 1, 0)->ecx &= ~(BIT(24) | BIT(27) | BIT(31));
	at(&host, 1, 0)->edx &= ~BIT(28);
	memcpy(&guest, &host, sizeof(guest));
	t_int(cpuid_apply_policy(&guest, &c), 0);
	cpuid_set_apic_id(&guest, 3);
	t_int(cpuid_check_subset(&host, &guest, NULL), 0);
}

Test(cpuid_check, a_missing_feature_is_named_as_linux_does)
{
	static const struct {
		uint32_t leaf, subleaf;
		unsigned reg, bit;
		const char *name;
	} rows[] = {
		{ 1, 0, ECX, 0, "pni" },
		{ 1, 0, ECX, 12, "fma" },
		{ 1, 0, ECX, 25, "aes" },
		{ 1, 0, ECX, 28, "avx" },
		{ 1, 0, ECX, 30, "rdrand" },
		{ 1, 0, ECX, 16, "CPUID leaf 0x1.0 ecx bit 16" },
		{ 1, 0, EDX, 0, "fpu" },
		{ 1, 0, EDX, 19, "clflush" },
		{ 1, 0, EDX, 26, "sse2" },
		{ 1, 0, EDX, 31, "pbe" },
		{ 6, 0, EAX, 2, "arat" },
		{ 6, 0, EAX, 9, "CPUID leaf 0x6.0 eax bit 9" },
		{ 7, 0, EBX, 16, "avx512f" },
		{ 7, 0, EBX, 5, "avx2" },
		{ 7, 0, EBX, 31, "avx512vl" },
		{ 7, 0, ECX, 3, "pku" },
		{ 7, 0, ECX, 16, "la57" },
		{ 7, 0, ECX, 22, "rdpid" },
		{ 7, 0, ECX, 24, "bus_lock_detect" },
		{ 7, 0, ECX, 29, "enqcmd" },
		{ 7, 0, EDX, 4, "fsrm" },
		{ 7, 0, EDX, 24, "amx_tile" },
		{ 7, 0, EDX, 26, "spec_ctrl" },
		{ 7, 0, EDX, 29, "arch_capabilities" },
		{ 7, 0, EDX, 31, "spec_ctrl_ssbd" },
		{ 7, 1, EAX, 4, "avx_vnni" },
		{ 7, 1, EAX, 23, "avx_ifma" },
		{ 7, 1, EAX, 26, "lam" },
		{ 7, 1, EDX, 14, "prefetchiti" },
		{ 7, 1, EBX, 0, "CPUID leaf 0x7.1 ebx bit 0" },
		{ 7, 2, EDX, 5, "mcdt_no" },
		{ 0x14, 0, EBX, 3, "CPUID leaf 0x14.0 ebx bit 3" },
		{ 0xd, 1, EAX, 1, "xsavec" },
		{ 0xd, 0, EAX, 2, "CPUID leaf 0xd.0 eax bit 2" },
		{ 0x40000001, 0, EAX, 3, "kvmclock2" },
		{ 0x40000001, 0, EAX, 14, "kvm_asyncpf_int" },
		{ 0x80000001, 0, ECX, 5, "abm" },
		{ 0x80000001, 0, ECX, 29, "mwaitx" },
		{ 0x80000001, 0, EDX, 11, "syscall" },
		{ 0x80000001, 0, EDX, 27, "rdtscp" },
		{ 0x80000001, 0, EDX, 29, "lm" },
		{ 0x80000007, 0, EDX, 8, "constant_tsc" },
		{ 0x80000008, 0, EBX, 0, "clzero" },
		{ 0x80000008, 0, EBX, 12, "ibpb" },
		{ 0x80000008, 0, EBX, 29, "btc_no" },
		{ 0x80000021, 0, EAX, 8, "autoibrs" },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		static struct cpuid_table host, guest;
		struct err e = { 0 };
		char want[64];

		everything(&host);
		everything(&guest);
		*reg_of(at(&host, rows[i].leaf, rows[i].subleaf), rows[i].reg) &= ~BIT(rows[i].bit);
		t_row_int(rows[i].name, cpuid_check_subset(&host, &guest, &e), -EOPNOTSUPP);
		(void)snprintf(want, sizeof(want), "was told it has: %s", rows[i].name);
		t_row_has(rows[i].name, e.text, want);
		/* The very name and nothing behind it. */
		t_row_int(rows[i].name, strlen(strstr(e.text, want) ? strstr(e.text, want) : ""),
			strlen(want));
	}
}

Test(cpuid_check, what_follows_the_guests_own_registers_is_not_compared)
{
	static const struct {
		uint32_t leaf;
		unsigned reg, bit;
	} rows[] = { { 1, ECX, 3 }, { 1, ECX, 21 }, { 1, ECX, 24 }, { 1, ECX, 27 }, { 1, ECX, 31 },
		{ 1, EDX, 9 }, { 1, EDX, 28 }, { 7, ECX, 4 }, { 0x80000001, EDX, 0 },
		{ 0x80000001, EDX, 9 }, { 0x80000001, EDX, 24 } };

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		static struct cpuid_table host, guest;

		everything(&host);
		everything(&guest);
		*reg_of(at(&host, rows[i].leaf, 0), rows[i].reg) &= ~BIT(rows[i].bit);
		cr_expect(eq(int, cpuid_check_subset(&host, &guest, NULL), 0), "row %u", i);
	}
}

Test(cpuid_check, of_many_missing_features_the_first_are_named_and_the_rest_counted)
{
	static struct cpuid_table host, guest;
	struct err e = { 0 };

	everything(&host);
	everything(&guest);
	at(&host, 7, 0)->ebx = 0;
	t_int(cpuid_check_subset(&host, &guest, &e), -EOPNOTSUPP);
	t_has(e.text,
		"fsgsbase, tsc_adjust, sgx, bmi1, hle, avx2, fdp_excptn_only, smep and 24 more");
	host.head.nent = 1;
	t_int(cpuid_check_subset(&host, &guest, &e), -EOPNOTSUPP);
	t_has(e.text, "more");
	t_true(strlen(e.text) < ERR_TEXT_MAX - 1);
}

Test(cpuid_check, another_vendor_is_named)
{
	static struct cpuid_table host, guest;
	struct err e = { 0 };

	everything(&host);
	everything(&guest);
	host.entry[0].ebx = 0x68747541;
	host.entry[0].edx = 0x69746e65;
	host.entry[0].ecx = 0x444d4163;
	t_int(cpuid_check_subset(&host, &guest, &e), -EOPNOTSUPP);
	t_has(e.text, "GenuineIntel");
	t_has(e.text, "AuthenticAMD");
	guest.entry[0].ebx = 0x0a1b00ff;
	t_int(cpuid_check_subset(&host, &guest, &e), -EOPNOTSUPP);
	t_has(e.text, "'????ineIntel'");
}

Test(cpuid_check, a_vector_state_that_is_larger_or_laid_out_otherwise_is_an_error)
{
	static struct cpuid_table host, guest;
	struct err e = { 0 };

	everything(&host);
	everything(&guest);
	at(&host, 0xd, 0)->ecx = 831;
	t_int(cpuid_check_subset(&host, &guest, &e), -EOPNOTSUPP);
	t_has(e.text, "832 bytes");
	everything(&host);
	at(&host, 0xd, 2)->ebx = 640;
	t_int(cpuid_check_subset(&host, &guest, &e), -EOPNOTSUPP);
	t_has(e.text, "256 bytes at 576");
	/* A part that the guest has not, and a size that is larger on the host. */
	everything(&host);
	at(&host, 0xd, 0)->eax = 0xe7;
	at(&host, 0xd, 0)->ecx = 2696;
	add(&host, 0xd, 5, (const uint32_t[]){ 64, 1088, 0, 0 });
	t_int(cpuid_check_subset(&host, &guest, NULL), 0);
}
