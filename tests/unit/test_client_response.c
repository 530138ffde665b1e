/* HTTP responses as a client reads them. */
#include "t.h"

#include <stdio.h>
#include <stdlib.h>

#include "client_response.h"

TestSuite(client_response, .timeout = T_SECONDS);

struct got {
	char body[256];
	size_t len, pieces;
	int status;
	size_t refuse_at; /* the body is no longer taken from here on; 0: always */
};

static int take(void *ctx, int status, const char *buf, size_t len)
{
	struct got *g = ctx;

	g->status = status;
	g->pieces++;
	if (g->refuse_at && g->len + len > g->refuse_at)
		return -1;
	t_true(g->len + len < sizeof(g->body));
	memcpy(g->body + g->len, buf, len);
	g->len += len;
	g->body[g->len] = '\0';
	return 0;
}

#define OK_HEAD "HTTP/1.1 200 \r\nServer: x\r\nContent-Length: 5\r\n\r\n"

/* Feeds all of text in pieces of step bytes; the last result. */
static enum response_result feed(struct response *r, const char *text, size_t step, size_t *used)
{
	enum response_result result = RESPONSE_MORE;
	size_t len = strlen(text), n;

	*used = 0;
	while (*used < len && result == RESPONSE_MORE) {
		result = response_feed(r, text + *used, MIN(step, len - *used), &n);
		*used += n;
		/* All of a piece is taken, or there is a result. */
		t_true(result != RESPONSE_MORE || n == step || *used == len);
	}
	return result;
}

Test(client_response, an_answer_is_the_same_however_it_is_cut)
{
	static const struct {
		const char *name, *text;
		int status;
		const char *body;
	} rows[] = {
		{ "no reason phrase", "HTTP/1.1 204 \r\nServer: x\r\n\r\n", 204, "" },
		{ "no blank either", "HTTP/1.1 204\r\n\r\n", 204, "" },
		{ "a length", OK_HEAD "hello", 200, "hello" },
		{ "a length of 0", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, "" },
		{ "chunks",
			"HTTP/1.1 200 OK\r\nTransfer-Encoding: "
			"chunked\r\n\r\n3\r\nabc\r\nA\r\n0123456789"
			"\r\n0\r\n\r\n",
			200, "abc0123456789" },
		{ "a fault", "HTTP/1.1 400 \r\nContent-Length: 2\r\n\r\n{}", 400, "{}" },
		{ "interim ones before it",
			"HTTP/1.1 100 \r\n\r\nHTTP/1.1 102 x\r\nA: b\r\n\r\n" OK_HEAD "hello", 200,
			"hello" },
		{ "an interim one that claims a body",
			"HTTP/1.1 102 x\r\nContent-Length: 500\r\n\r\n" OK_HEAD "hello", 200,
			"hello" },
		{ "an upgrade that is only offered",
			"HTTP/1.1 400 \r\nConnection: Upgrade\r\nUpgrade: x\r\nContent-Length: "
			"1\r\n\r\n.",
			400, "." },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		for (size_t step = 1; step <= strlen(rows[i].text); step++) {
			struct response *r;
			struct got g = { 0 };
			size_t used;

			t_int(response_new(take, &g, &r), 0);
			t_row_int(rows[i].name, feed(r, rows[i].text, step, &used),
				RESPONSE_COMPLETE);
			t_row_int(rows[i].name, used, strlen(rows[i].text));
			t_row_int(rows[i].name, response_status(r), rows[i].status);
			t_row_true(rows[i].name, strcmp(g.body, rows[i].body) == 0);
			t_row_true(rows[i].name, response_is_between(r));
			response_free(r);
		}
	}
	T_NO_LEAKS();
}

Test(client_response, one_answer_comes_behind_the_other)
{
	static const char text[] =
		OK_HEAD "helloHTTP/1.1 204 \r\nConnection: close\r\n\r\n" OK_HEAD "HELLO";
	const char *at = text;
	struct got g = { 0 };
	struct response *r;
	size_t used;

	t_int(response_new(take, &g, &r), 0);
	t_int(response_feed(r, at, strlen(at), &used), RESPONSE_COMPLETE);
	t_int(response_status(r), 200);
	at += used;
	t_int(response_feed(r, at, strlen(at), &used), RESPONSE_COMPLETE);
	t_int(response_status(r), 204);
	at += used;
	t_int(response_feed(r, at, strlen(at), &used), RESPONSE_COMPLETE);
	t_int(response_status(r), 200);
	t_str(at + used, "");
	t_str(g.body, "helloHELLO");
	response_free(r);
}

Test(client_response, a_body_without_a_length_ends_with_the_connection)
{
	struct got g = { 0 };
	struct response *r;
	size_t used;

	t_int(response_new(take, &g, &r), 0);
	t_int(feed(r, "HTTP/1.0 200 OK\r\n\r\nall of it", 4, &used), RESPONSE_MORE);
	t_int(response_end(r), RESPONSE_COMPLETE);
	t_str(g.body, "all of it");
	response_free(r);
}

Test(client_response, an_end_in_the_middle_is_an_error_at_every_byte)
{
	static const char text[] = OK_HEAD "hello";

	for (size_t len = 0; len < sizeof(text) - 1; len++) {
		struct got g = { 0 };
		struct response *r;
		size_t used;

		t_int(response_new(take, &g, &r), 0);
		t_int(response_feed(r, text, len, &used), RESPONSE_MORE);
		t_int(response_end(r), RESPONSE_BAD);
		t_has(response_error(r), "the connection ended");
		response_free(r);
	}
}

Test(client_response, another_protocol_begins_behind_a_101)
{
	static const char text[] =
		"HTTP/1.1 101 \r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\nlogin: ";
	static const char bare[] = "HTTP/1.1 101 Switching Protocols\r\n\r\nlogin: ";
	const char *const rows[] = { text, bare };

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct got g = { 0 };
		struct response *r;
		size_t used;

		t_int(response_new(take, &g, &r), 0);
		t_int(response_feed(r, rows[i], strlen(rows[i]), &used), RESPONSE_UPGRADED);
		t_int(response_status(r), 101);
		t_str(rows[i] + used, "login: ");
		t_uint(g.len, 0);
		response_free(r);
	}
}

Test(client_response, what_is_no_http_is_refused)
{
	static const char *const rows[] = {
		"SSH-2.0-OpenSSH\r\n",
		"HTTP/1.1 abc\r\n\r\n",
		"HTTP/9.9 200 OK\r\n\r\n",
		"HTTP/1.1 20 OK\r\n\r\nbody",
		"HTTP/1.1 0 OK\r\n\r\nbody",
		"GET / HTTP/1.1\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct got g = { 0 };
		struct response *r;
		size_t used;

		t_int(response_new(take, &g, &r), 0);
		t_row_int(rows[i], feed(r, rows[i], 3, &used), RESPONSE_BAD);
		t_row_has(rows[i], response_error(r), "not HTTP");
		response_free(r);
	}
}

/* Feeds text again and again, at most limit bytes. */
static size_t fed_until_bad(struct response *r, const char *text, size_t limit)
{
	size_t fed = 0, used;

	while (fed < limit) {
		enum response_result result = response_feed(r, text, strlen(text), &used);

		fed += used;
		if (result == RESPONSE_BAD)
			return fed;
		t_int(result, RESPONSE_MORE);
	}
	return fed;
}

Test(client_response, heads_have_a_limit)
{
	static const char *const rows[][2] = {
		{ "HTTP/1.1 200 OK\r\n", "X-Header: something or other\r\n" },
		{ "HTTP/1.1 200 OK\r\nX-Long: ", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaa" },
		{ "", "HTTP/1.1 100 Continue\r\n\r\n" },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct response *r;
		size_t used, fed;

		t_int(response_new(NULL, NULL, &r), 0);
		t_int(response_feed(r, rows[i][0], strlen(rows[i][0]), &used), RESPONSE_MORE);
		fed = fed_until_bad(r, rows[i][1], 4 * RESPONSE_HEAD_MAX);
		t_true(fed <= RESPONSE_HEAD_MAX);
		t_has(response_error(r), "too many headers");
		response_free(r);
	}
}

Test(client_response, a_body_that_is_not_taken_ends_it)
{
	struct got g = { .refuse_at = 3 };
	struct response *r;
	size_t used;

	t_int(response_new(take, &g, &r), 0);
	t_int(feed(r, OK_HEAD "hello", 2, &used), RESPONSE_BAD);
	t_has(response_error(r), "longer than what is taken");
	response_free(r);
}

Test(client_response, a_body_may_be_skipped)
{
	struct response *r;
	size_t used;

	t_int(response_new(NULL, NULL, &r), 0);
	t_int(feed(r, OK_HEAD "hello", 100, &used), RESPONSE_COMPLETE);
	response_free(r);
	response_free(NULL);
}
