/* "mvm console": the console of a machine, by its API. */
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/io.h"
#include "base/log.h"
#include "client.h"
#include "cmd_signals.h"
#include "commands.h"
#include "core/loop.h"
#include "serve_options.h"
#include "terminal.h"

static const char help[] =
	"usage: mvm console [--api-sock PATH] [--read-only]\n"
	"\n"
	"Attaches to the serial console of a machine: first what it has kept of the output, then "
	"both ways,\n"
	"until the machine ends.  Any number of consoles may be attached; the machine never waits "
	"for one.\n"
	"On a terminal: Ctrl-A x detaches, Ctrl-A a sends Ctrl-A.\n"
	"\n"
	"  --api-sock PATH       socket of the machine (default: " SERVE_DEFAULT_SOCKET ")\n"
	"  --read-only           look on only; Ctrl-C ends it\n"
	"  --help                this text\n"
	"\n"
	"Exit status: 0 detached or the machine has ended, 1 it cannot be attached to, 2 bad "
	"usage.\n";

enum {
	ESCAPE = 1, /* Ctrl-A */
	/* Of each direction; what a pipe that can be written takes without waiting (PIPE_BUF). */
	CHUNK = 4096,
	FAULT_MAX = 4096,
};

struct options {
	bool help, read_only;
	const char *sock;
};

/* Bytes on their way from one descriptor to another: read when all that was read has been
 * written. */
struct flow {
	struct loop_op in, out;
	int in_fd, out_fd;
	bool has_ended;
	size_t at, len; /* what of buf waits */
	char buf[CHUNK];
};

struct session {
	struct loop *loop;
	struct signals signals;
	struct flow typed, shown;
	int socket, socket_out; /* the same socket: a descriptor has one poll at a time */
	bool has_keys;          /* Ctrl-A is ours */
	bool is_escaped;        /* it was typed, and the key behind it was not yet */
	const char *rest;       /* came with the answer: older than what can be read */
	size_t rest_len;
	int ended_by; /* a signal, or 0 */
	int status;
};

static int parse(int argc, char **argv, struct options *o)
{
	static const struct option known[] = {
		{ "api-sock", required_argument, NULL, 's' },
		{ "help", no_argument, NULL, 'h' },
		{ "read-only", no_argument, NULL, 'r' },
		{ NULL, 0, NULL, 0 },
	};
	int id;

	opterr = 0;
	o->sock = SERVE_DEFAULT_SOCKET;
	while ((id = getopt_long(argc, argv, ":", known, NULL)) != -1) {
		if (id == '?' || id == ':') {
			log_error(id == ':'
					  ? "option '%s' needs a value"
					  : "unknown option '%s'; 'mvm console --help' lists them",
				argv[optind - 1]);
			return -1;
		}
		if (id == 's')
			o->sock = optarg;
		o->help |= id == 'h';
		o->read_only |= id == 'r';
	}
	if (optind < argc) {
		log_error("'%s' is not an option; 'mvm console --help' lists them", argv[optind]);
		return -1;
	}
	return 0;
}

/* --- both ways --- */

static void end(struct session *s, int status)
{
	s->status = status;
	loop_stop(s->loop);
}

/* Takes Ctrl-A and the key behind it out of what was typed; false when it says to detach. */
static bool take_keys(struct session *s, struct flow *f)
{
	size_t kept = 0;

	for (size_t i = 0; i < f->len && s->has_keys; i++) {
		char c = f->buf[i];

		if (!s->is_escaped && c == ESCAPE) {
			s->is_escaped = true;
			continue;
		}
		if (s->is_escaped && (c == 'x' || c == 'X'))
			return false;
		if (s->is_escaped && c != 'a' && c != 'A' && c != ESCAPE)
			(void)fputs("\nmvm: Ctrl-A x detaches, Ctrl-A a sends Ctrl-A\n", stderr);
		else
			f->buf[kept++] = s->is_escaped ? ESCAPE : c;
		s->is_escaped = false;
	}
	if (s->has_keys)
		f->len = kept;
	return true;
}

static void take_rest(struct session *s)
{
	struct flow *f = &s->shown;

	f->at = 0;
	f->len = MIN(s->rest_len, sizeof(f->buf));
	memcpy(f->buf, s->rest, f->len);
	s->rest += f->len;
	s->rest_len -= f->len;
}

static void watch(struct session *s, struct flow *f)
{
	if (f == &s->shown && f->at == f->len && s->rest_len > 0)
		take_rest(s);
	if (f->at < f->len) {
		if (!loop_op_is_pending(&f->out))
			loop_poll(s->loop, &f->out, f->out_fd, POLLOUT);
	} else if (!f->has_ended && !loop_op_is_pending(&f->in)) {
		loop_poll(s->loop, &f->in, f->in_fd, POLLIN);
	}
}

/* Bytes read, 0 when there will be none any more, -EAGAIN. */
static ssize_t fill(struct flow *f)
{
	ssize_t n = read(f->in_fd, f->buf, sizeof(f->buf));

	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? -EAGAIN : 0;
	f->at = 0;
	f->len = (size_t)n;
	return n;
}

/* 0, or -errno where nothing can be written any more. */
static int drain(struct flow *f)
{
	ssize_t n = write(f->out_fd, f->buf + f->at, f->len - f->at);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	f->at += (size_t)n;
	return 0;
}

static void typed_in(struct loop_op *op, int res)
{
	struct session *s = container_of(op, struct session, typed.in);

	(void)res; /* an error shows when reading */
	if (fill(&s->typed) == 0)
		s->typed.has_ended = true; /* what comes is still shown */
	else if (!take_keys(s, &s->typed))
		end(s, 0);
	watch(s, &s->typed);
}

static void typed_out(struct loop_op *op, int res)
{
	struct session *s = container_of(op, struct session, typed.out);

	(void)res;
	/* That the other side has gone is seen where it is read, behind its last bytes. */
	if (drain(&s->typed) < 0)
		s->typed.at = s->typed.len;
	watch(s, &s->typed);
}

static void shown_in(struct loop_op *op, int res)
{
	struct session *s = container_of(op, struct session, shown.in);

	(void)res;
	if (fill(&s->shown) == 0) {
		(void)fputs("\nmvm: the console has ended\n", stderr);
		s->shown.has_ended = true;
		end(s, 0);
	}
	watch(s, &s->shown);
}

static void shown_out(struct loop_op *op, int res)
{
	struct session *s = container_of(op, struct session, shown.out);
	int rc = drain(&s->shown);

	(void)res;
	if (rc < 0) {
		log_error("cannot write what the machine says: %s", strerror(-rc));
		end(s, EXIT_HOST_FAILED);
		return;
	}
	watch(s, &s->shown);
}

/* --- signals --- */

static void on_end(void *ctx, int signo, int code)
{
	struct session *s = ctx;

	(void)code;
	s->ended_by = signo;
	end(s, EXIT_HOST_FAILED);
}

static void on_rescan(void *ctx)
{
	(void)ctx; /* SIGUSR1 says something to machines only */
}

static void on_resume(void *ctx)
{
	struct session *s = ctx;

	/* Reading fails in the background. */
	if (s->typed.has_ended && isatty(STDIN_FILENO)) {
		s->typed.has_ended = false;
		watch(s, &s->typed);
	}
}

/* --- life --- */

static int take_fault(void *ctx, int status, const char *buf, size_t len)
{
	char *fault = ctx;
	size_t used = strlen(fault);

	(void)status;
	(void)snprintf(fault + used, FAULT_MAX - used, "%.*s", (int)len, buf);
	return 0;
}

static int take_output(void *ctx, int status, const char *buf, size_t len)
{
	return status == 200 ? io_write_full(STDOUT_FILENO, buf, len)
			     : take_fault(ctx, status, buf, len);
}

/* Asks for the console; with read_only it is all that happens. */
static int ask(int fd, bool read_only, struct client_answer *answer)
{
	static const struct client_request attach = {
		.method = "GET", .target = "/serial", .upgrade = CLIENT_CONSOLE_PROTOCOL
	};
	static const struct client_request follow = { .method = "GET",
		.target = "/serial?follow=true" };
	char fault[FAULT_MAX] = "", text[FAULT_MAX];
	struct err e = { 0 };
	int rc = client_call(fd, read_only ? &follow : &attach, CLIENT_ANSWER_MS,
		read_only ? take_output : take_fault, fault, answer, &e);

	if (rc < 0)
		log_error("%s", e.text);
	if (rc == 0 && answer->status == (read_only ? 200 : 101))
		return 0;
	client_fault(fault, strlen(fault), text, sizeof(text));
	if (rc == 0)
		log_error("the machine gives no console: %d: %s", answer->status, text);
	return -EPROTO;
}

static int open_session(struct session *s, struct err *e)
{
	static const struct signals_host host = {
		.end = on_end, .rescan = on_rescan, .resume = on_resume
	};
	struct signals_host mine = host;
	int rc;

	s->socket_out = dup(s->socket);
	if (s->socket_out < 0)
		return err_sys(e, -errno, NULL, "cannot attach");
	s->typed.in_fd = STDIN_FILENO;
	s->typed.out_fd = s->socket_out;
	s->shown.in_fd = s->socket;
	s->shown.out_fd = STDOUT_FILENO;
	s->typed.in.done = typed_in;
	s->typed.out.done = typed_out;
	s->shown.in.done = shown_in;
	s->shown.out.done = shown_out;
	rc = loop_new(LOOP_EPOLL, &s->loop, NULL, e);
	if (rc == 0)
		rc = signals_block(&s->signals, e);
	if (rc < 0)
		return rc;
	mine.ctx = s;
	signals_serve(&s->signals, s->loop, &mine);
	return 0;
}

static int serve(struct session *s)
{
	int rc;

	s->has_keys = isatty(STDIN_FILENO);
	if (s->has_keys)
		(void)fputs("mvm: attached; Ctrl-A x detaches, Ctrl-A a sends Ctrl-A\n", stderr);
	(void)terminal_make_raw(STDIN_FILENO);
	watch(s, &s->typed);
	watch(s, &s->shown);
	rc = loop_run(s->loop);
	terminal_restore();
	if (rc < 0) {
		log_error("the event loop failed: %s", strerror(-rc));
		return EXIT_HOST_FAILED;
	}
	if (s->ended_by == 0 && s->has_keys && !s->shown.has_ended)
		(void)fputs("\nmvm: detached\n", stderr);
	return s->status;
}

static int attach(struct session *s, bool read_only)
{
	struct client_answer answer = { 0 };
	struct err e = { 0 };
	int status = EXIT_HOST_FAILED;

	if (ask(s->socket, read_only, &answer) < 0)
		return EXIT_HOST_FAILED;
	if (read_only)
		return 0;
	s->rest = answer.rest;
	s->rest_len = answer.rest_len;
	if (open_session(s, &e) < 0)
		log_error("%s", e.text);
	else
		status = serve(s);
	free(answer.rest);
	return status;
}

int cmd_console(int argc, char **argv)
{
	struct session s = { .socket = -1, .socket_out = -1, .signals.fd = -1 };
	struct options o = { 0 };
	struct err e = { 0 };
	int status = EXIT_HOST_FAILED;

	if (parse(argc, argv, &o) < 0)
		return EXIT_USAGE;
	if (o.help) {
		(void)fputs(help, stdout);
		return 0;
	}
	s.socket = client_connect(o.sock, CLIENT_CONNECT_MS, &e);
	if (s.socket < 0)
		log_error("%s", e.text);
	else
		status = attach(&s, o.read_only);
	loop_free(s.loop);
	signals_fini(&s.signals);
	fd_closep(&s.socket_out);
	fd_closep(&s.socket);
	if (s.ended_by)
		signals_die_by(s.ended_by);
	return status;
}
