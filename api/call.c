/* Requests that have a handler, and their answers (server.h). */
#include "api/connection.h"

#include <stdlib.h>
#include <string.h>

void call_free(struct call *call)
{
	if (call->prev)
		call->prev->next = call->next;
	else if (call->server)
		call->server->calls = call->next;
	if (call->next)
		call->next->prev = call->prev;
	http_parser_free(call->parser);
	free(call);
}

struct call *call_new(struct connection *c)
{
	struct call *call = calloc(1, sizeof(*call));

	if (!call)
		return NULL;
	call->request = http_parser_request(c->parser);
	call->connection = c;
	call->server = c->server;
	call->next = c->server->calls;
	if (call->next)
		call->next->prev = call;
	c->server->calls = call;
	return call;
}

static void answer(struct connection *c, const struct answer *a)
{
	const struct http_request *r = http_parser_request(c->parser);
	struct http_head head = { .status = a->status,
		.type = a->type,
		.has_body = a->body && a->status != 204,
		.is_deprecated = a->is_deprecated,
		.closes = !r->keep_alive || c->server->is_shutting,
		.body_len = a->body ? a->len : 0 };
	bool is_sent = head.has_body && strcmp(r->method_text, "HEAD") != 0;

	http_parser_release(c->parser);
	connection_answer(c, &head, is_sent ? a->body : NULL);
}

void call_answer(struct call *call, const struct answer *a)
{
	struct connection *c = call->connection;
	struct server *s = call->server;

	if (c) {
		server_work_begin(s);
		c->call = NULL;
		answer(c, a);
		connection_settle(c);
		server_work_end(s);
	}
	free(a->body);
	call_free(call);
	if (s)
		server_look_done(s);
}

struct stream *call_stream(struct call *call, enum http_type type, const char *protocol,
	const struct stream_ops *ops, void *ctx)
{
	struct connection *c = call->connection;
	struct server *s = call->server;
	char text[HTTP_HEAD_MAX];
	struct iovec part = { text, 0 };
	struct http_head head = { .status = protocol ? 101 : 200,
		.type = type,
		.has_body = !protocol,
		.closes = true,
		.upgrade = protocol };

	if (!c) {
		call_free(call);
		return NULL;
	}
	server_work_begin(s);
	head.is_unbounded = call->request->is_http10;
	head.is_chunked = !protocol && !head.is_unbounded;
	c->call = NULL;
	call_free(call);
	http_parser_release(c->parser);
	c->state = CONNECTION_STREAM;
	c->is_stream = true;
	c->stream = (struct stream){ .ops = ops,
		.ctx = ctx,
		.is_raw = protocol,
		.is_chunked = head.is_chunked,
		.wants_push = protocol,
		.is_draining = s->is_shutting };
	part.iov_len = http_format_head(&head, text);
	if (connection_send(c, &part, 1))
		connection_queue(c);
	else
		connection_close(c);
	server_work_end(s);
	return &c->stream;
}
