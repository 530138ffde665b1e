/* HTTP requests by llhttp, with limits, and the heads of responses (http.h). */
#include "api/http.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* llhttp has names for methods that are ours, too. */
#define HTTP_GET    LLHTTP_GET
#define HTTP_PUT    LLHTTP_PUT
#define HTTP_PATCH  LLHTTP_PATCH
#define HTTP_DELETE LLHTTP_DELETE
#include <llhttp.h>
#undef HTTP_GET
#undef HTTP_PUT
#undef HTTP_PATCH
#undef HTTP_DELETE

#include "base/cleanup.h"

enum { ERROR_MAX = 160, FIELD_MAX = 16, VALUE_MAX = 64 };

enum stage { STAGE_HEAD, STAGE_BODY, STAGE_DONE, STAGE_BAD };

struct http_parser {
	llhttp_t grammar;
	enum stage stage;
	bool has_begun;        /* the first byte of the request line was seen */
	bool expects;          /* the client waits for an interim 100 before it sends the body */
	size_t line, head;     /* bytes of the line so far, and of all lines */
	size_t body_max, room; /* room: bytes allocated at request.body, but for the NUL */
	size_t target_len;
	/* The header line that is being read; cut off, but the length is true. */
	size_t field_len, value_len;
	char field[FIELD_MAX], value[VALUE_MAX];
	struct http_request request;
	char error[ERROR_MAX];
};

const char *http_method_name(enum http_method m)
{
	static const char *const names[HTTP_METHODS] = {
		[HTTP_GET] = "GET",
		[HTTP_PUT] = "PUT",
		[HTTP_PATCH] = "PATCH",
		[HTTP_DELETE] = "DELETE",
		[HTTP_OTHER] = "other",
	};

	return names[m];
}

/* --- what llhttp reports --- */

static struct http_parser *parser_of(llhttp_t *grammar)
{
	return container_of(grammar, struct http_parser, grammar);
}

static int fail(struct http_parser *p, const char *why)
{
	(void)snprintf(p->error, sizeof(p->error), "%s", why);
	return HPE_USER;
}

static int on_begin(llhttp_t *grammar)
{
	parser_of(grammar)->has_begun = true;
	return 0;
}

static int on_url(llhttp_t *grammar, const char *at, size_t len)
{
	struct http_parser *p = parser_of(grammar);

	/* The line is within its limit, so its target is; this is for the reader. */
	if (len >= sizeof(p->request.target) - p->target_len)
		return fail(p, "Invalid URI.");
	memcpy(p->request.target + p->target_len, at, len);
	p->target_len += len;
	return 0;
}

/* Adds to a text of which only the beginning is kept. */
static void add(char *buf, size_t size, size_t *len, const char *at, size_t more)
{
	if (*len < size)
		memcpy(buf + *len, at, MIN(more, size - *len));
	*len += more;
}

static int on_field(llhttp_t *grammar, const char *at, size_t len)
{
	struct http_parser *p = parser_of(grammar);

	add(p->field, sizeof(p->field), &p->field_len, at, len);
	return 0;
}

static int on_value(llhttp_t *grammar, const char *at, size_t len)
{
	struct http_parser *p = parser_of(grammar);

	add(p->value, sizeof(p->value), &p->value_len, at, len);
	return 0;
}

static bool is_text(const char *buf, size_t size, size_t len, const char *text)
{
	return len == strlen(text) && len <= size && strncasecmp(buf, text, len) == 0;
}

static int on_line(llhttp_t *grammar)
{
	struct http_parser *p = parser_of(grammar);
	size_t len = p->value_len;

	if (p->stage != STAGE_HEAD) {
		/* A trailer says nothing that is wanted here. */
	} else if (is_text(p->field, sizeof(p->field), p->field_len, "expect")) {
		p->expects = is_text(p->value, sizeof(p->value), len, "100-continue");
	} else if (is_text(p->field, sizeof(p->field), p->field_len, "upgrade")) {
		len = len < sizeof(p->request.upgrade) ? len : 0;
		memcpy(p->request.upgrade, p->value, len);
		p->request.upgrade[len] = '\0';
	}
	p->field_len = p->value_len = 0;
	return 0;
}

/* Room for len bytes of the body in all.  A body over the limit is refused before it is stored. */
static int make_room(struct http_parser *p, uint64_t len)
{
	size_t room;
	char *body;

	if (len > p->body_max) {
		(void)snprintf(p->error, sizeof(p->error),
			"Request payload with size %" PRIu64
			" is larger than the limit of %zu allowed by server.",
			len, p->body_max);
		return HPE_USER;
	}
	if (len <= p->room && p->request.body)
		return 0;
	/* Chunks may be many and small. */
	room = MIN(MAX((size_t)len, p->room * 2), p->body_max);
	body = realloc(p->request.body, MIN(room, HTTP_BODY_LIMIT_MAX) + 1);
	if (!body)
		return fail(p, "Out of memory for the request's body.");
	p->request.body = body;
	p->room = room;
	return 0;
}

static enum http_method method_of(uint8_t method)
{
	switch (method) {
	case LLHTTP_GET: return HTTP_GET;
	case LLHTTP_PUT: return HTTP_PUT;
	case LLHTTP_PATCH: return HTTP_PATCH;
	case LLHTTP_DELETE: return HTTP_DELETE;
	default: return HTTP_OTHER;
	}
}

/* A target may name scheme and host as well, as to a proxy (RFC 9112, 3.2.2). */
static void finish_target(struct http_parser *p)
{
	static const char scheme[] = "http://";
	char *target = p->request.target, *path;

	target[p->target_len] = '\0';
	if (strncasecmp(target, scheme, strlen(scheme)) != 0)
		return;
	path = target + strlen(scheme);
	path += strcspn(path, "/?");
	if (*path == '/')
		memmove(target, path, strlen(path) + 1);
	else
		memcpy(target, "/", 2);
}

static int on_headers(llhttp_t *grammar)
{
	struct http_parser *p = parser_of(grammar);
	struct http_request *r = &p->request;

	if (grammar->http_major != 1 || grammar->http_minor > 1)
		return fail(p, "Unsupported HTTP version.");
	r->method = method_of(grammar->method);
	(void)stpncpy(
		r->method_text, llhttp_method_name(grammar->method), sizeof(r->method_text) - 1);
	r->is_http10 = grammar->http_minor == 0;
	r->keep_alive = llhttp_should_keep_alive(grammar);
	if (!(grammar->flags & F_CONNECTION_UPGRADE) || r->is_http10)
		r->upgrade[0] = '\0';
	finish_target(p);
	p->stage = STAGE_BODY;
	if (grammar->flags & F_CHUNKED || grammar->content_length == 0)
		return 0;
	return make_room(p, grammar->content_length);
}

static int on_chunk(llhttp_t *grammar)
{
	struct http_parser *p = parser_of(grammar);
	uint64_t len = 0;

	if (grammar->content_length == 0)
		return 0;
	if (__builtin_add_overflow(p->request.body_len, grammar->content_length, &len))
		len = UINT64_MAX;
	return make_room(p, len);
}

static int on_body(llhttp_t *grammar, const char *at, size_t len)
{
	struct http_parser *p = parser_of(grammar);
	struct http_request *r = &p->request;

	INVARIANT(r->body && len <= p->room - r->body_len);
	memcpy(r->body + r->body_len, at, len);
	r->body_len += len;
	return 0;
}

static int on_complete(llhttp_t *grammar)
{
	struct http_parser *p = parser_of(grammar);

	if (p->request.body)
		p->request.body[p->request.body_len] = '\0';
	p->stage = STAGE_DONE;
	return HPE_PAUSED;
}

static const llhttp_settings_t settings = {
	.on_message_begin = on_begin,
	.on_url = on_url,
	.on_header_field = on_field,
	.on_header_value = on_value,
	.on_header_value_complete = on_line,
	.on_headers_complete = on_headers,
	.on_chunk_header = on_chunk,
	.on_body = on_body,
	.on_message_complete = on_complete,
};

/* --- the parser --- */

static void begin(struct http_parser *p)
{
	llhttp_init(&p->grammar, HTTP_REQUEST, &settings);
	p->stage = STAGE_HEAD;
	p->has_begun = p->expects = false;
	p->line = p->head = p->target_len = p->field_len = p->value_len = 0;
	p->request.upgrade[0] = p->request.target[0] = '\0';
}

int http_parser_new(size_t body_max, struct http_parser **ret)
{
	struct http_parser *p = calloc(1, sizeof(*p));

	if (!p)
		return -ENOMEM;
	p->body_max = MIN(body_max, HTTP_BODY_LIMIT_MAX);
	begin(p);
	*ret = p;
	return 0;
}

static void drop_body(struct http_parser *p)
{
	free(p->request.body);
	p->request.body = NULL;
	p->request.body_len = p->room = 0;
}

void http_parser_free(struct http_parser *p)
{
	if (!p)
		return;
	drop_body(p);
	free(p);
}

void http_parser_release(struct http_parser *p)
{
	if (p->stage != STAGE_DONE)
		return;
	drop_body(p);
	begin(p);
}

const struct http_request *http_parser_request(const struct http_parser *p)
{
	return &p->request;
}

const char *http_parser_error(const struct http_parser *p)
{
	return p->error;
}

bool http_parser_is_busy(const struct http_parser *p)
{
	return p->has_begun && (p->stage == STAGE_HEAD || p->stage == STAGE_BODY);
}

/* Words for what llhttp found; those of our own callbacks are there already. */
static void explain(struct http_parser *p, llhttp_errno_t code)
{
	const char *reason = llhttp_get_error_reason(&p->grammar);

	if (p->error[0] != '\0')
		return;
	if (code == HPE_INVALID_METHOD)
		(void)fail(p, "Invalid HTTP Method.");
	else if (code == HPE_INVALID_URL)
		(void)fail(p, "Invalid URI.");
	else if (code == HPE_INVALID_VERSION || code == HPE_PAUSED_H2_UPGRADE)
		(void)fail(p, "Unsupported HTTP version.");
	else
		(void)snprintf(p->error, sizeof(p->error), "Invalid HTTP request: %s.",
			reason ? reason : "unknown reason");
}

/*
 * How many of the bytes may be given to llhttp at once.  Of a head it is one line, and that is
 * counted here: llhttp tells nothing of the blanks that it skips.  What is within the limits is
 * given before the limit is complained about, so that of two faults the first one is told, however
 * the bytes are cut.  0: over a limit.
 */
static size_t next_part(struct http_parser *p, const char *buf, size_t len)
{
	const char *end;

	if (p->stage != STAGE_HEAD)
		return len;
	len = MIN(len, MIN(HTTP_LINE_MAX - p->line, HTTP_HEADERS_MAX - p->head));
	end = memchr(buf, '\n', len);
	if (end)
		len = (size_t)(end - buf) + 1;
	if (p->line == HTTP_LINE_MAX)
		(void)fail(p, "A line of the request's head is longer than 1024 bytes.");
	else if (len == 0)
		(void)fail(p, "The headers of the request are longer than 65536 bytes.");
	p->line = end ? 0 : p->line + len;
	p->head += len;
	return len;
}

static size_t execute(struct http_parser *p, const char *buf, size_t len)
{
	llhttp_errno_t code = llhttp_execute(&p->grammar, buf, len);

	if (code == HPE_OK)
		return len;
	if (p->stage == STAGE_DONE)
		return (size_t)(llhttp_get_error_pos(&p->grammar) - buf);
	explain(p, code);
	return 0;
}

enum http_result http_parser_feed(
	struct http_parser *p, const char *buf, size_t len, size_t *ret_used)
{
	size_t at = 0;

	http_parser_release(p);
	while (at < len && p->stage != STAGE_DONE && p->error[0] == '\0') {
		size_t part = next_part(p, buf + at, len - at);

		at += part == 0 ? 0 : execute(p, buf + at, part);
	}
	*ret_used = at;
	if (p->error[0] != '\0') {
		p->stage = STAGE_BAD;
		return HTTP_BAD;
	}
	if (p->stage == STAGE_DONE)
		return HTTP_COMPLETE;
	if (p->stage != STAGE_BODY || !p->expects)
		return HTTP_MORE;
	/* A client that sends its body without waiting needs no answer; one of 1.0 knows none. */
	p->expects = false;
	return p->request.body_len == 0 && !p->request.is_http10 ? HTTP_CONTINUE : HTTP_MORE;
}

/* --- responses --- */

/* Appends to a head; its parts are bounded so that they fit. */
struct writer {
	char *at;
	size_t left;
};

static void put(struct writer *w, const char *text)
{
	size_t len = strlen(text);

	INVARIANT(len < w->left);
	memcpy(w->at, text, len);
	w->at += len;
	w->left -= len;
}

static void put_number(struct writer *w, size_t number)
{
	char digits[24], *at = digits + sizeof(digits) - 1;

	do {
		*--at = (char)('0' + number % 10);
		number /= 10;
	} while (number > 0);
	put(w, at);
}

static const char *type_name(enum http_type type)
{
	switch (type) {
	case HTTP_JSON: return "application/json";
	case HTTP_TEXT: return "text/plain; charset=utf-8";
	case HTTP_OPENMETRICS: return "application/openmetrics-text; version=1.0.0; charset=utf-8";
	case HTTP_NDJSON: return "application/x-ndjson";
	case HTTP_YAML: return "application/yaml";
	case HTTP_BYTES: break;
	}
	return "application/octet-stream";
}

static void put_body_headers(struct writer *w, const struct http_head *h)
{
	put(w, "Content-Type: ");
	put(w, type_name(h->type));
	if (h->is_chunked) {
		put(w, "\r\nTransfer-Encoding: chunked");
	} else if (!h->is_unbounded) {
		put(w, "\r\nContent-Length: ");
		put_number(w, h->body_len);
	}
	put(w, "\r\n");
}

size_t http_format_head(const struct http_head *h, char buf[HTTP_HEAD_MAX])
{
	struct writer w = { buf, HTTP_HEAD_MAX };

	put(&w, "HTTP/1.1 ");
	put_number(&w, (size_t)h->status);
	put(&w, " \r\n");
	if (h->status != 100) {
		put(&w, "Server: Firecracker API\r\n");
		if (h->upgrade) {
			put(&w, "Connection: Upgrade\r\nUpgrade: ");
			put(&w, h->upgrade);
			put(&w, "\r\n");
		} else {
			put(&w, h->closes ? "Connection: close\r\n" : "Connection: keep-alive\r\n");
		}
		if (h->is_deprecated)
			put(&w, "Deprecation: true\r\n");
		if (h->has_body)
			put_body_headers(&w, h);
		else if (h->status >= 200 && h->status != 204)
			put(&w, "Content-Length: 0\r\n");
	}
	put(&w, "\r\n");
	return (size_t)(w.at - buf);
}
