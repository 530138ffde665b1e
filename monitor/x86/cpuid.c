/* The CPUID policy (cpuid.h). */
#include "x86/cpuid.h"

#include <errno.h>
#include <string.h>

#define BIT(n) (1U << (n))

enum {
	LEAF_MAX = 0x0,
	LEAF_FEATURES = 0x1,
	LEAF_CACHE = 0x4,
	LEAF_MWAIT = 0x5,
	LEAF_EXTENDED_FEATURES = 0x7,
	LEAF_PMU = 0xa,
	LEAF_TOPOLOGY = 0xb,
	LEAF_TSC = 0x15,
	LEAF_FREQUENCY = 0x16,
	LEAF_TOPOLOGY_V2 = 0x1f,
	LEAF_HYPERVISOR = 0x40000000,
	LEAF_HYPERVISOR_TIMING = 0x40000010,
};

/* Above INT_MAX, so not in the enum. */
#define LEAF_AMD_FEATURES 0x80000001U
#define LEAF_AMD_SIZES    0x80000008U
#define LEAF_AMD_SVM      0x8000000aU
#define LEAF_AMD_CACHE    0x8000001dU
#define LEAF_AMD_TOPOLOGY 0x8000001eU
#define LEAF_AMD_PMU      0x80000022U

/* The frequency of KVM's emulated LAPIC timer: one tick a nanosecond. */
enum { APIC_BUS_KHZ = 1000000 };

static struct kvm_cpuid_entry2 *find(struct cpuid_table *c, uint32_t leaf)
{
	for (unsigned i = 0; i < c->head.nent; i++) {
		if (c->entry[i].function == leaf)
			return &c->entry[i];
	}
	return NULL;
}

static void drop(struct cpuid_table *c, uint32_t leaf)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < c->head.nent; i++) {
		if (c->entry[i].function != leaf)
			c->entry[kept++] = c->entry[i];
	}
	c->head.nent = kept;
}

static int add(struct cpuid_table *c, const struct kvm_cpuid_entry2 *entry)
{
	if (c->head.nent == KVM_CPUID_MAX)
		return -EOVERFLOW;
	c->entry[c->head.nent++] = *entry;
	return 0;
}

/* Bits that hold a number from 0 to count - 1. */
static unsigned bits_for(unsigned count)
{
	return count <= 1 ? 0 : 32 - (unsigned)__builtin_clz(count - 1);
}

static bool is_intel(struct cpuid_table *c)
{
	const struct kvm_cpuid_entry2 *e = find(c, LEAF_MAX);

	return e && e->ebx == 0x756e6547 && e->edx == 0x49656e69 &&
	       e->ecx == 0x6c65746e; /* GenuineIntel */
}

static void features(struct cpuid_table *c, const struct cpuid_config *cfg)
{
	enum {
		ECX_DTES64 = 2, /* debug store: goes with the performance counters */
		ECX_DS_CPL = 4,
		EDX_DS = 21,
		ECX_VMX = 5,
		ECX_PDCM = 15,
		ECX_TSC_DEADLINE = 24,
		ECX_HYPERVISOR = 31,
		EDX_HTT = 28
	};
	struct kvm_cpuid_entry2 *e = find(c, LEAF_FEATURES);

	if (!e)
		return;
	e->ecx &= ~(BIT(ECX_VMX) | BIT(ECX_PDCM) | BIT(ECX_TSC_DEADLINE) | BIT(ECX_DTES64) |
		    BIT(ECX_DS_CPL));
	e->edx &= ~BIT(EDX_DS);
	e->ecx |= BIT(ECX_HYPERVISOR);
	if (cfg->tsc_deadline)
		e->ecx |= BIT(ECX_TSC_DEADLINE);
	/* Logical processors in the package; HTT says that the field means something. */
	e->ebx = (e->ebx & 0x0000ffff) | (1U << bits_for(cfg->cpus)) << 16;
	e->edx = cfg->cpus > 1 ? e->edx | BIT(EDX_HTT) : e->edx & ~BIT(EDX_HTT);
}

static unsigned threads_of(const struct cpuid_config *cfg)
{
	return cfg->smt && cfg->cpus > 1 ? 2 : 1;
}

/* APIC ids beside the first that share a cache, as caches' leaves say it: those of level 1 and 2
 * belong to a core, those above to the package. */
static unsigned sharing(const struct cpuid_config *cfg, uint32_t eax)
{
	unsigned level = eax >> 5 & 0x7;

	return (level >= 3 ? 1U << bits_for(cfg->cpus) : threads_of(cfg)) - 1;
}

static void intel_caches(struct cpuid_table *c, const struct cpuid_config *cfg)
{
	unsigned cores = (1U << bits_for(cfg->cpus / threads_of(cfg))) - 1;

	for (unsigned i = 0; i < c->head.nent; i++) {
		struct kvm_cpuid_entry2 *e = &c->entry[i];

		if (e->function != LEAF_CACHE || (e->eax & 0x1f) == 0)
			continue;
		e->eax = (e->eax & 0x3fff) | cores << 26 | sharing(cfg, e->eax) << 14;
	}
}

static int topology(struct cpuid_table *c, unsigned cpus, unsigned threads)
{
	enum { LEVEL_THREAD = 1, LEVEL_CORE = 2 };
	const struct kvm_cpuid_entry2 level[] = {
		{ .eax = bits_for(threads), .ebx = threads, .ecx = 0 | LEVEL_THREAD << 8 },
		{ .eax = bits_for(cpus), .ebx = cpus, .ecx = 1 | LEVEL_CORE << 8 },
		{ .ecx = 2 },
	};
	struct kvm_cpuid_entry2 *max;

	drop(c, LEAF_TOPOLOGY);
	drop(c, LEAF_TOPOLOGY_V2); /* the older leaf says all there is to say */
	max = find(c, LEAF_MAX);   /* not before: entries have moved */
	for (unsigned i = 0; i < ARRAY_SIZE(level); i++) {
		struct kvm_cpuid_entry2 e = level[i];

		e.function = LEAF_TOPOLOGY;
		e.index = i;
		e.flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
		if (add(c, &e) < 0)
			return -EOVERFLOW;
	}
	if (max)
		max->eax = MAX(max->eax, (uint32_t)LEAF_TOPOLOGY);
	return 0;
}

static void amd(struct cpuid_table *c, const struct cpuid_config *cfg)
{
	enum { ECX_SVM = 2, ECX_PERFCTR = 23, ECX_PERFCTR_NB = 24, ECX_PERFCTR_LLC = 28 };
	struct kvm_cpuid_entry2 *e = find(c, LEAF_AMD_FEATURES);

	if (e)
		e->ecx &= ~(BIT(ECX_SVM) | BIT(ECX_PERFCTR) | BIT(ECX_PERFCTR_NB) |
			    BIT(ECX_PERFCTR_LLC));
	drop(c, LEAF_AMD_SVM);
	drop(c, LEAF_AMD_PMU);
	e = find(c, LEAF_AMD_SIZES);
	if (e && !is_intel(c))
		e->ecx = (cfg->cpus - 1) | bits_for(cfg->cpus) << 12;
	for (unsigned i = 0; i < c->head.nent; i++) {
		e = &c->entry[i];
		if (e->function == LEAF_AMD_CACHE && (e->eax & 0x1f) != 0)
			e->eax = (e->eax & 0x3fff) | sharing(cfg, e->eax) << 14;
	}
}

static int hypervisor(struct cpuid_table *c, uint32_t tsc_khz)
{
	struct kvm_cpuid_entry2 timing = {
		.function = LEAF_HYPERVISOR_TIMING, .eax = tsc_khz, .ebx = APIC_BUS_KHZ
	};
	struct kvm_cpuid_entry2 *e = find(c, LEAF_HYPERVISOR);

	/* KVM supplies "KVMKVMKVM" and its features; the timing leaf is the one all hypervisors
	 * share. */
	if (!e || tsc_khz == 0)
		return 0;
	e->eax = LEAF_HYPERVISOR_TIMING;
	drop(c, LEAF_HYPERVISOR_TIMING);
	return add(c, &timing);
}

/*
 * TSC = crystal * numerator / denominator.  The crystal is what the LAPIC timer counts, as kernels
 * take it to be, so it is KVM's one GHz and the ratio makes up for the rest.  Kernels multiply the
 * crystal in kHz by the numerator in 32 bits, so the ratio is the last convergent of the continued
 * fraction of tsc_khz / 1 GHz whose numerator allows that: exact where it can be, off by one in
 * 4294 at worst.
 */
static void tsc_ratio(uint32_t tsc_khz, uint32_t *ret_numerator, uint32_t *ret_denominator)
{
	enum { NUMERATOR_MAX = UINT32_MAX / APIC_BUS_KHZ };
	uint64_t a = tsc_khz, b = APIC_BUS_KHZ, p = 1, p_before = 0, q = 0, q_before = 1;

	while (b != 0) {
		uint64_t whole = a / b, rest = a % b, p_next = whole * p + p_before,
			 q_next = whole * q + q_before;

		if (p_next > NUMERATOR_MAX)
			break;
		a = b;
		b = rest;
		p_before = p;
		q_before = q;
		p = p_next;
		q = q_next;
	}
	*ret_numerator = (uint32_t)p;
	*ret_denominator = (uint32_t)q;
}

static int intel_frequency(struct cpuid_table *c, uint32_t tsc_khz)
{
	enum { BUS_MHZ = 100 };
	struct kvm_cpuid_entry2 tsc = { .function = LEAF_TSC, .ecx = APIC_BUS_KHZ * 1000U };
	struct kvm_cpuid_entry2 frequency = { .function = LEAF_FREQUENCY,
		.eax = tsc_khz / 1000,
		.ebx = tsc_khz / 1000,
		.ecx = BUS_MHZ };
	struct kvm_cpuid_entry2 *max;

	if (tsc_khz == 0 || !is_intel(c))
		return 0;
	drop(c, LEAF_TSC);
	drop(c, LEAF_FREQUENCY);
	max = find(c, LEAF_MAX);
	max->eax = MAX(max->eax, (uint32_t)LEAF_FREQUENCY);
	tsc_ratio(tsc_khz, &tsc.ebx, &tsc.eax);
	return add(c, &tsc) < 0 ? -EOVERFLOW : add(c, &frequency);
}

static void forbidden(struct cpuid_table *c)
{
	enum { ECX_WAITPKG = 5, ECX_SHADOW_STACKS = 7 };
	struct kvm_cpuid_entry2 *e = find(c, LEAF_EXTENDED_FEATURES);

	/* A guest that waits in user mode holds its core without an exit. */
	if (e)
		e->ecx &= ~BIT(ECX_WAITPKG);
	/* The current shadow stack pointer is in no MSR: a program that is saved with it would die.
	 */
	if (e)
		e->ecx &= ~BIT(ECX_SHADOW_STACKS);
	drop(c, LEAF_MWAIT);
	drop(c, LEAF_PMU); /* no performance counters: they tell a guest about its neighbours */
}

int cpuid_apply_policy(struct cpuid_table *c, const struct cpuid_config *cfg)
{
	features(c, cfg);
	forbidden(c);
	intel_caches(c, cfg);
	amd(c, cfg);
	if (topology(c, cfg->cpus, threads_of(cfg)) < 0 || hypervisor(c, cfg->tsc_khz) < 0 ||
		intel_frequency(c, cfg->tsc_khz) < 0)
		return -EOVERFLOW;
	return 0;
}

void cpuid_set_apic_id(struct cpuid_table *c, uint32_t apic_id)
{
	const struct kvm_cpuid_entry2 *threads_level = find(c, LEAF_TOPOLOGY);
	unsigned threads = threads_level && threads_level->ebx == 2 ? 2 : 1;

	for (unsigned i = 0; i < c->head.nent; i++) {
		struct kvm_cpuid_entry2 *e = &c->entry[i];

		if (e->function == LEAF_FEATURES) {
			e->ebx = (e->ebx & 0x00ffffff) | apic_id << 24;
		} else if (e->function == LEAF_TOPOLOGY) {
			e->edx = apic_id;
		} else if (e->function == LEAF_AMD_TOPOLOGY) {
			e->eax = apic_id;
			e->ebx = apic_id / threads | (threads - 1) << 8; /* the core, its threads */
			e->ecx = 0;                                      /* one node */
		}
	}
}
