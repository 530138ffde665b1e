/* Strict readers of numbers and sizes. */
#include "t.h"

#include "base/parse.h"

TestSuite(parse, .timeout = T_SECONDS);

Test(parse, u64_takes_decimal_digits)
{
	static const struct {
		const char *text;
		uint64_t want;
	} rows[] = {
		{ "0", 0 },
		{ "7", 7 },
		{ "007", 7 },
		{ "18446744073709551615", UINT64_MAX },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		uint64_t got = 99;

		t_row_int(rows[i].text, parse_u64(rows[i].text, 0, UINT64_MAX, &got), 0);
		t_row_hex(rows[i].text, got, rows[i].want);
	}
}

Test(parse, u64_refuses_anything_else_and_leaves_the_result_alone)
{
	static const char *const rows[] = { "", " 1", "1 ", "+1", "-1", "0x10", "1a", "a", "1.0",
		"1\n", "\xd9\xa1" };

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		uint64_t got = 99;

		t_row_int(rows[i], parse_u64(rows[i], 0, UINT64_MAX, &got), -EINVAL);
		t_row_int(rows[i], got, 99);
	}
}

Test(parse, u64_refuses_what_is_out_of_range)
{
	static const struct {
		const char *text;
		uint64_t min, max;
	} rows[] = {
		{ "0", 1, 32 },
		{ "33", 1, 32 },
		{ "18446744073709551616", 0, UINT64_MAX },
		{ "99999999999999999999999999", 0, UINT64_MAX },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		uint64_t got = 99;

		t_row_int(rows[i].text, parse_u64(rows[i].text, rows[i].min, rows[i].max, &got),
			-ERANGE);
		t_row_int(rows[i].text, got, 99);
	}
}

Test(parse, u64_takes_both_ends_of_the_range)
{
	uint64_t got = 0;

	t_int(parse_u64("1", 1, 32, &got), 0);
	t_int(parse_u64("32", 1, 32, &got), 0);
	t_uint(got, 32);
}

Test(parse, size_takes_units_in_either_case)
{
	static const struct {
		const char *text;
		uint64_t want;
	} rows[] = {
		{ "0", 0 },
		{ "512", 512 },
		{ "4k", 4096 },
		{ "4K", 4096 },
		{ "128m", 128ULL << 20 },
		{ "128M", 128ULL << 20 },
		{ "3g", 3ULL << 30 },
		{ "3G", 3ULL << 30 },
		{ "1t", 1ULL << 40 },
		{ "1T", 1ULL << 40 },
		{ "16777215T", 16777215ULL << 40 },
		{ "18446744073709551615", UINT64_MAX },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		uint64_t got = 99;

		t_row_int(rows[i].text, parse_size(rows[i].text, &got), 0);
		t_row_hex(rows[i].text, got, rows[i].want);
	}
}

Test(parse, size_refuses_other_units_and_trailing_text)
{
	static const char *const rows[] = { "", "M", "1MB", "1MiB", "1 M", "1P", "1.5G", "-1M",
		"1MM", "1M " };

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		uint64_t got = 99;

		t_row_int(rows[i], parse_size(rows[i], &got), -EINVAL);
		t_row_int(rows[i], got, 99);
	}
}

Test(parse, size_refuses_what_does_not_fit_64_bits)
{
	static const char *const rows[] = { "16777216T", "17179869184G", "17592186044416M",
		"18014398509481984K", "18446744073709551616" };

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		uint64_t got = 99;

		t_row_int(rows[i], parse_size(rows[i], &got), -ERANGE);
		t_row_int(rows[i], got, 99);
	}
}

Test(parse, sizes_are_said_in_the_largest_unit_that_divides_them)
{
	static const struct {
		uint64_t bytes;
		const char *want;
	} rows[] = {
		{ 0, "0 bytes" },
		{ 1, "1 bytes" },
		{ 1023, "1023 bytes" },
		{ 20481, "20481 bytes" },
		{ 1024, "1K" },
		{ 1536ULL << 20, "1536M" },
		{ 3ULL << 30, "3G" },
		{ 1ULL << 40, "1T" },
		{ UINT64_MAX, "18446744073709551615 bytes" },
	};
	char buf[32];

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		format_size(rows[i].bytes, buf, sizeof(buf));
		cr_expect(eq(int, strcmp(buf, rows[i].want), 0), "%s, not %s", buf, rows[i].want);
	}
}
