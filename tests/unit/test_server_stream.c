/* Answers without an end, and connections that speak another protocol (server.h). */
#include "t_server.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

TestSuite(server_stream, .timeout = 2 * T_SECONDS);

/* A source and a sink of a stream.  What is pulled is "0123456789..." */
struct source {
	struct stream *s;
	uint64_t left, pulled; /* bytes */
	unsigned pulls, closed;
	char got[4096];        /* from the client */
	size_t got_len, takes; /* takes: how many bytes push still accepts */
	bool wakes_inside, ends_inside;
	const char *protocol;
};

static struct source src;

static size_t on_pull(void *ctx, char *buf, size_t len)
{
	struct source *f = ctx;
	size_t n = MIN(len, f->left);

	f->pulls++;
	for (size_t i = 0; i < n; i++)
		buf[i] = (char)('0' + (f->pulled + i) % 10);
	f->pulled += n;
	f->left -= n;
	if (f->wakes_inside && f->pulls < 100)
		stream_wake(f->s);
	if (f->ends_inside)
		stream_end(f->s);
	return n;
}

static size_t on_push(void *ctx, const char *buf, size_t len)
{
	struct source *f = ctx;
	size_t n = MIN(len, f->takes);

	n = MIN(n, sizeof(f->got) - 1 - f->got_len);
	memcpy(f->got + f->got_len, buf, n);
	f->got_len += n;
	f->takes -= n;
	if (f->wakes_inside)
		stream_wake(f->s);
	if (f->ends_inside)
		stream_end(f->s);
	return n;
}

static void on_closed(void *ctx)
{
	struct source *f = ctx;

	f->closed++;
	f->s = NULL;
}

static const struct stream_ops ops = { on_pull, on_push, on_closed };

static void begin(struct t_server *t, struct call *c)
{
	(void)t;
	src.s = call_stream(c, HTTP_NDJSON, src.protocol, &ops, &src);
	t_true(src.s);
	t_uint(src.pulls, 0); /* not from inside */
}

/* A client of a stream; what it was sent so far is in the source. */
static int open_stream(struct t_server *t, struct source from, const char *request)
{
	int fd = t_connect(t);

	src = from;
	t->handler = begin;
	t_send(fd, request);
	t_wait(t, src.s || src.closed > 0);
	return fd;
}

#define GET_1_1 "GET /events HTTP/1.1\r\n\r\n"
#define GET_RAW "GET /serial HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: test\r\n\r\n"

/* --- chunks --- */

Test(server_stream, chunks_are_sent_as_they_come_and_the_end_is_said)
{
	struct t_server t;

	T_EACH_SERVER(&t, NULL)
	{
		int fd = open_stream(&t, (struct source){ .left = 3 }, GET_1_1);

		t_has(t_receive(&t, fd, "012\r\n"),
			"Connection: close\r\nContent-Type: application/x-ndjson\r\n"
			"Transfer-Encoding: chunked\r\n\r\n0003\r\n012\r\n");
		src.left = 20;
		t_serve(&t, 5);
		t_uint(src.pulled, 3); /* nobody has said that there is more */
		for (unsigned i = 0; i < 5; i++)
			stream_wake(src.s);
		t_str(t_receive(&t, fd, "2\r\n"), "0014\r\n34567890123456789012\r\n");
		stream_end(src.s);
		t_uint(src.closed, 0); /* not from inside */
		t_str(t_receive(&t, fd, NULL), "0\r\n\r\n");
		t_uint(src.closed, 1);
		(void)close(fd);
	}
	T_NO_LEAKS();
}

/* The bytes of a chunked answer without its frames; false when they are not those of a source. */
static bool is_whole(const char *text, uint64_t want)
{
	uint64_t at = 0;
	char *end;

	text = strstr(text, "\r\n\r\n");
	if (!text)
		return false;
	for (text += 4;; text = end + 2) {
		unsigned long len = strtoul(text, &end, 16);

		if (len == 0)
			return at == want && strcmp(end, "\r\n\r\n") == 0;
		end += 2;
		for (unsigned long i = 0; i < len; i++) {
			if (*end++ != (char)('0' + at++ % 10))
				return false;
		}
	}
}

Test(server_stream, much_is_cut_into_chunks_and_arrives_whole)
{
	enum { MUCH = 100000 };
	struct t_server t;

	T_EACH_SERVER(&t, NULL)
	{
		int fd = open_stream(&t, (struct source){ .left = MUCH }, GET_1_1);

		t_wait(&t, src.left == 0);
		stream_end(src.s);
		t_true(is_whole(t_receive(&t, fd, NULL), MUCH));
		t_uint(src.closed, 1);
		(void)close(fd);
	}
	T_NO_LEAKS();
}

Test(server_stream, a_slow_reader_stops_the_pulls_and_stays)
{
	const struct server_config quick = { .request_ms = 50, .answer_ms = 50 };
	struct t_server t;

	T_EACH_SERVER(&t, &quick)
	{
		int fd = open_stream(&t, (struct source){ .left = UINT64_MAX }, GET_1_1);
		uint64_t before;

		t_serve(&t, 200);
		before = src.pulled;
		t_true(before > 0 && before < 2 << 20); /* what a socket holds, and no more */
		stream_wake(src.s);
		t_serve(&t, 200);
		t_uint(src.pulled, before);
		t_uint(src.closed, 0);
		t_uint(server_counters(t.s).timeouts, 0);
		/* What is read makes room. */
		while (src.pulled == before)
			(void)strlen(t_receive(&t, fd, "\r\n"));
		(void)close(fd);
		t_wait(&t, src.closed == 1);
	}
	T_NO_LEAKS();
}

Test(server_stream, one_that_ends_before_a_reader_that_does_not_read_is_closed_in_time)
{
	const struct server_config quick = { .answer_ms = 100 };
	struct t_server t;

	T_EACH_SERVER(&t, &quick)
	{
		int fd = open_stream(&t, (struct source){ .left = UINT64_MAX }, GET_1_1);

		t_serve(&t, 100);
		stream_end(src.s);
		t_wait(&t, src.closed == 1);
		t_uint(server_counters(t.s).timeouts, 1);
		(void)close(fd);
	}
	T_NO_LEAKS();
}

Test(server_stream, a_client_that_goes_closes_it)
{
	struct t_server t;

	T_EACH_SERVER(&t, NULL)
	{
		unsigned fds = t_count_fds();
		/* Without anything to send. */
		int fd = open_stream(&t, (struct source){ 0 }, GET_1_1);

		t_serve(&t, 5);
		t_uint(src.closed, 0);
		(void)close(fd);
		t_wait(&t, src.closed == 1);
		t_wait(&t, t_count_fds() == fds);
		/* In the middle of much. */
		fd = open_stream(&t, (struct source){ .left = UINT64_MAX }, GET_1_1);
		t_serve(&t, 5);
		(void)close(fd);
		t_wait(&t, src.closed == 1);
		t_wait(&t, t_count_fds() == fds);
	}
	T_NO_LEAKS();
}

Test(server_stream, a_client_that_has_said_all_is_still_sent_to_until_it_goes)
{
	struct t_server t;

	T_EACH_SERVER(&t, NULL)
	{
		int fd = open_stream(&t, (struct source){ .left = 1 }, GET_1_1);

		t_int(shutdown(fd, SHUT_WR), 0);
		t_has(t_receive(&t, fd, "\r\n0\r\n"), "0001\r\n0\r\n");
		t_serve(&t, 5);
		src.left = 1;
		stream_wake(src.s);
		t_str(t_receive(&t, fd, "1\r\n"), "0001\r\n1\r\n");
		t_uint(src.closed, 0);
		(void)close(fd);
		t_wait(&t, src.closed == 1);
	}
	T_NO_LEAKS();
}

Test(server_stream, a_client_of_1_0_gets_plain_bytes_until_the_close)
{
	struct t_server t;

	T_EACH_SERVER(&t, NULL)
	{
		int fd = open_stream(&t, (struct source){ .left = 5 }, "GET / HTTP/1.0\r\n\r\n");
		const char *got;

		t_serve(&t, 5);
		stream_end(src.s);
		got = t_receive(&t, fd, NULL);
		t_has(got, "\r\n\r\n01234");
		t_true(strstr(got, "chunked") == NULL);
		t_true(strstr(got, "Content-Length") == NULL);
		(void)close(fd);
	}
	T_NO_LEAKS();
}

Test(server_stream, it_may_be_woken_and_ended_from_inside)
{
	struct t_server t;

	T_EACH_SERVER(&t, NULL)
	{
		int fd = open_stream(
			&t, (struct source){ .left = 5, .wakes_inside = true }, GET_1_1);

		t_has(t_receive(&t, fd, "01234\r\n"), "0005\r\n01234\r\n");
		t_wait(&t, src.pulls >= 100);
		src.ends_inside = true;
		src.left = 1;
		stream_wake(src.s);
		/* What is pulled by the call that ends it is sent. */
		t_str(t_receive(&t, fd, NULL), "0001\r\n5\r\n0\r\n\r\n");
		t_uint(src.closed, 1);
		(void)close(fd);
	}
	T_NO_LEAKS();
}

Test(server_stream, the_server_is_freed_under_it)
{
	struct t_server t;

	T_EACH_SERVER(&t, NULL)
	{
		int fd = open_stream(&t, (struct source){ .left = 5 }, GET_1_1);

		server_free(t.s);
		t.s = NULL;
		t_uint(src.closed, 1);
		t_true(t_is_closed(&t, fd));
		(void)close(fd);
	}
	T_NO_LEAKS();
}

/* Beside a call that waits for its answer. */
static struct call *early;

static void hold_then_stream(struct t_server *t, struct call *c)
{
	(void)t;
	early = c;
}

Test(server_stream, a_call_may_become_one_later_and_not_after_the_server_has_gone)
{
	struct t_server t;

	T_EACH_SERVER(&t, NULL)
	{
		int fd = t_connect(&t);

		t.handler = hold_then_stream;
		t_send(fd, GET_1_1);
		t_wait(&t, t.requests == 1);
		src = (struct source){ .left = 2 };
		src.s = call_stream(early, HTTP_TEXT, NULL, &ops, &src);
		t_has(t_receive(&t, fd, "01\r\n"), "Content-Type: text/plain");
		(void)close(fd);
		t_wait(&t, src.closed == 1);
		fd = t_connect(&t);
		t_send(fd, GET_1_1);
		t_wait(&t, t.requests == 2);
		server_free(t.s);
		t.s = NULL;
		t_true(call_stream(early, HTTP_TEXT, NULL, &ops, &src) == NULL);
		t_uint(src.closed, 1);
		(void)close(fd);
	}
	T_NO_LEAKS();
}

/* --- both ways --- */

Test(server_stream, an_upgrade_moves_raw_bytes_both_ways)
{
	const struct source both = { .left = 4, .takes = SIZE_MAX, .protocol = "test" };
	struct t_server t;

	T_EACH_SERVER(&t, NULL)
	{
		/* The first bytes come with the request. */
		int fd = open_stream(&t, both, GET_RAW "early ");

		t_has(t_receive(&t, fd, "0123"),
			"HTTP/1.1 101 \r\nServer: Firecracker API\r\n"
			"Connection: Upgrade\r\nUpgrade: test\r\n\r\n0123");
		t_wait(&t, src.got_len == 6);
		t_send(fd, "and late");
		t_wait(&t, strcmp(src.got, "early and late") == 0);
		src.left = 3;
		stream_wake(src.s);
		t_str(t_receive(&t, fd, "456"), "456");
		stream_end(src.s);
		t_str(t_receive(&t, fd, NULL), "");
		t_uint(src.closed, 1);
		(void)close(fd);
	}
	T_NO_LEAKS();
}

Test(server_stream, what_push_does_not_take_is_offered_again)
{
	const struct source both = { .takes = 3, .protocol = "test" };
	struct t_server t;

	T_EACH_SERVER(&t, NULL)
	{
		int fd = open_stream(&t, both, GET_RAW "abcdef");

		t_wait(&t, src.got_len == 3);
		t_send(fd, "ghi");
		t_serve(&t, 10);
		t_str(src.got, "abc");
		src.takes = 1;
		stream_want(src.s);
		t_wait(&t, src.got_len == 4);
		src.takes = SIZE_MAX;
		stream_want(src.s);
		t_wait(&t, strcmp(src.got, "abcdefghi") == 0);
		(void)close(fd);
		t_wait(&t, src.closed == 1);
	}
	T_NO_LEAKS();
}

Test(server_stream, a_client_that_floods_is_stopped)
{
	const struct source both = { .takes = 10, .protocol = "test" };
	struct t_server t;

	T_EACH_SERVER(&t, NULL)
	{
		static char much[65536];
		int fd = open_stream(&t, both, GET_RAW);
		size_t sent = 0;
		ssize_t n;

		memset(much, 'x', sizeof(much));
		for (unsigned quiet = 0; quiet < 20;) {
			n = send(fd, much, sizeof(much), MSG_NOSIGNAL);
			quiet = n > 0 ? 0 : quiet + 1;
			sent += n > 0 ? (size_t)n : 0;
			t_serve(&t, 1);
		}
		t_true(sent < 2 << 20);
		t_uint(src.got_len, 10);
		(void)close(fd);
		t_wait(&t, src.closed == 1);
	}
	T_NO_LEAKS();
}

Test(server_stream, the_last_bytes_of_a_client_that_goes_are_taken)
{
	const struct source both = { .takes = SIZE_MAX, .protocol = "test" };
	struct t_server t;

	T_EACH_SERVER(&t, NULL)
	{
		int fd = open_stream(&t, both, GET_RAW);

		t_serve(&t, 5);
		t_send(fd, "last words");
		(void)close(fd);
		t_wait(&t, src.closed == 1);
		t_str(src.got, "last words");
	}
	T_NO_LEAKS();
}

Test(server_stream, push_may_wake_and_end_it)
{
	const struct source both = {
		.takes = SIZE_MAX, .protocol = "test", .wakes_inside = true, .ends_inside = true
	};
	struct t_server t;

	T_EACH_SERVER(&t, NULL)
	{
		int fd = open_stream(&t, both, GET_RAW "x");

		t_has(t_receive(&t, fd, NULL), "HTTP/1.1 101 ");
		t_uint(src.closed, 1);
		(void)close(fd);
	}
	T_NO_LEAKS();
}

/* --- the end --- */

static unsigned done;

static void on_done(void *ctx)
{
	struct t_server *t = ctx;

	t_true(t->s);
	done++;
}

Test(server_stream, a_server_that_shuts_down_sends_what_there_is_and_ends_it)
{
	struct t_server t;

	T_EACH_SERVER(&t, NULL)
	{
		int fd = open_stream(&t, (struct source){ 0 }, GET_1_1);

		done = 0;
		t_serve(&t, 5);
		/* Not even woken. */
		src.left = 100000;
		server_shut_down(t.s, 5000, on_done, &t);
		t_true(is_whole(t_receive(&t, fd, NULL), 100000));
		/* The client may see the end before the server has closed its own. */
		t_wait(&t, done == 1);
		t_uint(src.closed, 1);
		(void)close(fd);
	}
	T_NO_LEAKS();
}

Test(server_stream, a_server_that_shuts_down_does_not_wait_for_ever)
{
	struct t_server t;

	T_EACH_SERVER(&t, NULL)
	{
		int fd = open_stream(&t, (struct source){ .left = UINT64_MAX }, GET_1_1);

		done = 0;
		t_serve(&t, 50);
		server_shut_down(t.s, 100, on_done, &t);
		t_uint(done, 0);
		t_wait(&t, done == 1);
		t_uint(src.closed, 0);
		server_free(t.s);
		t.s = NULL;
		t_uint(src.closed, 1);
		t_uint(done, 1);
		(void)close(fd);
	}
	T_NO_LEAKS();
}
