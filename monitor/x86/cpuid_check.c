/* Can this host run a guest that was told of another CPU? (cpuid_check.h) */
#include "x86/cpuid_check.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"

enum reg { EAX, EBX, ECX, EDX };

static const char *const reg_names[] = { "eax", "ebx", "ecx", "edx" };

/* A register of features, one a bit. */
struct features {
	uint32_t leaf, subleaf;
	enum reg reg;
	/* Bits that say nothing of the host: KVM sets them as the guest's registers are, or mvm for
	 * itself. */
	uint32_t ignored;
	/* Linux's names from bit 0 on, separated by spaces; "-" where it has none.  May end early.
	 */
	const char *names;
};

#define BIT(n) (1U << (n))

static const struct features table[] = {
	/* mwait follows MISC_ENABLE; tsc_deadline_timer, x2apic and hypervisor are KVM's and mvm's
	   own */
	{ 0x1, 0, ECX, BIT(3) | BIT(21) | BIT(24) | BIT(27) | BIT(31),
		"pni pclmulqdq dtes64 monitor ds_cpl vmx smx est tm2 ssse3 cid sdbg fma cx16 xtpr "
		"pdcm - "
		"pcid dca sse4_1 sse4_2 x2apic movbe popcnt tsc_deadline_timer aes xsave osxsave "
		"avx f16c "
		"rdrand hypervisor" },
	/* apic follows the guest's APIC base, ht its number of CPUs */
	{ 0x1, 0, EDX, BIT(9) | BIT(28),
		"fpu vme de pse tsc msr pae mce cx8 apic - sep mtrr pge mca cmov pat pse36 pn "
		"clflush - "
		"dts acpi mmx fxsr sse sse2 ss ht tm ia64 pbe" },
	{ 0x6, 0, EAX, 0, "dtherm ida arat" },
	{ 0x7, 0, EBX, 0,
		"fsgsbase tsc_adjust sgx bmi1 hle avx2 fdp_excptn_only smep bmi2 erms invpcid rtm "
		"cqm "
		"zero_fcs_fds mpx rdt_a avx512f avx512dq rdseed adx smap avx512ifma - clflushopt "
		"clwb "
		"intel_pt avx512pf avx512er avx512cd sha_ni avx512bw avx512vl" },
	/* ospke follows CR4 */
	{ 0x7, 0, ECX, BIT(4),
		"prefetchwt1 avx512vbmi umip pku ospke waitpkg avx512_vbmi2 shstk gfni vaes "
		"vpclmulqdq "
		"avx512_vnni avx512_bitalg tme avx512_vpopcntdq - la57 - - - - - rdpid - "
		"bus_lock_detect "
		"cldemote - movdiri movdir64b enqcmd sgx_lc" },
	{ 0x7, 0, EDX, 0,
		"- - avx512_4vnniw avx512_4fmaps fsrm - - - avx512_vp2intersect - md_clear "
		"rtm_always_abort "
		"- - serialize - tsxldtrk - pconfig arch_lbr ibt - amx_bf16 avx512_fp16 amx_tile "
		"amx_int8 "
		"spec_ctrl intel_stibp flush_l1d arch_capabilities core_capabilities "
		"spec_ctrl_ssbd" },
	{ 0x7, 1, EAX, 0,
		"sha512 sm3 sm4 - avx_vnni avx512_bf16 - cmpccxadd - - fzrm fsrs fsrc - - - - - - "
		"- - "
		"amx_fp16 - avx_ifma - - lam" },
	{ 0x7, 1, EBX, 0, "" },
	{ 0x7, 1, ECX, 0, "" },
	{ 0x7, 1, EDX, 0,
		"- - - - avx_vnni_int8 avx_ne_convert - - amx_complex - avx_vnni_int16 - - - "
		"prefetchiti" },
	{ 0x7, 2, EDX, 0, "intel_psfd ipred_ctrl rrsba_ctrl ddpd_u bhi_ctrl mcdt_no" },
	{ 0xd, 0, EAX, 0, "" },
	{ 0xd, 0, EDX, 0, "" },
	{ 0xd, 1, EAX, 0, "xsaveopt xsavec xgetbv1 xsaves xfd" },
	{ 0xd, 1, ECX, 0, "" },
	{ 0xd, 1, EDX, 0, "" },
	{ 0x14, 0, EBX, 0, "" },
	{ 0x14, 0, ECX, 0, "" },
	{ 0x40000001, 0, EAX, 0,
		"kvmclock kvm_nop_io_delay kvm_mmu_op kvmclock2 kvm_asyncpf kvm_steal_time "
		"kvm_pv_eoi "
		"kvm_pv_unhalt - kvm_pv_tlb_flush kvm_asyncpf_vmexit kvm_pv_send_ipi "
		"kvm_poll_control "
		"kvm_pv_sched_yield kvm_asyncpf_int kvm_msi_ext_dest_id" },
	{ 0x80000001, 0, ECX, 0,
		"lahf_lm cmp_legacy svm extapic cr8_legacy abm sse4a misalignsse 3dnowprefetch "
		"osvw ibs xop "
		"skinit wdt - lwp fma4 tce - nodeid_msr - tbm topoext perfctr_core perfctr_nb - "
		"bpext ptsc "
		"perfctr_llc mwaitx" },
	/* repeats of leaf 1, where they are reported at all */
	{ 0x80000001, 0, EDX, 0x0183f3ff,
		"- - - - - - - - - - - syscall - - - - - - - mp nx - mmxext - - fxsr_opt pdpe1gb "
		"rdtscp - lm "
		"3dnowext 3dnow" },
	{ 0x80000007, 0, EDX, 0, "- - - - - - - hw_pstate constant_tsc cpb" },
	{ 0x80000008, 0, EBX, 0,
		"clzero irperf xsaveerptr - rdpru - - - - wbnoinvd - - ibpb - ibrs amd_stibp - "
		"stibp_always_on "
		"ibrs_same_mode - - - - - ssbd virt_ssbd ssb_no cppc amd_psfd btc_no "
		"amd_ibpb_ret" },
	{ 0x80000021, 0, EAX, 0,
		"no_nested_data_bp - lfence_rdtsc - - - null_sel_clr_base - autoibrs" },
};

/* As KVM has it: leaves that have no subleaves are found by any. */
static const struct kvm_cpuid_entry2 *find(
	const struct cpuid_table *c, uint32_t leaf, uint32_t subleaf)
{
	for (unsigned i = 0; i < c->head.nent; i++) {
		const struct kvm_cpuid_entry2 *e = &c->entry[i];

		if (e->function == leaf &&
			(!(e->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX) || e->index == subleaf))
			return e;
	}
	return NULL;
}

static uint32_t value_of(const struct kvm_cpuid_entry2 *e, enum reg reg)
{
	const uint32_t value[] = { e ? e->eax : 0, e ? e->ebx : 0, e ? e->ecx : 0, e ? e->edx : 0 };

	return value[reg];
}

/* --- what is missing, in words --- */

enum { NAMED_MAX = 8, NAMES_BYTES = 256 };

struct missing {
	unsigned n;
	size_t len;
	char text[NAMES_BYTES]; /* of the first NAMED_MAX */
};

static void name_bit(const struct features *f, unsigned bit, char *buf, size_t size)
{
	const char *at = f->names;
	size_t len;

	for (unsigned i = 0; i < bit && *at; i++) {
		at += strcspn(at, " ");
		at += *at == ' ';
	}
	len = strcspn(at, " ");
	if (len > 0 && *at != '-')
		(void)snprintf(buf, size, "%.*s", (int)len, at);
	else
		(void)snprintf(buf, size, "CPUID leaf 0x%x.%u %s bit %u", f->leaf, f->subleaf,
			reg_names[f->reg], bit);
}

static void note(struct missing *m, const struct features *f, unsigned bit)
{
	char name[64];
	int n;

	if (m->n++ >= NAMED_MAX)
		return;
	name_bit(f, bit, name, sizeof(name));
	n = snprintf(
		m->text + m->len, sizeof(m->text) - m->len, "%s%s", m->len > 0 ? ", " : "", name);
	/* What does not fit is cut, and so is the rest. */
	m->len = MIN(m->len + (size_t)n, sizeof(m->text) - 1);
}

static int check_vendor(
	const struct cpuid_table *host, const struct cpuid_table *guest, struct err *e)
{
	const struct kvm_cpuid_entry2 *h = find(host, 0, 0), *g = find(guest, 0, 0);
	char name[2][13] = { "", "" };

	if (!h || !g || (h->ebx == g->ebx && h->ecx == g->ecx && h->edx == g->edx))
		return 0;
	for (unsigned i = 0; i < 2; i++) {
		const struct kvm_cpuid_entry2 *c = i == 0 ? g : h;

		memcpy(name[i], &c->ebx, 4);
		memcpy(name[i] + 4, &c->edx, 4);
		memcpy(name[i] + 8, &c->ecx, 4);
		/* A guest's comes out of a file. */
		for (unsigned k = 0; k < 12; k++)
			name[i][k] = name[i][k] >= ' ' && name[i][k] <= '~' ? name[i][k] : '?';
	}
	return err_set(e, -EOPNOTSUPP, "the guest's CPU is of vendor '%s' and this host's of '%s'",
		name[0], name[1]);
}

/* Parts of the vector state are where the guest was told, or it would save them elsewhere. */
static int check_xsave(
	const struct cpuid_table *host, const struct cpuid_table *guest, struct err *e)
{
	const struct kvm_cpuid_entry2 *all = find(guest, 0xd, 0);
	uint64_t parts = all ? all->eax | (uint64_t)all->edx << 32 : 0;

	if (value_of(all, ECX) > value_of(find(host, 0xd, 0), ECX))
		return err_set(e, -EOPNOTSUPP,
			"the guest's vector state has up to %u bytes and this host's %u",
			value_of(all, ECX), value_of(find(host, 0xd, 0), ECX));
	for (unsigned i = 2; i < 63; i++) {
		const struct kvm_cpuid_entry2 *h = find(host, 0xd, i), *g = find(guest, 0xd, i);

		if ((parts >> i & 1) == 0 || !g)
			continue;
		if (value_of(h, EAX) != g->eax || value_of(h, EBX) != g->ebx)
			return err_set(e, -EOPNOTSUPP,
				"part %u of the vector state is %u bytes at %u for the guest and "
				"%u at %u on this host",
				i, g->eax, g->ebx, value_of(h, EAX), value_of(h, EBX));
	}
	return 0;
}

int cpuid_check_subset(
	const struct cpuid_table *host, const struct cpuid_table *guest, struct err *e)
{
	struct missing m = { 0 };
	int rc = check_vendor(host, guest, e);

	if (rc < 0)
		return rc;
	for (unsigned i = 0; i < ARRAY_SIZE(table); i++) {
		const struct features *f = &table[i];
		uint32_t has = value_of(find(host, f->leaf, f->subleaf), f->reg);
		uint32_t lacks =
			value_of(find(guest, f->leaf, f->subleaf), f->reg) & ~has & ~f->ignored;

		for (unsigned bit = 0; bit < 32; bit++) {
			if (lacks & BIT(bit))
				note(&m, f, bit);
		}
	}
	if (m.n > NAMED_MAX)
		return err_set(e, -EOPNOTSUPP,
			"this host's CPU or KVM lacks what the guest was told it has: %s and %u "
			"more",
			m.text, m.n - NAMED_MAX);
	if (m.n > 0)
		return err_set(e, -EOPNOTSUPP,
			"this host's CPU or KVM lacks what the guest was told it has: %s", m.text);
	return check_xsave(host, guest, e);
}
