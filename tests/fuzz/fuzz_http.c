/*
 * A stream of bytes as a client sends it.  The first bytes choose the limit of the body and where
 * the rest is cut into feeds; the same requests and the same error must come out when the stream is
 * fed at once, cut, and byte by byte.
 */
#include <stdbool.h>
#include <string.h>

#include "api/http.h"
#include "fuzz.h"

enum { CUTS = 8 };

/* What came out of a stream, as a running hash, so that streams of any length compare. */
struct outcome {
	uint64_t hash;
	unsigned requests;
	bool is_bad, is_busy;
};

static void mix(struct outcome *o, const void *data, size_t len)
{
	const uint8_t *at = data;

	for (size_t i = 0; i < len; i++)
		o->hash = (o->hash ^ at[i]) * 1099511628211ULL;
	o->hash = (o->hash ^ len) * 1099511628211ULL;
}

static void check_head(const struct http_request *r)
{
	struct http_head head = { .status = 200,
		.has_body = true,
		.body_len = r->body_len,
		.upgrade = r->upgrade[0] ? r->upgrade : NULL };
	char buf[HTTP_HEAD_MAX];
	size_t len = http_format_head(&head, buf);

	FUZZ_CHECK(len < sizeof(buf) && memcmp(buf + len - 4, "\r\n\r\n", 4) == 0);
}

static void note_request(struct outcome *o, const struct http_request *r, size_t body_max)
{
	FUZZ_CHECK(r->method < HTTP_METHODS && http_method_name(r->method));
	FUZZ_CHECK(memchr(r->method_text, '\0', sizeof(r->method_text)) && r->method_text[0]);
	FUZZ_CHECK(memchr(r->target, '\0', sizeof(r->target)) && r->target[0]);
	FUZZ_CHECK(memchr(r->upgrade, '\0', sizeof(r->upgrade)));
	FUZZ_CHECK(r->body_len <= body_max && (r->body != NULL) == (r->body_len > 0));
	FUZZ_CHECK(!r->body || r->body[r->body_len] == '\0');
	mix(o, r->method_text, strlen(r->method_text));
	mix(o, r->target, strlen(r->target));
	mix(o, r->upgrade, strlen(r->upgrade));
	mix(o, r->body, r->body_len);
	mix(o, &r->keep_alive, sizeof(r->keep_alive));
	mix(o, &r->is_http10, sizeof(r->is_http10));
	check_head(r);
	o->requests++;
}

static void note_error(struct outcome *o, struct http_parser *p)
{
	const char *why = http_parser_error(p);
	size_t used = 1;

	/* Part of a JSON string later. */
	for (const char *at = why; *at != '\0'; at++)
		FUZZ_CHECK(*at >= ' ' && *at < 127);
	FUZZ_CHECK(why[0] != '\0');
	FUZZ_CHECK(
		http_parser_feed(p, "GET / HTTP/1.1\r\n\r\n", 18, &used) == HTTP_BAD && used == 0);
	mix(o, why, strlen(why));
	o->is_bad = true;
}

/* Feeds one piece; a released request and one that is overwritten by the next feed are the same. */
static void feed(
	struct http_parser *p, struct outcome *o, const char *at, size_t left, size_t body_max)
{
	while (left > 0 && !o->is_bad) {
		size_t used = 0;
		enum http_result result = http_parser_feed(p, at, left, &used);

		FUZZ_CHECK(used <= left);
		at += used;
		left -= used;
		switch (result) {
		case HTTP_COMPLETE:
			FUZZ_CHECK(!http_parser_is_busy(p));
			note_request(o, http_parser_request(p), body_max);
			if (o->requests % 2)
				http_parser_release(p);
			break;
		case HTTP_BAD: note_error(o, p); break;
		case HTTP_CONTINUE:
		case HTTP_MORE: FUZZ_CHECK(left == 0); break;
		}
	}
}

/* cut: lengths of the feeds, again and again; 0: all at once. */
static struct outcome run(
	const char *data, size_t size, const uint8_t *cut, unsigned cuts, size_t body_max)
{
	struct outcome o = { .hash = 14695981039346656037ULL };
	struct http_parser *p = NULL;
	size_t at = 0;

	FUZZ_CHECK(http_parser_new(body_max, &p) == 0);
	for (unsigned i = 0; at < size; i++) {
		size_t len = cuts > 0 ? (size_t)cut[i % cuts] + 1 : size;
		char *piece;

		len = len < size - at ? len : size - at;
		/* Exactly as long, so that a read behind its end is seen. */
		piece = malloc(len);
		FUZZ_CHECK(piece);
		memcpy(piece, data + at, len);
		feed(p, &o, piece, len, body_max);
		free(piece);
		at += len;
	}
	o.is_busy = http_parser_is_busy(p);
	http_parser_free(p);
	return o;
}

static void compare(const struct outcome *a, const struct outcome *b)
{
	FUZZ_CHECK(a->requests == b->requests && a->is_bad == b->is_bad);
	FUZZ_CHECK(a->hash == b->hash && a->is_busy == b->is_busy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t bytewise = 0;
	struct script script = { data, size };
	uint8_t cut[CUTS];
	struct outcome whole, cuts, bytes;
	size_t body_max = (size_t)script_byte(&script) * 4;
	const char *stream;

	for (unsigned i = 0; i < CUTS; i++)
		cut[i] = script_byte(&script);
	stream = (const char *)script.at;
	whole = run(stream, script.left, NULL, 0, body_max);
	cuts = run(stream, script.left, cut, CUTS, body_max);
	bytes = run(stream, script.left, &bytewise, 1, body_max);
	compare(&whole, &cuts);
	compare(&whole, &bytes);
	return 0;
}
