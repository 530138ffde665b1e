/*
 * Between the parts of metrics.h:
 *
 *     metrics.c           the file, the timer, what is lost
 *     metrics_json.c      one line for the file; its keys in metrics_keys.c
 *     metrics_text.c      OpenMetrics: the process, the API, the machine
 *     metrics_devices.c   OpenMetrics: disks, network cards and vCPUs
 *     metrics_snapshots.c OpenMetrics: saves and loads
 */
#ifndef MVM_API_METRICS_PRIVATE_H
#define MVM_API_METRICS_PRIVATE_H

#include <jansson.h>
#include <stdio.h>

#include "api/metrics.h"
#include "api/metrics_keys.h"
#include "core/loop.h"

/* What all counters of a line were, by group or device and place in it. */
struct metrics_values {
	uint64_t group[METRICS_GROUPS_MAX][METRICS_SLOTS];
	uint64_t device[CONFIG_DEVICES_MAX][METRICS_SLOTS];
};

struct metrics {
	struct loop *loop;
	struct metrics_sources from;
	int fd; /* -1: no file */
	bool emit_id;
	json_t *properties; /* NULL: none */
	bool is_started, is_over;
	struct loop_op timer;
	uint64_t startup_us, startup_cpu_us;
	uint64_t lines, missed, fails;
	uint64_t sighup, sigxcpu;
	/* The end of a line that a full FIFO or disk took the beginning of; NULL: none. */
	char *rest;
	size_t rest_len, rest_at;
	struct metrics_values last; /* as of the last line that was written */
};

/* The line, with a newline at the end, malloc'ed; *ret_now is what is to become m->last when it is
 * written.  NULL: no memory. */
char *metrics_make_line(struct metrics *m, struct metrics_values *ret_now, size_t *ret_len);

/* --- OpenMetrics 1.0 --- */

/* A family of metrics, whose samples follow.  unit may be NULL; otherwise name ends in it. */
void text_family(FILE *f, const char *name, const char *type, const char *unit, const char *help);

/* A family of one sample. */
void text_gauge(FILE *f, const char *name, const char *unit, const char *help, uint64_t value);
void text_counter(FILE *f, const char *name, const char *unit, const char *help, uint64_t value);
void text_gauge_seconds(FILE *f, const char *name, const char *help, uint64_t us);

/* A label's value, in quotation marks and escaped. */
void text_value(FILE *f, const char *value);

/* The end of a sample's labels, and its value: a number, or microseconds as seconds. */
void text_end(FILE *f, uint64_t value);
void text_end_seconds(FILE *f, uint64_t us);

void text_devices(FILE *f, const struct vm *vm);
void text_snapshots(FILE *f, const struct snapshots *s, const struct api_saves *saves);
void text_vcpus(FILE *f, const struct vm *vm);

#endif
