/*
 * The REST API: what requests mean.
 *
 *     server.h --call--> routes.c --table--> handler --struct--> instance.h
 *                          |  method, path, phase, body read by bodies.h
 *     call_answer() <------+-- 204, JSON, or a fault
 *
 * The loop's thread.
 */
#ifndef MVM_API_API_H
#define MVM_API_API_H

#include <stdbool.h>
#include <stdint.h>

#include "api/counters.h"
#include "api/metrics.h"
#include "base/check.h"
#include "instance.h"

struct call;
struct err;
struct snapshots;

/* What GET / and GET /version call this program: the API that clients expect, and its version. */
#define API_APP_NAME "Firecracker"
#define API_VERSION  "1.17.0"

/* What GET /serial takes in "Upgrade:", for bytes both ways. */
#define API_CONSOLE_PROTOCOL "mvm-console"

struct api {
	struct instance *instance;
	struct metrics *metrics;
	struct snapshots *snapshots; /* of the instance; its owner's, who fills this in */
	struct api_counters counters;
	/* What log_show() was told last; who starts the log fills it in. */
	bool log_shows_level, log_shows_origin;
	struct call *busy; /* a call that changes the machine and has not ended; others wait */
	struct call_queue *waiting; /* private to routes.c */
	/* After the answer to a call that leaves the process no future (a failed snapshot load). */
	void (*fatal)(void *ctx, int status);
	void *ctx;
};

MUST_CHECK int api_init(struct api *a, struct instance *in, struct metrics *m, struct err *e);

/* Answers what is not answered yet.  The loop runs no more.  Accepts a zeroed one. */
void api_fini(struct api *a);

/* For struct server_config: ctx is the struct api. */
void api_request(void *ctx, struct call *c);

/*
 * Configures the instance, log and metrics by the JSON of a config file, section by section, as the
 * same bodies sent to the API would.  0, or -errno with e naming file, section and field, and then
 * some sections may have been applied.
 */
MUST_CHECK int api_apply_config_file(struct api *a, const char *path, struct err *e);
MUST_CHECK int api_apply_config(struct api *a, const char *text, uint64_t len, struct err *e);

/* api/openapi.yaml, as it was when this was built. */
extern const char api_openapi[];
extern const char api_openapi_end[];

#endif
