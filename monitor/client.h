/*
 * A client of the API: one request over a Unix stream socket, and its answer.  It blocks, with
 * deadlines, but for client_connect() and client_format(), which serve callers with a poll loop of
 * their own as well.
 */
#ifndef MVM_CLIENT_H
#define MVM_CLIENT_H

#include <stddef.h>

#include "base/check.h"
#include "client_response.h"

struct err;

/* What "Upgrade:" of GET /serial asks for: the console, both ways. */
#define CLIENT_CONSOLE_PROTOCOL "mvm-console"

enum {
	CLIENT_CONNECT_MS = 5000,
	CLIENT_ANSWER_MS = 60000, /* a pause may take half of that */
	CLIENT_BODY_MAX = 16 << 20,
};

/*
 * A non-blocking, close-on-exec descriptor that is connected to the socket at path, which may be
 * longer than what a socket's address takes.  Waits up to timeout_ms while the other side's queue
 * is full; with 0 that is -EAGAIN at once.  -errno with e saying what failed and what to do.
 */
MUST_CHECK int client_connect(const char *path, unsigned timeout_ms, struct err *e);

/* All borrowed.  method and target hold neither blanks nor control characters
 * (client_check_request()). */
struct client_request {
	const char *method;
	const char *target;
	const char *body; /* NULL: none */
	size_t body_len;
	const char *upgrade; /* the protocol that is wanted; NULL: HTTP */
};

/* -EINVAL with e filled where method or target could not be one line of a request. */
MUST_CHECK int client_check_request(const struct client_request *r, struct err *e);

/* The request's bytes, malloc'ed; NULL: no memory. */
char *client_format(const struct client_request *r, size_t *ret_len);

struct client_answer {
	int status;
	/* After a 101: what has already come of the other protocol; malloc'ed, NULL for none. */
	char *rest;
	size_t rest_len;
};

/*
 * Sends r on fd and reads the answer, the body piece by piece as it comes.  timeout_ms is for the
 * time until the answer has a head (0: none); a body may be a stream without an end.  An answer
 * that comes before the request is sent in whole counts.  0, or -errno with e filled.
 */
MUST_CHECK int client_call(int fd, const struct client_request *r, unsigned timeout_ms,
	response_body_fn *body, void *ctx, struct client_answer *ret, struct err *e);

/* The text of a fault in either of the API's two shapes, or the body as it is where it has none of
 * them; cut off at size.  Any bytes: not for a terminal as it is. */
void client_fault(const char *body, size_t len, char *buf, size_t size);

#endif
