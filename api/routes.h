/*
 * Which requests there are: one table, and the way from a request to its handler.
 *
 *     target, method --> route --> body decoded --> phase checked --> handler --> answer
 *
 * Requests that change something are served one at a time, in the order in which they came; a
 * handler that needs time keeps the others waiting until it calls request_done().  Requests that
 * only read are served at once.
 *
 * The loop's thread.
 */
#ifndef MVM_API_ROUTES_H
#define MVM_API_ROUTES_H

#include <stdbool.h>
#include <stdint.h>

#include "api/api.h"
#include "api/faults.h"
#include "api/fields.h"
#include "api/http.h"
#include "api/server.h"
#include "base/check.h"
#include "config.h"

enum phase {
	PHASE_BEFORE = 1 << INSTANCE_NOT_STARTED,
	PHASE_RUNNING = 1 << INSTANCE_RUNNING,
	PHASE_PAUSED = 1 << INSTANCE_PAUSED,
	PHASE_ENDED = 1 << INSTANCE_ENDED,
	PHASE_STARTED = PHASE_RUNNING | PHASE_PAUSED,
	PHASE_ANY = PHASE_BEFORE | PHASE_STARTED | PHASE_ENDED,
};

struct request;

/*
 * 0: done, and the request's answer (204 unless changed) goes out.  HANDLER_LATER: request_done()
 * will be called.  HANDLER_TAKEN: the call has become a stream, which began with the answer's
 * status. Negative: f is filled.
 */
typedef int handler_fn(struct request *r, struct fault *f);

enum { HANDLER_LATER = 1, HANDLER_TAKEN = 2 };

enum route_id {
	ROUTE_NO_ID,
	ROUTE_ID, /* the segment after first is an id, which body field 0 repeats, if there is a
		     body */
};

struct route {
	enum http_method method;
	const char *first, *second; /* segments of the path; second NULL: any or none */
	enum route_id id;
	unsigned phases;
	const struct body *body; /* NULL: none is read */
	/* What the contract finds wrong before it looks at the phase; may be NULL. */
	handler_fn *check;
	handler_fn *handle;
	enum api_count count; /* API_UNCOUNTED */
	bool is_boot_path;  /* sets the flag that forbids loading a snapshot, even when it fails */
	bool is_plugged;    /* in a machine that runs it would be hot-plugging */
	const char *absent; /* the device that mvm does not have; any body, any phase */
};

extern const struct route api_routes[];
extern const unsigned api_nroutes;

enum { REQUEST_ID_MAX = CONFIG_ID_MAX };

/* One request on its way. */
struct request {
	struct api *api; /* NULL: it is gone, and the call was answered */
	struct call *call;
	const struct route *route;
	char id[REQUEST_ID_MAX + 1]; /* of the path */
	const char *query;           /* behind "?", "" without one; until the call is answered */
	struct doc doc;
	void *body;           /* route->body's structure */
	struct answer answer; /* 204 */
	uint64_t began_us;
	bool is_fatal; /* the process has no future behind the answer */
};

/* Ends what a handler put off: rc as handlers return it.  r is gone then. */
void request_done(struct request *r, int rc, const struct fault *f);

/* Whether the machine is in one of phases: 0, or f filled with the contract's words. */
MUST_CHECK int check_phase(const struct api *a, unsigned phases, struct fault *f);

/* CLOCK_MONOTONIC. */
uint64_t request_now_us(void);

/* Of a path or a body: 0, or f filled with the contract's words. */
MUST_CHECK int check_id(const char *id, struct fault *f);

#endif
