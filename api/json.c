/*
 * JSON documents from clients (json.h).
 *
 * The scanner walks the text once, with a stack of open containers.  It knows the whole grammar,
 * because it is also what says in the client's words where a text stops being JSON; but a text is
 * taken only when jansson has taken it too.
 */
#include "api/json.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/parse.h"

enum { NODES_FIRST = 32 };

struct scan {
	struct doc *d;
	struct err *e;
	uint32_t at;
	uint32_t key, key_end; /* of the value that comes next */
	unsigned room;         /* of d->node */
	unsigned depth;
	uint32_t open[DOC_DEPTH_MAX]; /* containers */
};

void doc_where(const struct doc *d, uint32_t at, unsigned *ret_line, unsigned *ret_column)
{
	unsigned line = 1, column = 0;

	for (uint32_t i = 0; i < at && i < d->len; i++) {
		bool is_newline = d->text[i] == '\n';

		line += is_newline;
		column = is_newline ? 0 : column + 1;
	}
	*ret_line = line;
	*ret_column = column;
}

uint32_t doc_skip_blanks(const struct doc *d, uint32_t at)
{
	while (at < d->len && (d->text[at] == ' ' || d->text[at] == '\t' || d->text[at] == '\n' ||
				      d->text[at] == '\r'))
		at++;
	return at;
}

/* --- the scanner --- */

static int refuse_at(const struct doc *d, struct err *e, const char *what, uint32_t at)
{
	unsigned line, column;

	doc_where(d, at, &line, &column);
	return err_set(e, -EBADMSG, "%s at line %u column %u", what, line, column);
}

/* What was read last is wrong. */
static int refuse(struct scan *s, const char *what)
{
	return refuse_at(s->d, s->e, what, s->at);
}

/* The next byte is wrong; it counts, if there is one. */
static int refuse_next(struct scan *s, const char *what)
{
	return refuse_at(s->d, s->e, what, MIN(s->at + 1, s->d->len));
}

/* The next byte that is no blank; -1 at the end. */
static int peek(struct scan *s)
{
	s->at = doc_skip_blanks(s->d, s->at);
	return s->at < s->d->len ? (unsigned char)s->d->text[s->at] : -1;
}

static int byte_here(const struct scan *s)
{
	return s->at < s->d->len ? (unsigned char)s->d->text[s->at] : -1;
}

static int scan_escape(struct scan *s)
{
	int c = byte_here(s);

	if (c < 0)
		return refuse(s, "EOF while parsing a string");
	s->at++;
	if (c != 'u')
		return c != 0 && strchr("\"\\/bfnrt", c) ? 0 : refuse(s, "invalid escape");
	for (unsigned i = 0; i < 4; i++) {
		c = byte_here(s);
		if (c < 0)
			return refuse(s, "EOF while parsing a string");
		s->at++;
		if (c == 0 || !strchr("0123456789abcdefABCDEF", c))
			return refuse(s, "invalid escape");
	}
	return 0;
}

/* at is behind the first quotation mark; ends behind the second. */
static int scan_string(struct scan *s)
{
	for (;;) {
		int c = byte_here(s);
		int rc = 0;

		if (c < 0)
			return refuse(s, "EOF while parsing a string");
		s->at++;
		if (c == '"')
			return 0;
		if (c == '\\')
			rc = scan_escape(s);
		else if (c < 0x20)
			rc = refuse(s, "control character (\\u0000-\\u001F) found while parsing a "
				       "string");
		if (rc < 0)
			return rc;
	}
}

static int scan_digits(struct scan *s)
{
	uint32_t first = s->at;

	while (byte_here(s) >= '0' && byte_here(s) <= '9')
		s->at++;
	if (s->at > first)
		return 0;
	if (s->at == s->d->len)
		return refuse(s, "EOF while parsing a value");
	return refuse_next(s, "invalid number");
}

static int scan_number(struct scan *s)
{
	int rc;

	if (byte_here(s) == '-')
		s->at++;
	if (byte_here(s) == '0') {
		s->at++;
		if (byte_here(s) >= '0' && byte_here(s) <= '9')
			return refuse_next(s, "invalid number");
	} else {
		rc = scan_digits(s);
		if (rc < 0)
			return rc;
	}
	if (byte_here(s) == '.') {
		s->at++;
		rc = scan_digits(s);
		if (rc < 0)
			return rc;
	}
	if (byte_here(s) != 'e' && byte_here(s) != 'E')
		return 0;
	s->at++;
	if (byte_here(s) == '+' || byte_here(s) == '-')
		s->at++;
	return scan_digits(s);
}

static int scan_word(struct scan *s, const char *word)
{
	for (; *word; word++) {
		if (byte_here(s) < 0)
			return refuse(s, "EOF while parsing a value");
		s->at++;
		if (s->d->text[s->at - 1] != *word)
			return refuse(s, "expected ident");
	}
	return 0;
}

static int add_node(struct scan *s, enum doc_kind kind, uint32_t *ret)
{
	struct doc *d = s->d;
	struct doc_node *more;

	if (d->nnodes == DOC_NODES_MAX)
		return refuse(s, "too many values");
	if (d->nnodes == s->room) {
		s->room = s->room > 0 ? 2 * s->room : NODES_FIRST;
		more = realloc(d->node, s->room * sizeof(*more));
		if (!more)
			return err_sys(s->e, -ENOMEM, NULL, "cannot read the JSON");
		d->node = more;
	}
	*ret = d->nnodes++;
	d->node[*ret] = (struct doc_node){
		.kind = kind,
		.key = s->key,
		.key_end = s->key_end,
		.start = s->at,
	};
	s->key = s->key_end = 0;
	return 0;
}

/* A key and its colon. */
static int scan_key(struct scan *s)
{
	int c = peek(s);
	int rc;

	if (c != '"')
		return refuse_next(s, "key must be a string");
	s->key = s->at++;
	rc = scan_string(s);
	if (rc < 0)
		return rc;
	s->key_end = s->at;
	c = peek(s);
	if (c < 0)
		return refuse(s, "EOF while parsing an object");
	if (c != ':')
		return refuse_next(s, "expected `:`");
	s->at++;
	return 0;
}

static void close_node(struct scan *s, uint32_t index)
{
	s->d->node[index].end = s->at;
	s->d->node[index].next = s->d->nnodes;
}

/* A bracket has been read.  1 when a value follows, 0 when the container is empty and closed. */
static int open_container(struct scan *s, uint32_t index)
{
	bool is_object = s->d->node[index].kind == DOC_OBJECT;
	int c, rc;

	c = peek(s);
	if (c < 0)
		return refuse(
			s, is_object ? "EOF while parsing an object" : "EOF while parsing a list");
	if (c == (is_object ? '}' : ']')) {
		s->at++;
		close_node(s, index);
		return 0;
	}
	s->open[s->depth++] = index;
	rc = is_object ? scan_key(s) : 0;
	return rc < 0 ? rc : 1;
}

static enum doc_kind kind_of(int c)
{
	switch (c) {
	case '{': return DOC_OBJECT;
	case '[': return DOC_ARRAY;
	case '"': return DOC_STRING;
	case 't': return DOC_TRUE;
	case 'f': return DOC_FALSE;
	case 'n': return DOC_NULL;
	default: return DOC_NUMBER;
	}
}

/* A value, or the beginning of a container: 1 when a value follows, 0 when this one is complete. */
static int scan_value(struct scan *s)
{
	int c = peek(s);
	uint32_t index = 0;
	int rc;

	if (c < 0)
		return refuse(s, "EOF while parsing a value");
	if (c == 0 || !strchr("{[\"tfn-0123456789", c))
		return refuse_next(s, "expected value");
	if ((c == '{' || c == '[') && s->depth == DOC_DEPTH_MAX)
		return refuse_next(s, "recursion limit exceeded");
	rc = add_node(s, kind_of(c), &index);
	if (rc < 0)
		return rc;
	switch (s->d->node[index].kind) {
	case DOC_OBJECT:
	case DOC_ARRAY: s->at++; return open_container(s, index);
	case DOC_STRING:
		s->at++;
		rc = scan_string(s);
		break;
	case DOC_TRUE: rc = scan_word(s, "true"); break;
	case DOC_FALSE: rc = scan_word(s, "false"); break;
	case DOC_NULL: rc = scan_word(s, "null"); break;
	case DOC_NUMBER: rc = scan_number(s); break;
	}
	if (rc == 0)
		close_node(s, index);
	return rc;
}

/* Behind a value in a container: 1 when another one follows, 0 when the container is closed. */
static int scan_rest(struct scan *s)
{
	uint32_t index = s->open[s->depth - 1];
	bool is_object = s->d->node[index].kind == DOC_OBJECT;
	int end = is_object ? '}' : ']';
	int c = peek(s);
	int rc;

	if (c < 0)
		return refuse(
			s, is_object ? "EOF while parsing an object" : "EOF while parsing a list");
	if (c != ',' && c != end)
		return refuse_next(s, is_object ? "expected `,` or `}`" : "expected `,` or `]`");
	s->at++;
	if (c == end) {
		s->depth--;
		close_node(s, index);
		return 0;
	}
	c = peek(s);
	if (c < 0)
		return refuse(s, "EOF while parsing a value");
	if (c == end)
		return refuse_next(s, "trailing comma");
	rc = is_object ? scan_key(s) : 0;
	return rc < 0 ? rc : 1;
}

static int scan_text(struct scan *s)
{
	int rc = 1;

	while (rc == 1 || s->depth > 0) {
		rc = rc == 1 ? scan_value(s) : scan_rest(s);
		if (rc < 0)
			return rc;
	}
	return peek(s) < 0 ? 0 : refuse_next(s, "trailing characters");
}

/* --- jansson's word --- */

static json_t *load(const char *text, size_t len, size_t flags, json_error_t *je)
{
	/* Integers may have 64 bits, one more than jansson's; their digits are read by
	 * doc_number().
	 */
	return json_loadb(text, len, JSON_DECODE_ANY | JSON_DECODE_INT_AS_REAL | flags, je);
}

static int check_grammar(struct doc *d, struct err *e)
{
	json_error_t je;
	json_t *whole = load(d->text, d->len, JSON_REJECT_DUPLICATES, &je);
	const char *what = je.text;
	enum json_error_code code;
	uint32_t at;

	if (!whole && json_error_code(&je) == json_error_duplicate_key) {
		/* There may be something else behind that. */
		d->has_duplicates = true;
		whole = load(d->text, d->len, 0, &je);
	}
	if (whole) {
		json_decref(whole);
		return 0;
	}
	code = json_error_code(&je);
	if (code == json_error_out_of_memory)
		return err_sys(e, -ENOMEM, NULL, "cannot read the JSON");
	if (code == json_error_invalid_utf8)
		what = "invalid unicode code point";
	else if (code == json_error_null_character || code == json_error_null_byte_in_key)
		what = "NUL in a string or key";
	else if (code == json_error_numeric_overflow)
		what = "number out of range";
	at = je.position > 0 ? MIN((uint32_t)je.position, d->len) : 0;
	return refuse_at(d, e, what, at);
}

int doc_read(struct doc *d, const char *text, size_t len, struct err *e)
{
	struct scan s = { .d = d, .e = e };
	int rc;

	*d = (struct doc){ .text = text };
	if (len > DOC_LEN_MAX)
		return err_set(e, -EBADMSG, "the text has more than %d bytes", DOC_LEN_MAX);
	d->len = (uint32_t)len;
	rc = scan_text(&s);
	if (rc == 0)
		rc = check_grammar(d, e);
	if (rc == 0) {
		/* A decoded string is not longer than its text, whose quotation marks make room for
		 * the NUL. */
		d->pool = malloc(len > 0 ? len : 1);
		if (!d->pool)
			rc = err_sys(e, -ENOMEM, NULL, "cannot read the JSON");
	}
	if (rc < 0)
		doc_fini(d);
	return rc;
}

void doc_fini(struct doc *d)
{
	free(d->node);
	free(d->pool);
	*d = (struct doc){ 0 };
}

/* --- values --- */

static const char *keep(struct doc *d, const char *text, size_t len)
{
	char *to = d->pool + d->pool_used;

	if (len >= d->len - d->pool_used)
		return NULL;
	memcpy(to, text, len);
	to[len] = '\0';
	d->pool_used += (uint32_t)len + 1;
	return to;
}

const char *doc_string(struct doc *d, uint32_t start, uint32_t end)
{
	const char *text = d->text + start, *kept;
	size_t len = end - start;
	json_t *string;

	if (!memchr(text, '\\', len))
		return keep(d, text + 1, len - 2);
	string = json_loadb(text, len, JSON_DECODE_ANY, NULL);
	if (!string)
		return NULL;
	kept = keep(d, json_string_value(string), json_string_length(string));
	json_decref(string);
	return kept;
}

enum doc_number doc_number(
	const struct doc *d, const struct doc_node *n, uint64_t *ret_value, double *ret_float)
{
	enum { DIGITS_MAX = 20, TEXT_MAX = 64 };
	const char *text = d->text + n->start;
	size_t len = n->end - n->start;
	char digits[DIGITS_MAX + 1] = "";
	json_t *number;

	if (len <= DIGITS_MAX)
		memcpy(digits, text, len);
	if (parse_u64(digits, 0, UINT64_MAX, ret_value) == 0)
		return DOC_UNSIGNED;
	number = load(text, len, 0, NULL);
	*ret_float = json_number_value(number);
	json_decref(number);
	/* Negative zero is a float, and so is what 64 bits do not hold. */
	if (text[0] == '-' && *ret_float < 0 && *ret_float >= -0x1p63 && !memchr(text, '.', len) &&
		!memchr(text, 'e', len) && !memchr(text, 'E', len))
		return DOC_SIGNED;
	return DOC_FLOAT;
}
