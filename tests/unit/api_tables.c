/*
 * Prints the tables of routes and of the fields of bodies as one JSON object, for tests that
 * compare them with api/openapi.yaml.
 *
 *     {"routes": [{"method", "path", "phases": [...], "body", "absent", "count"}],
 *      "bodies": {NAME: {"tolerant", "fields": [{"name", "type", "need", "min", "max", "limit",
 * "words", "case_free", "deprecated", "body"}]}}}
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "api/bodies.h"
#include "api/routes.h"

static json_t *phases(unsigned mask)
{
	static const char *const names[] = { "not-started", "running", "paused", "ended" };
	json_t *list = json_array();

	for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
		if (mask >> i & 1)
			(void)json_array_append_new(list, json_string(names[i]));
	}
	return list;
}

static json_t *name_or_null(const char *name)
{
	return name ? json_string(name) : json_null();
}

static json_t *route(const struct route *r)
{
	char path[128];

	(void)snprintf(path, sizeof(path), "/%s%s%s%s", r->first, r->second ? "/" : "",
		r->second ? r->second : "", r->id == ROUTE_ID ? "/{id}" : "");
	return json_pack("{s:s, s:s, s:o, s:o, s:o}", "method", http_method_name(r->method), "path",
		path, "phases", phases(r->phases), "body",
		name_or_null(r->body ? r->body->name : NULL), "absent", name_or_null(r->absent));
}

static json_t *words(const char *const *word)
{
	json_t *list = json_array();

	for (unsigned i = 0; word && word[i]; i++)
		(void)json_array_append_new(list, json_string(word[i]));
	return list;
}

static json_t *number(uint64_t value)
{
	return value > INT64_MAX ? json_real((double)value) : json_integer((json_int_t)value);
}

static json_t *field(const struct field *f)
{
	return json_pack("{s:s, s:s, s:s, s:o, s:o, s:I, s:o, s:b, s:b, s:o}", "name", f->name,
		"type", field_type_name(f->type), "need", field_need_name(f->need), "min",
		number(f->min), "max", number(f->max), "limit", (json_int_t)f->limit, "words",
		words(f->words), "case_free", f->is_case_free, "deprecated", f->is_deprecated,
		"body", name_or_null(f->body ? f->body->name : NULL));
}

/* Tables are a few levels deep. */
static void add_body(json_t *bodies, const struct body *b)
{
	json_t *fields;

	if (json_object_get(bodies, b->name))
		return;
	fields = json_array();
	for (unsigned i = 0; i < b->nfields; i++)
		(void)json_array_append_new(fields, field(&b->field[i]));
	(void)json_object_set_new(bodies, b->name,
		json_pack("{s:b, s:o}", "tolerant", b->is_tolerant, "fields", fields));
	for (unsigned i = 0; i < b->nfields; i++) {
		if (b->field[i].body)
			add_body(bodies, b->field[i].body);
	}
}

int main(void)
{
	json_t *routes = json_array(), *bodies = json_object(), *all;

	for (unsigned i = 0; i < api_nroutes; i++)
		(void)json_array_append_new(routes, route(&api_routes[i]));
	for (unsigned i = 0; all_bodies[i]; i++)
		add_body(bodies, all_bodies[i]);
	all = json_pack("{s:o, s:o}", "routes", routes, "bodies", bodies);
	if (!all || json_dumpf(all, stdout, JSON_INDENT(1)) < 0)
		return 1;
	(void)putchar('\n');
	json_decref(all);
	return 0;
}
