/* JSON from clients: what is refused and in which words, where values are, and the limits. */
#include "t.h"

#include <stdio.h>
#include <stdlib.h>

#include "api/json.h"
#include "base/err.h"

TestSuite(json, .timeout = T_SECONDS);

/* A copy without a byte to spare, so that a sanitizer sees a read behind the end. */
static int read_exact(struct doc *d, const char *text, size_t len, char **ret, struct err *e)
{
	*ret = malloc(len > 0 ? len : 1);
	memcpy(*ret, text, len);
	return doc_read(d, *ret, len, e);
}

Test(json, what_is_wrong_is_said_with_its_place)
{
	static const struct {
		const char *text, *error;
	} rows[] = {
		{ "", "EOF while parsing a value at line 1 column 0" },
		{ " \n ", "EOF while parsing a value at line 2 column 1" },
		{ "{", "EOF while parsing an object at line 1 column 1" },
		{ "[", "EOF while parsing a list at line 1 column 1" },
		{ "\"a", "EOF while parsing a string at line 1 column 2" },
		{ "\"a\\", "EOF while parsing a string at line 1 column 3" },
		{ "\"a\\u00", "EOF while parsing a string at line 1 column 6" },
		{ "{\"a\"", "EOF while parsing an object at line 1 column 4" },
		{ "{\"a\":", "EOF while parsing a value at line 1 column 5" },
		{ "{\"a\":1", "EOF while parsing an object at line 1 column 6" },
		{ "{\"a\":1,", "EOF while parsing a value at line 1 column 7" },
		{ "[1,", "EOF while parsing a value at line 1 column 3" },
		{ "[1", "EOF while parsing a list at line 1 column 2" },
		{ "tru", "EOF while parsing a value at line 1 column 3" },
		{ "-", "EOF while parsing a value at line 1 column 1" },
		{ "1.", "EOF while parsing a value at line 1 column 2" },
		{ "1e+", "EOF while parsing a value at line 1 column 3" },
		{ "x", "expected value at line 1 column 1" },
		{ "{\"a\":}", "expected value at line 1 column 6" },
		{ "[,]", "expected value at line 1 column 2" },
		{ "{\"a\":1,}", "trailing comma at line 1 column 8" },
		{ "[1,]", "trailing comma at line 1 column 4" },
		{ "{a:1}", "key must be a string at line 1 column 2" },
		{ "{\"a\":1,2}", "key must be a string at line 1 column 8" },
		{ "{\"a\" 1}", "expected `:` at line 1 column 6" },
		{ "{\"a\":1 \"b\"}", "expected `,` or `}` at line 1 column 8" },
		{ "[1 2]", "expected `,` or `]` at line 1 column 4" },
		{ "{\"a\":1]", "expected `,` or `}` at line 1 column 7" },
		{ "{} {}", "trailing characters at line 1 column 4" },
		{ "{}\n\n x", "trailing characters at line 3 column 2" },
		{ "nulL", "expected ident at line 1 column 4" },
		{ "01", "invalid number at line 1 column 2" },
		{ "-x", "invalid number at line 1 column 2" },
		{ "1.x", "invalid number at line 1 column 3" },
		{ "1ex", "invalid number at line 1 column 3" },
		{ "+1", "expected value at line 1 column 1" },
		{ "\"\\q\"", "invalid escape at line 1 column 3" },
		{ "\"\\u00g0\"", "invalid escape at line 1 column 6" },
		{ "\"a\nb\"", "control character (\\u0000-\\u001F) found while parsing a string at "
			      "line 2 "
			      "column 0" },
		{ "1e999", "number out of range at line 1 column 5" },
		{ "\"\\u0000\"", "NUL in a string or key at line 1 column 8" },
		{ "{\"\\u0000\":1}", "NUL in a string or key at line 1 column 9" },
		{ "\"\xff\"", "invalid unicode code point at line 1 column 1" },
		{ "\"\xc0\xaf\"", "invalid unicode code point at line 1 column 1" },
		{ "\"\xed\xa0\x80\"", "invalid unicode code point at line 1 column 1" },
		{ "\"\\ud800\"", "invalid Unicode" },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct doc d;
		struct err e = { 0 };
		char *text;

		t_row_int(rows[i].text,
			read_exact(&d, rows[i].text, strlen(rows[i].text), &text, &e), -EBADMSG);
		if (strncmp(rows[i].error, "invalid Unicode", 15) == 0)
			t_row_has(rows[i].text, e.text, rows[i].error);
		else
			cr_expect(eq(int, strcmp(e.text, rows[i].error), 0),
				"row '%s': \"%s\", not \"%s\"", rows[i].text, e.text,
				rows[i].error);
		free(text);
	}
	T_NO_LEAKS();
}

Test(json, byte_that_is_nul_ends_nothing)
{
	static const char text[] = "{\"a\0b\":1}", behind[] = "{}\0";
	struct doc d;
	struct err e = { 0 };

	t_int(doc_read(&d, text, sizeof(text) - 1, &e), -EBADMSG);
	t_has(e.text, "control character");
	t_int(doc_read(&d, behind, sizeof(behind) - 1, &e), -EBADMSG);
	t_has(e.text, "trailing characters");
}

Test(json, every_prefix_of_a_document_is_refused)
{
	static const char text[] =
		"{\"a\": [1, -2.5e+3, true, false, null], \"b\": {\"c\": \"\\u00e4\\n\"}}";
	struct doc d;
	struct err e = { 0 };
	char *copy;

	for (size_t len = 0; len < sizeof(text) - 1; len++) {
		t_int(read_exact(&d, text, len, &copy, &e), -EBADMSG);
		t_has(e.text, "EOF while parsing");
		free(copy);
	}
	t_int(read_exact(&d, text, sizeof(text) - 1, &copy, &e), 0);
	doc_fini(&d);
	free(copy);
	T_NO_LEAKS();
}

Test(json, places_and_children_are_known)
{
	static const char text[] = " {\"a\" : [1, {}], \"b\":\"x\"} ";
	struct doc d;
	struct err e = { 0 };

	t_int(doc_read(&d, text, sizeof(text) - 1, &e), 0);
	t_uint(d.nnodes, 5);
	t_int(d.node[0].kind, DOC_OBJECT);
	t_uint(d.node[0].start, 1);
	t_uint(d.node[0].end, sizeof(text) - 2);
	t_uint(d.node[0].next, 5);
	t_int(d.node[1].kind, DOC_ARRAY);
	t_str(doc_string(&d, d.node[1].key, d.node[1].key_end), "a");
	t_uint(d.node[1].next, 4);
	t_int(d.node[2].kind, DOC_NUMBER);
	t_uint(d.node[2].next, 3);
	t_int(d.node[3].kind, DOC_OBJECT);
	t_uint(d.node[3].next, 4);
	t_int(d.node[4].kind, DOC_STRING);
	t_str(doc_string(&d, d.node[4].start, d.node[4].end), "x");
	doc_fini(&d);
	T_NO_LEAKS();
}

Test(json, strings_are_decoded)
{
	static const struct {
		const char *text, *value;
	} rows[] = {
		{ "\"\"", "" },
		{ "\"a b\"", "a b" },
		{ "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\/\b\f\n\r\t" },
		{ "\"\\u00e4\"", "\xc3\xa4" },
		{ "\"\\ud83d\\ude00\"", "\xf0\x9f\x98\x80" },
		{ "\"\xc3\xa4\"", "\xc3\xa4" },
		{ "\"\x7f\"", "\x7f" },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct doc d;
		struct err e = { 0 };
		char *text;

		t_int(read_exact(&d, rows[i].text, strlen(rows[i].text), &text, &e), 0);
		t_str(doc_string(&d, 0, d.len), rows[i].value);
		/* The pool has room for each string once. */
		if (strlen(rows[i].value) > 0)
			t_true(doc_string(&d, 0, d.len) == NULL || d.pool_used <= d.len);
		doc_fini(&d);
		free(text);
	}
	T_NO_LEAKS();
}

Test(json, numbers_have_64_bits)
{
	static const struct {
		const char *text;
		enum doc_number kind;
		uint64_t value;
		double other;
	} rows[] = {
		{ "0", DOC_UNSIGNED, 0, 0 },
		{ "18446744073709551615", DOC_UNSIGNED, UINT64_MAX, 0 },
		{ "18446744073709551616", DOC_FLOAT, 0, 0x1p64 },
		{ "-1", DOC_SIGNED, 0, -1 },
		{ "-9223372036854775808", DOC_SIGNED, 0, -0x1p63 },
		{ "-9223372036854777856", DOC_FLOAT, 0, -0x1p63 - 2048 },
		{ "-0", DOC_FLOAT, 0, 0 },
		{ "1.5", DOC_FLOAT, 0, 1.5 },
		{ "1e3", DOC_FLOAT, 0, 1000 },
		{ "-1E3", DOC_FLOAT, 0, -1000 },
		{ "-1.0", DOC_FLOAT, 0, -1 },
		{ "0.000000000000000000000000000001", DOC_FLOAT, 0, 1e-30 },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct doc d;
		struct err e = { 0 };
		uint64_t value = 0;
		double other = 0;

		t_int(doc_read(&d, rows[i].text, strlen(rows[i].text), &e), 0);
		t_row_int(rows[i].text, doc_number(&d, &d.node[0], &value, &other), rows[i].kind);
		if (rows[i].kind == DOC_UNSIGNED)
			t_row_true(rows[i].text, value == rows[i].value);
		else
			t_row_true(rows[i].text, other == rows[i].other);
		doc_fini(&d);
	}
}

Test(json, ten_thousand_arrays_are_too_deep)
{
	enum { DEEP = 10000 };
	char *text = malloc(2 * DEEP);
	struct doc d;
	struct err e = { 0 };

	memset(text, '[', DEEP);
	memset(text + DEEP, ']', DEEP);
	t_int(doc_read(&d, text, 2 * DEEP, &e), -EBADMSG);
	t_str(e.text, "recursion limit exceeded at line 1 column 128");
	t_int(doc_read(&d, text + DEEP - DOC_DEPTH_MAX, 2 * DOC_DEPTH_MAX, &e), 0);
	t_uint(d.nnodes, DOC_DEPTH_MAX);
	doc_fini(&d);
	free(text);
	T_NO_LEAKS();
}

Test(json, too_many_values_are_refused)
{
	enum { LEN = 2 * DOC_NODES_MAX };
	char *text = malloc(LEN + 2);
	struct doc d;
	struct err e = { 0 };

	/* The array itself is a value. */
	for (unsigned i = 0; i < LEN; i += 2)
		memcpy(text + i, i == 0 ? "[1" : ",1", 2);
	text[LEN - 2] = ']';
	t_int(doc_read(&d, text, LEN - 1, &e), 0);
	t_uint(d.nnodes, DOC_NODES_MAX);
	doc_fini(&d);
	memcpy(text + LEN - 2, ",1]", 3);
	t_int(doc_read(&d, text, LEN + 1, &e), -EBADMSG);
	t_has(e.text, "too many values");
	free(text);
	T_NO_LEAKS();
}

Test(json, too_long_a_text_is_not_looked_at)
{
	struct doc d;
	struct err e = { 0 };

	/* Nothing of it is there. */
	t_int(doc_read(&d, "", (size_t)DOC_LEN_MAX + 1, &e), -EBADMSG);
}

Test(json, duplicates_are_found_at_any_depth)
{
	static const struct {
		const char *text;
		bool has;
	} rows[] = { { "{\"a\":1,\"a\":1}", true }, { "{\"a\":1,\"b\":1}", false },
		{ "[{\"a\":{\"b\":1,\"b\":2}}]", true }, { "{\"a\":1,\"\\u0061\":1}", true },
		{ "{\"a\":{\"a\":1}}", false } };

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct doc d;
		struct err e = { 0 };

		t_int(doc_read(&d, rows[i].text, strlen(rows[i].text), &e), 0);
		t_row_int(rows[i].text, d.has_duplicates, rows[i].has);
		doc_fini(&d);
	}
	T_NO_LEAKS();
}
