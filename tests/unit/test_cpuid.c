/* The CPUID policy, on tables as KVM gives them. */
#include "t.h"

#include "x86/cpuid.h"

TestSuite(cpuid, .timeout = T_SECONDS);

static const unsigned cpu_counts[] = { 1, 2, 3, 8, 32 };

enum {
	VMX = 1 << 5,
	PDCM = 1 << 15,
	TSC_DEADLINE = 1 << 24,
	HTT = 1 << 28,
	WAITPKG = 1 << 5,
	SHADOW_STACKS = 1 << 7
};
#define HYPERVISOR   (1U << 31)
#define AMD_SVM      (1U << 2)
#define AMD_PERFCTRS (1U << 23 | 1U << 24 | 1U << 28)

static void add(struct cpuid_table *c, struct kvm_cpuid_entry2 e)
{
	c->entry[c->head.nent++] = e;
}

static struct kvm_cpuid_entry2 *find(struct cpuid_table *c, uint32_t leaf, uint32_t index)
{
	for (unsigned i = 0; i < c->head.nent; i++) {
		if (c->entry[i].function == leaf && c->entry[i].index == index)
			return &c->entry[i];
	}
	return NULL;
}

static struct kvm_cpuid_entry2 *get(struct cpuid_table *c, uint32_t leaf, uint32_t index)
{
	struct kvm_cpuid_entry2 *e = find(c, leaf, index);

	cr_assert(ne(ptr, e, NULL), "leaf 0x%x, index %u", leaf, index);
	return e;
}

static unsigned count(const struct cpuid_table *c, uint32_t leaf)
{
	unsigned n = 0;

	for (unsigned i = 0; i < c->head.nent; i++)
		n += c->entry[i].function == leaf;
	return n;
}

static void add_kvm_leaves(struct cpuid_table *c)
{
	add(c, (struct kvm_cpuid_entry2){ .function = 0x40000000,
		       .eax = 0x40000001,
		       .ebx = 0x4b4d564b,
		       .ecx = 0x564b4d56,
		       .edx = 0x4d });
	add(c, (struct kvm_cpuid_entry2){ .function = 0x40000001, .eax = 0x01007efb });
}

/* A host of 16 threads with everything that the policy takes away. */
static void intel_host(struct cpuid_table *c)
{
	memset(c, 0, sizeof(*c));
	add(c, (struct kvm_cpuid_entry2){ .function = 0,
		       .eax = 0x0d,
		       .ebx = 0x756e6547,
		       .ecx = 0x6c65746e,
		       .edx = 0x49656e69 });
	add(c, (struct kvm_cpuid_entry2){ .function = 1,
		       .ebx = 0x07100800,
		       .ecx = UINT32_MAX & ~HYPERVISOR,
		       .edx = UINT32_MAX });
	/* L1 data, L1 instruction, L2: shared by two threads; L3: by sixteen; then the end. */
	for (unsigned i = 0; i < 5; i++) {
		static const uint32_t eax[] = { 0x1c004121, 0x1c004122, 0x1c004143, 0x1c03c163, 0 };

		add(c, (struct kvm_cpuid_entry2){ .function = 4,
			       .index = i,
			       .flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
			       .eax = eax[i],
			       .ebx = 0x01c0003f,
			       .ecx = 63 });
	}
	add(c, (struct kvm_cpuid_entry2){ .function = 5, .eax = 64, .ebx = 64 });
	add(c, (struct kvm_cpuid_entry2){ .function = 7,
		       .flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
		       .ebx = 0x219c07ab,
		       .ecx = UINT32_MAX });
	add(c, (struct kvm_cpuid_entry2){ .function = 0xa, .eax = 0x07300404 });
	for (unsigned i = 0; i < 2; i++)
		add(c, (struct kvm_cpuid_entry2){ .function = 0xb,
			       .index = i,
			       .flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
			       .eax = i ? 4 : 1,
			       .ebx = i ? 16 : 2,
			       .ecx = (i + 1) << 8 | i,
			       .edx = 7 });
	add(c, (struct kvm_cpuid_entry2){ .function = 0x1f, .eax = 1, .ebx = 2, .ecx = 0x100 });
	add_kvm_leaves(c);
	add(c, (struct kvm_cpuid_entry2){ .function = 0x80000000, .eax = 0x80000008 });
	add(c, (struct kvm_cpuid_entry2){
		       .function = 0x80000001, .ecx = 0x121, .edx = 0x2c100800 });
	add(c, (struct kvm_cpuid_entry2){ .function = 0x80000008, .eax = 0x3027, .ecx = 0x77 });
}

static void amd_host(struct cpuid_table *c)
{
	memset(c, 0, sizeof(*c));
	add(c, (struct kvm_cpuid_entry2){ .function = 0,
		       .eax = 0x10,
		       .ebx = 0x68747541,
		       .ecx = 0x444d4163,
		       .edx = 0x69746e65 });
	add(c, (struct kvm_cpuid_entry2){
		       .function = 1, .ebx = 0x03100800, .ecx = 0x7ed8320b, .edx = 0x178bfbff });
	add(c, (struct kvm_cpuid_entry2){ .function = 7,
		       .flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
		       .ebx = 0x219c91a9 });
	add_kvm_leaves(c);
	add(c, (struct kvm_cpuid_entry2){ .function = 0x80000000, .eax = 0x80000022 });
	add(c, (struct kvm_cpuid_entry2){ .function = 0x80000001, .ecx = UINT32_MAX, .edx = 1 });
	add(c, (struct kvm_cpuid_entry2){
		       .function = 0x80000008, .eax = 0x3030, .ebx = 0x1, .ecx = 0x700f });
	add(c, (struct kvm_cpuid_entry2){ .function = 0x8000000a, .eax = 1, .ebx = 8 });
	for (unsigned i = 0; i < 5; i++) {
		static const uint32_t eax[] = { 0x4121, 0x4122, 0x4143, 0x3c163, 0 };

		add(c, (struct kvm_cpuid_entry2){ .function = 0x8000001d,
			       .index = i,
			       .flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
			       .eax = eax[i] });
	}
	add(c, (struct kvm_cpuid_entry2){
		       .function = 0x8000001e, .eax = 3, .ebx = 0x101, .ecx = 0x300 });
	add(c, (struct kvm_cpuid_entry2){ .function = 0x80000022, .eax = 1 });
}

static void apply(struct cpuid_table *c, unsigned cpus, uint32_t tsc_khz, bool tsc_deadline)
{
	struct cpuid_config cfg = {
		.cpus = cpus, .tsc_khz = tsc_khz, .tsc_deadline = tsc_deadline
	};

	t_int(cpuid_apply_policy(c, &cfg), 0);
}

static void (*const hosts[])(struct cpuid_table *) = { intel_host, amd_host };

/* --- what a guest must not have --- */

Test(cpuid, a_guest_has_no_virtualisation_of_its_own_and_no_performance_counters)
{
	struct cpuid_table c;
	struct kvm_cpuid_entry2 *e;

	intel_host(&c);
	apply(&c, 1, 2500000, true);
	e = get(&c, 1, 0);
	t_hex(e->ecx & (VMX | PDCM), 0);
	t_uint(count(&c, 0xa), 0);
	amd_host(&c);
	apply(&c, 1, 2500000, true);
	e = get(&c, 0x80000001, 0);
	t_hex(e->ecx & (AMD_SVM | AMD_PERFCTRS), 0);
	t_uint(count(&c, 0x8000000a), 0);
	t_uint(count(&c, 0x80000022), 0);
}

Test(cpuid, a_guest_cannot_wait_in_user_mode)
{
	struct cpuid_table c;

	intel_host(&c);
	apply(&c, 1, 2500000, true);
	t_hex(get(&c, 7, 0)->ecx, UINT32_MAX & ~(uint32_t)(WAITPKG | SHADOW_STACKS));
	t_uint(count(&c, 5), 0);
}

Test(cpuid, other_features_pass_through)
{
	struct cpuid_table c;

	intel_host(&c);
	apply(&c, 2, 2500000, true);
	t_hex(get(&c, 1, 0)->ecx,
		UINT32_MAX & ~(uint32_t)(VMX | PDCM | 1U << 2 | 1U << 4)); /* and the debug store */
	t_hex(get(&c, 1, 0)->edx, UINT32_MAX & ~(1U << 21));
	t_hex(get(&c, 7, 0)->ebx, 0x219c07ab);
	amd_host(&c);
	apply(&c, 2, 2500000, true);
	t_hex(get(&c, 0x80000001, 0)->ecx, UINT32_MAX & ~(AMD_SVM | AMD_PERFCTRS));
}

Test(cpuid, a_guest_knows_that_it_has_a_hypervisor)
{
	for (unsigned i = 0; i < ARRAY_SIZE(hosts); i++) {
		struct cpuid_table c;

		hosts[i](&c);
		apply(&c, 1, 2500000, false);
		cr_expect(eq(u32, get(&c, 1, 0)->ecx & HYPERVISOR, HYPERVISOR));
		cr_expect(eq(u32, get(&c, 0x40000000, 0)->ebx, 0x4b4d564b));
		cr_expect(eq(u32, get(&c, 0x40000001, 0)->eax, 0x01007efb));
	}
}

Test(cpuid, the_deadline_timer_is_there_exactly_when_kvm_has_it)
{
	for (unsigned i = 0; i < ARRAY_SIZE(hosts); i++) {
		struct cpuid_table c;

		hosts[i](&c);
		apply(&c, 1, 2500000, true);
		cr_expect(eq(u32, get(&c, 1, 0)->ecx & TSC_DEADLINE, TSC_DEADLINE));
		hosts[i](&c);
		apply(&c, 1, 2500000, false);
		cr_expect(eq(u32, get(&c, 1, 0)->ecx & TSC_DEADLINE, 0));
	}
}

/* --- topology --- */

/* Bits to hold the numbers below n, counted the slow way. */
static unsigned bits(unsigned n)
{
	unsigned b = 0;

	while (1U << b < n)
		b++;
	return b;
}

Test(cpuid, the_package_counts_its_processors)
{
	for (unsigned h = 0; h < ARRAY_SIZE(hosts); h++) {
		for (unsigned i = 0; i < ARRAY_SIZE(cpu_counts); i++) {
			struct cpuid_table c;
			struct kvm_cpuid_entry2 *e;

			hosts[h](&c);
			apply(&c, cpu_counts[i], 2500000, true);
			e = get(&c, 1, 0);
			cr_expect(eq(u32, e->ebx >> 16 & 0xff, 1U << bits(cpu_counts[i])),
				"%u CPUs", cpu_counts[i]);
			cr_expect(eq(u32, e->edx & HTT, cpu_counts[i] > 1 ? HTT : 0), "%u CPUs",
				cpu_counts[i]);
			cr_expect(eq(u32, e->ebx & 0xffff, 0x0800), "CLFLUSH and brand stay");
		}
	}
}

Test(cpuid, the_topology_leaf_has_one_thread_a_core_and_all_cores_in_the_package)
{
	for (unsigned h = 0; h < ARRAY_SIZE(hosts); h++) {
		for (unsigned i = 0; i < ARRAY_SIZE(cpu_counts); i++) {
			struct cpuid_table c;
			struct kvm_cpuid_entry2 *thread, *core, *end;

			hosts[h](&c);
			apply(&c, cpu_counts[i], 2500000, true);
			cr_expect(eq(uint, count(&c, 0xb), 3));
			thread = get(&c, 0xb, 0);
			core = get(&c, 0xb, 1);
			end = get(&c, 0xb, 2);
			cr_expect(eq(u32, thread->eax, 0));
			cr_expect(eq(u32, thread->ebx, 1));
			cr_expect(eq(u32, thread->ecx, 0x100));
			cr_expect(eq(u32, core->eax, bits(cpu_counts[i])));
			cr_expect(eq(u32, core->ebx, cpu_counts[i]));
			cr_expect(eq(u32, core->ecx, 0x201));
			cr_expect(eq(u32, end->ecx, 2));
			cr_expect(eq(u32, end->ebx, 0));
			cr_expect(eq(u32, core->flags, KVM_CPUID_FLAG_SIGNIFCANT_INDEX));
		}
	}
}

Test(cpuid, the_hosts_own_topology_is_gone)
{
	struct cpuid_table c;

	intel_host(&c);
	apply(&c, 4, 2500000, true);
	t_uint(count(&c, 0x1f), 0);
	for (unsigned i = 0; i < 3; i++)
		cr_expect(eq(u32, get(&c, 0xb, i)->edx, 0));
}

Test(cpuid, the_largest_leaf_reaches_the_topology_leaf)
{
	struct cpuid_table c;

	intel_host(&c);
	get(&c, 0, 0)->eax = 4;
	apply(&c, 4, 0, true);
	t_hex(get(&c, 0, 0)->eax, 0xb);
	intel_host(&c);
	apply(&c, 4, 0, true);
	t_hex(get(&c, 0, 0)->eax, 0xd);
}

Test(cpuid, the_largest_leaf_is_found_wherever_it_stands)
{
	struct cpuid_table c;
	struct kvm_cpuid_entry2 first;

	intel_host(&c);
	first = c.entry[0];
	first.eax = 4;
	memmove(c.entry, c.entry + 1, (c.head.nent - 1) * sizeof(first));
	c.entry[c.head.nent - 1] = first;
	apply(&c, 4, 0, true);
	t_hex(get(&c, 0, 0)->eax, 0xb);
}

Test(cpuid, private_caches_belong_to_a_core_and_the_last_level_to_the_package)
{
	static const uint32_t kinds[] = { 1, 2, 3, 3 };

	for (unsigned i = 0; i < ARRAY_SIZE(cpu_counts); i++) {
		unsigned all = (1U << bits(cpu_counts[i])) - 1;
		struct cpuid_table c;

		intel_host(&c);
		apply(&c, cpu_counts[i], 2500000, true);
		for (unsigned k = 0; k < 4; k++) {
			const struct kvm_cpuid_entry2 *e = get(&c, 4, k);

			cr_expect(eq(u32, e->eax >> 14 & 0xfff, k == 3 ? all : 0), "cache %u", k);
			cr_expect(eq(u32, e->eax >> 26, all), "cores, cache %u", k);
			cr_expect(eq(u32, e->eax & 0x1f, kinds[k]));
			cr_expect(eq(u32, e->ebx, 0x01c0003f), "the geometry stays");
		}
		cr_expect(eq(u32, get(&c, 4, 4)->eax, 0), "the end stays the end");

		amd_host(&c);
		apply(&c, cpu_counts[i], 2500000, true);
		for (unsigned k = 0; k < 4; k++)
			cr_expect(eq(u32, get(&c, 0x8000001d, k)->eax >> 14, k == 3 ? all : 0),
				"cache %u", k);
		cr_expect(eq(u32, get(&c, 0x8000001d, 4)->eax, 0));
	}
}

Test(cpuid, amd_counts_its_cores_and_intel_leaves_that_leaf_alone)
{
	for (unsigned i = 0; i < ARRAY_SIZE(cpu_counts); i++) {
		struct cpuid_table c;

		amd_host(&c);
		apply(&c, cpu_counts[i], 2500000, true);
		cr_expect(eq(u32, get(&c, 0x80000008, 0)->ecx,
			(cpu_counts[i] - 1) | bits(cpu_counts[i]) << 12));
		cr_expect(eq(u32, get(&c, 0x80000008, 0)->eax, 0x3030));
		intel_host(&c);
		apply(&c, cpu_counts[i], 2500000, true);
		cr_expect(eq(u32, get(&c, 0x80000008, 0)->ecx, 0x77));
	}
}

/* --- time --- */

Test(cpuid, the_timing_leaf_tells_tsc_and_timer_frequency)
{
	for (unsigned i = 0; i < ARRAY_SIZE(hosts); i++) {
		struct cpuid_table c;

		hosts[i](&c);
		apply(&c, 1, 2893437, true);
		cr_expect(eq(u32, get(&c, 0x40000000, 0)->eax, 0x40000010));
		cr_expect(eq(u32, get(&c, 0x40000010, 0)->eax, 2893437));
		cr_expect(eq(u32, get(&c, 0x40000010, 0)->ebx, 1000000));
		cr_expect(eq(uint, count(&c, 0x40000010), 1));
	}
}

Test(cpuid, an_unknown_frequency_is_not_told)
{
	for (unsigned i = 0; i < ARRAY_SIZE(hosts); i++) {
		struct cpuid_table c;

		hosts[i](&c);
		apply(&c, 1, 0, true);
		cr_expect(eq(u32, get(&c, 0x40000000, 0)->eax, 0x40000001));
		cr_expect(eq(uint, count(&c, 0x40000010) + count(&c, 0x15) + count(&c, 0x16), 0));
	}
}

/* As Linux computes it (native_calibrate_tsc): kHz, in 32 bits. */
static uint32_t linux_tsc_khz(const struct kvm_cpuid_entry2 *e)
{
	return e->ecx / 1000 * e->ebx / e->eax;
}

Test(cpuid, intels_tsc_leaf_survives_a_kernels_32_bit_arithmetic)
{
	static const uint32_t khz[] = { 800000, 999999, 1000000, 1999975, 2100000, 2250000, 2500000,
		2893437, 3300000, 3699999, 4294000, 4294967, 4400001, 5123457 };
	struct cpuid_table c;

	for (unsigned i = 0; i < ARRAY_SIZE(khz); i++) {
		const struct kvm_cpuid_entry2 *e;

		intel_host(&c);
		apply(&c, 1, khz[i], true);
		e = get(&c, 0x15, 0);
		cr_expect(eq(u64, e->ecx, 1000000000));
		/* One kHz for the kernel's rounding, one in 4294 for ours. */
		cr_expect(le(u32, khz[i] - 1 - khz[i] / 4294, linux_tsc_khz(e)), "%u", khz[i]);
		cr_expect(ge(u32, khz[i] + khz[i] / 4294, linux_tsc_khz(e)), "%u", khz[i]);
	}
}

Test(cpuid, intels_frequency_leaf_is_in_mhz)
{
	struct cpuid_table c;
	const struct kvm_cpuid_entry2 *e;

	intel_host(&c);
	apply(&c, 1, 2893437, true);
	e = get(&c, 0x16, 0);
	t_uint(e->eax, 2893);
	t_hex(get(&c, 0, 0)->eax, 0x16);
}

Test(cpuid, amd_has_no_intel_frequency_leaves)
{
	struct cpuid_table c;

	amd_host(&c);
	apply(&c, 1, 2893437, true);
	t_uint(count(&c, 0x15) + count(&c, 0x16), 0);
	t_hex(get(&c, 0, 0)->eax, 0x10);
}

Test(cpuid, leaves_that_the_host_has_already_are_replaced)
{
	struct cpuid_table c;

	intel_host(&c);
	add(&c, (struct kvm_cpuid_entry2){ .function = 0x15, .eax = 2, .ebx = 7 });
	add(&c, (struct kvm_cpuid_entry2){ .function = 0x16, .eax = 9 });
	add(&c, (struct kvm_cpuid_entry2){ .function = 0x40000010, .eax = 9 });
	apply(&c, 1, 2000000, true);
	t_uint(count(&c, 0x15), 1);
	t_uint(count(&c, 0x16), 1);
	t_uint(count(&c, 0x40000010), 1);
	t_uint(get(&c, 0x16, 0)->eax, 2000);
}

/* --- the table --- */

Test(cpuid, a_full_table_is_eoverflow_and_one_with_just_enough_room_is_taken)
{
	/* Intel: 3 topology leaves for 2 and 0x1f, 0x5, 0xa fall away; 3 leaves of time come. */
	for (unsigned free = 0; free < 8; free++) {
		struct cpuid_config cfg = { .cpus = 2, .tsc_khz = 2500000 };
		struct cpuid_table c;
		int rc;

		intel_host(&c);
		while (c.head.nent < KVM_CPUID_MAX - free)
			add(&c, (struct kvm_cpuid_entry2){ .function = 0x80860000 + c.head.nent });
		rc = cpuid_apply_policy(&c, &cfg);
		cr_expect(eq(int, rc, free >= 1 ? 0 : -EOVERFLOW), "%u entries free", free);
		cr_expect(le(u32, c.head.nent, KVM_CPUID_MAX));
	}
}

Test(cpuid, an_empty_table_gets_a_topology_and_nothing_that_the_cpu_lacks)
{
	struct cpuid_table c = { 0 };

	apply(&c, 2, 2500000, true);
	t_uint(c.head.nent, 3);
	t_uint(count(&c, 0xb), 3);
}

Test(cpuid, the_apic_id_is_set_wherever_it_is_shown)
{
	static const uint32_t ids[] = { 0, 1, 31, 200 };

	for (unsigned i = 0; i < ARRAY_SIZE(ids); i++) {
		struct cpuid_table c;

		amd_host(&c);
		apply(&c, 32, 2500000, true);
		cpuid_set_apic_id(&c, ids[i]);
		cr_expect(eq(u32, get(&c, 1, 0)->ebx >> 24, ids[i]));
		cr_expect(eq(u32, get(&c, 1, 0)->ebx >> 16 & 0xff, 32));
		for (unsigned k = 0; k < 3; k++)
			cr_expect(eq(u32, get(&c, 0xb, k)->edx, ids[i]));
		cr_expect(eq(u32, get(&c, 0x8000001e, 0)->eax, ids[i]));
		cr_expect(eq(u32, get(&c, 0x8000001e, 0)->ebx, ids[i]));
		cr_expect(eq(u32, get(&c, 0x8000001e, 0)->ecx, 0));
	}
}

static void apply_smt(struct cpuid_table *c, unsigned cpus)
{
	struct cpuid_config cfg = { .cpus = cpus, .smt = true, .tsc_khz = 2500000 };

	t_int(cpuid_apply_policy(c, &cfg), 0);
}

Test(cpuid, with_smt_two_threads_share_a_core_and_its_caches)
{
	static const struct {
		unsigned cpus, threads, core_bits, all_bits;
	} rows[] = { { 1, 1, 0, 0 }, { 2, 2, 0, 1 }, { 4, 2, 1, 2 }, { 6, 2, 2, 3 },
		{ 32, 2, 4, 5 } };

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		unsigned all = (1U << rows[i].all_bits) - 1, private = rows[i].threads - 1;
		struct cpuid_table c;

		intel_host(&c);
		apply_smt(&c, rows[i].cpus);
		t_uint(get(&c, 0xb, 0)->eax, rows[i].threads - 1); /* bits of the thread's number */
		t_uint(get(&c, 0xb, 0)->ebx, rows[i].threads);
		t_uint(get(&c, 0xb, 1)->eax, rows[i].all_bits);
		t_uint(get(&c, 0xb, 1)->ebx, rows[i].cpus);
		for (unsigned k = 0; find(&c, 4, k) && (find(&c, 4, k)->eax & 0x1f); k++) {
			uint32_t eax = get(&c, 4, k)->eax;

			t_uint(eax >> 26, (1U << rows[i].core_bits) - 1);
			t_uint(eax >> 14 & 0xfff, (eax >> 5 & 7) >= 3 ? all : private);
		}
		amd_host(&c);
		apply_smt(&c, rows[i].cpus);
		t_uint(get(&c, 0x80000008, 0)->ecx & 0xff, rows[i].cpus - 1);
		for (unsigned k = 0; k < 4; k++) {
			uint32_t eax = get(&c, 0x8000001d, k)->eax;

			t_uint(eax >> 14 & 0xfff, (eax >> 5 & 7) >= 3 ? all : private);
		}
	}
}

Test(cpuid, with_smt_the_apic_id_tells_core_and_thread)
{
	struct cpuid_table c;

	amd_host(&c);
	apply_smt(&c, 8);
	for (unsigned id = 0; id < 8; id++) {
		cpuid_set_apic_id(&c, id);
		t_uint(get(&c, 1, 0)->ebx >> 24, id);
		t_uint(get(&c, 0xb, 0)->edx, id);
		t_uint(get(&c, 0xb, 1)->edx, id);
		t_uint(get(&c, 0x8000001e, 0)->eax, id);
		t_hex(get(&c, 0x8000001e, 0)->ebx, 0x100 | id / 2);
	}
}
