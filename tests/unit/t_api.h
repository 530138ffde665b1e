/*
 * The API without a server: calls are made of method, target and body, and their answers are kept.
 *
 * A program that uses it replaces call_answer, call_stream, stream_wake, stream_want and stream_end
 * (t_api_wraps in meson.build).
 */
#ifndef MVM_TESTS_T_API_H
#define MVM_TESTS_T_API_H

#include <stdbool.h>
#include <stddef.h>

#include "api/api.h"
#include "api/metrics.h"
#include "api/server.h"
#include "base/err.h"
#include "snapshot/snapshots.h"

struct t_api {
	struct loop *l;
	struct instance *in;
	struct metrics *metrics;
	struct api api;
	struct snapshots snapshots; /* of t_snapshots.h */
	int fatal;                  /* what api.fatal was told; -1: nothing */
};

/* A machine that has not been started, in a loop of its own, on the KVM of t_kvm.h. */
void t_api_init(struct t_api *t);
void t_api_fini(struct t_api *t);

/* One call.  Zeroed; freed by t_call_free(). */
struct t_call {
	struct call call;
	struct http_request request;
	unsigned answers;
	struct answer answer;
	bool has_gone; /* call_stream() says that the client has gone */
	/* a stream */
	const struct stream_ops *ops;
	void *ctx;
	enum http_type type;
	const char *protocol;
	unsigned wakes, wants;
	bool is_ending;
};

/* method "GET" and so on; body NULL: none, otherwise len bytes. */
struct t_call *t_call_begin(
	struct t_api *t, const char *method, const char *target, const char *body, size_t len);

/* Runs the loop until it is answered; fails the test when that does not happen. */
void t_call_wait(struct t_api *t, struct t_call *c);
void t_call_free(struct t_call *c); /* closes a stream */

/*
 * One call and its answer: the status.  t_body() is the last answer's body, "" without one;
 * t_fault() its fault_message, "" where there is none; t_is_deprecated() whether it had the header.
 */
int t_api(struct t_api *t, const char *method, const char *target, const char *body);
int t_api_bytes(
	struct t_api *t, const char *method, const char *target, const char *body, size_t len);
const char *t_body(void);
const char *t_fault(void);
bool t_is_deprecated(void);

/* Starts and ends the machine.  The guest waits, unless t_kvm.on_run says what it does. */
void t_api_boot(struct t_api *t); /* only the kernel */
void t_api_start(struct t_api *t);
void t_api_end(struct t_api *t);

#endif
