/*
 * What a machine offers to clients, whichever verb it was started by: the API on its socket, and
 * metrics.
 *
 * The loop's thread.
 */
#ifndef MVM_CMD_SERVICE_H
#define MVM_CMD_SERVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "api/api.h"
#include "api/metrics.h"
#include "api/server.h"
#include "base/check.h"
#include "instance.h"

struct err;
struct snapshots;

struct service_config {
	const char *socket;       /* path of the API's socket; NULL: none */
	bool takes_activated;     /* a socket of LISTEN_FDS goes before the path */
	unsigned mode;            /* permission bits of the socket's file */
	size_t body_max;          /* bytes of a request's body */
	const char *metrics_path; /* NULL: none yet */
	uint64_t start_time_us, start_time_cpu_us, parent_cpu_time_us; /* 0: not told */
	struct snapshots *snapshots;          /* of the instance; they outlive the service */
	void (*started)(void *ctx);           /* the guest runs for the first time; may be NULL */
	void (*fatal)(void *ctx, int status); /* as in struct api */
	void *ctx;
};

struct service {
	struct instance *instance;
	struct metrics *metrics;
	struct server *server; /* NULL: none */
	struct api api;
	struct event_listener listener;
	void (*started)(void *ctx);
	bool has_started; /* and started() was told */
};

/* Zeroed s; in has its loop.  0, or -errno with e filled, and then service_free() is still due. */
MUST_CHECK int service_open(struct service *s, struct loop *l, struct instance *in,
	const struct service_config *c, struct err *e);

/*
 * The end of the process as an event, for clients who listen; they have until timeout_ms to take
 * what they were promised.  Then done, maybe from inside.
 */
void service_say_goodbye(struct service *s, int status, const char *why, unsigned timeout_ms,
	void (*done)(void *ctx), void *ctx);

/* The last line of metrics. */
void service_flush(struct service *s);

/* The loop runs no more, but is there.  Accepts a zeroed or half-open s. */
void service_free(struct service *s);

#endif
