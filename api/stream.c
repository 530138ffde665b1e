/* Answers without an end, and connections that have become another protocol's (server.h). */
#include "api/connection.h"

#include <errno.h>
#include <string.h>

/* A chunk: its length in hexadecimal, CR LF, the bytes, CR LF. */
enum { CHUNK_HEAD = 6, CHUNK_TAIL = 2, CHUNK_MAX = SERVER_BUFFER - CHUNK_HEAD - CHUNK_TAIL };

_Static_assert(CHUNK_MAX <= 0xffff, "a chunk's length has four digits");

static const char last_chunk[] = "0\r\n\r\n";

static struct connection *connection_of(struct stream *s)
{
	return container_of(s, struct connection, stream);
}

void stream_wake(struct stream *s)
{
	struct connection *c = connection_of(s);

	/* Where something is still to be sent, the pull comes afterwards by itself. */
	if (c->state == CONNECTION_STREAM && !c->out.buf)
		connection_queue(c);
}

void stream_want(struct stream *s)
{
	struct connection *c = connection_of(s);

	s->wants_push = true;
	if (c->state == CONNECTION_STREAM && s->is_raw)
		connection_queue(c);
}

void stream_end(struct stream *s)
{
	struct connection *c = connection_of(s);

	s->is_ending = true;
	if (c->state == CONNECTION_STREAM)
		connection_queue(c);
}

int stream_events(const struct connection *c)
{
	int events = 0; /* that the client has gone is always told */

	if (c->out.buf)
		events |= POLLOUT;
	if (c->stream.is_raw && c->stream.wants_push && !c->in.buf && !c->half_closed)
		events |= POLLIN;
	return events;
}

/* Offers what the client has sent; what is not taken waits for stream_want(). */
static void push_kept(struct connection *c)
{
	struct stream *s = &c->stream;
	size_t taken = s->ops->push(s->ctx, c->in.buf + c->in.at, c->in.len - c->in.at);

	c->in.at += MIN(taken, c->in.len - c->in.at);
	if (c->in.at == c->in.len)
		pending_drop(&c->in);
	else
		s->wants_push = false;
}

static void receive(struct connection *c)
{
	struct stream *s = &c->stream;
	ssize_t n = connection_receive(c);
	size_t taken;

	if (n == -EAGAIN)
		return;
	if (n < 0) {
		connection_close(c);
		return;
	}
	if (n == 0) {
		c->half_closed = true;
		if (connection_has_gone(c))
			connection_close(c);
		return;
	}
	taken = s->ops->push(s->ctx, c->server->buf, (size_t)n);
	if (taken >= (size_t)n)
		return;
	s->wants_push = false;
	if (!pending_keep(&c->in, c->server->buf + taken, (size_t)n - taken))
		connection_close(c);
}

/* Puts len bytes at buf + CHUNK_HEAD into a chunk. */
static void frame(char *buf, size_t len)
{
	static const char digits[] = "0123456789abcdef", crlf[2] = { '\r', '\n' };

	for (unsigned i = 0; i < 4; i++)
		buf[i] = digits[len >> (12 - 4 * i) & 0xf];
	memcpy(buf + 4, crlf, sizeof(crlf));
	memcpy(buf + CHUNK_HEAD + len, crlf, sizeof(crlf));
}

/* One piece from the source to the client; false when the source has nothing now. */
static bool pull(struct connection *c)
{
	struct stream *s = &c->stream;
	char *buf = c->server->buf;
	size_t len = s->ops->pull(s->ctx, buf + CHUNK_HEAD, CHUNK_MAX);
	struct iovec part = { buf + CHUNK_HEAD, len };

	if (len == 0)
		return false;
	INVARIANT(len <= CHUNK_MAX);
	if (s->is_chunked) {
		frame(buf, len);
		part = (struct iovec){ buf, CHUNK_HEAD + len + CHUNK_TAIL };
	}
	if (!connection_send(c, &part, 1))
		connection_close(c);
	return true;
}

/* Everything was pulled: says so to the client, and closes when it has all. */
static void finish(struct connection *c)
{
	struct stream *s = &c->stream;
	struct iovec part = { (char *)last_chunk, sizeof(last_chunk) - 1 };

	if (s->is_chunked) {
		s->is_chunked = false;
		if (!connection_send(c, &part, 1)) {
			connection_close(c);
			return;
		}
	}
	if (!c->out.buf)
		connection_close(c);
}

static void take_input(struct connection *c)
{
	const struct stream *s = &c->stream;

	if (!s->is_raw || !s->wants_push || s->is_ending)
		return;
	if (c->in.buf)
		push_kept(c);
	else if (c->is_readable)
		receive(c);
}

void stream_run(struct connection *c)
{
	struct stream *s = &c->stream;

	/* The last bytes of a client that has gone are taken first. */
	if (c->has_gone && !(s->is_raw && s->wants_push && c->is_readable)) {
		connection_close(c);
		return;
	}
	take_input(c);
	if (c->state != CONNECTION_STREAM)
		return;
	if (c->out.buf && !connection_flush(c)) {
		connection_close(c);
		return;
	}
	if (!c->out.buf && !s->is_ending) {
		if (pull(c))
			connection_queue(c);
		else if (s->is_draining)
			s->is_ending = true;
	}
	if (c->state != CONNECTION_STREAM || !s->is_ending)
		return;
	if (!c->out.buf)
		finish(c);
	if (c->state == CONNECTION_STREAM && c->deadline_ns == 0)
		connection_set_deadline(c, c->server->cfg.answer_ms);
}
