/*
 * An HTTP server on a Unix stream socket, on the event loop.
 *
 *     client --bytes--> connection --http.h--> struct call --request()--> routes
 *     client <--bytes-- connection <---------- call_answer(), call_stream()
 *
 * It knows connections, time and fairness, not what requests mean.  On each connection one request
 * is served after the other, in their order, and nothing more is read meanwhile; those of several
 * connections may be in progress at the same time.  Nothing it does blocks: a client that does not
 * read keeps its answer waiting until a deadline, and then loses the connection.  A connection
 * without a request may stay for ever.
 *
 * The guest's devices come first.  All the server's work is done at the end of a round of the loop,
 * when what else has completed is served.  While others than the server are served, or wait
 * for a file of the host (share.h), it does one piece of work in a round - accepts a client, reads
 * a request and has it answered, sends a part of a stream -, and it takes at most SHARE_PER_MILLE
 * of the time, measured by the thread's clock and with something added for what the clock does not
 * see: what a piece of work has cost is worked off by waiting before the next one, but for a burst
 * that lets a single request through at once.  When nobody else is served only SERVER_SLICE_US
 * limit what it does in a round.
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
	SERVER_REQUEST_MS = 5000, /* from a request's first byte to its last */
	SERVER_ANSWER_MS = 5000,  /* without a byte of an answer taken */
	SERVER_SLICE_US = 250, /* of work in one round of an idle loop; one piece may be longer */
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
	struct server *server;         /* NULL: so has the server */
	struct http_parser *parser;    /* the request's, when there is no connection */
	struct call *next, *prev;
};

struct answer {
	int status;
	enum http_type type;
	bool is_deprecated;
	char *body; /* malloc'ed, taken over; NULL: none */
	size_t len;
};

/*
 * Also from inside request(), and also when the server has been freed.  What the client does not
 * take at once is kept and sent later.
 */
void call_answer(struct call *c, const struct answer *a);

/*
 * An answer without an end: chunks of a 200, or, with protocol, raw bytes both ways after a 101; to
 * a 1.0 client raw bytes until the close.  The ops are called at the end of a round, never from
 * inside the functions below, until closed(), which comes once: when the client has gone, or after
 * stream_end().  A client that does not read keeps its stream; nothing is pulled meanwhile.
 */
struct stream_ops {
	/* Puts up to len bytes into buf and returns how many; 0: none now, stream_wake() will tell.
	 */
	size_t (*pull)(void *ctx, char *buf, size_t len);
	/* Bytes from the client, with protocol only: how many were taken; the rest is offered again
	 * after stream_want().  May be NULL without a protocol. */
	size_t (*push)(void *ctx, const char *buf, size_t len);
	void (*closed)(void *ctx); /* the stream is no more */
};

struct stream; /* a connection that became one */

/*
 * Answers c.  NULL when the client has gone already; then closed() is not called.  protocol,
 * shorter than HTTP_PROTOCOL_MAX, is not kept.  The first pull comes by itself.
 */
struct stream *call_stream(struct call *c, enum http_type type, const char *protocol,
	const struct stream_ops *ops, void *ctx);

/* From anywhere on the loop's thread, from inside pull and push as well, until closed(). */
void stream_wake(struct stream *s); /* there is something to pull; any number of times */
void stream_want(struct stream *s); /* push takes bytes again */
void stream_end(struct stream *s);  /* what is pulled until now is sent, then it is closed */

struct server_config {
	const char *path; /* of the socket, made and bound; NULL: fd is a listening one */
	int fd;           /* taken over when server_new() succeeds */
	unsigned mode;    /* of the socket's file; 0600 */
	size_t body_max;  /* bytes */
	unsigned request_ms, answer_ms; /* 0: SERVER_REQUEST_MS, SERVER_ANSWER_MS */
	void (*request)(void *ctx, struct call *c);
	void *ctx;
};

/*
 * Listens.  The path may be longer than a socket address; one that exists is refused, whatever it
 * is
 * (-EADDRINUSE).  0, or -errno with e filled.  path is copied.
 */
MUST_CHECK int server_new(
	struct loop *l, const struct server_config *c, struct server **ret, struct err *e);

/*
 * Accepts nothing new, closes connections without a request, and ends each stream as soon as it has
 * nothing more to pull.  done is called, from the loop, when no connection has anything left to
 * send and no call is without an answer, or after timeout_ms.  Once.
 */
void server_shut_down(struct server *s, unsigned timeout_ms, void (*done)(void *ctx), void *ctx);

/*
 * Closes all, and removes the socket's file if it is still ours.  Turns the loop until its own ops
 * have ended, so: before loop_free(), and not from inside a callback of the loop.  Streams are told
 * that they are closed; calls without an answer wait for it in vain, but wait for it.  Accepts
 * NULL.
 */
void server_free(struct server *s);

/* --- what it counts --- */

struct server_counters {
	uint64_t connections;  /* accepted, the refused ones among them */
	uint64_t refused;      /* answered 503 */
	uint64_t requests;     /* handed to request() */
	uint64_t bad_requests; /* that were no HTTP, or too large */
	uint64_t timeouts;     /* clients that were too slow */
	uint64_t deferred;     /* times that the server has waited for its share of the loop */
};

struct server_counters server_counters(const struct server *s);

/* The descriptors of socket activation: LISTEN_FDS and LISTEN_PID (sd_listen_fds(3)).  The first
 * one, checked to be a listening Unix stream socket; -ENOENT when there is none; -errno with e
 * filled.  Removes the variables: before threads start. */
MUST_CHECK int server_activated_fd(struct err *e);

#endif
