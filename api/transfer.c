/* Bytes of a connection, in and out, without waiting (connection.h). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "api/connection.h"

bool pending_keep(struct pending *p, const char *buf, size_t len)
{
	if (len == 0)
		return true;
	p->buf = malloc(len);
	if (!p->buf)
		return false;
	memcpy(p->buf, buf, len);
	p->at = 0;
	p->len = len;
	return true;
}

void pending_drop(struct pending *p)
{
	free(p->buf);
	*p = (struct pending){ 0 };
}

ssize_t connection_receive(struct connection *c)
{
	ssize_t n;

	do {
		n = recv(c->fd, c->server->buf, sizeof(c->server->buf), MSG_DONTWAIT);
	} while (n < 0 && errno == EINTR);
	/* A short read proves nothing: the end of all may be behind it, and that was told already.
	 */
	c->is_readable = n > 0;
	return n < 0 ? -errno : n;
}

bool connection_has_gone(const struct connection *c)
{
	struct pollfd p = { .fd = c->fd };

	return poll(&p, 1, 0) > 0 && p.revents & (POLLHUP | POLLERR);
}

/* How many bytes were taken, or -errno. */
static ssize_t send_parts(struct connection *c, struct iovec *part, unsigned n)
{
	enum { FLAGS = MSG_DONTWAIT | MSG_NOSIGNAL };
	struct msghdr msg = { .msg_iov = part, .msg_iovlen = n };
	ssize_t sent;

	do {
		sent = n == 1 ? send(c->fd, part->iov_base, part->iov_len, FLAGS)
			      : sendmsg(c->fd, &msg, FLAGS);
	} while (sent < 0 && errno == EINTR);
	if (sent < 0)
		return errno == EAGAIN ? 0 : -errno;
	return sent;
}

bool connection_send(struct connection *c, struct iovec *part, unsigned n)
{
	ssize_t sent = send_parts(c, part, n);
	size_t skip = (size_t)MAX(sent, 0), len = 0;

	if (sent < 0)
		return false;
	for (unsigned i = 0; i < n; i++)
		len += part[i].iov_len;
	if (skip == len)
		return true;
	c->out = (struct pending){ .buf = malloc(len - skip) };
	if (!c->out.buf)
		return false;
	for (unsigned i = 0; i < n; i++) {
		size_t from = MIN(skip, part[i].iov_len), left = part[i].iov_len - from;

		memcpy(c->out.buf + c->out.len, (const char *)part[i].iov_base + from, left);
		c->out.len += left;
		skip -= from;
	}
	return true;
}

bool connection_flush(struct connection *c)
{
	struct iovec part = { c->out.buf + c->out.at, c->out.len - c->out.at };
	ssize_t sent;

	if (!c->out.buf)
		return true;
	sent = send_parts(c, &part, 1);
	if (sent < 0)
		return false;
	c->out.at += (size_t)sent;
	/* Every byte that is taken gives it time for the next. */
	if (sent > 0 && c->deadline_ns > 0)
		connection_set_deadline(c, c->server->cfg.answer_ms);
	if (c->out.at == c->out.len)
		pending_drop(&c->out);
	return true;
}
