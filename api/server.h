/*
 * An HTTP server on a Unix stream socket, on the event loop.
 *
 *     client --bytes--> connection --http.h--> struct call --request()--> routes
 *     client <--bytes-- connection <---------- call_answer(), call_stream()
 *
 * It knows connections, time and fairness, not what requests mean.  On each connection one request
 * is served after the other, in their order; those of several connections may be in progress at the
 * same time.  Nothing it does blocks: a client that does not read keeps its answer waiting until a
 * deadline, and then loses the connection.
 *
 * The guest's devices come first: while they work the server takes at most SERVER_SHARE of the
 * loop's time (per mille), and one request in each round of the loop.
 *
 * The loop's thread.
 */
#ifndef MVM_API_SERVER_H
#define MVM_API_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "api/http.h"
#include "base/check.h"
#include "core/loop.h"

struct err;
struct server;

enum {
	SERVER_CONNECTIONS = 32,  /* one more is answered 503 and closed */
	SERVER_SHARE = 10,        /* per mille of the loop's time while devices work */
	SERVER_REQUEST_MS = 5000, /* from a request's first byte to its last */
	SERVER_ANSWER_MS = 5000,  /* without a byte of an answer taken */
	SERVER_LISTEN_BACKLOG = 128,
};

/* One request and the place for its answer.  It is the server's; the handler answers once, now or
 * later, and forgets it. */
struct call {
	const struct http_request *request; /* until it is answered */
	/* Handler's own, for an answer that comes later. */
	void *data;
	/* private */
	struct connection *connection; /* NULL: the client has gone; answering is still a must */
	struct server *server;
};

struct answer {
	int status;
	enum http_type type;
	bool is_deprecated;
	char *body; /* malloc'ed, taken over; NULL: none */
	size_t len;
};

void call_answer(struct call *c, const struct answer *a);

/*
 * An answer without an end: chunks of a 200, or, with protocol, raw bytes both ways after a 101.
 * The ops are called until closed(), which comes once: when the client goes, or after stream_end().
 */
struct stream_ops {
	/* Puts up to len bytes into buf and returns how many; 0: none now, stream_wake() will tell.
	 */
	size_t (*pull)(void *ctx, char *buf, size_t len);
	/* Bytes from the client, with protocol only: how many were taken; the rest is offered again
	 * after stream_want(). */
	size_t (*push)(void *ctx, const char *buf, size_t len);
	void (*closed)(void *ctx);
};

struct stream; /* a connection that became one */

/* NULL when the client has gone already; then closed() is not called. */
struct stream *call_stream(struct call *c, enum http_type type, const char *protocol,
	const struct stream_ops *ops, void *ctx);

void stream_wake(struct stream *s); /* there is something to pull; any number of times */
void stream_want(struct stream *s); /* push takes bytes again */
void stream_end(struct stream *s);  /* what is pulled until now is sent, then it is closed */

struct server_config {
	const char *path; /* of the socket, made and bound; NULL: fd is a listening one */
	int fd;           /* taken over when server_new() succeeds */
	unsigned mode;    /* of the socket's file; 0600 */
	size_t body_max;  /* bytes */
	void (*request)(void *ctx, struct call *c);
	void *ctx;
};

/*
 * Listens.  A path that exists is refused, whatever it is (-EADDRINUSE).  0, or -errno with e
 * filled.
 */
MUST_CHECK int server_new(
	struct loop *l, const struct server_config *c, struct server **ret, struct err *e);

/* Accepts nothing new and ends all streams; done is called when no connection has anything left to
 * send, or after timeout_ms. */
void server_shut_down(struct server *s, unsigned timeout_ms, void (*done)(void *ctx), void *ctx);

/* Closes all, and removes the socket's file if it is still ours.  The loop runs no more, or will
 * run until all ops of s are done.  Accepts NULL. */
void server_free(struct server *s);

/* --- what it counts --- */

struct server_counters {
	uint64_t connections, refused, requests, bad_requests, timeouts, deferred;
};

struct server_counters server_counters(const struct server *s);

/* The descriptors of socket activation: LISTEN_FDS and LISTEN_PID (sd_listen_fds(3)).  The first
 * one, checked to be a listening Unix stream socket; -ENOENT when there is none; -errno with e
 * filled. Removes the variables. */
MUST_CHECK int server_activated_fd(struct err *e);

#endif
