/* The MultiProcessor tables, read as a kernel reads them. */
#include "t.h"

#include "x86/layout.h"
#include "x86/mptable.h"

TestSuite(mptable, .timeout = T_SECONDS);

static const unsigned cpu_counts[] = { 1, 2, 3, 8, 32 };

enum { PROCESSOR, BUS, IOAPIC, IO_INTERRUPT, LOCAL_INTERRUPT, TYPES, HEADER = 44 };

struct found {
	unsigned n[TYPES];
	const uint8_t *last[TYPES];
	unsigned boot_cpus;
	uint32_t lapic_ids, pins;
	const uint8_t *table;
};

static uint8_t sum(const uint8_t *p, size_t len)
{
	uint8_t total = 0;

	while (len-- > 0)
		total = (uint8_t)(total + *p++);
	return total;
}

static unsigned u16_at(const uint8_t *p)
{
	return (unsigned)p[0] | (unsigned)p[1] << 8;
}

static uint32_t u32_at(const uint8_t *p)
{
	return u16_at(p) | u16_at(p + 2) << 16;
}

static void setup(struct guest_mem *m, unsigned cpus)
{
	t_mem_init(m, 16ULL << 20);
	mptable_write(m, cpus);
}

/* Walks over all entries; the length and the count must come out even. */
static struct found walk(const struct guest_mem *m)
{
	static const unsigned sizes[TYPES] = { 20, 8, 8, 8, 8 };
	const uint8_t *pointer = mem_ptr(m, LAYOUT_MPTABLE, 16), *at;
	struct found f = { .table = mem_ptr(m, u32_at(pointer + 4), HEADER) };

	t_true(f.table);
	at = f.table + HEADER;
	for (unsigned i = 0; i < u16_at(f.table + 34); i++) {
		cr_assert(lt(u8, at[0], TYPES), "entry %u", i);
		f.n[at[0]]++;
		f.last[at[0]] = at;
		if (at[0] == PROCESSOR) {
			f.lapic_ids |= 1U << at[1];
			f.boot_cpus += (at[3] & 2) != 0;
			cr_expect(eq(u8, at[3] & 1, 1), "CPU %u is enabled", at[1]);
		} else if (at[0] == IO_INTERRUPT) {
			cr_expect(eq(u8, at[5], at[7]), "ISA interrupt and pin are the same");
			f.pins |= 1U << at[7];
		}
		at += sizes[at[0]];
	}
	t_uint(at - f.table, u16_at(f.table + 4));
	return f;
}

Test(mptable, the_floating_pointer_is_where_kernels_search_and_sums_up)
{
	struct guest_mem m;
	const uint8_t *p;

	setup(&m, 1);
	t_true(LAYOUT_MPTABLE % 16 == 0 && LAYOUT_MPTABLE >= 0xf0000);
	p = mem_ptr(&m, LAYOUT_MPTABLE, 16);
	t_int(memcmp(p, "_MP_", 4), 0);
	t_uint(p[8], 1); /* length in paragraphs */
	t_uint(p[9], 4); /* specification 1.4 */
	t_uint(sum(p, 16), 0);
	guest_mem_fini(&m);
}

Test(mptable, the_table_sums_up_for_any_number_of_cpus)
{
	for (unsigned i = 0; i < ARRAY_SIZE(cpu_counts); i++) {
		struct guest_mem m;
		struct found f;

		setup(&m, cpu_counts[i]);
		f = walk(&m);
		cr_expect(eq(int, memcmp(f.table, "PCMP", 4), 0));
		cr_expect(eq(u8, sum(f.table, u16_at(f.table + 4)), 0), "%u CPUs", cpu_counts[i]);
		cr_expect(eq(u32, u32_at(f.table + 36), (uint32_t)LAYOUT_LAPIC));
		guest_mem_fini(&m);
	}
}

Test(mptable, every_cpu_has_an_entry_and_the_first_one_boots)
{
	for (unsigned i = 0; i < ARRAY_SIZE(cpu_counts); i++) {
		struct guest_mem m;
		struct found f;

		setup(&m, cpu_counts[i]);
		f = walk(&m);
		cr_expect(eq(uint, f.n[PROCESSOR], cpu_counts[i]));
		cr_expect(eq(u32, f.lapic_ids, UINT32_MAX >> (32 - cpu_counts[i])));
		cr_expect(eq(uint, f.boot_cpus, 1));
		guest_mem_fini(&m);
	}
}

Test(mptable, there_is_one_isa_bus_and_one_io_apic_whose_id_is_no_cpus)
{
	for (unsigned i = 0; i < ARRAY_SIZE(cpu_counts); i++) {
		struct guest_mem m;
		struct found f;

		setup(&m, cpu_counts[i]);
		f = walk(&m);
		cr_expect(eq(uint, f.n[BUS], 1));
		cr_expect(eq(int, memcmp(f.last[BUS] + 2, "ISA   ", 6), 0));
		cr_expect(eq(uint, f.n[IOAPIC], 1));
		cr_expect(ge(uint, (unsigned)f.last[IOAPIC][1], cpu_counts[i]));
		cr_expect(eq(u32, u32_at(f.last[IOAPIC] + 4), (uint32_t)LAYOUT_IOAPIC));
		cr_expect(eq(u8, f.last[IO_INTERRUPT][6], f.last[IOAPIC][1]));
		guest_mem_fini(&m);
	}
}

Test(mptable, every_pin_has_an_interrupt_and_the_local_ones_are_virtual_wire)
{
	struct guest_mem m;
	struct found f;

	setup(&m, 2);
	f = walk(&m);
	t_uint(f.n[IO_INTERRUPT], LAYOUT_GSI_COUNT);
	t_hex(f.pins, 0xffffff);
	t_uint(f.n[LOCAL_INTERRUPT], 2);
	t_uint(f.last[LOCAL_INTERRUPT][1], 1); /* NMI */
	t_uint(f.last[LOCAL_INTERRUPT][6], 0xff);
	t_uint(f.last[LOCAL_INTERRUPT][7], 1); /* on LINT1 of all */
	guest_mem_fini(&m);
}

Test(mptable, the_largest_table_stays_below_1_mib)
{
	struct guest_mem m;
	struct found f;

	setup(&m, 32);
	f = walk(&m);
	t_true(LAYOUT_MPTABLE + 16 + u16_at(f.table + 4) <= LAYOUT_BIOS_END);
	guest_mem_fini(&m);
}
