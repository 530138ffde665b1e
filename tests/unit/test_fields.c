/* One decoder for all tables: what goes where, and every kind of fault with its place. */
#include "t.h"

#include <stdio.h>
#include <stdlib.h>

#include "api/bodies.h"
#include "api/fields.h"
#include "base/err.h"

TestSuite(fields, .timeout = T_SECONDS);

static const char *const colours[] = { "Red", "Green", NULL };
static const char *const one_word[] = { "Only", NULL };

struct inner {
	uint64_t given, n;
	const char *text;
};

struct outer {
	uint64_t given, n8, n16, n32, n64;
	bool flag;
	unsigned colour, only;
	const char *text;
	struct inner inner;
	unsigned nlist, nnames, nmap;
	struct inner list[2];
	const char *names[2];
	const char *map[4];
	uint32_t any;
};

static const struct field inner_fields[] = {
	{ .name = "n",
		.type = FIELD_U64,
		.need = FIELD_REQUIRED,
		.offset = offsetof(struct inner, n) },
	{ .name = "text",
		.type = FIELD_STRING,
		.need = FIELD_NULLABLE,
		.offset = offsetof(struct inner, text) },
};
static const struct body inner_body = {
	.name = "struct Inner",
	.nfields = ARRAY_SIZE(inner_fields),
	.field = inner_fields,
	.size = sizeof(struct inner),
};

#define FIELD(member, field_type, field_need, ...)                                                 \
	{                                                                                          \
		.name = #member, .type = (field_type), .need = (field_need),                       \
		.offset = offsetof(struct outer, member), __VA_ARGS__                              \
	}

enum { N8, N16, N32, N64, FLAG, COLOUR, ONLY, TEXT, INNER, LIST, NAMES, MAP, ANY };

static const struct field outer_fields[] = {
	FIELD(n8, FIELD_U8, FIELD_DEFAULT),
	FIELD(n16, FIELD_U16, FIELD_DEFAULT),
	FIELD(n32, FIELD_U32, FIELD_NULLABLE),
	FIELD(n64, FIELD_USIZE, FIELD_DEFAULT),
	FIELD(flag, FIELD_BOOL, FIELD_DEFAULT),
	FIELD(colour, FIELD_ENUM, FIELD_DEFAULT, .words = colours, .is_case_free = true),
	FIELD(only, FIELD_ENUM, FIELD_DEFAULT, .words = one_word),
	FIELD(text, FIELD_STRING, FIELD_DEFAULT),
	FIELD(inner, FIELD_OBJECT, FIELD_NULLABLE, .body = &inner_body),
	FIELD(list, FIELD_ARRAY, FIELD_DEFAULT, .count_offset = offsetof(struct outer, nlist),
		.limit = 2, .body = &inner_body),
	FIELD(names, FIELD_ARRAY, FIELD_DEFAULT, .count_offset = offsetof(struct outer, nnames),
		.limit = 2),
	FIELD(map, FIELD_MAP, FIELD_DEFAULT, .count_offset = offsetof(struct outer, nmap),
		.limit = 2),
	FIELD(any, FIELD_ANY, FIELD_NULLABLE),
};
static const struct body outer_body = {
	.name = "struct Outer",
	.nfields = ARRAY_SIZE(outer_fields),
	.field = outer_fields,
	.size = sizeof(struct outer),
};

static int decode(const struct body *b, struct doc *d, const char *text, void *out, struct err *e)
{
	int rc = doc_read(d, text, strlen(text), e);

	return rc == 0 ? body_decode(b, d, 0, out, e) : rc;
}

Test(fields, every_type_arrives)
{
	static const char text[] =
		"{\"n8\":255,\"n16\":65535,\"n32\":4294967295,\"n64\":18446744073709551615,"
		"\"flag\":true,\"colour\":\"gREEN\",\"only\":\"Only\",\"text\":\"a\\u0062\","
		"\"inner\":{\"n\":1,\"text\":\"t\"},\"list\":[{\"n\":2},{\"n\":3,\"text\":null}],"
		"\"names\":[\"x\",\"y\"],\"map\":{\"k\":\"v\",\"l\":\"w\"},\"any\":[1,{}]}";
	struct outer o = { 0 };
	struct doc d;
	struct err e = { 0 };

	t_int(decode(&outer_body, &d, text, &o, &e), 0);
	t_hex(o.given, (1 << (ANY + 1)) - 1);
	t_uint(o.n8, 255);
	t_uint(o.n16, 65535);
	t_uint(o.n32, UINT32_MAX);
	t_uint(o.n64, UINT64_MAX);
	t_true(o.flag);
	t_uint(o.colour, 1);
	t_uint(o.only, 0);
	t_str(o.text, "ab");
	t_uint(o.inner.n, 1);
	t_str(o.inner.text, "t");
	t_hex(o.inner.given, 3);
	t_uint(o.nlist, 2);
	t_uint(o.list[0].n, 2);
	t_uint(o.list[1].n, 3);
	t_hex(o.list[1].given, 1);
	t_uint(o.nnames, 2);
	t_str(o.names[1], "y");
	t_uint(o.nmap, 2);
	t_str(o.map[2], "l");
	t_str(o.map[3], "w");
	t_int(d.node[o.any].kind, DOC_ARRAY);
	doc_fini(&d);
	T_NO_LEAKS();
}

Test(fields, what_is_left_out_or_null_is_not_given)
{
	struct outer o = { 0 };
	struct doc d;
	struct err e = { 0 };

	t_int(decode(&outer_body, &d, "{\"n32\":null,\"inner\":null,\"any\":null}", &o, &e), 0);
	t_hex(o.given, 0);
	doc_fini(&d);
	T_NO_LEAKS();
}

Test(fields, faults_are_in_the_known_words)
{
	static const struct {
		const char *text, *error;
	} rows[] = {
		{ "[]", "invalid type: sequence, expected struct Outer at line 1 column 0" },
		{ "null", "invalid type: null, expected struct Outer at line 1 column 4" },
		{ "\"a\"", "invalid type: string \"a\", expected struct Outer at line 1 column 3" },
		{ "{\"n8\":\"a\"}",
			"invalid type: string \"a\", expected u8 at line 1 column 9. Field: `n8`" },
		{ "{\"n8\": \"a\\\"\\n\"}", "invalid type: string \"a\\\"\\n\", expected u8 at "
					    "line 1 column 14. Field: "
					    "`n8`" },
		{ "{\"n8\":null}",
			"invalid type: null, expected u8 at line 1 column 10. Field: `n8`" },
		{ "{\"n8\":true}",
			"invalid type: boolean `true`, expected u8 at line 1 column 10. Field: "
			"`n8`" },
		{ "{\"n8\":1.5}",
			"invalid type: floating point `1.5`, expected u8 at line 1 column 9. "
			"Field: `n8`" },
		{ "{\"n8\":1e2}",
			"invalid type: floating point `100.0`, expected u8 at line 1 column 9. "
			"Field: `n8`" },
		{ "{\"n8\":[]}",
			"invalid type: sequence, expected u8 at line 1 column 6. Field: `n8`" },
		{ "{\"n8\":{}}", "invalid type: map, expected u8 at line 1 column 6. Field: `n8`" },
		{ "{\"n8\":256}",
			"invalid value: integer `256`, expected u8 at line 1 column 9. Field: "
			"`n8`" },
		{ "{\"n8\":-1}",
			"invalid value: integer `-1`, expected u8 at line 1 column 8. Field: "
			"`n8`" },
		{ "{\"n16\":65536}",
			"invalid value: integer `65536`, expected u16 at line 1 column 12. Field: "
			"`n16`" },
		{ "{\"n32\":4294967296}",
			"invalid value: integer `4294967296`, expected u32 at line 1 column 17. "
			"Field: `n32`" },
		{ "{\"n64\":18446744073709551616}",
			"invalid type: floating point `1.8446744073709552e+19`, expected usize at "
			"line 1 column 27. Field: `n64`" },
		{ "{\"flag\":1}",
			"invalid type: integer `1`, expected a boolean at line 1 column 9. Field: "
			"`flag`" },
		{ "{\"text\":7}",
			"invalid type: integer `7`, expected a string at line 1 column 9. Field: "
			"`text`" },
		{ "{\"colour\":\"Blue\"}",
			"unknown variant `Blue`, expected `Red` or `Green` at line 1 column 16. "
			"Field: `colour`" },
		{ "{\"only\":\"only\"}",
			"unknown variant `only`, expected `Only` at line 1 column 14. Field: "
			"`only`" },
		{ "{\"colour\":1}", "expected value at line 1 column 11. Field: `colour`" },
		{ "{\"inner\":1}",
			"invalid type: integer `1`, expected struct Inner at line 1 column 10. "
			"Field: `inner`" },
		{ "{\"inner\":{}}", "missing field `n` at line 1 column 11. Field: `inner.n`" },
		{ "{\"inner\":{\"x\":1}}",
			"unknown field `x`, expected `n` or `text` at line 1 column 13. Field: "
			"`inner.x`" },
		{ "{\"inner\":{\"n\":1,\"n\":2}}",
			"duplicate field `n` at line 1 column 19. Field: `inner.n`" },
		{ "{\"list\":[{\"n\":1},{\"n\":\"a\"}]}",
			"invalid type: string \"a\", expected u64 at line 1 column 25. Field: "
			"`list[1].n`" },
		{ "{\"list\":[{\"n\":1},7]}",
			"invalid type: integer `7`, expected struct Inner at line 1 column 18. "
			"Field: `list[1]`" },
		{ "{\"list\":{}}",
			"invalid type: map, expected a sequence at line 1 column 8. Field: "
			"`list`" },
		{ "{\"list\":[{\"n\":1},{\"n\":1},{\"n\":1}]}",
			"invalid length: expected at most 2 elements at line 1 column 32. Field: "
			"`list`" },
		{ "{\"names\":[\"a\",1]}",
			"invalid type: integer `1`, expected a string at line 1 column 15. Field: "
			"`names[1]`" },
		{ "{\"map\":{\"k\":1}}",
			"invalid type: integer `1`, expected a string at line 1 column 13. Field: "
			"`map.k`" },
		{ "{\"map\":{\"k\":\"\",\"k\":\"\"}}",
			"duplicate field `k` at line 1 column 18. Field: `map.k`" },
		{ "{\"map\":[]}",
			"invalid type: sequence, expected a map at line 1 column 7. Field: `map`" },
		{ "{\"n8\":1,\n \"n8\" : 2}", "duplicate field `n8` at line 2 column 6" },
		{ "{\"n32\":null,\"n32\":null}", "duplicate field `n32` at line 1 column 17" },
		{ "{\"\":1}",
			"unknown field ``, expected one of `n8`, `n16`, `n32`, `n64`, `flag`, "
			"`colour`, `only`, `text`, `inner`, `list`, `names`, `map`, `any` at line "
			"1 "
			"column 3" },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct outer o = { 0 };
		struct doc d;
		struct err e = { 0 };

		t_row_int(rows[i].text, decode(&outer_body, &d, rows[i].text, &o, &e), -EBADMSG);
		cr_expect(eq(int, strcmp(e.text, rows[i].error), 0), "row '%s': \"%s\", not \"%s\"",
			rows[i].text, e.text, rows[i].error);
		doc_fini(&d);
	}
	T_NO_LEAKS();
}

Test(fields, first_fault_of_the_text_is_told)
{
	struct outer o = { 0 };
	struct doc d;
	struct err e = { 0 };

	t_int(decode(&outer_body, &d, "{\"zzz\":1,\"n8\":-1,\"n8\":2}", &o, &e), -EBADMSG);
	t_has(e.text, "unknown field `zzz`");
	doc_fini(&d);
}

Test(fields, long_names_and_values_of_a_client_fit)
{
	enum { LEN = 40000 };
	char *text = malloc(LEN + 64), *many = malloc(LEN + 64);
	struct outer o = { 0 };
	struct doc d;
	struct err e = { 0 };

	memset(many, 'a', LEN);
	many[LEN] = '\0';
	(void)snprintf(text, LEN + 64, "{\"%s\":1}", many);
	t_int(decode(&outer_body, &d, text, &o, &e), -EBADMSG);
	t_has(e.text, "unknown field `aaaa");
	t_has(e.text, "at line 1 column 40003");
	doc_fini(&d);
	(void)snprintf(text, LEN + 64, "{\"n8\":\"%s\"}", many);
	t_int(decode(&outer_body, &d, text, &o, &e), -EBADMSG);
	t_has(e.text, "aaa...\", expected u8 at line 1 column 40008. Field: `n8`");
	doc_fini(&d);
	(void)snprintf(text, LEN + 64, "{\"map\":{\"%s\":1}}", many);
	t_int(decode(&outer_body, &d, text, &o, &e), -EBADMSG);
	t_has(e.text, "expected a string");
	doc_fini(&d);
	free(text);
	free(many);
	T_NO_LEAKS();
}

Test(fields, tolerant_object_takes_what_it_does_not_know)
{
	struct metrics_body m = { 0 };
	struct doc d;
	struct err e = { 0 };

	t_int(decode(&body_metrics, &d, "{\"x\":[{\"y\":1}],\"metrics_path\":\"p\"}", &m, &e), 0);
	t_str(m.metrics_path, "p");
	doc_fini(&d);
	T_NO_LEAKS();
}

/* The tables are ours: every field lies in its structure, names are unique, and bits suffice. */
static void check_table(const struct body *b)
{
	t_true(b->nfields <= BODY_FIELDS_MAX && b->nfields > 0);
	for (unsigned i = 0; i < b->nfields; i++) {
		const struct field *f = &b->field[i];

		t_true(f->name != NULL && f->name[0] != '\0');
		t_true(f->offset >= sizeof(uint64_t) && f->offset < b->size);
		t_int(f->type == FIELD_ENUM, f->words != NULL);
		t_int(f->type == FIELD_ARRAY || f->type == FIELD_MAP, f->limit > 0);
		if (f->type == FIELD_OBJECT)
			t_true(f->body != NULL && f->offset + f->body->size <= b->size);
		if (f->type == FIELD_ARRAY && f->body)
			t_true(f->offset + f->limit * f->body->size <= b->size);
		if (f->type == FIELD_MAP)
			t_true(f->offset + f->limit * 2 * sizeof(char *) <= b->size);
		for (unsigned j = 0; j < i; j++)
			t_true(strcmp(f->name, b->field[j].name) != 0);
		if (f->body)
			check_table(f->body);
	}
}

Test(fields, tables_are_sound)
{
	for (unsigned i = 0; all_bodies[i]; i++)
		check_table(all_bodies[i]);
}
