/* A server on a loop, and clients of it (t_server.h). */
#include "t_server.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

#include "base/err.h"

enum { ROUNDS = 10, STEP_MS = 2 };

static void on_timer(struct loop_op *op, int res)
{
	struct t_server *t = container_of(op, struct t_server, timer);

	(void)res;
	t->is_expired = true;
}

static void run_rounds(struct t_server *t, uint64_t ns)
{
	t->is_expired = false;
	t->timer.done = on_timer;
	loop_timeout(t->l, &t->timer, ns);
	while (!t->is_expired)
		(void)!loop_turn(t->l);
}

void t_serve(struct t_server *t, unsigned ms)
{
	run_rounds(t, ms * 1000000ULL);
	for (unsigned i = 0; i < ROUNDS; i++)
		run_rounds(t, 0);
}

static void on_request(void *ctx, struct call *c)
{
	struct t_server *t = ctx;

	t->requests++;
	t->handler(t, c);
}

void t_answer(struct call *c, int status, const char *body)
{
	struct answer a = { .status = status, .body = body ? strdup(body) : NULL };

	a.len = body ? strlen(body) : 0;
	call_answer(c, &a);
}

void t_echo(struct t_server *t, struct call *c)
{
	const struct http_request *r = c->request;
	char *text = NULL;

	(void)t;
	t_true(asprintf(&text, "%s %s %s", r->method_text, r->target, r->body ? r->body : "-") > 0);
	t_answer(c, 200, text);
	free(text);
}

void t_hold(struct t_server *t, struct call *c)
{
	t->held = c;
}

bool t_server_init(struct t_server *t, int turn, const struct server_config *cfg)
{
	struct server_config c = cfg ? *cfg : (struct server_config){ 0 };
	struct err e = { 0 };

	*t = (struct t_server){ .l = t_loop_new(turn), .handler = t_echo };
	if (!t->l)
		return false;
	(void)snprintf(t->folder, sizeof(t->folder), "/tmp/mvm-server-XXXXXX");
	t_true(mkdtemp(t->folder));
	(void)snprintf(t->path, sizeof(t->path), "%s/api.sock", t->folder);
	c.path = c.path ? c.path : t->path;
	c.mode = c.mode ? c.mode : 0600;
	c.body_max = c.body_max ? c.body_max : HTTP_BODY_DEFAULT;
	c.request = on_request;
	c.ctx = t;
	cr_assert(eq(int, server_new(t->l, &c, &t->s, &e), 0), "%s", e.text);
	return true;
}

void t_server_fini(struct t_server *t)
{
	server_free(t->s);
	t->s = NULL;
	loop_free(t->l);
	t_int(rmdir(t->folder), 0);
}

int t_connect(struct t_server *t)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	(void)snprintf(at.sun_path, sizeof(at.sun_path), "%s", t->path);
	/* EAGAIN: so many wait already. */
	while (connect(fd, (const struct sockaddr *)&at, sizeof(at)) < 0) {
		t_int(errno, EAGAIN);
		t_serve(t, STEP_MS);
	}
	return fd;
}

void t_send_bytes(int fd, const char *buf, size_t len)
{
	t_int(send(fd, buf, len, MSG_NOSIGNAL), (ssize_t)len);
}

void t_send(int fd, const char *text)
{
	t_send_bytes(fd, text, strlen(text));
}

static uint64_t now_ms(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

const char *t_receive(struct t_server *t, int fd, const char *part)
{
	static char buf[T_ANSWER];
	uint64_t end = now_ms() + T_SECONDS * 1000 / 2;
	size_t len = 0;

	buf[0] = '\0';
	while (now_ms() < end && !(part && strstr(buf, part))) {
		ssize_t n = recv(fd, buf + len, sizeof(buf) - 1 - len, 0);

		if (n < 0 && errno == EAGAIN) {
			run_rounds(t, STEP_MS * 1000000ULL);
			continue;
		}
		if (n <= 0)
			break;
		len += (size_t)n;
		buf[len] = '\0';
	}
	return buf;
}

bool t_is_closed(struct t_server *t, int fd)
{
	char byte;
	ssize_t n;

	for (unsigned i = 0; i < 500; i++) {
		n = recv(fd, &byte, 1, 0);
		if (n == 0 || (n < 0 && errno != EAGAIN))
			return true;
		run_rounds(t, STEP_MS * 1000000ULL);
	}
	return false;
}

const char *t_ask(
	struct t_server *t, int fd, const char *method, const char *target, const char *body)
{
	char head[2048];

	(void)snprintf(head, sizeof(head), "%s %s HTTP/1.1\r\nHost: localhost\r\n", method, target);
	t_send(fd, head);
	if (body) {
		(void)snprintf(head, sizeof(head), "Content-Length: %zu\r\n", strlen(body));
		t_send(fd, head);
	}
	t_send(fd, "\r\n");
	if (body)
		t_send(fd, body);
	return t_receive(t, fd, "\r\n\r\n");
}

unsigned t_count(const char *text, const char *part)
{
	unsigned n = 0;

	while ((text = strstr(text, part))) {
		text += strlen(part);
		n++;
	}
	return n;
}
