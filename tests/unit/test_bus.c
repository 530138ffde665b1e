/* Dispatch of register accesses to devices. */
#include "t.h"

#include "core/bus.h"

TestSuite(bus, .timeout = T_SECONDS);

/* A device that remembers the last access. */
struct probe {
	unsigned reads, writes;
	uint64_t off;
	uint32_t len;
	uint8_t data[8];
};

static void probe_read(void *dev, uint64_t off, uint8_t *buf, uint32_t len)
{
	struct probe *p = dev;

	p->reads++;
	p->off = off;
	p->len = len;
	memcpy(p->data, buf, len);
	memset(buf, 0x5a, len);
}

static void probe_write(void *dev, uint64_t off, const uint8_t *buf, uint32_t len)
{
	struct probe *p = dev;

	p->writes++;
	p->off = off;
	p->len = len;
	memcpy(p->data, buf, len);
}

static const struct bus_ops probe_ops = { .read = probe_read, .write = probe_write };

Test(bus, an_access_reaches_the_device_with_its_offset)
{
	struct bus b = { 0 };
	struct probe p = { 0 };
	uint8_t buf[4] = { 1, 2, 3, 4 };

	t_int(bus_add(&b, 0x3f8, 8, &probe_ops, &p), 0);
	t_true(bus_write(&b, 0x3fa, buf, 4));
	t_uint(p.off, 2);
	t_uint(p.len, 4);
	t_uint(p.data[3], 4);
	t_true(bus_read(&b, 0x3ff, buf, 1));
	t_uint(p.off, 7);
	t_uint(buf[0], 0x5a);
	t_uint(buf[1], 2);
}

Test(bus, a_device_that_reads_nothing_finds_ones_in_the_buffer)
{
	struct bus b = { 0 };
	struct probe p = { 0 };
	uint8_t buf[2] = { 0 };

	t_int(bus_add(&b, 0, 8, &probe_ops, &p), 0);
	t_true(bus_read(&b, 0, buf, 2));
	t_uint(p.data[0], 0xff);
	t_uint(p.data[1], 0xff);
}

Test(bus, an_unclaimed_read_floats_and_an_unclaimed_write_is_lost)
{
	struct bus b = { 0 };
	struct probe p = { 0 };
	uint8_t buf[8] = { 0 };

	t_int(bus_add(&b, 0x100, 8, &probe_ops, &p), 0);
	t_false(bus_read(&b, 0x108, buf, 4));
	t_uint(buf[0], 0xff);
	t_uint(buf[3], 0xff);
	t_uint(buf[4], 0);
	t_false(bus_write(&b, 0xff, buf, 1));
	t_uint(p.reads + p.writes, 0);
}

Test(bus, an_access_that_reaches_beyond_its_range_is_unclaimed)
{
	static const struct {
		const char *name;
		uint64_t addr;
		uint32_t len;
		bool claimed;
	} rows[] = {
		{ "last byte", 0x107, 1, true },
		{ "last eight", 0x100, 8, true },
		{ "one over", 0x101, 8, false },
		{ "over by three", 0x107, 4, false },
		{ "begins before", 0xfe, 4, false },
		{ "at the end of the address space", UINT64_MAX, 1, false },
		{ "around the end of the address space", UINT64_MAX - 2, 8, false },
		{ "nothing at zero", 0, 8, false },
	};
	struct bus b = { 0 };
	struct probe p = { 0 };
	uint8_t buf[8];

	t_int(bus_add(&b, 0x100, 8, &probe_ops, &p), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		t_row_int(rows[i].name, bus_read(&b, rows[i].addr, buf, rows[i].len),
			rows[i].claimed);
		t_row_int(rows[i].name, bus_write(&b, rows[i].addr, buf, rows[i].len),
			rows[i].claimed);
	}
}

Test(bus, an_access_across_two_ranges_is_unclaimed)
{
	struct bus b = { 0 };
	struct probe p[2] = { 0 };
	uint8_t buf[4];

	t_int(bus_add(&b, 0x60, 1, &probe_ops, &p[0]), 0);
	t_int(bus_add(&b, 0x61, 1, &probe_ops, &p[1]), 0);
	t_false(bus_read(&b, 0x60, buf, 2));
	t_uint(p[0].reads + p[1].reads, 0);
}

Test(bus, ranges_are_found_in_whatever_order_they_were_added)
{
	static const uint64_t bases[] = { 0x3f8, 0x60, 0xc0001000, 0x64, 0x600, 0x80, 0x0 };
	struct bus b = { 0 };
	struct probe p[ARRAY_SIZE(bases)] = { 0 };
	uint8_t buf[1] = { 0 };

	for (unsigned i = 0; i < ARRAY_SIZE(bases); i++)
		t_int(bus_add(&b, bases[i], 3, &probe_ops, &p[i]), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(bases); i++) {
		cr_expect(eq(int, bus_write(&b, bases[i] + 2, buf, 1), 1));
		cr_expect(eq(uint, p[i].writes, 1), "the range at 0x%llx",
			(unsigned long long)bases[i]);
		cr_expect(eq(u64, p[i].off, 2));
	}
}

Test(bus, an_overlap_is_eexist_and_changes_nothing)
{
	static const struct {
		const char *name;
		uint64_t base, len;
	} rows[] = {
		{ "same", 0x100, 0x10 },
		{ "inside", 0x104, 1 },
		{ "around", 0xf0, 0x40 },
		{ "over the first byte", 0xf0, 0x11 },
		{ "over the last byte", 0x10f, 1 },
		{ "everything", 0, UINT64_MAX },
	};
	struct bus b = { 0 };
	struct probe p = { 0 };

	t_int(bus_add(&b, 0x100, 0x10, &probe_ops, &p), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		t_row_int(rows[i].name, bus_add(&b, rows[i].base, rows[i].len, &probe_ops, &p),
			-EEXIST);
		t_row_int(rows[i].name, b.n, 1);
	}
}

Test(bus, neighbours_do_not_overlap)
{
	struct bus b = { 0 };
	struct probe p = { 0 };

	t_int(bus_add(&b, 0x100, 0x10, &probe_ops, &p), 0);
	t_int(bus_add(&b, 0x110, 0x10, &probe_ops, &p), 0);
	t_int(bus_add(&b, 0xf0, 0x10, &probe_ops, &p), 0);
	t_uint(b.n, 3);
}

Test(bus, an_empty_or_wrapping_range_is_einval)
{
	struct bus b = { 0 };
	struct probe p = { 0 };

	t_int(bus_add(&b, 0x100, 0, &probe_ops, &p), -EINVAL);
	t_int(bus_add(&b, UINT64_MAX, 2, &probe_ops, &p), -EINVAL);
	t_int(bus_add(&b, 2, UINT64_MAX, &probe_ops, &p), -EINVAL);
}

Test(bus, a_range_may_end_at_the_end_of_the_address_space)
{
	struct bus b = { 0 };
	struct probe p = { 0 };
	uint8_t buf[8];

	t_int(bus_add(&b, UINT64_MAX - 7, 8, &probe_ops, &p), 0);
	t_true(bus_read(&b, UINT64_MAX, buf, 1));
	t_false(bus_read(&b, UINT64_MAX, buf, 2));
}

Test(bus, a_full_table_is_enospc)
{
	struct bus b = { 0 };
	struct probe p = { 0 };

	for (unsigned i = 0; i < BUS_RANGES_MAX; i++)
		t_int(bus_add(&b, (BUS_RANGES_MAX - i) * 16ULL, 16, &probe_ops, &p), 0);
	t_int(bus_add(&b, 0, 1, &probe_ops, &p), -ENOSPC);
}
