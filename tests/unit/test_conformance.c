/*
 * The contract's tables, row by row.  For every field of every body, out of the tables: missing,
 * null, each wrong type, out of range, unknown, duplicate, with the whole fault and its place.  The
 * number of rows for each request is printed.
 */
#include "t.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "api/bodies.h"
#include "api/routes.h"
#include "t_contract.h"

static void setup(void);

TestSuite(conformance, .timeout = 4 * T_SECONDS, .init = setup);

static unsigned rows;

static void setup(void)
{
	t_quiet();
	t_folder();
}

/* --- bodies that fit, but for one place --- */

struct text {
	size_t len;
	char at[32768];
};

PRINTF_LIKE(2, 3)
static void add(struct text *b, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	b->len += (size_t)vsnprintf(b->at + b->len, sizeof(b->at) - b->len, fmt, args);
	va_end(args);
	t_true(b->len < sizeof(b->at));
}

/* What is done to the field at one place. */
enum { PATH_LEN = 160 };

enum change { KEEP, MISSING, REPLACED, TWICE, UNKNOWN };

struct mutation {
	enum change change;
	const char *path;  /* of the field; UNKNOWN: of the object; as faults write it */
	const char *value; /* REPLACED: what stands there */
	/* found while the body is made: */
	bool is_done;
	size_t before, behind; /* the value's first byte, and behind it */
	size_t key_behind;     /* behind the second or unknown key */
	size_t object_behind;
};

static void add_value(struct text *b, const struct field *f, const char *path, struct mutation *m);

static void add_member(
	struct text *b, const struct field *f, const char *in, struct mutation *m, bool *is_first)
{
	char path[PATH_LEN];
	bool is_place;

	(void)snprintf(path, sizeof(path), "%s%s%s", in, in[0] ? "." : "", f->name);
	is_place = m->change != KEEP && strcmp(m->path, path) == 0;

	if (is_place && m->change == MISSING) {
		m->is_done = true;
		return;
	}
	add(b, "%s\"%s\":", *is_first ? "" : ",", f->name);
	*is_first = false;
	if (is_place && m->change == REPLACED) {
		m->is_done = true;
		m->before = b->len;
		add(b, "%s", m->value);
		m->behind = b->len;
		return;
	}
	add_value(b, f, path, m);
	if (is_place && m->change == TWICE) {
		m->is_done = true;
		add(b, ",\"%s\"", f->name);
		m->key_behind = b->len;
		add(b, ":");
		add_value(b, f, path, m);
	}
}

/* Whether the place is a field of the object at path. */
static bool is_inside(const struct mutation *m, const char *path)
{
	size_t len = strlen(path);

	if (m->change == KEEP || strncmp(m->path, path, len) != 0)
		return false;
	return !strpbrk(m->path + len + (len > 0 && m->path[len] == '.'), ".[");
}

static void add_object(
	struct text *b, const struct body *body, const char *path, struct mutation *m)
{
	bool is_first = true, was_done = m->is_done;

	add(b, "{");
	for (unsigned i = 0; i < body->nfields; i++)
		add_member(b, &body->field[i], path, m, &is_first);
	if (m->change == UNKNOWN && strcmp(m->path, path) == 0) {
		m->is_done = true;
		add(b, "%s\"nonsense\"", is_first ? "" : ",");
		m->key_behind = b->len;
		add(b, ":1");
	}
	add(b, "}");
	if (m->is_done && !was_done && is_inside(m, path))
		m->object_behind = b->len;
}

static void add_string(struct text *b, const struct field *f)
{
	/* No tap has such a name, so none is made. */
	bool is_tap = strcmp(f->name, "host_dev_name") == 0;

	add(b, "\"%s\"", is_tap ? "no_tap_has_this_name" : "x");
}

static void add_value(struct text *b, const struct field *f, const char *path, struct mutation *m)
{
	char element[PATH_LEN];

	(void)snprintf(element, sizeof(element), "%s[0]", path);
	switch (f->type) {
	case FIELD_BOOL: add(b, "false"); break;
	case FIELD_U8:
	case FIELD_U16:
	case FIELD_U32:
	case FIELD_U64:
	case FIELD_USIZE: add(b, "1"); break;
	case FIELD_STRING: add_string(b, f); break;
	case FIELD_ENUM: add(b, "\"%s\"", f->words[0]); break;
	case FIELD_OBJECT: add_object(b, f->body, path, m); break;
	case FIELD_ARRAY:
		add(b, "[");
		if (f->body)
			add_object(b, f->body, element, m);
		else
			add(b, "\"x\"");
		add(b, "]");
		break;
	case FIELD_MAP: add(b, "{\"k\":\"x\"}"); break;
	case FIELD_ANY: add(b, "null"); break;
	case FIELD_TYPES: break;
	}
}

/* --- what must come of it --- */

static const char json_fault[] =
	"An error occurred when deserializing the json body of a request: ";

/* Asks with the changed body; want NULL: whatever comes, it is no fault of the JSON. */
static void expect(const struct route *r, struct mutation *m, size_t *place, const char *want,
	const char *path)
{
	static struct text b;
	char target[64], fault[2048];
	int status;

	b.len = 0;
	m->is_done = false;
	add_object(&b, r->body, "", m);
	t_row_true(r->first, m->is_done);
	t_target(r, target, sizeof(target));
	t_api_init(&t);
	status = t_api(&t, http_method_name(r->method), target, b.at);
	rows++;
	if (!want) {
		cr_expect(eq(int, strncmp(t_fault(), json_fault, sizeof(json_fault) - 1) == 0, 0),
			"%s %s: \"%s\"", target, b.at, t_fault());
	} else {
		(void)snprintf(fault, sizeof(fault), "%s%s at line 1 column %zu.%s%s%s", json_fault,
			want, *place, path[0] ? " Field: `" : "", path, path[0] ? "`." : "");
		cr_expect(eq(int, strcmp(t_fault(), fault), 0), "%s %s:\n got \"%s\"\nwant \"%s\"",
			target, b.at, t_fault(), fault);
		cr_expect(eq(int, status, 400), "%s %s", target, b.at);
	}
	t_api_fini(&t);
}

static void names_text(const char *const *name, unsigned n, char *buf, size_t size)
{
	size_t len = 0;

	len += (size_t)snprintf(buf, size, "%s", n > 2 ? "one of " : "");
	for (unsigned i = 0; i < n; i++)
		len += (size_t)snprintf(buf + len, size - len, "%s`%s`",
			i == 0   ? ""
			: n == 2 ? " or "
				 : ", ",
			name[i]);
}

static const char *type_words(const struct field *f)
{
	switch (f->type) {
	case FIELD_BOOL: return "a boolean";
	case FIELD_STRING: return "a string";
	case FIELD_OBJECT: return f->body->name;
	case FIELD_ARRAY: return "a sequence";
	case FIELD_MAP: return "a map";
	default: return field_type_name(f->type);
	}
}

static bool is_number(const struct field *f)
{
	return f->type >= FIELD_U8 && f->type <= FIELD_USIZE;
}

/* A value of each type in the place of the field. */
static void wrong_types(const struct route *r, const struct field *f, const char *path)
{
	static const struct {
		const char *value, *words;
		bool is_container;
	} values[] = { { "null", "null", false }, { "true", "boolean `true`", false },
		{ "7", "integer `7`", false }, { "-7", "integer `-7`", false },
		{ "7.5", "floating point `7.5`", false }, { "\"y\"", "string \"y\"", false },
		{ "[]", "sequence", true }, { "{}", "map", true } };

	for (unsigned i = 0; i < ARRAY_SIZE(values); i++) {
		struct mutation m = { .change = REPLACED, .path = path, .value = values[i].value };
		char c = values[i].value[0];
		bool fits = (c == 't' && f->type == FIELD_BOOL) ||
			    (c == '"' && f->type == FIELD_STRING) ||
			    (c == '[' && f->type == FIELD_ARRAY) ||
			    (c == '{' && (f->type == FIELD_MAP || f->type == FIELD_OBJECT)) ||
			    (values[i].value[1] == '\0' && is_number(f)) ||
			    (c == 'n' && f->need == FIELD_NULLABLE);
		char want[256];

		/* What fits is another row, and so are words and numbers of the right type. */
		if ((fits && c != 'n') || (c == '"' && f->type == FIELD_ENUM))
			continue;
		if (fits) {
			expect(r, &m, NULL, NULL, "");
		} else if (f->type == FIELD_ENUM) {
			(void)snprintf(want, sizeof(want), "expected value");
			/* The first byte of the value; it is known when the body is made. */
			static struct text probe;
			probe.len = 0;
			m.is_done = false;
			add_object(&probe, r->body, "", &m);
			size_t place = m.before + 1;
			expect(r, &m, &place, want, path);
		} else {
			bool is_range = is_number(f) && c == '-' && values[i].value[2] == '\0';

			(void)snprintf(want, sizeof(want), "invalid %s: %s, expected %s",
				is_range ? "value" : "type", values[i].words, type_words(f));
			expect(r, &m, values[i].is_container ? &m.before : &m.behind, want, path);
		}
	}
}

static void ranges(const struct route *r, const struct field *f, const char *path)
{
	static const char *const over[] = { [FIELD_U8] = "256",
		[FIELD_U16] = "65536",
		[FIELD_U32] = "4294967296",
		[FIELD_U64] = "18446744073709551616",
		[FIELD_USIZE] = "18446744073709551616" };
	struct mutation m = { .change = REPLACED, .path = path };
	char want[256];

	m.value = over[f->type];
	if (f->type < FIELD_U64)
		(void)snprintf(want, sizeof(want), "invalid value: integer `%s`, expected %s",
			m.value, field_type_name(f->type));
	else
		(void)snprintf(want, sizeof(want),
			"invalid type: floating point `1.8446744073709552e+19`, expected %s",
			field_type_name(f->type));
	expect(r, &m, &m.behind, want, path);
	/* The last one that the type has. */
	m.value = f->type == FIELD_U8    ? "255"
		  : f->type == FIELD_U16 ? "65535"
		  : f->type == FIELD_U32 ? "4294967295"
					 : "18446744073709551615";
	expect(r, &m, NULL, NULL, "");
}

static void words(const struct route *r, const struct field *f, const char *path)
{
	struct mutation m = { .change = REPLACED, .path = path };
	char want[512], names[256], value[64];
	unsigned n = 0;

	for (; f->words[n]; n++) {
		/* Some of these pause and start machines that are not there: no fault of the JSON.
		 */
		(void)snprintf(value, sizeof(value), "\"%s\"", f->words[n]);
		m.value = value;
		expect(r, &m, NULL, NULL, "");
	}
	names_text(f->words, n, names, sizeof(names));
	(void)snprintf(want, sizeof(want), "unknown variant `nonsense`, expected %s", names);
	m.value = "\"nonsense\"";
	expect(r, &m, &m.behind, want, path);
	(void)snprintf(want, sizeof(want), "unknown variant ``, expected %s", names);
	m.value = "\"\"";
	expect(r, &m, &m.behind, want, path);
}

static void length(const struct route *r, const struct field *f, const char *path)
{
	static struct text value;
	struct mutation none = { .change = KEEP }, m = { .change = REPLACED, .path = path };
	size_t before_last = 0;
	char want[128];

	value.len = 0;
	add(&value, f->type == FIELD_MAP ? "{" : "[");
	for (unsigned i = 0; i <= f->limit; i++) {
		add(&value, "%s", i > 0 ? "," : "");
		if (f->type == FIELD_MAP)
			add(&value, "\"k%u\":\"x\"", i);
		else if (f->body)
			add_object(&value, f->body, "", &none);
		else
			add(&value, "\"x\"");
		before_last = value.len;
	}
	add(&value, f->type == FIELD_MAP ? "}" : "]");
	m.value = value.at;
	(void)snprintf(
		want, sizeof(want), "invalid length: expected at most %u elements", f->limit);
	/* Behind the element that is too many, before the bracket. */
	static struct text probe;
	probe.len = 0;
	add_object(&probe, r->body, "", &m);
	size_t place = m.before + before_last;
	expect(r, &m, &place, want, path);
}

static void mutate_body(const struct route *r, const struct body *in, const char *path);

static void mutate_field(
	const struct route *r, const struct field *f, const char *path, bool is_nested)
{
	struct mutation missing = { .change = MISSING, .path = path };
	struct mutation twice = { .change = TWICE, .path = path };
	char want[256], inner[PATH_LEN];

	(void)snprintf(want, sizeof(want), "missing field `%s`", f->name);
	if (f->need == FIELD_REQUIRED)
		expect(r, &missing, &missing.object_behind, want, is_nested ? path : "");
	else
		expect(r, &missing, NULL, NULL, "");
	(void)snprintf(want, sizeof(want), "duplicate field `%s`", f->name);
	expect(r, &twice, &twice.key_behind, want, is_nested ? path : "");
	if (f->type != FIELD_ANY)
		wrong_types(r, f, path);
	if (is_number(f))
		ranges(r, f, path);
	if (f->type == FIELD_ENUM)
		words(r, f, path);
	if (f->limit > 0)
		length(r, f, path);
	if (!f->body)
		return;
	(void)snprintf(inner, sizeof(inner), "%.150s%s", path, f->type == FIELD_ARRAY ? "[0]" : "");
	mutate_body(r, f->body, inner);
}

static void mutate_body(const struct route *r, const struct body *in, const char *path)
{
	struct mutation unknown = { .change = UNKNOWN, .path = path };
	const char *name[BODY_FIELDS_MAX];
	char want[1024], names[512], inner[PATH_LEN];

	for (unsigned i = 0; i < in->nfields; i++) {
		name[i] = in->field[i].name;
		(void)snprintf(
			inner, sizeof(inner), "%.100s%s%.50s", path, path[0] ? "." : "", name[i]);
		mutate_field(r, &in->field[i], inner, path[0] != '\0');
	}
	names_text(name, in->nfields, names, sizeof(names));
	(void)snprintf(want, sizeof(want), "unknown field `nonsense`, expected %s", names);
	(void)snprintf(inner, sizeof(inner), "%.150s.nonsense", path);
	if (in->is_tolerant)
		expect(r, &unknown, NULL, NULL, "");
	else
		expect(r, &unknown, &unknown.key_behind, want, path[0] ? inner : "");
}

Test(conformance, every_field_of_every_body)
{
	for (unsigned i = 0; i < api_nroutes; i++) {
		const struct route *r = &api_routes[i];

		if (!r->body)
			continue;
		mutate_body(r, r->body, "");
		t_say_rows(r, rows);
		rows = 0;
	}
	t_folder_done();
}
