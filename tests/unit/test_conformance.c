/*
 * The contract, row by row.  For every field of every body, out of the tables: missing, null, each
 * wrong type, out of range, unknown, duplicate, with the whole fault and its place; then the rows
 * that the contract has in its own words, and every request in every phase.  The number of rows for
 * each request is printed.
 */
#include "t.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "api/bodies.h"
#include "api/routes.h"
#include "t_api.h"

static void setup(void);

TestSuite(conformance, .timeout = 4 * T_SECONDS, .init = setup);

static struct t_api t;
static char folder[] = "/tmp/mvm-test-XXXXXX";
static unsigned rows;

static void setup(void)
{
	t_quiet();
	/* Bodies name files that are not there, or are made. */
	t_true(mkdtemp(folder) != NULL);
	t_int(chdir(folder), 0);
}

static void remove_folder(void)
{
	char command[64];

	(void)snprintf(command, sizeof(command), "rm -r %s", folder);
	t_int(system(command), 0);
}

static void target_of(const struct route *r, char *buf, size_t size)
{
	(void)snprintf(buf, size, "/%s%s%s%s", r->first, r->second ? "/" : "",
		r->second ? r->second : "", r->id == ROUTE_ID ? "/x" : "");
}

static void count_rows(const struct route *r)
{
	char target[64];

	target_of(r, target, sizeof(target));
	(void)printf("# %-6s %-24s %4u rows\n", http_method_name(r->method), target, rows);
	(void)fflush(stdout);
	rows = 0;
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
	target_of(r, target, sizeof(target));
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
		count_rows(r);
	}
	remove_folder();
}

/* --- bodies that are none --- */

Test(conformance, bodies_that_are_no_objects)
{
	enum { DEEP = 10000 };
	static char deep[DEEP + 1];
	static const struct {
		const char *body, *fault;
		size_t len;
	} bodies[] = {
		{ "{", "EOF while parsing an object at line 1 column 1", 1 },
		{ "{}x", "trailing characters at line 1 column 3", 3 },
		{ " ", "EOF while parsing a value at line 1 column 1", 1 },
		{ "\xff", "expected value at line 1 column 1", 1 },
		{ "{\"\xff\":1}", "invalid unicode code point at line 1 column 2", 7 },
		{ "\0", "expected value at line 1 column 1", 1 },
		{ deep, "recursion limit exceeded at line 1 column 128", DEEP },
	};

	memset(deep, '[', DEEP);
	for (unsigned i = 0; i < api_nroutes; i++) {
		const struct route *r = &api_routes[i];
		char target[64], want[512];

		if (!r->body)
			continue;
		target_of(r, target, sizeof(target));
		t_api_init(&t);
		for (unsigned k = 0; k < ARRAY_SIZE(bodies); k++) {
			t_row_int(target,
				t_api_bytes(&t, http_method_name(r->method), target, bodies[k].body,
					bodies[k].len),
				400);
			(void)snprintf(want, sizeof(want), "%s%s.", json_fault, bodies[k].fault);
			cr_expect(eq(int, strcmp(t_fault(), want), 0), "%s: \"%s\", not \"%s\"",
				target, t_fault(), want);
			rows++;
		}
		/* And of 0 bytes. */
		t_row_int(target, t_api(&t, http_method_name(r->method), target, ""), 400);
		t_row_has(target, t_fault(),
			r->method == HTTP_PUT ? "Empty PUT request." : "Empty PATCH request.");
		rows++;
		t_api_fini(&t);
		count_rows(r);
	}
	remove_folder();
}

/* --- every request in every phase --- */

static const char *const good_bodies[] = {
	"PUT machine-config {\"vcpu_count\":1,\"mem_size_mib\":128}",
	"PATCH machine-config {\"mem_size_mib\":128}",
	"PUT boot-source {\"kernel_image_path\":\"/dev/null\"}",
	"PUT cpu-config {}",
	"PUT drives {\"drive_id\":\"x\",\"is_root_device\":false,\"path_on_host\":\"disk\"}",
	"PATCH drives {\"drive_id\":\"x\",\"rate_limiter\":{}}",
	"PUT network-interfaces {\"iface_id\":\"x\",\"host_dev_name\":\"no_tap_has_this_name\"}",
	"PATCH network-interfaces {\"iface_id\":\"x\"}",
	"PUT serial {}",
	"PUT logger {}",
	"PUT metrics {\"metrics_path\":\"metrics\"}",
	"PUT actions {\"action_type\":\"FlushMetrics\"}",
	"PUT snapshot {\"snapshot_path\":\"s\",\"mem_file_path\":\"m\"}",
};

/* In the state that it is in already. */
static const char *body_for(const struct route *r)
{
	char key[64];

	if (r->body == &body_vm)
		return t.in->state == INSTANCE_RUNNING ? "{\"state\":\"Resumed\"}"
						       : "{\"state\":\"Paused\"}";
	if (!r->body)
		return r->method == HTTP_PUT || r->method == HTTP_PATCH ? "{}" : NULL;
	(void)snprintf(key, sizeof(key), "%s %s ", http_method_name(r->method), r->first);
	for (unsigned i = 0; i < ARRAY_SIZE(good_bodies); i++) {
		if (strncmp(good_bodies[i], key, strlen(key)) == 0)
			return good_bodies[i] + strlen(key);
	}
	t_row_true(key, false);
	return NULL;
}

static const char *phase_fault(enum instance_state state)
{
	return state == INSTANCE_NOT_STARTED ? FAULT_BEFORE_START
	       : state == INSTANCE_ENDED     ? FAULT_AFTER_END
					     : FAULT_AFTER_START;
}

/* A stream is the answer of these. */
static bool is_stream(const struct route *r)
{
	return strcmp(r->first, "events") == 0;
}

static void ask_in_phase(const struct route *r)
{
	enum instance_state state = t.in->state;
	char target[64];
	const char *body = body_for(r);
	struct t_call *c;
	int status;

	target_of(r, target, sizeof(target));
	rows++;
	if (is_stream(r)) {
		c = t_call_begin(&t, "GET", target, NULL, 0);
		t_true(c->ops != NULL);
		t_call_free(c);
		return;
	}
	status = t_api(&t, http_method_name(r->method), target, body);
	t_row_int(target, t.in->state, state);
	if (r->absent) {
		t_row_int(target, status, 400);
		t_row_has(target, t_fault(), "This monitor has no ");
		t_row_has(target, t_fault(), r->absent);
	} else if (r->body == &body_action) {
		t_row_int(target, status,
			state == INSTANCE_RUNNING || state == INSTANCE_PAUSED ? 204 : 400);
	} else if (!(r->phases >> state & 1)) {
		t_row_int(target, status, 400);
		t_row_has(target, t_fault(), phase_fault(state));
		if (!r->is_plugged)
			t_row_int(target, strcmp(t_fault(), phase_fault(state)), 0);
	} else if (r->method == HTTP_GET) {
		t_row_int(target, status, 200);
	} else {
		cr_expect(eq(int, strcmp(t_fault(), phase_fault(state)) == 0, 0), "%s", target);
	}
}

static void all_requests(const char *phase)
{
	for (unsigned i = 0; i < api_nroutes; i++)
		ask_in_phase(&api_routes[i]);
	(void)printf("# %-12s %4u requests\n", phase, rows);
	rows = 0;
}

Test(conformance, every_request_in_every_phase)
{
	t_api_init(&t);
	all_requests("before");
	t_api_start(&t);
	all_requests("running");
	t_int(t_api(&t, "PATCH", "/vm", "{\"state\":\"Paused\"}"), 204);
	t_int(t.in->state, INSTANCE_PAUSED);
	all_requests("paused");
	t_int(t_api(&t, "PATCH", "/vm", "{\"state\":\"Resumed\"}"), 204);
	t_api_end(&t);
	all_requests("ended");
	t_api_fini(&t);
	remove_folder();
}
