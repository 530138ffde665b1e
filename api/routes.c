/* The way from a request to its handler (routes.h); the table is in routes_table.c. */
#include "api/routes.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "api/handlers.h"
#include "api/text.h"
#include "base/err.h"
#include "base/log.h"

/* What a process ends with that has no future. */
enum { FATAL_STATUS = 1 };

enum { SEGMENT_SHOWN_MAX = 128, BODY_SHOWN_MAX = 3072, TARGET_SHOWN_MAX = 256 };

/* Calls that wait for the one that changes the machine.  Those of clients that have gone wait too.
 */
struct call_queue {
	unsigned first, n;
	struct call *call[SERVER_CONNECTIONS];
};

/* A piece of a path. */
struct segment {
	const char *text;
	size_t len;
};

enum { SEGMENTS = 3 };

uint64_t request_now_us(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

/* --- log --- */

static const char *method_word(enum http_method m)
{
	switch (m) {
	case HTTP_GET: return "Get";
	case HTTP_PUT: return "Put";
	case HTTP_PATCH: return "Patch";
	case HTTP_DELETE: return "Delete";
	case HTTP_OTHER:
	case HTTP_METHODS: break;
	}
	return "Other";
}

/* What a body may hold that is not for everybody's eyes: templates are long. */
static bool is_body_logged(const struct route *route)
{
	return !route || route->body != &body_cpu || log_is_on(LOG_DEBUG);
}

static void log_request(const struct http_request *q, const struct route *route)
{
	UNINITIALIZED char target[TARGET_SHOWN_MAX], body[BODY_SHOWN_MAX];

	if (!log_is_on(LOG_INFO))
		return;
	(void)text_quote(q->target, strlen(q->target), target, sizeof(target));
	if (q->body_len > 0 && is_body_logged(route)) {
		(void)text_quote(q->body, q->body_len, body, sizeof(body));
		log_info("The API server received a %s request on %s with body %s.",
			method_word(q->method), target, body);
	} else {
		log_info("The API server received a %s request on %s.", method_word(q->method),
			target);
	}
}

static const char *status_words(int status)
{
	switch (status) {
	case 101: return "101 Switching Protocols";
	case 204: return "204 No Content";
	default: return "200 OK";
	}
}

static void log_result(const struct answer *a, const struct fault *f, uint64_t began_us)
{
	if (f)
		log_error("Received Error. Status code: 400 Bad Request. Message: %s", f->text);
	else
		log_info("The request was executed successfully. Status code: %s.",
			status_words(a->status));
	log_debug("Total previous API call duration: %llu us.",
		(unsigned long long)(request_now_us() - began_us));
}

/* --- finding the route --- */

/* The path in pieces, without slashes in front; the query is left out. */
static void split(const char *target, struct segment seg[SEGMENTS])
{
	const char *end = target + strcspn(target, "?#");
	const char *at = target + strspn(target, "/");

	for (unsigned i = 0; i < SEGMENTS; i++) {
		const char *slash = at < end ? memchr(at, '/', (size_t)(end - at)) : NULL;

		seg[i].text = at;
		seg[i].len = at < end ? (size_t)((slash ? slash : end) - at) : 0;
		at = slash ? slash + 1 : end;
	}
}

static bool is_segment(const struct segment *seg, const char *text)
{
	return strlen(text) == seg->len && memcmp(text, seg->text, seg->len) == 0;
}

static const struct route *find_route(enum http_method method, const struct segment *seg)
{
	for (unsigned i = 0; i < api_nroutes; i++) {
		const struct route *r = &api_routes[i];

		if (r->method == method && is_segment(&seg[0], r->first) &&
			(!r->second || is_segment(&seg[1], r->second)))
			return r;
	}
	return NULL;
}

static int unknown_route(const struct http_request *q, const struct segment *first, struct fault *f)
{
	const char *method = q->method == HTTP_OTHER ? q->method_text : http_method_name(q->method);
	char shown[SEGMENT_SHOWN_MAX];

	(void)text_clean(first->text, first->len, shown, sizeof(shown));
	return fault_set(f, "Invalid request method and/or path: %s %s.", method, shown);
}

static int take_id(struct request *r, const struct segment *seg, struct fault *f)
{
	char id[HTTP_LINE_MAX];

	/* A target is shorter than that. */
	(void)text_clean(seg->text, seg->len, id, sizeof(id));
	if (check_id(id, f) < 0)
		return -1;
	memcpy(r->id, id, strlen(id) + 1);
	return 0;
}

/* Bodies where there must be one, and where there must be none. */
static int check_body(const struct http_request *q, struct fault *f)
{
	bool has_body = q->body_len > 0;

	if (q->method == HTTP_GET && has_body)
		return fault_set(f, "GET request cannot have a body.");
	if (q->method == HTTP_PUT && !has_body)
		return fault_set(f, "Empty PUT request.");
	if (q->method == HTTP_PATCH && !has_body)
		return fault_set(f, "Empty PATCH request.");
	if (q->method == HTTP_DELETE && has_body)
		return fault_set(f, "Empty Delete request.");
	return 0;
}

/* --- one request --- */

int check_phase(const struct api *a, unsigned phases, struct fault *f)
{
	enum instance_state state = a->instance->state;

	if (phases >> state & 1)
		return 0;
	if (state == INSTANCE_NOT_STARTED)
		return fault_set(f, FAULT_BEFORE_START);
	if (state == INSTANCE_ENDED)
		return fault_set(f, FAULT_AFTER_END);
	return fault_set(f, FAULT_AFTER_START);
}

static int check_route_phase(const struct request *r, struct fault *f)
{
	int rc = check_phase(r->api, r->route->phases, f);

	if (rc < 0 && r->route->is_plugged && check_phase(r->api, PHASE_STARTED, f) == 0)
		return fault_set(f, FAULT_NO_HOTPLUG " " FAULT_AFTER_START);
	return rc;
}

static int decode(struct request *r, const struct http_request *q, struct fault *f)
{
	const struct body *b = r->route->body;
	struct err e = { 0 };
	int rc;

	if (!b)
		return 0;
	r->body = calloc(1, b->size);
	if (!r->body)
		return fault_os(f, -ENOMEM, "cannot read the request: ");
	rc = doc_read(&r->doc, q->body, q->body_len, &e);
	if (rc == 0)
		rc = body_decode(b, &r->doc, 0, r->body, &e);
	if (rc == 0 && r->doc.has_duplicates)
		rc = err_set(&e, -EBADMSG, "duplicate field in an object that is ignored");
	if (rc < 0)
		return fault_json(f, e.text);
	for (unsigned i = 0; i < b->nfields; i++)
		r->answer.is_deprecated |= b->field[i].is_deprecated && is_given(r->body, i);
	if (r->answer.is_deprecated)
		r->api->counters.deprecated++;
	return 0;
}

static int absent_device(const struct request *r, struct fault *f)
{
	return fault_set(f,
		"This monitor has no %s device: it has drives, network interfaces and a "
		"serial port.",
		r->route->absent);
}

static int run(
	struct request *r, const struct http_request *q, const struct segment *seg, struct fault *f)
{
	struct api *a = r->api;
	int rc = 0;

	if (r->route->absent)
		return absent_device(r, f);
	if (r->route->id == ROUTE_ID)
		rc = take_id(r, &seg[1], f);
	if (rc == 0)
		rc = decode(r, q, f);
	if (rc == 0 && r->route->check)
		rc = r->route->check(r, f);
	if (rc == 0 && r->route->is_boot_path && a->instance->state == INSTANCE_NOT_STARTED)
		a->instance->is_boot_path = true;
	if (rc == 0)
		rc = check_route_phase(r, f);
	return rc == 0 ? r->route->handle(r, f) : rc;
}

static void free_request(struct request *r)
{
	doc_fini(&r->doc);
	free(r->body);
	free(r);
}

static void finish(struct request *r, int rc, const struct fault *f)
{
	bool is_deprecated = r->answer.is_deprecated;
	struct call *call = r->call;
	struct answer answer = r->answer;

	if (rc < 0) {
		if (r->route && r->route->count != API_UNCOUNTED)
			r->api->counters.fails[r->route->count]++;
		free(answer.body);
		fault_answer(f, &answer);
		answer.is_deprecated = is_deprecated;
	}
	log_result(&answer, rc < 0 ? f : NULL, r->began_us);
	free_request(r);
	call_answer(call, &answer);
}

static void serve(struct api *a, struct call *call)
{
	const struct http_request *q = call->request;
	struct request *r = calloc(1, sizeof(*r));
	struct segment seg[SEGMENTS];
	struct fault f = { 0 };
	bool is_fatal;
	int rc;

	if (!r) {
		struct answer none = { .status = 500 };

		call_answer(call, &none);
		return;
	}
	split(q->target, seg);
	*r = (struct request){
		.api = a,
		.call = call,
		.route = find_route(q->method, seg),
		.query = q->target + strcspn(q->target, "?"),
		.answer = { .status = 204, .type = HTTP_JSON },
		.began_us = request_now_us(),
	};
	if (r->query[0] == '?')
		r->query++;
	log_request(q, r->route);
	if (r->route && r->route->count != API_UNCOUNTED)
		a->counters.count[r->route->count]++;
	rc = check_body(q, &f);
	if (rc == 0)
		rc = r->route ? run(r, q, seg, &f) : unknown_route(q, &seg[0], &f);
	if (rc == HANDLER_LATER) {
		call->data = r;
		a->busy = call;
		return;
	}
	if (rc == HANDLER_TAKEN) {
		log_result(&r->answer, NULL, r->began_us);
		free_request(r);
		return;
	}
	is_fatal = r->is_fatal;
	finish(r, rc, &f);
	if (is_fatal && a->fatal)
		a->fatal(a->ctx, FATAL_STATUS);
}

/* --- one after the other --- */

void request_done(struct request *r, int rc, const struct fault *f)
{
	struct api *a = r->api;
	struct call_queue *w;

	if (!a) {
		free_request(r);
		return;
	}
	w = a->waiting;
	/* Still busy while this is answered: what comes meanwhile comes after those that wait. */
	finish(r, rc, f);
	a->busy = NULL;
	while (!a->busy && w->n > 0) {
		struct call *next = w->call[w->first];

		w->first = (w->first + 1) % SERVER_CONNECTIONS;
		w->n--;
		serve(a, next);
	}
}

static void refuse_crowd(struct call *c)
{
	struct answer answer;
	struct fault f;

	(void)fault_set(&f, "Too many requests wait for one that changes the machine.");
	fault_answer(&f, &answer);
	call_answer(c, &answer);
}

void api_request(void *ctx, struct call *c)
{
	struct api *a = ctx;
	struct call_queue *w = a->waiting;

	if (c->request->method == HTTP_GET || (!a->busy && w->n == 0)) {
		serve(a, c);
		return;
	}
	if (w->n == SERVER_CONNECTIONS) {
		refuse_crowd(c);
		return;
	}
	w->call[(w->first + w->n) % SERVER_CONNECTIONS] = c;
	w->n++;
}

int api_init(struct api *a, struct instance *in, struct metrics *m, struct err *e)
{
	struct call_queue *w = calloc(1, sizeof(*w));

	if (!w)
		return err_sys(e, -ENOMEM, NULL, "cannot serve the API");
	a->instance = in;
	a->metrics = m;
	a->waiting = w;
	return 0;
}

/* The one that the machine works on is answered now, and nobody waits for it any more. */
static void abandon(struct call *c, const struct fault *f)
{
	struct request *r = c->data;
	struct answer answer;

	fault_answer(f, &answer);
	r->api = NULL;
	call_answer(c, &answer);
}

void api_fini(struct api *a)
{
	struct call_queue *w = a->waiting;
	struct fault f;

	if (!w)
		return;
	(void)fault_set(&f, "The process ends.");
	if (a->busy)
		abandon(a->busy, &f);
	a->busy = NULL;
	for (; w->n > 0; w->n--, w->first++) {
		struct answer answer;

		fault_answer(&f, &answer);
		call_answer(w->call[w->first % SERVER_CONNECTIONS], &answer);
	}
	free(w);
	a->waiting = NULL;
}
