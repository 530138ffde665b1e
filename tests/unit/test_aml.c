/* A writer of AML: byte by byte against the specification's grammar. */
#include "t.h"

#include "x86/aml.h"

TestSuite(aml, .timeout = T_SECONDS);

enum { ROOM = 256 };

struct out {
	uint8_t bytes[ROOM + 1]; /* the last one is a guard */
	struct aml a;
};

static void setup(struct out *o, size_t size)
{
	memset(o, 0, sizeof(*o));
	memset(o->bytes, 0xee, sizeof(o->bytes));
	o->a = (struct aml){ .buf = o->bytes, .size = size };
}

/* What was written is exactly want. */
static void wrote(const struct out *o, const void *want, size_t len)
{
	t_true(aml_fits(&o->a));
	t_uint(o->a.len, len);
	for (size_t i = 0; i < len; i++)
		cr_expect(eq(u8, o->bytes[i], ((const uint8_t *)want)[i]), "byte %zu", i);
}

#define WROTE(o, ...)                                                                              \
	do {                                                                                       \
		static const uint8_t want_[] = { __VA_ARGS__ };                                    \
		wrote(o, want_, sizeof(want_));                                                    \
	} while (0)

Test(aml, integers_take_as_few_bytes_as_they_need)
{
	static const struct {
		const char *name;
		uint32_t value;
		uint8_t want[5];
		size_t len;
	} rows[] = {
		{ "zero", 0, { 0x00 }, 1 },
		{ "one", 1, { 0x01 }, 1 },
		{ "two", 2, { 0x0a, 2 }, 2 },
		{ "byte", 255, { 0x0a, 255 }, 2 },
		{ "word", 256, { 0x0b, 0, 1 }, 3 },
		{ "largest word", 65535, { 0x0b, 255, 255 }, 3 },
		{ "double word", 65536, { 0x0c, 0, 0, 1, 0 }, 5 },
		{ "largest", UINT32_MAX, { 0x0c, 255, 255, 255, 255 }, 5 },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct out o;

		setup(&o, ROOM);
		aml_name_integer(&o.a, "_UID", rows[i].value);
		t_row_int(rows[i].name, o.a.len, 5 + rows[i].len);
		t_row_int(rows[i].name, memcmp(o.bytes, "\x08_UID", 5), 0);
		t_row_int(rows[i].name, memcmp(o.bytes + 5, rows[i].want, rows[i].len), 0);
	}
}

Test(aml, short_names_are_filled_up_with_underscores)
{
	struct out o;

	setup(&o, ROOM);
	aml_name_integer(&o.a, "AB", 0);
	WROTE(&o, 0x08, 'A', 'B', '_', '_', 0x00);
}

Test(aml, a_path_from_the_root_of_two_segments_has_the_dual_prefix)
{
	struct out o;

	setup(&o, ROOM);
	aml_notify(&o.a, "\\_SB_.PWRB", 0x80);
	WROTE(&o, 0x86, '\\', 0x2e, '_', 'S', 'B', '_', 'P', 'W', 'R', 'B', 0x0a, 0x80);
}

Test(aml, a_string_ends_with_a_nul)
{
	struct out o;

	setup(&o, ROOM);
	aml_name_string(&o.a, "_HID", "LNRO0005");
	WROTE(&o, 0x08, '_', 'H', 'I', 'D', 0x0d, 'L', 'N', 'R', 'O', '0', '0', '0', '5', 0);
}

Test(aml, eisa_ids_are_compressed_as_the_specification_says)
{
	struct out o;

	setup(&o, ROOM);
	aml_name_eisaid(&o.a, "_HID", "PNP0501");
	WROTE(&o, 0x08, '_', 'H', 'I', 'D', 0x0c, 0x41, 0xd0, 0x05, 0x01);
	setup(&o, ROOM);
	aml_name_eisaid(&o.a, "_HID", "PNP0C0C");
	WROTE(&o, 0x08, '_', 'H', 'I', 'D', 0x0c, 0x41, 0xd0, 0x0c, 0x0c);
}

Test(aml, the_length_of_a_scope_counts_its_own_bytes)
{
	struct out o;
	size_t mark;

	setup(&o, ROOM);
	mark = aml_begin_scope(&o.a, "\\_SB_");
	aml_end(&o.a, mark);
	/* Three bytes of length, five of name. */
	WROTE(&o, 0x10, 0x80 | 8, 0x00, 0x00, '\\', '_', 'S', 'B', '_');
}

Test(aml, a_length_over_255_spreads_over_all_three_bytes)
{
	static uint8_t buf[8192];
	struct aml a = { .buf = buf, .size = sizeof(buf) };
	size_t mark = aml_begin_device(&a, "COM1");

	for (unsigned i = 0; i < 700; i++)
		aml_name_integer(&a, "_UID", 0);
	aml_end(&a, mark);
	t_true(aml_fits(&a));
	t_uint((buf[2] & 0xfU) | (unsigned)buf[3] << 4 | (unsigned)buf[4] << 12, 3 + 4 + 700 * 6);
	t_uint(buf[2] >> 6, 2);
	t_uint(buf[2] & 0x30, 0);
}

Test(aml, a_device_and_a_method_have_their_own_opcodes)
{
	struct out o;
	size_t device, method;

	setup(&o, ROOM);
	device = aml_begin_device(&o.a, "GED_");
	method = aml_begin_method(&o.a, "_EVT", 1);
	aml_end(&o.a, method);
	aml_end(&o.a, device);
	WROTE(&o, 0x5b, 0x82, 0x80 | 0, 0x01, 0x00, 'G', 'E', 'D', '_', 0x14, 0x80 | 8, 0x00, 0x00,
		'_', 'E', 'V', 'T', 0x09);
}

Test(aml, a_package_of_four)
{
	static const uint8_t s5[4] = { 5, 0, 0, 1 };
	struct out o;

	setup(&o, ROOM);
	aml_name_package4(&o.a, "\\_S5_", s5);
	WROTE(&o, 0x08, '\\', '_', 'S', '5', '_', 0x12, 0x80 | 9, 0x00, 0x00, 4, 0x0a, 5, 0, 0, 1);
}

Test(aml, packages_of_two)
{
	struct out o;

	setup(&o, ROOM);
	aml_name_integers(&o.a, "ADDR", 0xef000, 0);
	WROTE(&o, 0x08, 'A', 'D', 'D', 'R', 0x12, 0x80 | 10, 0x00, 0x00, 2, 0x0c, 0x00, 0xf0, 0x0e,
		0x00, 0x00);
	setup(&o, ROOM);
	aml_name_strings(&o.a, "_CID", "AB", "C");
	WROTE(&o, 0x08, '_', 'C', 'I', 'D', 0x12, 0x80 | 11, 0x00, 0x00, 2, 0x0d, 'A', 'B', 0, 0x0d,
		'C', 0);
}

Test(aml, a_condition_compares_the_methods_argument)
{
	struct out o;
	size_t mark;

	setup(&o, ROOM);
	mark = aml_begin_if_arg0(&o.a, 9);
	aml_notify(&o.a, "PWRB", 1);
	aml_end(&o.a, mark);
	WROTE(&o, 0xa0, 0x80 | 13, 0x00, 0x00, 0x93, 0x68, 0x0a, 9, 0x86, 'P', 'W', 'R', 'B', 0x01);
}

Test(aml, resources_are_a_buffer_whose_size_is_filled_in_at_the_end)
{
	struct out o;
	size_t mark;

	setup(&o, ROOM);
	mark = aml_begin_resources(&o.a);
	aml_io(&o.a, 0x3f8, 8);
	aml_memory32(&o.a, 0xc0001000, 0x1000);
	aml_interrupt(&o.a, 0x123);
	aml_end_resources(&o.a, mark);
	WROTE(&o, 0x08, '_', 'C', 'R', 'S', 0x11, 0x80 | 5, 0x02, 0x00, 0x0b, 31, 0, /* 37 in all */
		0x47, 1, 0xf8, 0x03, 0xf8, 0x03, 1, 8,                               /* I/O */
		0x86, 9, 0, 1, 0x00, 0x10, 0x00, 0xc0, 0x00, 0x10, 0x00, 0x00,       /* memory */
		0x89, 6, 0, 3, 1, 0x23, 0x01, 0, 0,                                  /* interrupt */
		0x79, 0);
}

static void write_everything(struct aml *a)
{
	static const uint8_t s5[4] = { 5, 0, 0, 0 };
	size_t scope = aml_begin_scope(a, "\\_SB_"), dev = aml_begin_device(a, "COM1"), part, is;

	aml_name_eisaid(a, "_HID", "PNP0501");
	aml_name_string(a, "_DDN", "COM1");
	aml_name_integer(a, "_UID", 70000);
	part = aml_begin_resources(a);
	aml_io(a, 0x3f8, 8);
	aml_memory32(a, 0xc0001000, 0x1000);
	aml_interrupt(a, 4);
	aml_end_resources(a, part);
	part = aml_begin_method(a, "_EVT", 1);
	is = aml_begin_if_arg0(a, 300);
	aml_notify(a, "\\_SB_.COM1", 0x80);
	aml_end(a, is);
	aml_end(a, part);
	aml_name_integers(a, "ADDR", 1, 70000);
	aml_name_strings(a, "_CID", "A", "BC");
	aml_end(a, dev);
	aml_end(a, scope);
	aml_name_package4(a, "\\_S5_", s5);
}

Test(aml, a_buffer_that_is_too_small_by_any_amount_is_remembered_and_not_overrun)
{
	struct out o;
	size_t whole;

	setup(&o, ROOM);
	write_everything(&o.a);
	t_true(aml_fits(&o.a));
	whole = o.a.len;
	t_true(whole < ROOM);
	for (size_t size = 0; size < whole; size++) {
		setup(&o, size);
		write_everything(&o.a);
		cr_expect(eq(int, aml_fits(&o.a), 0), "size %zu", size);
		cr_expect(eq(u8, o.bytes[size], 0xee), "size %zu", size);
		cr_expect(le(sz, o.a.len, size));
	}
	setup(&o, whole);
	write_everything(&o.a);
	t_true(aml_fits(&o.a));
}
