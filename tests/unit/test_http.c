/* Requests out of bytes, and the heads of responses (http.h). */
#include "t.h"

#include <stdio.h>
#include <stdlib.h>

#include "api/http.h"

TestSuite(http, .timeout = T_SECONDS);

enum { BODY_MAX = 64 };

static struct http_parser *new_parser(void)
{
	struct http_parser *p = NULL;

	t_int(http_parser_new(BODY_MAX, &p), 0);
	return p;
}

/* Everything at once; *ret_left is what belongs to the next request. */
static enum http_result feed(struct http_parser *p, const char *text, const char **ret_left)
{
	size_t used = 0;
	enum http_result result = http_parser_feed(p, text, strlen(text), &used);

	if (ret_left)
		*ret_left = text + used;
	return result;
}

/* What a single request of text is; and its error, when it is bad. */
static enum http_result parse(const char *text, char *ret_error, size_t len)
{
	struct http_parser *p = new_parser();
	enum http_result result = feed(p, text, NULL);

	(void)snprintf(ret_error, len, "%s", http_parser_error(p));
	http_parser_free(p);
	return result;
}

/* --- what is understood --- */

Test(http, a_request_has_method_target_and_body)
{
	struct http_parser *p = new_parser();
	const struct http_request *r = http_parser_request(p);
	const char *left;

	t_int(feed(p, "PUT /drives/a?b=c HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
		      &left),
		HTTP_COMPLETE);
	t_str(left, "");
	t_int(r->method, HTTP_PUT);
	t_str(r->method_text, "PUT");
	t_str(r->target, "/drives/a?b=c");
	t_str(r->body, "hello");
	t_uint(r->body_len, 5);
	t_str(r->upgrade, "");
	t_true(r->keep_alive);
	t_false(r->is_http10);
	http_parser_free(p);
	T_NO_LEAKS();
}

Test(http, methods_are_told_apart)
{
	static const struct {
		const char *text;
		enum http_method method;
	} rows[] = {
		{ "GET", HTTP_GET },
		{ "PUT", HTTP_PUT },
		{ "PATCH", HTTP_PATCH },
		{ "DELETE", HTTP_DELETE },
		{ "POST", HTTP_OTHER },
		{ "HEAD", HTTP_OTHER },
		{ "OPTIONS", HTTP_OTHER },
		{ "CONNECT", HTTP_OTHER },
		{ "M-SEARCH", HTTP_OTHER },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct http_parser *p = new_parser();
		char text[64];

		(void)snprintf(text, sizeof(text), "%s / HTTP/1.1\r\n\r\n", rows[i].text);
		if (rows[i].method == HTTP_OTHER && strcmp(rows[i].text, "CONNECT") == 0)
			(void)snprintf(text, sizeof(text), "CONNECT a:1 HTTP/1.1\r\n\r\n");
		t_row_int(rows[i].text, feed(p, text, NULL), HTTP_COMPLETE);
		t_row_int(rows[i].text, http_parser_request(p)->method, rows[i].method);
		t_row_true(rows[i].text,
			strcmp(http_parser_request(p)->method_text, rows[i].text) == 0);
		http_parser_free(p);
	}
	t_str(http_method_name(HTTP_PATCH), "PATCH");
	t_str(http_method_name(HTTP_OTHER), "other");
}

Test(http, whether_the_connection_stays_is_the_clients_choice)
{
	static const struct {
		const char *text;
		bool keep_alive, is_http10;
	} rows[] = {
		{ "GET / HTTP/1.1\r\n\r\n", true, false },
		{ "GET / HTTP/1.1\r\nConnection: close\r\n\r\n", false, false },
		{ "GET / HTTP/1.1\r\nConnection: keep-alive\r\n\r\n", true, false },
		{ "GET / HTTP/1.0\r\n\r\n", false, true },
		{ "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", true, true },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct http_parser *p = new_parser();

		t_row_int(rows[i].text, feed(p, rows[i].text, NULL), HTTP_COMPLETE);
		t_row_int(rows[i].text, http_parser_request(p)->keep_alive, rows[i].keep_alive);
		t_row_int(rows[i].text, http_parser_request(p)->is_http10, rows[i].is_http10);
		http_parser_free(p);
	}
}

Test(http, a_target_with_scheme_and_host_is_its_path)
{
	static const struct {
		const char *target, *path;
	} rows[] = {
		{ "http://localhost/machine-config?x", "/machine-config?x" },
		{ "HTTP://a:80/", "/" },
		{ "http://localhost", "/" },
		{ "/http://a/b", "/http://a/b" },
		{ "*", "*" },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct http_parser *p = new_parser();
		char text[128];

		(void)snprintf(text, sizeof(text), "OPTIONS %s HTTP/1.1\r\n\r\n", rows[i].target);
		t_row_int(rows[i].target, feed(p, text, NULL), HTTP_COMPLETE);
		t_row_true(
			rows[i].target, strcmp(http_parser_request(p)->target, rows[i].path) == 0);
		http_parser_free(p);
	}
}

Test(http, an_upgrade_needs_both_headers_and_1_1)
{
	static const struct {
		const char *text, *protocol;
	} rows[] = {
		{ "GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: mvm-console\r\n\r\n",
			"mvm-console" },
		{ "GET / HTTP/1.1\r\nUPGRADE: a\r\nConnection: keep-alive, upgrade\r\n\r\n", "a" },
		{ "GET / HTTP/1.1\r\nUpgrade: a\r\n\r\n", "" },
		{ "GET / HTTP/1.1\r\nConnection: upgrade\r\n\r\n", "" },
		{ "GET / HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: a\r\n\r\n", "" },
		{ "GET / HTTP/1.1\r\nConnection: upgrade\r\n"
		  "Upgrade: a-protocol-with-a-name-of-32-cha\r\n\r\n",
			"" },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct http_parser *p = new_parser();
		const char *left;

		t_row_int(rows[i].text, feed(p, rows[i].text, &left), HTTP_COMPLETE);
		t_row_true(rows[i].text, *left == '\0');
		t_row_true(rows[i].text,
			strcmp(http_parser_request(p)->upgrade, rows[i].protocol) == 0);
		http_parser_free(p);
	}
}

Test(http, bytes_behind_an_upgrade_are_left)
{
	struct http_parser *p = new_parser();
	const char *left;

	t_int(feed(p, "GET / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: a\r\n\r\n\1\2raw", &left),
		HTTP_COMPLETE);
	t_str(left, "\1\2raw");
	http_parser_free(p);
}

Test(http, chunks_become_one_body_and_trailers_are_forgotten)
{
	struct http_parser *p = new_parser();
	const char *left;

	t_int(feed(p,
		      "PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
		      "3;name=value\r\nabc\r\n0a\r\n0123456789\r\n0\r\nUpgrade: x\r\n\r\nGET",
		      &left),
		HTTP_COMPLETE);
	t_str(left, "GET");
	t_str(http_parser_request(p)->body, "abc0123456789");
	t_str(http_parser_request(p)->upgrade, "");
	http_parser_free(p);
}

Test(http, a_length_of_zero_is_no_body)
{
	struct http_parser *p = new_parser();

	t_int(feed(p, "PUT / HTTP/1.1\r\nContent-Length: 0\r\n\r\n", NULL), HTTP_COMPLETE);
	t_true(http_parser_request(p)->body == NULL);
	t_int(feed(p, "PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", NULL),
		HTTP_COMPLETE);
	t_true(http_parser_request(p)->body == NULL);
	http_parser_free(p);
}

Test(http, one_request_follows_the_other)
{
	static const char text[] = "\r\nPUT /1 HTTP/1.1\r\nContent-Length: 2\r\n\r\nab"
				   "GET /2 HTTP/1.1\r\nConnection: close\r\n\r\n"
				   "\r\n\r\nGET /3 HTTP/1.1\r\n\r\n";
	struct http_parser *p = new_parser();
	const struct http_request *r = http_parser_request(p);
	const char *left = text;

	t_int(feed(p, left, &left), HTTP_COMPLETE);
	t_str(r->target, "/1");
	t_str(r->body, "ab");
	t_int(feed(p, left, &left), HTTP_COMPLETE);
	t_str(r->target, "/2");
	t_true(r->body == NULL);
	t_false(r->keep_alive);
	t_int(feed(p, left, &left), HTTP_COMPLETE);
	t_str(r->target, "/3");
	t_true(r->keep_alive);
	t_str(left, "");
	http_parser_free(p);
}

Test(http, a_released_request_has_no_body_any_more)
{
	struct http_parser *p = new_parser();

	t_int(feed(p, "PUT / HTTP/1.1\r\nContent-Length: 2\r\n\r\nab", NULL), HTTP_COMPLETE);
	http_parser_release(p);
	t_true(http_parser_request(p)->body == NULL);
	t_int(feed(p, "PUT / HTTP/1.1\r\nContent-Length: 2\r\n\r\na", NULL), HTTP_MORE);
	/* Only a complete one can be released. */
	http_parser_release(p);
	t_int(feed(p, "b", NULL), HTTP_COMPLETE);
	t_str(http_parser_request(p)->body, "ab");
	http_parser_free(p);
	T_NO_LEAKS();
}

/* --- pieces --- */

static const char long_story[] =
	"PUT /drives/rootfs HTTP/1.1\r\nHost: localhost\r\nX-Empty:\r\nExpect: 100-continue\r\n"
	"Content-Type: application/json\r\nContent-Length: 12\r\n\r\n{\"a\":\"bcd\"}\n"
	"GET / HTTP/1.1\r\n\r\n"
	"PATCH /vm HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n1;x=\"y\"\r\ne\r\n"
	"0\r\nTrailer: yes\r\n\r\n"
	"GET /serial HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: console\r\n\r\n";

/* The requests of long_story, as one text. */
static void tell(struct http_parser *p, const char *buf, size_t len, char *ret, size_t ret_len)
{
	const struct http_request *r = http_parser_request(p);
	size_t used, at = strlen(ret);

	for (; len > 0; buf += used, len -= used) {
		enum http_result result = http_parser_feed(p, buf, len, &used);

		if (result == HTTP_BAD) {
			(void)snprintf(ret + at, ret_len - at, "bad %s", http_parser_error(p));
			return;
		}
		if (result != HTTP_COMPLETE) {
			t_uint(used, len);
			continue;
		}
		at += (size_t)snprintf(ret + at, ret_len - at, "%s %s %s '%s';", r->method_text,
			r->target, r->body ? r->body : "-", r->upgrade);
	}
}

Test(http, requests_cut_at_every_byte_are_the_same)
{
	static const char want[] = "PUT /drives/rootfs {\"a\":\"bcd\"}\n '';GET / - '';"
				   "PATCH /vm abcde '';GET /serial - 'console';";
	const size_t len = sizeof(long_story) - 1;

	for (size_t cut = 0; cut <= len; cut++) {
		struct http_parser *p = new_parser();
		char got[512] = "";

		tell(p, long_story, cut, got, sizeof(got));
		tell(p, long_story + cut, len - cut, got, sizeof(got));
		t_str(got, want);
		http_parser_free(p);
	}
	T_NO_LEAKS();
}

Test(http, requests_byte_by_byte_are_the_same)
{
	struct http_parser *p = new_parser();
	char got[512] = "";

	for (size_t i = 0; i < sizeof(long_story) - 1; i++)
		tell(p, long_story + i, 1, got, sizeof(got));
	t_has(got, "PATCH /vm abcde '';GET /serial - 'console';");
	http_parser_free(p);
}

Test(http, a_request_is_under_way_from_its_first_byte_to_its_last)
{
	static const char text[] = "PUT / HTTP/1.1\r\nContent-Length: 2\r\n\r\nab";
	struct http_parser *p = new_parser();
	size_t used;

	t_false(http_parser_is_busy(p));
	t_int(feed(p, "\r\n\r\n", NULL), HTTP_MORE);
	t_false(http_parser_is_busy(p));
	for (size_t i = 0; i < sizeof(text) - 2; i++) {
		t_int(http_parser_feed(p, text + i, 1, &used), HTTP_MORE);
		t_true(http_parser_is_busy(p));
	}
	t_int(feed(p, "b", NULL), HTTP_COMPLETE);
	t_false(http_parser_is_busy(p));
	http_parser_release(p);
	t_false(http_parser_is_busy(p));
	http_parser_free(p);
}

Test(http, a_client_that_waits_is_told_to_go_on_once)
{
	struct http_parser *p = new_parser();

	t_int(feed(p, "PUT / HTTP/1.1\r\nExpect: 100-Continue\r\nContent-Length: 2\r\n", NULL),
		HTTP_MORE);
	t_int(feed(p, "\r\n", NULL), HTTP_CONTINUE);
	t_int(feed(p, "a", NULL), HTTP_MORE);
	t_int(feed(p, "b", NULL), HTTP_COMPLETE);
	/* One that does not wait, one without a body, and one of 1.0. */
	t_int(feed(p, "PUT / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\na", NULL),
		HTTP_MORE);
	t_int(feed(p, "b", NULL), HTTP_COMPLETE);
	t_int(feed(p, "PUT / HTTP/1.1\r\nExpect: 100-continue\r\n\r\n", NULL), HTTP_COMPLETE);
	t_int(feed(p, "PUT / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n", NULL),
		HTTP_MORE);
	http_parser_free(p);
}

/* --- limits --- */

static const char *head_for(bool is_chunked, unsigned len)
{
	static char head[128];

	if (is_chunked)
		(void)snprintf(head, sizeof(head),
			"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n", len);
	else
		(void)snprintf(
			head, sizeof(head), "PUT / HTTP/1.1\r\nContent-Length: %u\r\n\r\n", len);
	return head;
}

Test(http, a_body_at_the_limit_is_taken_and_one_byte_more_is_not)
{
	for (unsigned i = 0; i < 2; i++) {
		struct http_parser *p = new_parser();
		char body[BODY_MAX + 1] = "";
		size_t used;

		memset(body, 'x', BODY_MAX);
		t_int(feed(p, head_for(i == 1, BODY_MAX), NULL), HTTP_MORE);
		(void)http_parser_feed(p, body, BODY_MAX, &used);
		t_uint(used, BODY_MAX);
		if (i == 1)
			t_int(feed(p, "\r\n0\r\n\r\n", NULL), HTTP_COMPLETE);
		t_uint(http_parser_request(p)->body_len, BODY_MAX);
		/* Before a byte of it has come. */
		t_int(feed(p, head_for(i == 1, BODY_MAX + 1), NULL), HTTP_BAD);
		t_str(http_parser_error(p), "Request payload with size 65 is larger than the limit "
					    "of 64 allowed by server.");
		http_parser_free(p);
	}
	T_NO_LEAKS();
}

Test(http, chunks_together_have_the_same_limit)
{
	struct http_parser *p = new_parser();

	t_int(feed(p, "PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", NULL), HTTP_MORE);
	for (unsigned i = 0; i < BODY_MAX; i++)
		t_int(feed(p, "1\r\nx\r\n", NULL), HTTP_MORE);
	t_int(feed(p, "1\r\n", NULL), HTTP_BAD);
	t_has(http_parser_error(p), "with size 65 is larger");
	http_parser_free(p);
	p = new_parser();
	t_int(feed(p, "PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n", NULL),
		HTTP_MORE);
	t_int(feed(p, "ffffffffffffffff\r\n", NULL), HTTP_BAD);
	t_has(http_parser_error(p), "is larger than the limit of 64");
	http_parser_free(p);
	T_NO_LEAKS();
}

Test(http, a_length_beyond_all_numbers_is_bad)
{
	char why[256];

	t_int(parse("PUT / HTTP/1.1\r\nContent-Length: 18446744073709551615\r\n\r\n", why,
		      sizeof(why)),
		HTTP_BAD);
	t_has(why, "size 18446744073709551615 is larger");
	t_int(parse("PUT / HTTP/1.1\r\nContent-Length: 18446744073709551616\r\n\r\n", why,
		      sizeof(why)),
		HTTP_BAD);
}

/* A request whose line number "line" (0: the request line) has len bytes with its CR LF. */
static enum http_result with_line(unsigned line, size_t len, char fill)
{
	struct http_parser *p = new_parser();
	enum http_result result;
	char *text = malloc(len + 256), *at = text;
	const char *begin = line == 0 ? "GET /" : "X: ",
		   *end = line == 0 ? " HTTP/1.1\r\n" : "\r\n";

	at += sprintf(at, "%s%s", line == 0 ? "" : "GET / HTTP/1.1\r\n", begin);
	memset(at, fill, len - strlen(begin) - strlen(end));
	at += len - strlen(begin) - strlen(end);
	(void)sprintf(at, "%s\r\n", end);
	result = feed(p, text, NULL);
	if (result == HTTP_BAD)
		t_has(http_parser_error(p), "longer than 1024 bytes");
	free(text);
	http_parser_free(p);
	return result;
}

Test(http, a_line_has_1024_bytes_and_not_one_more)
{
	for (unsigned line = 0; line < 2; line++) {
		t_int(with_line(line, HTTP_LINE_MAX, 'x'), HTTP_COMPLETE);
		t_int(with_line(line, HTTP_LINE_MAX + 1, 'x'), HTTP_BAD);
		t_int(with_line(line, 1 << 20, 'x'), HTTP_BAD);
	}
	/* llhttp itself does not tell of the blanks before a value. */
	t_int(with_line(1, HTTP_LINE_MAX, ' '), HTTP_COMPLETE);
	t_int(with_line(1, 1 << 20, ' '), HTTP_BAD);
}

Test(http, a_megabyte_of_headers_is_refused_at_64_kib)
{
	static const char line[] = "X-Header: 0123456789012345678901234567890123456789\r\n";
	struct http_parser *p = new_parser();
	size_t sent = sizeof("GET / HTTP/1.1\r\n") - 1;

	t_int(feed(p, "GET / HTTP/1.1\r\n", NULL), HTTP_MORE);
	while (sent + sizeof(line) - 1 <= HTTP_HEADERS_MAX) {
		t_int(feed(p, line, NULL), HTTP_MORE);
		sent += sizeof(line) - 1;
	}
	t_int(feed(p, line, NULL), HTTP_BAD);
	t_has(http_parser_error(p), "longer than 65536 bytes");
	/* And for ever. */
	t_int(feed(p, "\r\n\r\n", NULL), HTTP_BAD);
	http_parser_free(p);
}

Test(http, empty_lines_without_end_are_refused)
{
	struct http_parser *p = new_parser();
	unsigned n = 0;

	while (feed(p, "\r\n\r\n\r\n\r\n", NULL) == HTTP_MORE)
		t_true(n++ < HTTP_HEADERS_MAX);
	t_has(http_parser_error(p), "longer than 65536 bytes");
	http_parser_free(p);
}

/* --- what is refused --- */

Test(http, what_is_no_request_is_bad_and_says_why)
{
	static const struct {
		const char *text, *why;
	} rows[] = {
		{ "BREW / HTTP/1.1\r\n\r\n", "Invalid HTTP Method." },
		{ "get / HTTP/1.1\r\n\r\n", "Invalid HTTP Method." },
		{ "\1\2\3", "Invalid HTTP Method." },
		{ "{\"json\": 1}", "Invalid HTTP Method." },
		{ "GET \1 HTTP/1.1\r\n\r\n", "Invalid" },
		{ "GET / HTTP/2.0\r\n\r\n", "Unsupported HTTP version." },
		{ "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "Unsupported HTTP version." },
		{ "GET / HTTP/0.9\r\n\r\n", "Unsupported HTTP version." },
		{ "GET / HTTP/1.9\r\n\r\n", "Unsupported HTTP version." },
		{ "GET / HTP/1.1\r\n\r\n", "Invalid HTTP request: " },
		{ "GET / HTTP/1.1\r\nNo colon\r\n\r\n", "Invalid HTTP request: " },
		{ "GET / HTTP/1.1\r\nA: b\1\r\n\r\n", "Invalid HTTP request: " },
		{ "GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na",
			"Invalid HTTP request: " },
		{ "GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", "Invalid HTTP request: " },
		{ "GET / HTTP/1.1\r\nContent-Length: 1a\r\n\r\n", "Invalid HTTP request: " },
		{ "GET / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\na",
			"Invalid HTTP request: " },
		{ "GET / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", "Invalid HTTP request: " },
		{ "GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
			"Invalid HTTP request: " },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		char why[256];

		t_row_int(rows[i].text, parse(rows[i].text, why, sizeof(why)), HTTP_BAD);
		t_row_has(rows[i].text, why, rows[i].why);
		/* One sentence, printable: it becomes part of a JSON string. */
		for (const char *at = why; *at; at++)
			t_row_true(rows[i].text, *at >= ' ' && *at < 127);
		t_row_true(rows[i].text, why[0] && why[strlen(why) - 1] == '.');
	}
}

Test(http, a_byte_of_nul_is_no_end)
{
	static const char text[] = "GET /a\0b HTTP/1.1\r\n\r\n";
	struct http_parser *p = new_parser();
	size_t used;

	t_int(http_parser_feed(p, text, sizeof(text) - 1, &used), HTTP_BAD);
	http_parser_free(p);
}

/* --- responses --- */

static const char *head_of(struct http_head h)
{
	static char buf[HTTP_HEAD_MAX + 1];

	buf[http_format_head(&h, buf)] = '\0';
	return buf;
}

Test(http, heads_are_as_clients_know_them)
{
	t_str(head_of((struct http_head){ .status = 204 }),
		"HTTP/1.1 204 \r\nServer: Firecracker API\r\nConnection: keep-alive\r\n\r\n");
	t_str(head_of((struct http_head){ .status = 200, .has_body = true, .body_len = 51200 }),
		"HTTP/1.1 200 \r\nServer: Firecracker API\r\nConnection: keep-alive\r\n"
		"Content-Type: application/json\r\nContent-Length: 51200\r\n\r\n");
	t_str(head_of((struct http_head){
		      .status = 400, .has_body = true, .closes = true, .is_deprecated = true }),
		"HTTP/1.1 400 \r\nServer: Firecracker API\r\nConnection: close\r\n"
		"Deprecation: true\r\nContent-Type: application/json\r\nContent-Length: 0\r\n\r\n");
	t_str(head_of((struct http_head){ .status = 200,
		      .has_body = true,
		      .is_chunked = true,
		      .closes = true,
		      .type = HTTP_NDJSON }),
		"HTTP/1.1 200 \r\nServer: Firecracker API\r\nConnection: close\r\n"
		"Content-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n");
	t_str(head_of((struct http_head){ .status = 101, .upgrade = "console" }),
		"HTTP/1.1 101 \r\nServer: Firecracker API\r\nConnection: Upgrade\r\n"
		"Upgrade: console\r\n\r\n");
	t_str(head_of((struct http_head){ .status = 100 }), "HTTP/1.1 100 \r\n\r\n");
	/* Without a length a client would wait for the close. */
	t_has(head_of((struct http_head){ .status = 404 }), "Content-Length: 0\r\n\r\n");
}

Test(http, the_longest_head_fits)
{
	const struct http_head longest = { .status = 599,
		.type = HTTP_OPENMETRICS,
		.has_body = true,
		.is_deprecated = true,
		.closes = true,
		.upgrade = "a-protocol-with-a-name-of-31-ch",
		.body_len = SIZE_MAX };

	t_uint(strlen(longest.upgrade), HTTP_PROTOCOL_MAX - 1);
	t_true(strlen(head_of(longest)) < HTTP_HEAD_MAX);
	t_has(head_of(longest), "Content-Length: 18446744073709551615\r\n");
}
