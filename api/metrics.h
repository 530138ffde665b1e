/*
 * What mvm counts, in two forms: one JSON object a line in the contract's shape, to a file or FIFO,
 * each minute and when asked; and OpenMetrics text, for GET /metrics.
 *
 *     instance, devices, vCPUs, api_counters, log --> metrics_json() --> line in a file
 *                                               +---> metrics_text() --> GET /metrics
 *
 * In JSON, counters are what was added since the last line, and stores (latencies and the like) are
 * absolute; in text all are absolute, as OpenMetrics wants them.  A line that cannot be written at
 * once is lost and counted; it is never waited for, and the next line tells what it would have
 * told. Readers see whole lines only: where a full FIFO or disk took a part of one, the rest goes
 * before the next.
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
struct snapshots;

enum { METRICS_PERIOD_S = 60 };

/* What is read for each line; all borrowed.  server and snapshots may be NULL. */
struct metrics_sources {
	const struct instance *instance;
	const struct api_counters *api;
	const struct server *server;
	const struct snapshots *snapshots; /* NULL: none are made */
	uint64_t start_time_us, start_time_cpu_us,
		parent_cpu_time_us; /* CLOCK_MONOTONIC, CPU times; 0: not told by a starter */
};

struct metrics_config {
	const char *path;
	bool emit_id;
	unsigned nproperties;
	const char *const *property; /* name, value, name, value, ... */
};

/* from is copied.  0 or -ENOMEM with e filled. */
MUST_CHECK int metrics_new(
	struct loop *l, const struct metrics_sources *from, struct metrics **ret, struct err *e);

/* Writes nothing.  The loop runs no more, but is there: it is turned until the timer is back.
 * Accepts NULL. */
void metrics_free(struct metrics *m);

/* The server, which is made later; NULL: it is gone. */
void metrics_set_server(struct metrics *m, const struct server *server);

/*
 * Once it has succeeded, -EALREADY.  -errno with e naming the path; -EINVAL for properties that are
 * not UTF-8.  A file is made and appended to; a FIFO is never waited for (io_open_sink()).  c may
 * go afterwards.
 */
MUST_CHECK int metrics_open(struct metrics *m, const struct metrics_config *c, struct err *e);

/* The machine has started: a line now and every METRICS_PERIOD_S.  While it is paused, and once it
 * has ended, none.  Only the first call counts. */
void metrics_start(struct metrics *m);

/* A line now.  0; -ENOENT, with e as it was, when there is no file; -errno with e filled when the
 * line is lost. */
MUST_CHECK int metrics_flush(struct metrics *m, struct err *e);

/* The line that would be written, without a newline, malloc'ed; the deltas begin anew.  NULL: no
 * memory. */
char *metrics_json(struct metrics *m, size_t *ret_len);

/* OpenMetrics 1.0 text, malloc'ed, ends with "# EOF\n".  NULL: no memory. */
char *metrics_text(struct metrics *m, size_t *ret_len);

/* A signal that ends the process, SIGHUP or SIGXCPU; others are not counted. */
void metrics_note_signal(struct metrics *m, int signo);

/* Once, when the process is ready for its clients: the time since the starter's. */
void metrics_note_start(struct metrics *m);

#endif
