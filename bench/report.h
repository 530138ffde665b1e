/*
 * Samples and how they are told: a table for people, or JSON lines.
 */
#ifndef BENCH_REPORT_H
#define BENCH_REPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SAMPLES_MAX = 100000 };

struct samples {
	double *value;
	size_t n, room;
};

/* Aborts the program without memory: it is a benchmark. */
void samples_add(struct samples *s, double value);
void samples_free(struct samples *s);

/* The p-th percentile (0 to 100) by nearest rank; 0 without samples. */
double samples_percentile(struct samples *s, double p);

struct report {
	const char *bench;
	bool json;
	bool has_head; /* the table's heading was printed */
};

/*
 * One metric.  against: the floor's or the peer's samples, or NULL; peer: its name when it is
 * another monitor, NULL for the floor.
 */
void report_metric(struct report *r, const char *metric, const char *unit, struct samples *s,
	struct samples *against, const char *peer);

#endif
