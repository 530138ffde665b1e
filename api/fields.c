/*
 * One decoder for all tables (fields.h).
 *
 * It goes through the values in the order of the text with a stack of open containers, whose depth
 * is that of the tables, not of the text.
 */
#include "api/fields.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "api/text.h"
#include "base/err.h"

enum { FRAMES_MAX = 8, PATH_TEXT_MAX = 128, SHOWN_MAX = 160, EXPECTED_MAX = 320 };

/* A container that is being read. */
struct frame {
	const struct field *field; /* whose value it is */
	const struct body *body;   /* of an object; NULL for others */
	uint8_t *out;              /* an object's structure, or what has the array or map */
	uint32_t node, at;         /* itself, and its next child */
	uint64_t seen;             /* fields, null ones too */
	unsigned count;            /* children so far */
};

struct decode {
	struct doc *d;
	struct err *e;
	unsigned depth;
	struct frame frame[FRAMES_MAX];
};

/* --- faults --- */

PRINTF_LIKE(3, 4)
static void append(char *buf, size_t size, const char *fmt, ...)
{
	size_t len = strlen(buf);
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(buf + len, size - len, fmt, args);
	va_end(args);
}

/*
 * Where a fault is, for its text: a name is the field called so in the object or map that is being
 * read; these are the last element of the list that is being read, the container itself, and
 * nothing that has to be said.
 */
static const char last_element[] = "", container[] = "", nowhere[] = "";

/* As "drives[1].rate_limiter.ops". */
static void path_of(const struct decode *c, const char *name, char buf[PATH_TEXT_MAX])
{
	char shown[PATH_TEXT_MAX];

	buf[0] = '\0';
	for (unsigned i = 1; i < c->depth; i++) {
		const struct frame *f = &c->frame[i];

		if (f->body && !c->frame[i - 1].body)
			append(buf, PATH_TEXT_MAX, "[%u]", c->frame[i - 1].count - 1);
		else
			append(buf, PATH_TEXT_MAX, "%s%s", buf[0] ? "." : "", f->field->name);
	}
	if (name == last_element) {
		append(buf, PATH_TEXT_MAX, "[%u]", c->frame[c->depth - 1].count - 1);
	} else if (name != container) {
		(void)text_clean(name, strlen(name), shown, sizeof(shown));
		append(buf, PATH_TEXT_MAX, "%s%s", buf[0] ? "." : "", shown);
	}
}

/* The fault at at. */
PRINTF_LIKE(4, 5)
static int refuse(const struct decode *c, uint32_t at, const char *name, const char *fmt, ...)
{
	char text[ERR_TEXT_MAX], path[PATH_TEXT_MAX] = "";
	unsigned line, column;
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	doc_where(c->d, at, &line, &column);
	if (name != nowhere)
		path_of(c, name, path);
	if (path[0])
		return err_set(c->e, -EBADMSG, "%.300s at line %u column %u. Field: `%s`", text,
			line, column, path);
	return err_set(c->e, -EBADMSG, "%.460s at line %u column %u", text, line, column);
}

/* Behind a fault that has the name of the field its path is only news in an object inside another.
 */
static const char *if_nested(const struct decode *c, const char *name)
{
	return c->depth > 1 ? name : nowhere;
}

/* "`a`", "`a` or `b`", "one of `a`, `b`, `c`". */
static void expected_text(const char *const *name, unsigned n, char buf[EXPECTED_MAX])
{
	buf[0] = '\0';
	if (n > 2)
		append(buf, EXPECTED_MAX, "one of ");
	for (unsigned i = 0; i < n; i++)
		append(buf, EXPECTED_MAX, "%s`%s`", i == 0 ? "" : n == 2 ? " or " : ", ", name[i]);
}

static void field_names(const struct body *b, char buf[EXPECTED_MAX])
{
	const char *name[BODY_FIELDS_MAX];

	for (unsigned i = 0; i < b->nfields; i++)
		name[i] = b->field[i].name;
	expected_text(name, b->nfields, buf);
}

static const char *expected_type(enum field_type type)
{
	static const char *const names[FIELD_TYPES] = {
		[FIELD_BOOL] = "a boolean",
		[FIELD_U8] = "u8",
		[FIELD_U16] = "u16",
		[FIELD_U32] = "u32",
		[FIELD_U64] = "u64",
		[FIELD_USIZE] = "usize",
		[FIELD_STRING] = "a string",
		[FIELD_ENUM] = "a string",
		[FIELD_OBJECT] = "a map",
		[FIELD_ARRAY] = "a sequence",
		[FIELD_MAP] = "a map",
		[FIELD_ANY] = "any value",
	};

	return names[type];
}

/* The shortest digits that mean the same number, always with a point or an exponent. */
static void float_text(double value, char buf[32])
{
	for (int digits = 15; digits <= 17; digits++) {
		(void)snprintf(buf, 32, "%.*g", digits, value);
		if (strtod(buf, NULL) == value)
			break;
	}
	if (!strpbrk(buf, ".e"))
		append(buf, 32, ".0");
}

/* What stands there, as the fault shows it. */
static void found_text(const struct decode *c, const struct doc_node *n, char buf[SHOWN_MAX + 32])
{
	static const char *const plain[] = { [DOC_NULL] = "null",
		[DOC_FALSE] = "boolean `false`",
		[DOC_TRUE] = "boolean `true`",
		[DOC_ARRAY] = "sequence",
		[DOC_OBJECT] = "map" };
	uint64_t value = 0;
	double number = 0;
	char digits[32];
	const char *text;

	if (n->kind == DOC_STRING) {
		text = doc_string(c->d, n->start, n->end);
		(void)snprintf(buf, SHOWN_MAX, "string ");
		(void)text_quote(text ? text : "", text ? strlen(text) : 0, buf + 7, SHOWN_MAX);
	} else if (n->kind == DOC_NUMBER) {
		switch (doc_number(c->d, n, &value, &number)) {
		case DOC_UNSIGNED:
		case DOC_SIGNED:
			(void)snprintf(buf, SHOWN_MAX, "integer `%.*s`", (int)(n->end - n->start),
				c->d->text + n->start);
			break;
		case DOC_FLOAT:
			float_text(number, digits);
			(void)snprintf(buf, SHOWN_MAX, "floating point `%s`", digits);
			break;
		}
	} else {
		(void)snprintf(buf, SHOWN_MAX, "%s", plain[n->kind]);
	}
}

static int wrong_type(
	const struct decode *c, const struct doc_node *n, const char *name, const char *expected)
{
	/* A container is refused before it is read. */
	uint32_t at = n->kind == DOC_ARRAY || n->kind == DOC_OBJECT ? n->start : n->end;
	char found[SHOWN_MAX + 32];

	found_text(c, n, found);
	return refuse(c, at, name, "invalid type: %s, expected %s", found, expected);
}

/* --- single values --- */

static int read_number(struct decode *c, const struct doc_node *n, const struct field *f, void *out)
{
	static const uint64_t limits[FIELD_TYPES] = { [FIELD_U8] = UINT8_MAX,
		[FIELD_U16] = UINT16_MAX,
		[FIELD_U32] = UINT32_MAX,
		[FIELD_U64] = UINT64_MAX,
		[FIELD_USIZE] = UINT64_MAX };
	const char *type = expected_type(f->type);
	uint64_t value = 0;
	double other;
	enum doc_number kind;

	if (n->kind != DOC_NUMBER)
		return wrong_type(c, n, f->name, type);
	kind = doc_number(c->d, n, &value, &other);
	if (kind == DOC_FLOAT)
		return wrong_type(c, n, f->name, type);
	if (kind == DOC_SIGNED || value > limits[f->type])
		return refuse(c, n->end, f->name, "invalid value: integer `%.*s`, expected %s",
			(int)MIN(n->end - n->start, SHOWN_MAX), c->d->text + n->start, type);
	memcpy(out, &value, sizeof(value));
	return 0;
}

static int read_string(
	struct decode *c, const struct doc_node *n, const char *name, const char **ret)
{
	if (n->kind != DOC_STRING)
		return wrong_type(c, n, name, expected_type(FIELD_STRING));
	*ret = doc_string(c->d, n->start, n->end);
	return *ret ? 0 : err_sys(c->e, -ENOMEM, NULL, "cannot read the JSON");
}

static int read_word(struct decode *c, const struct doc_node *n, const struct field *f, void *out)
{
	char expected[EXPECTED_MAX], shown[SHOWN_MAX];
	const char *text;
	unsigned i;
	int rc;

	if (n->kind != DOC_STRING)
		return refuse(c, n->start + 1, f->name, "expected value");
	rc = read_string(c, n, f->name, &text);
	if (rc < 0)
		return rc;
	for (i = 0; f->words[i]; i++) {
		if ((f->is_case_free ? strcasecmp : strcmp)(text, f->words[i]) == 0) {
			memcpy(out, &i, sizeof(i));
			return 0;
		}
	}
	expected_text(f->words, i, expected);
	(void)text_clean(text, strlen(text), shown, sizeof(shown));
	return refuse(c, n->end, f->name, "unknown variant `%s`, expected %s", shown, expected);
}

static int read_bool(struct decode *c, const struct doc_node *n, const char *name, void *out)
{
	bool value = n->kind == DOC_TRUE;

	if (n->kind != DOC_TRUE && n->kind != DOC_FALSE)
		return wrong_type(c, n, name, expected_type(FIELD_BOOL));
	memcpy(out, &value, sizeof(value));
	return 0;
}

static int push(struct decode *c, uint32_t node, const struct field *field, const struct body *body,
	void *out, const char *name)
{
	const struct doc_node *n = &c->d->node[node];
	enum doc_kind wanted = !body && field->type == FIELD_ARRAY ? DOC_ARRAY : DOC_OBJECT;

	if (n->kind != wanted)
		return wrong_type(c, n, name, body ? body->name : expected_type(field->type));
	/* The tables are ours, and so is their depth. */
	INVARIANT(c->depth < FRAMES_MAX);
	c->frame[c->depth++] = (struct frame){
		.field = field,
		.body = body,
		.out = out,
		.node = node,
		.at = node + 1,
	};
	return 0;
}

/* --- containers --- */

static int read_value(
	struct decode *c, const struct frame *in, const struct field *f, uint32_t node)
{
	const struct doc_node *n = &c->d->node[node];
	void *out = in->out + f->offset;

	switch (f->type) {
	case FIELD_BOOL: return read_bool(c, n, f->name, out);
	case FIELD_U8:
	case FIELD_U16:
	case FIELD_U32:
	case FIELD_U64:
	case FIELD_USIZE: return read_number(c, n, f, out);
	case FIELD_STRING: return read_string(c, n, f->name, out);
	case FIELD_ENUM: return read_word(c, n, f, out);
	case FIELD_OBJECT: return push(c, node, f, f->body, out, f->name);
	case FIELD_ARRAY:
	case FIELD_MAP: return push(c, node, f, NULL, in->out, f->name);
	case FIELD_ANY: memcpy(out, &node, sizeof(node)); return 0;
	case FIELD_TYPES: break;
	}
	return 0;
}

static int find_field(const struct body *b, const char *name)
{
	for (unsigned i = 0; i < b->nfields; i++) {
		if (strcmp(b->field[i].name, name) == 0)
			return (int)i;
	}
	return -1;
}

static int unknown_field(
	const struct decode *c, const struct body *b, const char *name, uint32_t at)
{
	char expected[EXPECTED_MAX], shown[SHOWN_MAX];

	(void)text_clean(name, strlen(name), shown, sizeof(shown));
	field_names(b, expected);
	return refuse(
		c, at, if_nested(c, name), "unknown field `%s`, expected %s", shown, expected);
}

/* One member of the object in the top frame. */
static int read_member(struct decode *c, struct frame *f)
{
	uint32_t node = f->at;
	const struct doc_node *n = &c->d->node[node];
	const char *name = doc_string(c->d, n->key, n->key_end);
	uint32_t behind_key = doc_skip_blanks(c->d, n->key_end);
	const struct field *field;
	int i;

	if (!name)
		return err_sys(c->e, -ENOMEM, NULL, "cannot read the JSON");
	f->at = n->next;
	i = find_field(f->body, name);
	if (i < 0)
		return f->body->is_tolerant ? 0 : unknown_field(c, f->body, name, behind_key);
	field = &f->body->field[i];
	if (f->seen >> i & 1)
		return refuse(c, behind_key, if_nested(c, name), "duplicate field `%s`", name);
	f->seen |= 1ULL << i;
	if (field->need == FIELD_NULLABLE && n->kind == DOC_NULL)
		return 0;
	*(uint64_t *)(void *)f->out |= 1ULL << i;
	return read_value(c, f, field, node);
}

static int end_object(struct decode *c, const struct frame *f)
{
	for (unsigned i = 0; i < f->body->nfields; i++) {
		const struct field *field = &f->body->field[i];

		if (field->need == FIELD_REQUIRED && !(f->seen >> i & 1))
			return refuse(c, c->d->node[f->node].end, if_nested(c, field->name),
				"missing field `%s`", field->name);
	}
	c->depth--;
	return 0;
}

static void *element(const struct frame *f, size_t size)
{
	return f->out + f->field->offset + (size_t)f->count * size;
}

static int read_pair(struct decode *c, struct frame *f, const struct doc_node *n)
{
	const char **pair = element(f, 2 * sizeof(char *));
	const char *const *first = (const char *const *)(const void *)(f->out + f->field->offset);
	const char *name = doc_string(c->d, n->key, n->key_end);
	char shown[SHOWN_MAX];

	if (!name)
		return err_sys(c->e, -ENOMEM, NULL, "cannot read the JSON");
	for (size_t i = 0; i < f->count; i++) {
		if (strcmp(first[2 * i], name) != 0)
			continue;
		(void)text_clean(name, strlen(name), shown, sizeof(shown));
		return refuse(
			c, doc_skip_blanks(c->d, n->key_end), name, "duplicate field `%s`", shown);
	}
	f->count++;
	pair[0] = name;
	return read_string(c, n, name, &pair[1]);
}

/* One element of the array or map in the top frame. */
static int read_element(struct decode *c, struct frame *f)
{
	const struct field *field = f->field;
	uint32_t node = f->at;
	const struct doc_node *n = &c->d->node[node];
	const char **string;
	void *out;

	if (f->count == field->limit)
		return refuse(c, n->end, container, "invalid length: expected at most %u elements",
			field->limit);
	f->at = n->next;
	if (field->type == FIELD_MAP)
		return read_pair(c, f, n);
	if (field->body) {
		out = element(f, field->body->size);
		f->count++;
		return push(c, node, field, field->body, out, last_element);
	}
	string = element(f, sizeof(char *));
	f->count++;
	return read_string(c, n, last_element, string);
}

static void end_list(struct decode *c, const struct frame *f)
{
	memcpy(f->out + f->field->count_offset, &f->count, sizeof(f->count));
	c->depth--;
}

/* Nobody's field. */
static const struct field whole = { .name = "", .type = FIELD_OBJECT };

int body_decode(const struct body *b, struct doc *d, uint32_t index, void *out, struct err *e)
{
	struct decode c = { .d = d, .e = e };
	int rc = push(&c, index, &whole, b, out, nowhere);

	while (rc == 0 && c.depth > 0) {
		struct frame *f = &c.frame[c.depth - 1];
		bool is_over = f->at == d->node[f->node].next;

		if (f->body)
			rc = is_over ? end_object(&c, f) : read_member(&c, f);
		else if (is_over)
			end_list(&c, f);
		else
			rc = read_element(&c, f);
	}
	return rc;
}

/* --- names --- */

const char *field_type_name(enum field_type type)
{
	static const char *const names[FIELD_TYPES] = { [FIELD_BOOL] = "bool",
		[FIELD_U8] = "u8",
		[FIELD_U16] = "u16",
		[FIELD_U32] = "u32",
		[FIELD_U64] = "u64",
		[FIELD_USIZE] = "usize",
		[FIELD_STRING] = "string",
		[FIELD_ENUM] = "enum",
		[FIELD_OBJECT] = "object",
		[FIELD_ARRAY] = "array",
		[FIELD_MAP] = "map",
		[FIELD_ANY] = "any" };

	return names[type];
}

const char *field_need_name(enum field_need need)
{
	static const char *const names[] = { [FIELD_REQUIRED] = "required",
		[FIELD_DEFAULT] = "default",
		[FIELD_NULLABLE] = "nullable" };

	return names[need];
}
