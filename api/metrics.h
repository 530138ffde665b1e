/*
 * What mvm counts, in two forms: one JSON object a line in the contract's shape, to a file or FIFO,
 * each minute and when asked; and OpenMetrics text, for GET /metrics.
 *
 *     instance, devices, vCPUs, api_counters, log --> metrics_json() --> line in a file
 *                                               +---> metrics_text() --> GET /metrics
 *
 * In JSON, counters are what was added since the last line, and stores (latencies and the like) are
 * absolute; in text all are absolute, as OpenMetrics wants them.  A line that cannot be written at
 * once is lost and counted; it is never waited for.
 *
 * The loop's thread.
 */
#ifndef MVM_API_METRICS_H
#define MVM_API_METRICS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "api/counters.h"
#include "base/check.h"
#include "instance.h"

struct err;
struct metrics;
struct server;

enum { METRICS_PERIOD_S = 60 };

/* What is read for each line; all borrowed.  server may be NULL. */
struct metrics_sources {
	const struct instance *instance;
	const struct api_counters *api;
	const struct server *server;
	uint64_t start_time_us, start_time_cpu_us,
		parent_cpu_time_us; /* 0: not told by a starter */
};

struct metrics_config {
	const char *path;
	bool emit_id;
	unsigned nproperties;
	const char *const *property; /* name, value, name, value, ... */
};

MUST_CHECK int metrics_new(
	struct loop *l, const struct metrics_sources *from, struct metrics **ret, struct err *e);
void metrics_free(struct metrics *m); /* accepts NULL; writes nothing */

/* Once.  -EALREADY the second time; -errno with e naming the path.  A file is made and appended to;
 * a FIFO is never waited for. */
MUST_CHECK int metrics_open(struct metrics *m, const struct metrics_config *c, struct err *e);

/* The machine has started: a line now and every METRICS_PERIOD_S.  While it is paused none. */
void metrics_start(struct metrics *m);

/* A line now.  0; -ENOENT when there is no file; -errno with e filled when it is lost. */
MUST_CHECK int metrics_flush(struct metrics *m, struct err *e);

/* The line that would be written, without a newline, malloc'ed; the deltas begin anew.  NULL: no
 * memory. */
char *metrics_json(struct metrics *m, size_t *ret_len);

/* OpenMetrics 1.0 text, malloc'ed, ends with "# EOF\n".  NULL: no memory. */
char *metrics_text(struct metrics *m, size_t *ret_len);

/* Once, at the end of the contract's process start: the time since the starter's. */
void metrics_note_start(struct metrics *m);

#endif
