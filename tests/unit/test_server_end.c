/* The server's end, and how it makes way for others on its loop (server.h). */
#include "t_server.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

#include "api/share.h"

TestSuite(server_end, .timeout = 2 * T_SECONDS);

static uint64_t read_clock(clockid_t clock)
{
	struct timespec ts;

	(void)clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static uint64_t now_ns(void)
{
	return read_clock(CLOCK_MONOTONIC);
}

/* --- shutting down --- */

struct ending {
	struct t_server t;
	unsigned done;
};

static void on_done(void *ctx)
{
	struct ending *e = ctx;

	e->done++;
}

static bool is_refused(const struct t_server *t)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), rc;

	(void)snprintf(at.sun_path, sizeof(at.sun_path), "%s", t->path);
	rc = connect(fd, (const struct sockaddr *)&at, sizeof(at));
	(void)close(fd);
	return rc < 0;
}

Test(server_end, idle_connections_are_closed_and_nobody_can_connect)
{
	struct ending e = { 0 };

	T_EACH_SERVER(&e.t, NULL)
	{
		int fd = t_connect(&e.t), half = t_connect(&e.t);

		e.done = 0;
		t_has(t_ask(&e.t, fd, "GET", "/", NULL), "GET / -");
		t_send(half, "GET / HT");
		t_serve(&e.t, 5);
		server_shut_down(e.t.s, 5000, on_done, &e);
		t_uint(e.done, 0); /* from the loop only */
		t_wait(&e.t, e.done == 1);
		t_true(t_is_closed(&e.t, fd));
		t_true(t_is_closed(&e.t, half));
		t_true(is_refused(&e.t));
		t_serve(&e.t, 5);
		t_uint(e.done, 1);
		(void)close(fd);
		(void)close(half);
	}
	T_NO_LEAKS();
}

Test(server_end, without_any_connection_it_is_done_at_once)
{
	struct ending e = { 0 };

	T_EACH_SERVER(&e.t, NULL)
	{
		uint64_t begun = now_ns();

		e.done = 0;
		server_shut_down(e.t.s, 60000, on_done, &e);
		t_wait(&e.t, e.done == 1);
		t_true(now_ns() - begun < 10000000000);
	}
	T_NO_LEAKS();
}

Test(server_end, a_call_without_an_answer_is_waited_for)
{
	struct ending e = { 0 };

	T_EACH_SERVER(&e.t, NULL)
	{
		int fd = t_connect(&e.t);

		e.done = 0;
		e.t.handler = t_hold;
		t_send(fd, "GET / HTTP/1.1\r\n\r\n");
		t_wait(&e.t, e.t.requests == 1);
		server_shut_down(e.t.s, 60000, on_done, &e);
		t_serve(&e.t, 20);
		t_uint(e.done, 0);
		t_answer(e.t.held, 200, "last");
		t_has(t_receive(&e.t, fd, NULL), "Connection: close\r\n");
		t_wait(&e.t, e.done == 1);
		(void)close(fd);
	}
	T_NO_LEAKS();
}

Test(server_end, but_not_for_ever)
{
	struct ending e = { 0 };

	T_EACH_SERVER(&e.t, NULL)
	{
		int fd = t_connect(&e.t);

		e.done = 0;
		e.t.handler = t_hold;
		t_send(fd, "GET / HTTP/1.1\r\n\r\n");
		t_wait(&e.t, e.t.requests == 1);
		server_shut_down(e.t.s, 20, on_done, &e);
		t_wait(&e.t, e.done == 1);
		t_answer(e.t.held, 200, "too late");
		t_serve(&e.t, 5);
		t_uint(e.done, 1);
		(void)close(fd);
	}
	T_NO_LEAKS();
}

static void shut_down_from_inside(struct t_server *t, struct call *c)
{
	server_shut_down(t->s, 5000, on_done, container_of(t, struct ending, t));
	t_answer(c, 200, "bye");
}

Test(server_end, a_handler_may_shut_down_and_its_answer_arrives)
{
	struct ending e = { 0 };

	T_EACH_SERVER(&e.t, NULL)
	{
		int fd = t_connect(&e.t);

		e.done = 0;
		e.t.handler = shut_down_from_inside;
		t_send(fd, "GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\n");
		t_has(t_receive(&e.t, fd, NULL), "bye");
		t_uint(e.t.requests, 1);
		t_wait(&e.t, e.done == 1);
		(void)close(fd);
	}
	T_NO_LEAKS();
}

Test(server_end, freed_in_the_middle_of_everything_it_leaves_nothing)
{
	struct t_server t;

	T_EACH_SERVER(&t, NULL)
	{
		unsigned fds = t_count_fds();
		int fd[4];

		for (unsigned i = 0; i < ARRAY_SIZE(fd); i++)
			fd[i] = t_connect(&t);
		t_send(fd[0], "GET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n");
		t_send(fd[1], "PUT / HTTP/1.1\r\nContent-Length: 2\r\n\r\n");
		t_send(fd[2], "no http at all");
		for (unsigned i = 0; i < 3; i++)
			(void)!loop_turn(t.l);
		server_free(t.s);
		t.s = NULL;
		for (unsigned i = 0; i < ARRAY_SIZE(fd); i++)
			(void)close(fd[i]);
		t_uint(t_count_fds(), fds - 1); /* that of the listener */
	}
	T_NO_LEAKS();
}

/* --- beside others --- */

enum { COST_US = 200, CLIENTS = 4 };

/* Something that is served in every round, as a device at work. */
struct device {
	struct loop *l;
	struct loop_op op;
	bool stops;
	uint64_t served;
};

static struct device device;

static void on_device(struct loop_op *op, int res)
{
	(void)res;
	device.served++;
	if (!device.stops)
		loop_timeout(device.l, op, 0);
}

static void device_start(struct loop *l)
{
	device = (struct device){ .l = l, .op.done = on_device };
	loop_timeout(l, &device.op, 0);
}

static void device_stop(struct loop *l)
{
	device.stops = true;
	while (loop_op_is_pending(&device.op))
		(void)!loop_turn(l);
}

static uint64_t served_at[64];

static void costly(struct t_server *t, struct call *c)
{
	uint64_t end = read_clock(CLOCK_THREAD_CPUTIME_ID) + COST_US * 1000;

	if (t->requests <= ARRAY_SIZE(served_at))
		served_at[t->requests - 1] = device.served;
	while (read_clock(CLOCK_THREAD_CPUTIME_ID) < end) {
	}
	t_answer(c, 204, NULL);
}

/* Clients that always have a request waiting, for ms of clock; how many were served. */
static unsigned hammer(struct t_server *t, clockid_t clock, unsigned ms)
{
	static const char request[] = "GET / HTTP/1.1\r\n\r\n";
	uint64_t end = read_clock(clock) + ms * 1000000ULL;
	unsigned before;
	int fd[CLIENTS];
	char buf[65536];

	for (unsigned i = 0; i < CLIENTS; i++)
		fd[i] = t_connect(t);
	before = t->requests;
	while (read_clock(clock) < end) {
		for (unsigned i = 0; i < CLIENTS; i++) {
			(void)!send(fd[i], request, sizeof(request) - 1, MSG_NOSIGNAL);
			(void)!recv(fd[i], buf, sizeof(buf), 0);
		}
		(void)!loop_turn(t->l);
	}
	for (unsigned i = 0; i < CLIENTS; i++)
		(void)close(fd[i]);
	return t->requests - before;
}

Test(server_end, beside_a_device_at_work_it_takes_one_per_cent)
{
	struct t_server t;

	T_EACH_SERVER(&t, NULL)
	{
		uint64_t begun = now_ns(), share;
		unsigned n;

		t.handler = costly;
		device_start(t.l);
		n = hammer(&t, CLOCK_MONOTONIC, 2000);
		device_stop(t.l);
		share = (now_ns() - begun) / 1000 / COST_US * SHARE_PER_MILLE / 1000;
		/* And the burst at the beginning; a host that is busy elsewhere makes it less. */
		t_true(n <= share + 3);
		t_true(n >= share / 8);
		t_true(server_counters(t.s).deferred > 0);
		/* Never two in one round. */
		for (unsigned i = 1; i < MIN(n, ARRAY_SIZE(served_at)); i++)
			t_true(served_at[i] > served_at[i - 1]);
		t_true(device.served > 1000);
	}
	T_NO_LEAKS();
}

Test(server_end, a_single_request_is_served_at_once_even_then)
{
	struct t_server t;

	T_EACH_SERVER(&t, NULL)
	{
		int fd = t_connect(&t);
		uint64_t rounds;

		device_start(t.l);
		for (unsigned i = 0; i < 100; i++)
			(void)!loop_turn(t.l);
		rounds = device.served;
		t_send(fd, "GET / HTTP/1.1\r\n\r\n");
		while (t.requests == 0)
			(void)!loop_turn(t.l);
		/* Polled, and served at the end of the same round or the next. */
		t_true(device.served - rounds <= 5);
		t_uint(server_counters(t.s).deferred, 0);
		device_stop(t.l);
		(void)close(fd);
	}
	T_NO_LEAKS();
}

Test(server_end, alone_it_takes_all_but_yields_in_slices)
{
	struct t_server t;

	T_EACH_SERVER(&t, NULL)
	{
		unsigned n;

		t.handler = costly;
		/* In time of the CPU: what the host does elsewhere does not count. */
		n = hammer(&t, CLOCK_THREAD_CPUTIME_ID, 500);
		t_true(n >= 500000 / COST_US / 4);
		t_uint(server_counters(t.s).deferred, 0);
	}
	T_NO_LEAKS();
}

Test(server_end, a_pipeline_does_not_hold_the_loop)
{
	enum { N = 500 };
	static const char request[] = "GET / HTTP/1.1\r\n\r\n";
	static char many[N * (sizeof(request) - 1)];
	struct t_server t;

	T_EACH_SERVER(&t, NULL)
	{
		int fd = t_connect(&t);
		uint64_t longest = 0;

		t_serve(&t, 5);
		t.handler = costly;
		for (unsigned i = 0; i < N; i++)
			memcpy(many + i * (sizeof(request) - 1), request, sizeof(request) - 1);
		t_send_bytes(fd, many, sizeof(many));
		while (t.requests < 50) {
			unsigned before = t.requests;

			(void)!loop_turn(t.l);
			longest = MAX(longest, t.requests - before);
		}
		/* As many as one slice has room for, and the one that goes beyond it. */
		t_true(longest <= SERVER_SLICE_US / COST_US + 1);
		(void)close(fd);
	}
	T_NO_LEAKS();
}
