/*
 * What the files of the server share: connections and how they get their turn.  Only for server.c,
 * connection.c, transfer.c, call.c and stream.c; server.h is for everybody else.
 *
 *     loop says ready --> server_queue() --> end of the round --> connection_run()
 *                                                                      |
 *               loop_watch(), loop_poll() <-- connection_settle() <----+
 *
 * Input is watched: what has come is told once, and stays known (is_readable) until a read finds
 * nothing.  A client whose next request is there by then costs the loop nothing at all.  For
 * anything else than input, a client that does not read foremost, the watch makes way for a poll.
 *
 * All work is done by connection_run(), one piece at a time, so that nothing is entered from inside
 * itself and the server's share of the loop has one place.  A connection that is closed is freed
 * later, when nobody holds it: neither the loop nor the queue.
 */
#ifndef MVM_API_CONNECTION_H
#define MVM_API_CONNECTION_H

#include <poll.h>
#include <sys/uio.h>

#include "api/listener.h"
#include "api/server.h"
#include "api/share.h"

enum {
	SERVER_BUFFER = 16 * 1024, /* read or pulled in one piece of work */
	SERVER_REFUSED = 8,        /* clients over the limit that are told so at the same time */
	LINGER_MS = 1000,          /* in which a client may read why it is closed */
	RETRY_MS = 50,             /* see half_closed: with something to send */
	RETRY_IDLE_MS = 1000,      /* and without */
	ACCEPT_RETRY_MS = 100,     /* after accept() had no descriptor or memory */
	/* Charged for each piece of work beside its own time: what the loop and the kernel do to
	 * bring it about, with the timer for the next one. */
	SERVER_OVERHEAD_NS = 5000,
	POLL_NOTHING = -1,
};

#define MS_IN_NS 1000000ULL

/* A piece of work that waits for its turn. */
struct work {
	void (*run)(struct work *w);
	struct work *next;
	bool queued;
};

enum connection_state {
	CONNECTION_READ,   /* waits for a request, or for the rest of one */
	CONNECTION_CALL,   /* the handler has the request */
	CONNECTION_SEND,   /* a part of the answer has not been taken yet */
	CONNECTION_STREAM, /* see stream.c */
	CONNECTION_LINGER, /* answered for good; what still comes is thrown away */
	CONNECTION_CLOSED,
};

/* Bytes that wait. */
struct pending {
	char *buf; /* malloc'ed, NULL: none */
	size_t at, len;
};

struct stream {
	const struct stream_ops *ops;
	void *ctx;
	bool is_raw;      /* both ways, no chunks */
	bool is_chunked;  /* else plain bytes until the close */
	bool wants_push;  /* push takes bytes */
	bool is_draining; /* ends as soon as there is nothing more to pull */
	bool is_ending;   /* nothing is pulled any more */
};

struct connection {
	struct work work;
	struct server *server;
	struct connection *next, **link; /* in one of the server's lists; link: what points here */
	struct loop_op watch, poll;      /* at most one of them is pending */
	int fd;
	enum connection_state state;
	bool is_stream, is_refused;
	bool is_cancelled; /* what is pending, because the other or nothing is wanted */
	bool is_readable;  /* there may be more to read */
	bool has_gone;     /* polled: nobody will read what is sent */
	bool closes;       /* after the answer */
	bool lingers;      /* after the answer, and then closes */
	/*
	 * The client has shut its sending side.  io_uring tells that at once whenever it polls,
	 * whatever it is asked for; such a connection is looked at every RETRY_MS instead.
	 */
	bool half_closed;
	uint64_t deadline_ns, retry_ns; /* 0: none */
	struct http_parser *parser;     /* NULL when it is refused */
	struct call *call;              /* in CONNECTION_CALL */
	struct pending in, out;         /* read ahead; not taken yet */
	struct stream stream;
};

struct server {
	struct server_config cfg;
	struct loop *loop;
	struct listener listener;
	struct loop_op accept_poll, share_timer, tick_timer, shut_timer;
	struct loop_tail pump, reap;
	struct work accept_work, *first, **last;
	struct share share;
	struct connection *live, *dead;
	unsigned nlive, nrefused;
	struct call *calls; /* without an answer */
	struct server_counters counters;
	uint64_t own;       /* completions of the loop that were the server's */
	uint64_t now_ns;    /* when the work that is under way began */
	uint64_t cpu_ns;    /* of this thread then, if it is charged */
	uint64_t tick_ns;   /* when tick_timer ends */
	uint64_t accept_ns; /* 0: accepting; else when it is tried again */
	bool is_working;    /* connection_run() is under way */
	bool is_shutting, is_freed;
	void (*shut_done)(void *ctx);
	void *shut_ctx;
	char buf[SERVER_BUFFER]; /* for one piece of work */
};

/* --- server.c --- */

/* w->run() when it is its turn. */
void server_queue(struct server *s, struct work *w);

/* The tick comes at when_ns or earlier. */
void server_tick_at(struct server *s, uint64_t when_ns);

/* Work that is done outside connection_run(): from begin to end it is measured. */
void server_work_begin(struct server *s);
void server_work_end(struct server *s);

/* After something that server_shut_down() may wait for has ended. */
void server_look_done(struct server *s);

/* --- connection.c --- */

/* Takes fd over, also when it fails.  is_refused: it is told that there are too many, no more. */
void connection_new(struct server *s, int fd, bool is_refused);

void connection_run(struct work *w);

/* Makes the loop look for what the state waits for. */
void connection_settle(struct connection *c);

/* The client is no longer served; the memory stays until connection_reap(). */
void connection_close(struct connection *c);

/* Frees a closed one if nobody holds it; a stream is told first. */
void connection_reap(struct connection *c);

/* Its deadline has passed, or its time to be looked at again. */
void connection_tick(struct connection *c);

/* The server shuts down. */
void connection_shut_down(struct connection *c);

void connection_queue(struct connection *c);

void connection_set_deadline(struct connection *c, unsigned ms);

/* Sends an answer; what is not taken at once is sent later. */
void connection_answer(struct connection *c, const struct http_head *head, const char *body);

/* --- transfer.c --- */

/*
 * Sends the parts, and keeps what is not taken at once in c->out, which is empty before.  False
 * when the client has gone or there is no memory.
 */
MUST_CHECK bool connection_send(struct connection *c, struct iovec *part, unsigned n);

/* Sends of c->out what is taken; true: go on, false: the client has gone. */
MUST_CHECK bool connection_flush(struct connection *c);

/* Keeps bytes at p, which is empty.  False: no memory. */
MUST_CHECK bool pending_keep(struct pending *p, const char *buf, size_t len);
void pending_drop(struct pending *p);

/* Whether the client has closed its end, and not only its sending side. */
bool connection_has_gone(const struct connection *c);

/* Reads up to SERVER_BUFFER bytes into the server's buffer: how many, 0 at the end, -EAGAIN, or
 * another -errno. */
ssize_t connection_receive(struct connection *c);

/* --- call.c --- */

/* For the request that c's parser has; NULL: no memory. */
struct call *call_new(struct connection *c);
void call_free(struct call *call);

/* --- stream.c --- */

void stream_run(struct connection *c);
int stream_events(const struct connection *c);

#endif
