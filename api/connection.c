/* One client of the server: requests in, answers out (connection.h). */
#include "api/connection.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"

static const char too_many[] = "{\"error\": \"Too many open connections\"}";

void connection_set_deadline(struct connection *c, unsigned ms)
{
	c->deadline_ns = c->server->now_ns + ms * MS_IN_NS;
	server_tick_at(c->server, c->deadline_ns);
}

/* --- what the loop looks for --- */

static int wanted_events(const struct connection *c)
{
	switch (c->state) {
	case CONNECTION_READ:
	case CONNECTION_LINGER: return POLLIN;
	case CONNECTION_SEND: return POLLOUT;
	case CONNECTION_STREAM: return stream_events(c);
	case CONNECTION_CALL: /* nothing more is read, and the answer will find out */
	case CONNECTION_CLOSED: break;
	}
	return POLL_NOTHING;
}

/* False as long as something else than the wanted op is pending. */
static bool is_free_for(struct connection *c, const struct loop_op *wanted, int events)
{
	struct loop_op *op = loop_op_is_pending(&c->watch) ? &c->watch : &c->poll;

	if (!loop_op_is_pending(op))
		return true;
	if ((op != wanted || (op == &c->poll && (int)op->events != events)) && !c->is_cancelled) {
		c->is_cancelled = true;
		loop_cancel(c->server->loop, op);
	}
	return false;
}

static void settle_input(struct connection *c)
{
	if (c->is_readable)
		connection_queue(c);
	else if (is_free_for(c, &c->watch, POLLIN))
		loop_watch(c->server->loop, &c->watch, c->fd);
}

static void settle_poll(struct connection *c, int events)
{
	if (!is_free_for(c, &c->poll, events))
		return;
	if (c->half_closed) {
		c->retry_ns =
			c->server->now_ns + (c->out.buf ? RETRY_MS : RETRY_IDLE_MS) * MS_IN_NS;
		server_tick_at(c->server, c->retry_ns);
		return;
	}
	loop_poll(c->server->loop, &c->poll, c->fd, (uint32_t)events);
}

void connection_settle(struct connection *c)
{
	int events = wanted_events(c);

	if (events == POLL_NOTHING || c->work.queued)
		return;
	if (events == POLLIN)
		settle_input(c);
	else
		settle_poll(c, events);
}

/* An op that is not pending any more; false when there is nothing to look at. */
static bool has_ended(struct connection *c, int res)
{
	bool was_cancelled = c->is_cancelled && res == -ECANCELED;

	c->is_cancelled = false;
	if (c->state == CONNECTION_CLOSED)
		loop_defer(c->server->loop, &c->server->reap);
	else if (was_cancelled)
		connection_settle(c);
	else if (res < 0)
		connection_close(c);
	else
		return true;
	return false;
}

static void on_watch(struct loop_op *op, int res)
{
	struct connection *c = container_of(op, struct connection, watch);

	c->server->own++;
	if (!loop_op_is_pending(op)) {
		(void)has_ended(c, res);
		return;
	}
	c->is_readable = true;
	if (wanted_events(c) == POLLIN)
		connection_queue(c);
}

static void on_poll(struct loop_op *op, int res)
{
	struct connection *c = container_of(op, struct connection, poll);

	c->server->own++;
	if (!has_ended(c, res))
		return;
	c->is_readable |= (res & POLLIN) != 0;
	c->has_gone |= (res & (POLLHUP | POLLERR)) != 0;
	c->half_closed |= (res & POLLRDHUP) != 0 && !(res & POLLIN);
	connection_queue(c);
}

void connection_queue(struct connection *c)
{
	server_queue(c->server, &c->work);
}

/* --- answers --- */

static void linger(struct connection *c)
{
	/* The answer is not lost to a client that still writes: it may read before we close. */
	(void)shutdown(c->fd, SHUT_WR);
	c->state = CONNECTION_LINGER;
	connection_set_deadline(c, LINGER_MS);
}

/* The answer is on its way. */
static void after_send(struct connection *c)
{
	if (c->out.buf) {
		c->state = CONNECTION_SEND;
		if (c->deadline_ns == 0)
			connection_set_deadline(c, c->server->cfg.answer_ms);
		return;
	}
	c->deadline_ns = 0;
	if (c->lingers) {
		linger(c);
	} else if (c->closes || c->server->is_shutting) {
		connection_close(c);
	} else {
		c->state = CONNECTION_READ;
		if (c->in.buf)
			connection_queue(c);
	}
}

void connection_answer(struct connection *c, const struct http_head *head, const char *body)
{
	char *text = c->server->buf;
	size_t len = http_format_head(head, text), body_len = body ? head->body_len : 0;
	struct iovec part[2] = { { text, len }, { (char *)body, body_len } };

	c->closes = head->closes;
	/* What is small is cheaper to copy than to tell of. */
	if (body_len <= SERVER_BUFFER - HTTP_HEAD_MAX) {
		if (body_len > 0)
			memcpy(text + len, body, body_len);
		part[0].iov_len += body_len;
		part[1].iov_len = 0;
	}
	if (connection_send(c, part, part[1].iov_len > 0 ? 2 : 1))
		after_send(c);
	else
		connection_close(c);
}

/* An answer to what is no request: the stream of bytes is no use any more. */
static void send_error(struct connection *c, int status, const char *body)
{
	struct http_head head = { .status = status,
		.type = HTTP_JSON,
		.has_body = true,
		.closes = true,
		.body_len = strlen(body) };

	c->lingers = true;
	c->deadline_ns = 0;
	connection_answer(c, &head, body);
}

/* A text of this program inside a JSON string: it has nothing but printable characters. */
static void send_bad(struct connection *c, const char *why)
{
	enum { BODY_MAX = 512 };
	char body[BODY_MAX];
	size_t len;

	len = (size_t)snprintf(body, sizeof(body), "{\"error\": \"");
	while (*why != '\0' && len < BODY_MAX / 2) {
		if (*why == '"' || *why == '\\')
			body[len++] = '\\';
		body[len++] = *why >= ' ' ? *why : ' ';
		why++;
	}
	(void)snprintf(body + len, sizeof(body) - len,
		"\\nAll previous unanswered requests will be dropped.\"}");
	send_error(c, 400, body);
}

/* --- requests --- */

/* A whole request: what is left of the bytes waits until it is answered. */
static void begin_call(struct connection *c, const char *left, size_t len)
{
	struct server *s = c->server;
	struct pending rest = { 0 };
	struct call *call = call_new(c);

	if (!call || !pending_keep(&rest, left, len)) {
		if (call)
			call_free(call);
		connection_close(c);
		return;
	}
	pending_drop(&c->in);
	c->in = rest;
	c->deadline_ns = 0;
	c->state = CONNECTION_CALL;
	c->call = call;
	s->counters.requests++;
	s->cfg.request(s->cfg.ctx, call);
}

static void send_interim(struct connection *c)
{
	const struct http_head head = { .status = 100 };
	char text[HTTP_HEAD_MAX];
	size_t len = http_format_head(&head, text);

	/* A client that does not get it sends the body all the same, after a while. */
	(void)send(c->fd, text, len, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void feed(struct connection *c, const char *buf, size_t len)
{
	size_t used = 0;

	switch (http_parser_feed(c->parser, buf, len, &used)) {
	case HTTP_COMPLETE: begin_call(c, buf + used, len - used); return;
	case HTTP_BAD:
		pending_drop(&c->in);
		c->server->counters.bad_requests++;
		send_bad(c, http_parser_error(c->parser));
		return;
	case HTTP_CONTINUE: send_interim(c); break;
	case HTTP_MORE: break;
	}
	pending_drop(&c->in);
	if (http_parser_is_busy(c->parser) && c->deadline_ns == 0)
		connection_set_deadline(c, c->server->cfg.request_ms);
}

static void read_request(struct connection *c)
{
	ssize_t n;

	if (c->in.buf) {
		feed(c, c->in.buf + c->in.at, c->in.len - c->in.at);
		return;
	}
	n = connection_receive(c);
	if (n > 0)
		feed(c, c->server->buf, (size_t)n);
	else if (n != -EAGAIN)
		connection_close(c);
}

void connection_run(struct work *w)
{
	struct connection *c = container_of(w, struct connection, work);
	ssize_t n;

	switch (c->state) {
	case CONNECTION_READ: read_request(c); break;
	case CONNECTION_SEND:
		if (connection_flush(c))
			after_send(c);
		else
			connection_close(c);
		break;
	case CONNECTION_STREAM: stream_run(c); break;
	case CONNECTION_LINGER:
		n = connection_receive(c);
		if (n <= 0 && n != -EAGAIN)
			connection_close(c);
		break;
	case CONNECTION_CALL: break;
	case CONNECTION_CLOSED: loop_defer(c->server->loop, &c->server->reap); break;
	}
	connection_settle(c);
}

/* --- life --- */

static void link_to(struct connection *c, struct connection **list)
{
	c->next = *list;
	c->link = list;
	if (c->next)
		c->next->link = &c->next;
	*list = c;
}

static void unlink_from(struct connection *c)
{
	*c->link = c->next;
	if (c->next)
		c->next->link = c->link;
}

static void count(struct connection *c, unsigned by)
{
	if (c->is_refused)
		c->server->nrefused += by;
	else
		c->server->nlive += by;
}

void connection_new(struct server *s, int fd, bool is_refused)
{
	struct connection *c = calloc(1, sizeof(*c));

	if (!c || (!is_refused && http_parser_new(s->cfg.body_max, &c->parser) < 0)) {
		free(c);
		(void)close(fd);
		return;
	}
	c->work.run = connection_run;
	c->server = s;
	c->fd = fd;
	c->watch.done = on_watch;
	c->poll.done = on_poll;
	c->is_refused = is_refused;
	link_to(c, &s->live);
	count(c, 1);
	if (is_refused) {
		send_error(c, 503, too_many);
		connection_settle(c);
	} else {
		/* The first request is often there already. */
		c->is_readable = true;
		connection_queue(c);
	}
}

void connection_close(struct connection *c)
{
	struct server *s = c->server;

	if (c->state == CONNECTION_CLOSED)
		return;
	c->state = CONNECTION_CLOSED;
	/* The client sees it now; a descriptor that is polled is not closed. */
	(void)shutdown(c->fd, SHUT_RDWR);
	if (!c->is_cancelled) {
		loop_cancel(s->loop, &c->watch);
		loop_cancel(s->loop, &c->poll);
	}
	if (c->call) {
		c->call->connection = NULL;
		c->call->parser = ptr_take(c->parser);
		c->call = NULL;
	}
	count(c, -1U);
	unlink_from(c);
	link_to(c, &s->dead);
	loop_defer(s->loop, &s->reap);
}

void connection_reap(struct connection *c)
{
	if (c->is_stream) {
		c->is_stream = false;
		c->stream.ops->closed(c->stream.ctx);
	}
	if (c->work.queued || loop_op_is_pending(&c->poll) || loop_op_is_pending(&c->watch))
		return;
	unlink_from(c);
	pending_drop(&c->in);
	pending_drop(&c->out);
	http_parser_free(c->parser);
	(void)close(c->fd);
	free(c);
}

void connection_tick(struct connection *c)
{
	struct server *s = c->server;

	if (c->retry_ns > 0 && c->retry_ns <= s->now_ns) {
		c->retry_ns = 0;
		if (connection_has_gone(c)) {
			connection_close(c);
			return;
		}
		connection_queue(c);
	}
	if (c->deadline_ns == 0 || c->deadline_ns > s->now_ns)
		return;
	/* What is there and waits for its turn is not the client's fault. */
	if (c->work.queued) {
		connection_set_deadline(c, RETRY_MS);
		return;
	}
	s->counters.timeouts += c->state != CONNECTION_LINGER;
	if (c->state == CONNECTION_READ) {
		send_bad(c, "The request did not arrive in time.");
		connection_settle(c);
	} else {
		connection_close(c);
	}
}

void connection_shut_down(struct connection *c)
{
	if (c->state == CONNECTION_READ) {
		connection_close(c);
	} else if (c->state == CONNECTION_STREAM) {
		c->stream.is_draining = true;
		connection_queue(c);
	}
}
