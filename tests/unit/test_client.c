/* A client of the API, against a server that does what a test says. */
#include "t.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>

#include "base/err.h"
#include "client.h"

TestSuite(client, .timeout = T_SECONDS);

enum { PATH_LEN = 400, SAID_MAX = 4096 };

/* --- a server for one connection --- */

struct server {
	char dir[64], path[PATH_LEN];
	int fd;
	pthread_t thread;
	/* what it does */
	const char *answer;
	size_t piece;         /* bytes at a time; 0: all */
	bool goes_at_once;    /* after the answer, and before the request is sent */
	bool answers_at_once; /* without reading */
	bool is_silent;       /* it reads and answers nothing until the client goes */
	/* what it has seen */
	char said[SAID_MAX];
	size_t heard;
};

static bool is_whole(const struct server *s)
{
	const char *head = strstr(s->said, "\r\n\r\n"), *length;

	if (!head)
		return false;
	length = strstr(s->said, "Content-Length: ");
	return !length || strlen(head + 4) >= strtoul(length + 16, NULL, 10);
}

static void hear(struct server *s, int fd, bool to_the_end)
{
	char buf[65536];
	ssize_t n;

	while (to_the_end || !is_whole(s)) {
		n = read(fd, buf, sizeof(buf));
		if (n <= 0)
			return;
		for (ssize_t i = 0; i < n && s->heard + 1 < sizeof(s->said); i++)
			s->said[s->heard++] = buf[i];
	}
}

static void *serve(void *arg)
{
	struct server *s = arg;
	int fd = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC);
	size_t len = s->answer ? strlen(s->answer) : 0, step = s->piece ? s->piece : len;

	if (!s->answers_at_once)
		hear(s, fd, s->is_silent);
	for (size_t at = 0; at < len; at += step)
		(void)!send(fd, s->answer + at, MIN(step, len - at), MSG_NOSIGNAL);
	if (s->answers_at_once && !s->goes_at_once) {
		struct pollfd pfd = { .fd = fd };

		/* Until the client goes; what it sends stays where it is. */
		(void)poll(&pfd, 1, T_SECONDS * 1000);
	}
	(void)close(fd);
	return NULL;
}

static void listen_at(struct server *s, const char *name)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int dir;

	(void)snprintf(s->dir, sizeof(s->dir), "/tmp/test-client-XXXXXX");
	t_true(mkdtemp(s->dir) != NULL);
	(void)snprintf(s->path, sizeof(s->path), "%s/%s", s->dir, name);
	s->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	/* A name of any length, bound from its folder. */
	dir = open(".", O_PATH | O_CLOEXEC);
	t_true(chdir(s->dir) == 0 && strlen(name) < sizeof(a.sun_path));
	(void)snprintf(a.sun_path, sizeof(a.sun_path), "%s", name);
	t_int(bind(s->fd, (struct sockaddr *)&a, sizeof(a)), 0);
	t_int(listen(s->fd, 1), 0);
	t_int(fchdir(dir), 0);
	(void)close(dir);
}

static void start(struct server *s)
{
	listen_at(s, "api.sock");
	t_int(pthread_create(&s->thread, NULL, serve, s), 0);
}

static void stop(struct server *s, bool is_there)
{
	if (is_there)
		(void)pthread_join(s->thread, NULL);
	(void)close(s->fd);
	(void)unlink(s->path);
	(void)rmdir(s->dir);
}

/* --- a call --- */

struct got {
	char body[4096];
	size_t len;
	int status;
};

static int take(void *ctx, int status, const char *buf, size_t len)
{
	struct got *g = ctx;

	g->status = status;
	if (g->len + len >= sizeof(g->body))
		return -1;
	memcpy(g->body + g->len, buf, len);
	g->len += len;
	return 0;
}

static int call(struct server *s, const struct client_request *r, unsigned timeout_ms,
	struct got *g, struct client_answer *answer, struct err *e)
{
	int fd, rc;

	start(s);
	fd = client_connect(s->path, CLIENT_CONNECT_MS, e);
	t_true(fd >= 0);
	if (s->goes_at_once)
		(void)pthread_join(s->thread, NULL);
	rc = client_call(fd, r, timeout_ms, take, g, answer, e);
	(void)close(fd);
	stop(s, !s->goes_at_once);
	return rc;
}

static const struct client_request get = { .method = "GET", .target = "/x" };

Test(client, a_request_without_a_body)
{
	struct server s = { .answer = "HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\n{}" };
	struct client_answer answer = { 0 };
	struct got g = { 0 };
	struct err e = { 0 };

	cr_assert(eq(int, call(&s, &get, 5000, &g, &answer, &e), 0), "%s", e.text);
	t_int(answer.status, 200);
	t_str(g.body, "{}");
	t_str(s.said, "GET /x HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n");
	t_true(answer.rest == NULL);
	T_NO_LEAKS();
}

Test(client, a_request_with_a_body_and_an_answer_byte_by_byte)
{
	struct server s = { .answer = "HTTP/1.1 400 \r\nContent-Length: 4\r\n\r\nbad!",
		.piece = 1 };
	struct client_request put = {
		.method = "PUT", .target = "/y", .body = "{\"a\": 1}", .body_len = 8
	};
	struct client_answer answer = { 0 };
	struct got g = { 0 };
	struct err e = { 0 };

	cr_assert(eq(int, call(&s, &put, 5000, &g, &answer, &e), 0), "%s", e.text);
	t_int(answer.status, 400);
	t_str(g.body, "bad!");
	t_has(s.said, "PUT /y HTTP/1.1\r\n");
	t_has(s.said, "Content-Type: application/json\r\n");
	t_has(s.said, "Content-Length: 8\r\n\r\n{\"a\": 1}");
}

Test(client, an_upgrade_leaves_the_bytes_behind_it)
{
	struct server s = {
		.answer = "HTTP/1.1 101 \r\nConnection: Upgrade\r\nUpgrade: p\r\n\r\nlogin: "
	};
	struct client_request r = { .method = "GET", .target = "/serial", .upgrade = "p" };
	struct client_answer answer = { 0 };
	struct got g = { 0 };
	struct err e = { 0 };

	cr_assert(eq(int, call(&s, &r, 5000, &g, &answer, &e), 0), "%s", e.text);
	t_int(answer.status, 101);
	t_uint(answer.rest_len, 7);
	t_int(memcmp(answer.rest, "login: ", 7), 0);
	t_has(s.said, "Connection: Upgrade\r\nUpgrade: p\r\n");
	free(answer.rest);
}

/* A large body is refused before it has been read. */
Test(client, an_answer_before_the_request_was_sent_counts)
{
	static char body[CLIENT_BODY_MAX / 4];
	struct server s = { .answer = "HTTP/1.1 400 \r\nContent-Length: 9\r\n\r\ntoo large",
		.answers_at_once = true };
	struct client_request put = {
		.method = "PUT", .target = "/y", .body = body, .body_len = sizeof(body)
	};
	struct client_answer answer = { 0 };
	struct got g = { 0 };
	struct err e = { 0 };

	cr_assert(eq(int, call(&s, &put, 5000, &g, &answer, &e), 0), "%s", e.text);
	t_int(answer.status, 400);
	t_str(g.body, "too large");
}

Test(client, an_answer_of_a_server_that_has_gone_counts)
{
	static char body[CLIENT_BODY_MAX / 4];
	struct server s = { .answer = "HTTP/1.1 503 \r\nContent-Length: 9\r\n\r\ntoo many!",
		.answers_at_once = true,
		.goes_at_once = true };
	struct client_request put = {
		.method = "PUT", .target = "/y", .body = body, .body_len = sizeof(body)
	};
	struct client_answer answer = { 0 };
	struct got g = { 0 };
	struct err e = { 0 };

	cr_assert(eq(int, call(&s, &put, 5000, &g, &answer, &e), 0), "%s", e.text);
	t_int(answer.status, 503);
	t_str(g.body, "too many!");
}

Test(client, silence_has_a_limit)
{
	struct server s = { .is_silent = true };
	struct client_answer answer = { 0 };
	struct got g = { 0 };
	struct err e = { 0 };

	t_int(call(&s, &get, 100, &g, &answer, &e), -ETIMEDOUT);
	t_str(e.text, "GET /x: no answer within 100 ms");
}

Test(client, a_server_that_goes_is_an_error)
{
	static const char *const rows[] = { "", "HTTP/1.1 200 \r\nContent-Length: 5\r\n\r\nhel" };

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct server s = { .answer = rows[i] };
		struct client_answer answer = { 0 };
		struct got g = { 0 };
		struct err e = { 0 };

		t_int(call(&s, &get, 5000, &g, &answer, &e), -EPROTO);
		t_has(e.text, "GET /x: the connection ended");
	}
}

/* --- connecting --- */

Test(client, what_cannot_be_connected_to_is_told_with_what_to_do)
{
	struct server s = { 0 };
	struct err e = { 0 };
	char path[PATH_LEN + 8];
	int fd;

	listen_at(&s, "stale");
	(void)close(s.fd);
	t_int(client_connect(s.path, 0, &e), -ECONNREFUSED);
	t_has(e.text, "nobody listens");
	t_has(e.text, s.path);
	(void)unlink(s.path);
	t_int(client_connect(s.path, 0, &e), -ENOENT);
	t_has(e.text, "is the machine running");
	fd = open(s.path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	t_int(client_connect(s.path, 0, &e), -ECONNREFUSED);
	t_has(e.text, "it is not a socket");
	(void)snprintf(path, sizeof(path), "%s/x", s.path);
	t_int(client_connect(path, 0, &e), -ENOTDIR);
	t_int(client_connect("", 0, &e), -ENOENT);
	t_int(client_connect(s.path, 0, NULL), -ECONNREFUSED);
	(void)close(fd);
	(void)unlink(s.path);
	(void)rmdir(s.dir);
}

Test(client, a_full_queue_is_waited_for_and_then_given_up)
{
	struct server s = { 0 };
	struct err e = { 0 };
	struct timespec before, after;
	int held[64], n = 0, fds;

	listen_at(&s, "full");
	while (n < 64 && (held[n] = client_connect(s.path, 0, &e)) >= 0)
		n++;
	t_true(n > 0 && n < 64);
	t_int(held[n], -EAGAIN);
	t_has(e.text, "no more connections");
	fds = (int)t_count_fds();
	(void)clock_gettime(CLOCK_MONOTONIC, &before);
	t_int(client_connect(s.path, 50, &e), -EAGAIN);
	(void)clock_gettime(CLOCK_MONOTONIC, &after);
	t_true((after.tv_sec - before.tv_sec) * 1000 + (after.tv_nsec - before.tv_nsec) / 1000000 >=
		49);
	t_int(t_count_fds(), fds);
	(void)unlink(s.path);
	(void)rmdir(s.dir);
}

Test(client, a_path_longer_than_an_address_is_fine)
{
	char name[101], path[PATH_LEN];
	struct server s = { 0 };
	struct err e = { 0 };
	int fd;

	memset(name, 'n', 100);
	name[100] = '\0';
	listen_at(&s, name);
	t_true(strlen(s.path) > sizeof(((struct sockaddr_un *)NULL)->sun_path));
	fd = client_connect(s.path, 0, &e);
	cr_assert(ge(int, fd, 0), "%s", e.text);
	t_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	t_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
	(void)close(fd);
	(void)snprintf(path, sizeof(path), "%sx", s.path);
	t_int(client_connect(path, 0, &e), -ENOENT);
	(void)unlink(s.path);
	(void)rmdir(s.dir);
}

/* --- requests and faults --- */

Test(client, a_request_is_one_line)
{
	static const struct {
		const char *method, *target;
		int rc;
	} rows[] = {
		{ "GET", "/", 0 },
		{ "DELETE", "/drives/a?b=c%20d", 0 },
		{ "get", "/", -EINVAL },
		{ "", "/", -EINVAL },
		{ "GET /x HTTP/1.1\r\nA:", "/", -EINVAL },
		{ "GET", "", -EINVAL },
		{ "GET", "vm", -EINVAL },
		{ "GET", "/a b", -EINVAL },
		{ "GET", "/ HTTP/1.1\r\nX: y", -EINVAL },
		{ "GET", "/\xc3\xa4", -EINVAL },
		{ "GET", "/\x7f", -EINVAL },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct client_request r = { .method = rows[i].method, .target = rows[i].target };
		struct err e = { 0 };

		t_row_int(rows[i].target, client_check_request(&r, &e), rows[i].rc);
		t_row_true(rows[i].target, rows[i].rc == 0 || e.text[0]);
	}
}

Test(client, faults_come_in_two_shapes)
{
	static const struct {
		const char *body, *text;
	} rows[] = {
		{ "{\"fault_message\": \"no\"}", "no" },
		{ "{\"error\": \"bad request\"}", "bad request" },
		{ "{\"fault_message\": 3}", "{\"fault_message\": 3}" },
		{ "not JSON", "not JSON" },
		{ "", "" },
		{ "[]", "[]" },
		{ "{\"fault_message\": \"a fault that is longer than the place it has\"}",
			"a fault that is longer " },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		char text[24];

		client_fault(rows[i].body, strlen(rows[i].body), text, sizeof(text));
		t_row_true(rows[i].body, strncmp(text, rows[i].text, sizeof(text) - 1) == 0);
	}
}
