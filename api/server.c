/* The server: who connects, whose turn it is, and the end (server.h). */
#include "api/server.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "api/connection.h"
#include "base/err.h"

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec now;

	(void)clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* --- turns --- */

static void look(struct server *s)
{
	s->now_ns = clock_ns(CLOCK_MONOTONIC);
	share_look(
		&s->share, s->now_ns, loop_served(s->loop) - s->own, loop_transfers(s->loop) > 0);
}

/*
 * From begin to end is charged.  In time of the CPU: what a host that is busy elsewhere makes of it
 * is nobody's gain.  That clock costs a system call, so it is read only when it matters.
 */
static void begin_charge(struct server *s)
{
	s->cpu_ns = s->share.is_busy ? clock_ns(CLOCK_THREAD_CPUTIME_ID) : 0;
}

static void end_charge(struct server *s)
{
	if (s->cpu_ns > 0)
		share_charge(&s->share,
			clock_ns(CLOCK_THREAD_CPUTIME_ID) - s->cpu_ns + SERVER_OVERHEAD_NS);
}

static void schedule(struct server *s)
{
	if (!loop_op_is_pending(&s->share_timer))
		loop_defer(s->loop, &s->pump);
}

void server_queue(struct server *s, struct work *w)
{
	if (w->queued)
		return;
	w->queued = true;
	w->next = NULL;
	*s->last = w;
	s->last = &w->next;
	schedule(s);
}

static struct work *take_work(struct server *s)
{
	struct work *w = s->first;

	s->first = w->next;
	if (!s->first)
		s->last = &s->first;
	w->queued = false;
	return w;
}

static void run_one(struct server *s)
{
	struct work *w = take_work(s);

	begin_charge(s);
	s->is_working = true;
	w->run(w);
	s->is_working = false;
	end_charge(s);
	if (s->first)
		s->now_ns = clock_ns(CLOCK_MONOTONIC);
}

/* At the end of a round.  What is queued meanwhile has its turn in the same round only while nobody
 * else is served. */
static void pump(struct loop_tail *tail)
{
	struct server *s = container_of(tail, struct server, pump);
	uint64_t begun;

	if (s->is_freed || loop_op_is_pending(&s->share_timer))
		return;
	look(s);
	begun = s->now_ns;
	while (s->first) {
		uint64_t wait = share_wait(&s->share);

		if (wait > 0) {
			s->counters.deferred++;
			loop_timeout(s->loop, &s->share_timer, wait);
			return;
		}
		run_one(s);
		if (s->share.is_busy || s->now_ns - begun >= SERVER_SLICE_US * 1000ULL)
			break;
	}
	if (s->first)
		schedule(s);
}

static void on_share_timer(struct loop_op *op, int res)
{
	struct server *s = container_of(op, struct server, share_timer);

	(void)res;
	s->own++;
	if (s->first)
		schedule(s);
}

void server_work_begin(struct server *s)
{
	if (s->is_working)
		return;
	look(s);
	begin_charge(s);
}

void server_work_end(struct server *s)
{
	if (!s->is_working)
		end_charge(s);
}

/* --- deadlines --- */

void server_tick_at(struct server *s, uint64_t when_ns)
{
	uint64_t now = s->now_ns;

	if (s->is_freed)
		return;
	if (!loop_op_is_pending(&s->tick_timer)) {
		s->tick_ns = when_ns;
		loop_timeout(s->loop, &s->tick_timer, when_ns > now ? when_ns - now : 0);
	} else if (when_ns < s->tick_ns) {
		/* on_tick() will look at all. */
		s->tick_ns = when_ns;
		loop_cancel(s->loop, &s->tick_timer);
	}
}

static uint64_t sooner(uint64_t a, uint64_t b)
{
	return a == 0 || (b > 0 && b < a) ? b : a;
}

static void on_tick(struct loop_op *op, int res)
{
	struct server *s = container_of(op, struct server, tick_timer);
	uint64_t first = 0;

	(void)res;
	s->own++;
	if (s->is_freed)
		return;
	s->now_ns = clock_ns(CLOCK_MONOTONIC);
	for (struct connection *c = s->live, *next; c; c = next) {
		next = c->next;
		connection_tick(c);
	}
	if (s->accept_ns > 0 && s->accept_ns <= s->now_ns) {
		s->accept_ns = 0;
		server_queue(s, &s->accept_work);
	}
	for (const struct connection *c = s->live; c; c = c->next)
		first = sooner(first, sooner(c->deadline_ns, c->retry_ns));
	first = sooner(first, s->accept_ns);
	if (first > 0)
		server_tick_at(s, first);
}

/* --- who connects --- */

static void on_accept_poll(struct loop_op *op, int res)
{
	struct server *s = container_of(op, struct server, accept_poll);

	s->own++;
	if (s->is_shutting)
		listener_stop(&s->listener);
	else if (res >= 0)
		server_queue(s, &s->accept_work);
}

static void refuse(struct server *s, int fd)
{
	s->counters.refused++;
	if (s->nrefused < SERVER_REFUSED)
		connection_new(s, fd, true);
	else
		(void)close(fd);
}

static void accept_one(struct work *w)
{
	struct server *s = container_of(w, struct server, accept_work);
	int fd;

	if (s->is_shutting)
		return;
	fd = accept4(s->listener.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd >= 0) {
		s->counters.connections++;
		if (s->nlive < SERVER_CONNECTIONS)
			connection_new(s, fd, false);
		else
			refuse(s, fd);
	} else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
		/* The client stays in the queue; polled again it would be ready at once. */
		s->accept_ns = s->now_ns + ACCEPT_RETRY_MS * MS_IN_NS;
		server_tick_at(s, s->accept_ns);
		return;
	}
	loop_poll(s->loop, &s->accept_poll, s->listener.fd, POLLIN);
}

/* --- life --- */

static void reap(struct loop_tail *tail)
{
	struct server *s = container_of(tail, struct server, reap);

	for (struct connection *c = s->dead, *next; c; c = next) {
		next = c->next;
		connection_reap(c);
	}
	server_look_done(s);
}

static void on_shut_timer(struct loop_op *op, int res)
{
	struct server *s = container_of(op, struct server, shut_timer);
	void (*done)(void *) = s->shut_done;

	(void)res;
	s->own++;
	s->shut_done = NULL;
	if (done && !s->is_freed)
		done(s->shut_ctx);
}

void server_look_done(struct server *s)
{
	/* The cancelled timer calls done: from the loop, as the header says. */
	if (s->shut_done && !s->live && !s->calls)
		loop_cancel(s->loop, &s->shut_timer);
}

void server_shut_down(struct server *s, unsigned timeout_ms, void (*done)(void *ctx), void *ctx)
{
	INVARIANT(!s->is_shutting);
	s->is_shutting = true;
	s->shut_done = done;
	s->shut_ctx = ctx;
	look(s);
	if (loop_op_is_pending(&s->accept_poll))
		loop_cancel(s->loop, &s->accept_poll);
	else
		listener_stop(&s->listener);
	for (struct connection *c = s->live, *next; c; c = next) {
		next = c->next;
		connection_shut_down(c);
	}
	loop_timeout(s->loop, &s->shut_timer, timeout_ms * MS_IN_NS);
	server_look_done(s);
}

int server_new(struct loop *l, const struct server_config *c, struct server **ret, struct err *e)
{
	struct server *s = calloc(1, sizeof(*s));
	int rc;

	if (!s)
		return err_sys(e, -ENOMEM, NULL, "cannot make the API server");
	s->cfg = *c;
	s->cfg.path = NULL;
	s->cfg.request_ms = c->request_ms > 0 ? c->request_ms : SERVER_REQUEST_MS;
	s->cfg.answer_ms = c->answer_ms > 0 ? c->answer_ms : SERVER_ANSWER_MS;
	s->loop = l;
	s->last = &s->first;
	s->pump.run = pump;
	s->reap.run = reap;
	s->accept_work.run = accept_one;
	s->accept_poll.done = on_accept_poll;
	s->share_timer.done = on_share_timer;
	s->tick_timer.done = on_tick;
	s->shut_timer.done = on_shut_timer;
	rc = c->path ? listener_open(&s->listener, c->path, c->mode, e)
		     : listener_adopt(&s->listener, c->fd, e);
	if (rc < 0) {
		free(s);
		return rc;
	}
	loop_poll(l, &s->accept_poll, s->listener.fd, POLLIN);
	*ret = s;
	return 0;
}

static bool is_held(struct server *s)
{
	return s->dead || s->pump.queued || s->reap.queued || loop_op_is_pending(&s->accept_poll) ||
	       loop_op_is_pending(&s->share_timer) || loop_op_is_pending(&s->tick_timer) ||
	       loop_op_is_pending(&s->shut_timer);
}

/* Whoever answers later finds neither client nor server. */
static void orphan_calls(struct server *s)
{
	struct call *call = s->calls;

	while (call) {
		struct call *next = call->next;

		call->server = NULL;
		call->next = call->prev = NULL;
		call = next;
	}
	s->calls = NULL;
}

void server_free(struct server *s)
{
	int rc = 0;

	if (!s)
		return;
	s->is_freed = s->is_shutting = true;
	while (s->live)
		connection_close(s->live);
	while (s->first)
		(void)take_work(s);
	/* Those that were closed before and still had their turn to come. */
	loop_defer(s->loop, &s->reap);
	orphan_calls(s);
	loop_cancel(s->loop, &s->accept_poll);
	loop_cancel(s->loop, &s->share_timer);
	loop_cancel(s->loop, &s->tick_timer);
	loop_cancel(s->loop, &s->shut_timer);
	while (is_held(s) && (rc == 0 || rc == -EINTR))
		rc = loop_turn(s->loop);
	listener_close(&s->listener);
	free(s);
}

struct server_counters server_counters(const struct server *s)
{
	return s->counters;
}
