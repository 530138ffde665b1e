/* Text from outside, cleaned and quoted. */
#include "t.h"

#include "api/text.h"

TestSuite(text, .timeout = T_SECONDS);

Test(text, what_is_no_utf8_is_replaced)
{
	static const struct {
		const char *text, *clean;
	} rows[] = {
		{ "", "" },
		{ "plain \xc3\xa4 \xe2\x82\xac \xf0\x9f\x98\x80", "plain \xc3\xa4 \xe2\x82\xac "
								  "\xf0\x9f\x98\x80" },
		{ "a\xff"
		  "b",
			"a\xef\xbf\xbd"
			"b" },
		{ "\xc3", "\xef\xbf\xbd" },
		{ "\xe2\x82", "\xef\xbf\xbd\xef\xbf\xbd" },
		{ "\xc0\x80", "\xef\xbf\xbd\xef\xbf\xbd" },
		{ "\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" },
		{ "\xf4\x90\x80\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" },
		{ "\xe0\x80\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" },
		{ "a\x1b[2Jb", "a\xef\xbf\xbd[2Jb" },
		{ "\xc2\x9b", "\xef\xbf\xbd" },
		{ "\x7f", "\xef\xbf\xbd" },
		{ "a\nb\tc\rd", "a\nb\tc\xef\xbf\xbd"
				"d" },
	};
	char buf[64];

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		size_t n = text_clean(rows[i].text, strlen(rows[i].text), buf, sizeof(buf));

		cr_expect(eq(int, strcmp(buf, rows[i].clean), 0), "row %u: \"%s\"", i, buf);
		t_row_int(rows[i].text, n, strlen(buf));
	}
}

Test(text, it_is_cut_between_characters)
{
	char buf[8];

	for (size_t size = 1; size <= sizeof(buf); size++) {
		size_t n = text_clean("\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac", 9, buf, size);

		t_uint(n, (size - 1) / 3 * 3);
		t_uint(strlen(buf), n);
	}
}

Test(text, quotation_cannot_be_left)
{
	static const struct {
		const char *text, *quoted;
	} rows[] = {
		{ "", "\"\"" },
		{ "a\"b\\c", "\"a\\\"b\\\\c\"" },
		{ "a\nb\rc\td", "\"a\\nb\\rc\\td\"" },
		{ "\x1b\x7f", "\"\\u{1b}\\u{7f}\"" },
		{ "\xc2\x9b", "\"\\u{9b}\"" },
		{ "\xff", "\"\\xff\"" },
		{ "\xc3\xa4", "\"\xc3\xa4\"" },
	};
	char buf[64];

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		(void)text_quote(rows[i].text, strlen(rows[i].text), buf, sizeof(buf));
		cr_expect(eq(int, strcmp(buf, rows[i].quoted), 0), "row %u: %s", i, buf);
	}
	(void)text_quote("\0a", 2, buf, sizeof(buf));
	t_str(buf, "\"\\u{0}a\"");
}

Test(text, long_quotation_says_that_it_was_cut)
{
	char text[100], buf[64];

	memset(text, 'a', sizeof(text));
	for (size_t size = TEXT_QUOTED_MIN; size <= sizeof(buf); size++) {
		size_t n = text_quote(text, sizeof(text), buf, size);

		t_true(n < size);
		t_uint(strlen(buf), n);
		t_int(buf[0], '"');
		t_str(buf + n - 4, "...\"");
	}
}
