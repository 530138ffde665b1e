/*
 * HTTP/1.1 responses out of a stream of bytes (RFC 9112), as a client of the API reads them.  The
 * grammar is llhttp's; the limits are here.
 *
 *     bytes --response_feed()--> head, and body bytes to a callback --> RESPONSE_COMPLETE
 *
 * No I/O, no clock, and nothing of a response is stored but its status: who is at the other end of
 * a socket is not known, so all is bounded.  Interim responses (100 to 199 but 101) are skipped.
 */
#ifndef MVM_CLIENT_RESPONSE_H
#define MVM_CLIENT_RESPONSE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/check.h"

enum { RESPONSE_HEAD_MAX = 64 * 1024 }; /* bytes of all heads before the body */

enum response_result {
	RESPONSE_MORE,     /* all was consumed, and it is not complete */
	RESPONSE_COMPLETE, /* what was not consumed belongs to the next response */
	RESPONSE_UPGRADED, /* a 101: what was not consumed is of the other protocol */
	RESPONSE_BAD,      /* response_error() says why */
};

/* Takes a piece of the body of the response whose status is given; anything but 0 ends the reading:
 * RESPONSE_BAD. */
typedef int response_body_fn(void *ctx, int status, const char *buf, size_t len);

struct response;

/* body may be NULL: it is skipped then.  0 or -ENOMEM. */
MUST_CHECK int response_new(response_body_fn *body, void *ctx, struct response **ret);
void response_free(struct response *r); /* accepts NULL */

/* *ret_used is how many bytes were consumed.  After RESPONSE_COMPLETE the next byte begins the next
 * response; after RESPONSE_UPGRADED and RESPONSE_BAD it is not called again. */
enum response_result response_feed(
	struct response *r, const char *buf, size_t len, size_t *ret_used);

/* The connection has ended: RESPONSE_COMPLETE where the end of the body is the end of the
 * connection, otherwise RESPONSE_BAD. */
enum response_result response_end(struct response *r);

/* Of the response that is being read or was last complete; 0 before its head is complete. */
int response_status(const struct response *r);

/* Whether no byte of the next response has come. */
bool response_is_between(const struct response *r);

const char *response_error(const struct response *r);

#endif
