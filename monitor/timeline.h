/*
 * The cold start as points in time: from the start of the process to the guest's own word that it
 * is up.
 *
 * Each point is set once, by whichever thread passes it first; reading is for after the machine has
 * ended.
 */
#ifndef MVM_TIMELINE_H
#define MVM_TIMELINE_H

#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>

enum timeline_point {
	TIMELINE_PROCESS, /* exec, when the starter told us (--start-time-us), else main() */
	TIMELINE_MAIN,    /* main() */
	TIMELINE_ASKED, /* the machine's start was asked for: by the command line, or by a client */
	TIMELINE_BUILT, /* all KVM objects and vCPUs are ready, the kernel or the state is loaded */
	TIMELINE_ENTERED, /* the boot vCPU goes into KVM_RUN for the first time */
	TIMELINE_EXITED,  /* it comes back for the first time: guest instructions have run */
	TIMELINE_KERNEL,  /* the guest kernel's clock began; computed from the mark */
	TIMELINE_MARK,    /* the guest wrote its time mark (legacy/post.h): init runs */
	TIMELINE_ENDED,   /* the machine ended */
	TIMELINE_POINTS,
};

struct timeline {
	_Atomic uint64_t us[TIMELINE_POINTS]; /* CLOCK_MONOTONIC in microseconds, 0: not reached */
};

uint64_t timeline_now_us(void);

/* Sets a point to now, or to at_us; the first caller wins.  Any thread. */
void timeline_set(struct timeline *t, enum timeline_point point);
void timeline_set_at(struct timeline *t, enum timeline_point point, uint64_t at_us);

/* The guest's mark: now is TIMELINE_MARK, and guest_us before it was TIMELINE_KERNEL. */
void timeline_mark(struct timeline *t, uint32_t guest_us);

/* A table in milliseconds since the start for people; the points that were reached. */
void timeline_print(const struct timeline *t, FILE *out);

/* One JSON object on a line: {"process_us": N, ...}, absolute CLOCK_MONOTONIC microseconds. */
void timeline_print_json(const struct timeline *t, FILE *out);

#endif
