/* The server: requests, answers, and who may connect (server.h), on both backends of the loop. */
#include "t_server.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>

TestSuite(server, .timeout = 2 * T_SECONDS);

Test(server, a_request_is_answered_and_the_connection_stays)
{
	struct t_server t;

	T_EACH_SERVER(&t, NULL)
	{
		int fd = t_connect(&t);
		const char *got = t_ask(&t, fd, "GET", "/machine-config", NULL);

		t_has(got,
			"HTTP/1.1 200 \r\nServer: Firecracker API\r\nConnection: keep-alive\r\n");
		t_has(got, "\r\n\r\nGET /machine-config -");
		got = t_ask(&t, fd, "PUT", "/x", "{\"a\": 1}");
		t_has(got, "PUT /x {\"a\": 1}");
		t_uint(server_counters(t.s).connections, 1);
		t_uint(server_counters(t.s).requests, 2);
		(void)close(fd);
	}
	T_NO_LEAKS();
}

Test(server, pipelined_requests_are_answered_in_their_order)
{
	enum { N = 100 };
	struct t_server t;

	T_EACH_SERVER(&t, NULL)
	{
		int fd = t_connect(&t);
		const char *got;
		char text[64];

		for (unsigned i = 0; i < N; i++) {
			(void)snprintf(text, sizeof(text), "GET /%u HTTP/1.1\r\n\r\n", i);
			t_send(fd, text);
		}
		got = t_receive(&t, fd, "GET /99 -");
		for (unsigned i = 0; i < N; i++) {
			(void)snprintf(text, sizeof(text), "GET /%u -", i);
			got = strstr(got, text);
			t_true(got);
		}
		(void)close(fd);
	}
	T_NO_LEAKS();
}

Test(server, requests_cut_at_every_byte_are_answered)
{
	static const char text[] = "PUT /a HTTP/1.1\r\nContent-Length: 2\r\n\r\nhi";
	struct t_server t;

	T_EACH_SERVER(&t, NULL)
	{
		int fd = t_connect(&t);

		for (size_t cut = 1; cut < sizeof(text) - 1; cut++) {
			t_send_bytes(fd, text, cut);
			t_serve(&t, 0);
			t_uint(t.requests, cut - 1);
			t_send(fd, text + cut);
			t_has(t_receive(&t, fd, "hi"), "PUT /a hi");
			t_uint(t.requests, cut);
		}
		(void)close(fd);
	}
	T_NO_LEAKS();
}

/* --- later answers --- */

Test(server, an_answer_may_come_later_and_others_are_served_meanwhile)
{
	struct t_server t;

	T_EACH_SERVER(&t, NULL)
	{
		int slow = t_connect(&t), fast = t_connect(&t);

		t.handler = t_hold;
		/* The second one waits for the first one's answer. */
		t_send(slow, "GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\n");
		t_serve(&t, 5);
		t_true(t.held);
		t_uint(t.requests, 1);
		t.handler = t_echo;
		t_has(t_ask(&t, fast, "GET", "/fast", NULL), "GET /fast");
		t_uint(t.requests, 2);
		t_str(t.held->request->target, "/1");
		t_answer(t.held, 204, NULL);
		t_has(t_receive(&t, slow, "/2"), "HTTP/1.1 204 ");
		t_uint(t.requests, 3);
		(void)close(slow);
		(void)close(fast);
	}
	T_NO_LEAKS();
}

Test(server, a_client_that_went_before_the_answer_does_no_harm)
{
	struct t_server t;

	T_EACH_SERVER(&t, NULL)
	{
		unsigned fds = t_count_fds();
		int fd = t_connect(&t);

		t.handler = t_hold;
		t_send(fd, "GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\n");
		t_serve(&t, 5);
		(void)close(fd);
		t_serve(&t, 5);
		t_answer(t.held, 200, "nobody reads this");
		t_wait(&t, t_count_fds() == fds);
		t_uint(t.requests, 1);
		t.handler = t_echo;
		fd = t_connect(&t);
		t_has(t_ask(&t, fd, "GET", "/3", NULL), "GET /3");
		(void)close(fd);
	}
	T_NO_LEAKS();
}

Test(server, a_client_that_has_said_all_gets_its_answers)
{
	struct t_server t;

	T_EACH_SERVER(&t, NULL)
	{
		int fd = t_connect(&t);

		t_send(fd, "GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\n");
		t_int(shutdown(fd, SHUT_WR), 0);
		t_has(t_receive(&t, fd, NULL), "GET /2 -");
		t_true(t_is_closed(&t, fd));
		(void)close(fd);
	}
	T_NO_LEAKS();
}

Test(server, an_answer_after_the_server_has_gone_is_dropped)
{
	struct t_server t;

	T_EACH_SERVER(&t, NULL)
	{
		int fd = t_connect(&t);

		t.handler = t_hold;
		t_send(fd, "PUT /1 HTTP/1.1\r\nContent-Length: 2\r\n\r\nab");
		t_serve(&t, 5);
		server_free(t.s);
		t.s = NULL;
		t_str(t.held->request->body, "ab");
		t_answer(t.held, 200, "text");
		t_true(t_is_closed(&t, fd));
		(void)close(fd);
	}
	T_NO_LEAKS();
}

/* --- kinds of clients --- */

Test(server, a_client_of_1_0_is_answered_and_closed)
{
	struct t_server t;

	T_EACH_SERVER(&t, NULL)
	{
		int fd = t_connect(&t);

		t_send(fd, "GET /old HTTP/1.0\r\n\r\n");
		t_has(t_receive(&t, fd, NULL), "Connection: close\r\n");
		(void)close(fd);
		fd = t_connect(&t);
		t_send(fd, "GET /old HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
		t_has(t_receive(&t, fd, "/old"), "Connection: keep-alive\r\n");
		t_has(t_ask(&t, fd, "GET", "/new", NULL), "/new");
		(void)close(fd);
	}
	T_NO_LEAKS();
}

Test(server, a_client_that_expects_is_told_to_go_on)
{
	struct t_server t;

	T_EACH_SERVER(&t, NULL)
	{
		int fd = t_connect(&t);

		t_send(fd, "PUT / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
		t_str(t_receive(&t, fd, "\r\n\r\n"), "HTTP/1.1 100 \r\n\r\n");
		t_uint(t.requests, 0);
		t_send(fd, "ab");
		t_has(t_receive(&t, fd, "ab"), "PUT / ab");
		(void)close(fd);
	}
	T_NO_LEAKS();
}

Test(server, the_answer_to_head_has_no_body)
{
	struct t_server t;

	T_EACH_SERVER(&t, NULL)
	{
		int fd = t_connect(&t);

		t_send(fd, "HEAD / HTTP/1.1\r\n\r\nGET /next HTTP/1.1\r\n\r\n");
		t_has(t_receive(&t, fd, "/next"), "Content-Length: 8\r\n\r\nHTTP/1.1 200 ");
		(void)close(fd);
	}
	T_NO_LEAKS();
}

/* --- what is no request --- */

Test(server, what_is_no_http_gets_400_and_is_closed)
{
	struct t_server t;

	T_EACH_SERVER(&t, NULL)
	{
		int fd = t_connect(&t);
		const char *got;
		json_t *body;

		t_send(fd, "GET /fine HTTP/1.1\r\n\r\nBREW \"/\" HTTP/1.1\r\n\r\n");
		got = t_receive(&t, fd, NULL);
		t_has(got, "GET /fine -");
		got = strstr(got, "HTTP/1.1 400 ");
		t_true(got);
		t_has(got, "Connection: close\r\n");
		body = json_loads(strstr(got, "\r\n\r\n") + 4, JSON_REJECT_DUPLICATES, NULL);
		t_true(body);
		t_str(json_string_value(json_object_get(body, "error")),
			"Invalid HTTP Method.\nAll previous unanswered requests will be dropped.");
		json_decref(body);
		t_uint(server_counters(t.s).bad_requests, 1);
		(void)close(fd);
	}
	T_NO_LEAKS();
}

Test(server, a_body_one_byte_too_large_is_refused_in_known_words)
{
	const struct server_config cfg = { .body_max = 10 };
	struct t_server t;

	T_EACH_SERVER(&t, &cfg)
	{
		int fd = t_connect(&t);

		t_has(t_ask(&t, fd, "PUT", "/", "0123456789"), "PUT / 0123456789");
		t_send(fd, "PUT / HTTP/1.1\r\nContent-Length: 11\r\n\r\n");
		t_has(t_receive(&t, fd, NULL),
			"{\"error\": \"Request payload with size 11 is larger than the limit of 10 "
			"allowed by server.\\nAll previous unanswered requests will be "
			"dropped.\"}");
		t_uint(t.requests, 1);
		(void)close(fd);
	}
	T_NO_LEAKS();
}

Test(server, a_client_in_the_middle_of_too_much_can_read_why)
{
	enum { PIECES = 100 };
	struct t_server t;

	T_EACH_SERVER(&t, NULL)
	{
		static char piece[4096];
		int fd = t_connect(&t);

		memset(piece, 'x', sizeof(piece));
		t_send(fd, "PUT / HTTP/1.1\r\nContent-Length: 409600\r\n\r\n");
		for (unsigned i = 0; i < PIECES; i++) {
			/* It is never told that nobody listens. */
			while (send(fd, piece, sizeof(piece), MSG_NOSIGNAL) < 0) {
				t_int(errno, EAGAIN);
				t_serve(&t, 1);
			}
		}
		t_int(shutdown(fd, SHUT_WR), 0);
		t_has(t_receive(&t, fd, NULL), "larger than the limit of 51200");
		(void)close(fd);
	}
	T_NO_LEAKS();
}

Test(server, a_megabyte_of_headers_is_refused_and_others_are_served)
{
	struct t_server t;

	T_EACH_SERVER(&t, NULL)
	{
		int fd = t_connect(&t), other = t_connect(&t);
		char line[256];
		ssize_t n = 1;

		(void)snprintf(line, sizeof(line), "X: %0200d\r\n", 1);
		t_send(fd, "GET / HTTP/1.1\r\n");
		for (size_t sent = 0; sent < 1 << 20 && n > 0; sent += strlen(line)) {
			n = send(fd, line, strlen(line), MSG_NOSIGNAL);
			t_serve(&t, 0);
		}
		t_has(t_receive(&t, fd, "dropped"), "longer than 65536 bytes");
		t_has(t_ask(&t, other, "GET", "/", NULL), "GET / -");
		(void)close(fd);
		(void)close(other);
	}
	T_NO_LEAKS();
}

/* --- many --- */

Test(server, of_forty_connections_32_are_served_and_the_rest_is_told)
{
	enum { N = 40 };
	struct t_server t;

	T_EACH_SERVER(&t, NULL)
	{
		unsigned fds = t_count_fds(), refused = 0;
		int fd[N];
		const char *got;

		for (unsigned i = 0; i < N; i++)
			fd[i] = t_connect(&t);
		t_serve(&t, 5);
		for (unsigned i = 0; i < N; i++) {
			t_send(fd[i], "GET / HTTP/1.1\r\n\r\n");
			got = t_receive(&t, fd[i], "\r\n\r\n");
			if (!strstr(got, "503")) {
				t_has(got, "GET / -");
				continue;
			}
			t_has(got, "HTTP/1.1 503 \r\n");
			t_has(got, "{\"error\": \"Too many open connections\"}");
			t_true(t_is_closed(&t, fd[i]));
			refused++;
		}
		t_uint(refused, N - SERVER_CONNECTIONS);
		t_uint(server_counters(t.s).refused, refused);
		/* A place that is free again is given to the next. */
		(void)close(fd[0]);
		t_serve(&t, 5);
		fd[0] = t_connect(&t);
		t_has(t_ask(&t, fd[0], "GET", "/again", NULL), "/again");
		for (unsigned i = 0; i < N; i++)
			(void)close(fd[i]);
		t_wait(&t, t_count_fds() == fds);
	}
	T_NO_LEAKS();
}

Test(server, refused_clients_that_do_not_go_are_no_burden)
{
	enum { N = 100 };
	struct t_server t;

	T_EACH_SERVER(&t, NULL)
	{
		unsigned fds = t_count_fds();
		int fd[N];

		for (unsigned i = 0; i < N; i++)
			fd[i] = t_connect(&t);
		t_wait(&t, server_counters(t.s).connections == N);
		t_uint(server_counters(t.s).refused, N - SERVER_CONNECTIONS);
		/* The clients' own ends, those that are served, and a few that are being told. */
		t_true(t_count_fds() <= fds + N + SERVER_CONNECTIONS + 8);
		t_wait(&t, t_count_fds() == fds + N + SERVER_CONNECTIONS);
		for (unsigned i = 0; i < N; i++)
			(void)close(fd[i]);
	}
	T_NO_LEAKS();
}

Test(server, a_thousand_connects_and_disconnects_leave_nothing)
{
	enum { N = 1000 };
	struct t_server t;

	T_EACH_SERVER(&t, NULL)
	{
		unsigned fds = t_count_fds();
		int fd;

		for (unsigned i = 0; i < N; i++) {
			fd = t_connect(&t);
			if (i % 3 == 1)
				t_send(fd, "GET / HTTP/1.1\r\n\r\n");
			if (i % 3 == 2)
				t_send(fd, "GET / HT");
			if (i % 2)
				t_serve(&t, 0);
			(void)close(fd);
		}
		t_wait(&t, server_counters(t.s).connections == N && t_count_fds() == fds);
		fd = t_connect(&t);
		t_has(t_ask(&t, fd, "GET", "/still", NULL), "/still");
		(void)close(fd);
	}
	T_NO_LEAKS();
}

Test(server, without_descriptors_it_waits_and_goes_on)
{
	struct t_server t;

	T_EACH_SERVER(&t, NULL)
	{
		struct rlimit old, none;
		int fd = t_connect(&t), other = t_connect(&t);

		t_has(t_ask(&t, fd, "GET", "/", NULL), "GET / -");
		t_has(t_ask(&t, other, "GET", "/", NULL), "GET / -");
		(void)close(other);
		t_serve(&t, 5);
		other = t_connect(&t);
		t_int(getrlimit(RLIMIT_NOFILE, &old), 0);
		none = (struct rlimit){ 3, old.rlim_max };
		t_int(setrlimit(RLIMIT_NOFILE, &none), 0);
		t_serve(&t, 20);
		t_has(t_ask(&t, fd, "GET", "/meanwhile", NULL), "/meanwhile");
		t_int(setrlimit(RLIMIT_NOFILE, &old), 0);
		t_has(t_ask(&t, other, "GET", "/afterwards", NULL), "/afterwards");
		(void)close(fd);
		(void)close(other);
	}
	T_NO_LEAKS();
}

/* --- slow ones --- */

static const struct server_config quick = { .request_ms = 100, .answer_ms = 100 };

Test(server, a_request_byte_by_byte_ends_at_its_deadline)
{
	struct t_server t;

	T_EACH_SERVER(&t, &quick)
	{
		int fd = t_connect(&t), other = t_connect(&t);
		unsigned n = 0;

		while (server_counters(t.s).timeouts == 0) {
			t_send(fd, "G\0E\0T" + (n == 0 ? 0 : n == 1 ? 2 : 4));
			if (n == 2)
				t_send(fd, " /");
			t_serve(&t, 10);
			t_true(n++ < 500);
		}
		t_true(n >= 3);
		t_has(t_receive(&t, fd, NULL), "The request did not arrive in time.");
		t_has(t_ask(&t, other, "GET", "/", NULL), "GET / -");
		t_uint(server_counters(t.s).timeouts, 1);
		(void)close(fd);
		(void)close(other);
	}
	T_NO_LEAKS();
}

Test(server, a_connection_without_a_request_stays)
{
	struct t_server t;

	T_EACH_SERVER(&t, &quick)
	{
		int fresh = t_connect(&t), used = t_connect(&t);

		t_has(t_ask(&t, used, "GET", "/1", NULL), "/1");
		t_send(used, "\r\n");
		t_serve(&t, 350);
		t_has(t_ask(&t, used, "GET", "/2", NULL), "/2");
		t_has(t_ask(&t, fresh, "GET", "/3", NULL), "/3");
		t_uint(server_counters(t.s).timeouts, 0);
		(void)close(fresh);
		(void)close(used);
	}
	T_NO_LEAKS();
}

enum { BIG = 4 << 20 };

/* More than a socket holds. */
static void answer_big(struct t_server *t, struct call *c)
{
	struct answer a = { .status = 200, .type = HTTP_BYTES, .body = malloc(BIG), .len = BIG };

	(void)t;
	memset(a.body, 'b', BIG);
	call_answer(c, &a);
}

/* Reads up to max bytes of what has come; returns how many. */
static size_t drain(int fd, size_t max)
{
	static char buf[65536];
	size_t got = 0;

	while (got < max) {
		ssize_t n = recv(fd, buf, MIN(sizeof(buf), max - got), 0);

		if (n <= 0)
			break;
		got += (size_t)n;
	}
	return got;
}

Test(server, a_client_that_reads_slowly_gets_all)
{
	struct t_server t;

	T_EACH_SERVER(&t, &quick)
	{
		int fd = t_connect(&t);
		size_t got = 0;

		t.handler = answer_big;
		t_send(fd, "GET / HTTP/1.1\r\n\r\n");
		/* Longer than the deadline, but never without a byte for so long. */
		for (unsigned i = 0; i < 20; i++) {
			t_serve(&t, 15);
			got += drain(fd, 100000);
		}
		while (got < BIG) {
			t_serve(&t, 0);
			got += drain(fd, BIG);
		}
		t.handler = t_echo;
		t_serve(&t, 5);
		(void)drain(fd, BIG);
		t_has(t_ask(&t, fd, "GET", "/next", NULL), "/next");
		(void)close(fd);
	}
	T_NO_LEAKS();
}

Test(server, a_client_that_does_not_read_is_closed_and_others_are_served)
{
	struct t_server t;

	T_EACH_SERVER(&t, &quick)
	{
		int fd = t_connect(&t), other = t_connect(&t);

		t.handler = answer_big;
		t_send(fd, "GET / HTTP/1.1\r\n\r\n");
		t_serve(&t, 5);
		t.handler = t_echo;
		t_has(t_ask(&t, other, "GET", "/", NULL), "GET / -");
		t_serve(&t, 250);
		t_uint(server_counters(t.s).timeouts, 1);
		t_true(drain(fd, BIG) < BIG);
		t_true(t_is_closed(&t, fd));
		(void)close(fd);
		(void)close(other);
	}
	T_NO_LEAKS();
}

Test(server, a_big_answer_reaches_a_client_that_has_said_all)
{
	struct t_server t;

	T_EACH_SERVER(&t, NULL)
	{
		int fd = t_connect(&t);
		size_t got = 0;

		t.handler = answer_big;
		t_send(fd, "GET / HTTP/1.1\r\n\r\n");
		t_int(shutdown(fd, SHUT_WR), 0);
		for (unsigned i = 0; i < 200 && got < BIG; i++) {
			t_serve(&t, 20);
			got += drain(fd, 2 * BIG);
		}
		t_true(got > BIG);
		(void)close(fd);
	}
	T_NO_LEAKS();
}
