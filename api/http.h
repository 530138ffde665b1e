/*
 * HTTP/1.1 requests out of a stream of bytes, and responses into one (RFC 9112).  The grammar is
 * llhttp's; the limits and what an API needs of a message are here.
 *
 *     bytes --http_parser_feed()--> one request at a time --http_parser_release()--> the next
 *
 * Versions 1.0 and 1.1.  A body has a Content-Length or comes in chunks; trailers and header fields
 * that nobody asks for are read and forgotten.
 *
 * No I/O, no clock, any thread (one at a time).  What comes from outside is bounded before it is
 * stored: a line of the head and all header lines together have a limit, and a body has the one of
 * http_parser_new().  How the bytes are cut into feeds changes nothing but when an interim answer
 * is asked for.
 */
#ifndef MVM_API_HTTP_H
#define MVM_API_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/check.h"

enum {
	HTTP_LINE_MAX = 1024,         /* a request line or a header line with its CR LF */
	HTTP_HEADERS_MAX = 64 * 1024, /* all lines of a head together */
	HTTP_BODY_DEFAULT = 51200,
	HTTP_BODY_LIMIT_MAX = 16 << 20, /* what the option may ask for */
	HTTP_PROTOCOL_MAX = 32,
};

enum http_method { HTTP_GET, HTTP_PUT, HTTP_PATCH, HTTP_DELETE, HTTP_OTHER, HTTP_METHODS };

/* "GET" and so on, "other"; for people and for faults. */
const char *http_method_name(enum http_method m);

struct http_request {
	enum http_method method;
	char method_text[16];            /* its name in the request, for HTTP_OTHER too */
	char target[HTTP_LINE_MAX];      /* path and query; of "http://host/path" the path */
	char upgrade[HTTP_PROTOCOL_MAX]; /* the protocol of "Upgrade:" where the connection asks for
					  it, else empty */
	bool keep_alive;                 /* the client wants the connection to stay */
	bool is_http10;
	char *body; /* body_len bytes and a NUL; NULL when there is none */
	size_t body_len;
};

enum http_result {
	HTTP_MORE,     /* all was consumed; the request is not complete */
	HTTP_CONTINUE, /* as HTTP_MORE, and the client waits for an interim 100; said once */
	HTTP_COMPLETE, /* a request is complete; what was not consumed belongs to the next one */
	HTTP_BAD,      /* the stream is no use any more; error says why */
};

struct http_parser; /* opaque: embeds llhttp's */

/* body_max in bytes, up to HTTP_BODY_LIMIT_MAX.  0 or -ENOMEM. */
MUST_CHECK int http_parser_new(size_t body_max, struct http_parser **ret);
void http_parser_free(struct http_parser *p); /* accepts NULL */

/*
 * Takes bytes until a request is complete.  *ret_used is how many were consumed.  With
 * HTTP_COMPLETE the request is at http_parser_request() until the next feed or release.  After
 * HTTP_BAD every feed is HTTP_BAD and consumes nothing.
 */
enum http_result http_parser_feed(
	struct http_parser *p, const char *buf, size_t len, size_t *ret_used);

const struct http_request *http_parser_request(const struct http_parser *p);

/* The complete request is no longer needed: frees its body.  Without a complete one: nothing. */
void http_parser_release(struct http_parser *p);

/* Why HTTP_BAD; a sentence, without JSON around it. */
const char *http_parser_error(const struct http_parser *p);

/* Whether a request has begun and is not complete; for deadlines.  Empty lines begin none. */
bool http_parser_is_busy(const struct http_parser *p);

/* --- responses --- */

enum http_type { HTTP_JSON, HTTP_TEXT, HTTP_OPENMETRICS, HTTP_NDJSON, HTTP_YAML, HTTP_BYTES };

struct http_head {
	int status; /* 100 to 599 */
	enum http_type type;
	bool has_body;       /* with body_len, or chunked */
	bool is_chunked;     /* HTTP/1.1 only; a 1.0 client gets everything until the close */
	bool is_unbounded;   /* neither length nor chunks: everything until the close */
	bool is_deprecated;  /* adds "Deprecation: true" */
	bool closes;         /* "Connection: close" instead of keep-alive */
	const char *upgrade; /* with 101: the protocol, shorter than HTTP_PROTOCOL_MAX; else NULL */
	size_t body_len;
};

enum { HTTP_HEAD_MAX = 512 };

/* Writes the status line and the headers; returns their length.  The status line has no reason
 * phrase, as clients know it.  Status 100 is the bare line. */
size_t http_format_head(const struct http_head *h, char buf[HTTP_HEAD_MAX]);

#endif
