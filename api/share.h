/*
 * How much of the loop's time the server may take.  Arithmetic only: the caller has the clock.
 *
 *     share_look()    what time it is, how many completions of others the loop has served, and
 *                     whether others wait for the host
 *     share_wait()    how long the next piece of work has to wait
 *     share_charge()  what a piece of work has cost
 *
 * As long as others wait or were served within the last SHARE_CALM_NS the server earns
 * SHARE_PER_MILLE of the time that passes, and may have saved up SHARE_BURST_NS; what it spends
 * beyond that is a debt, which it works off by waiting.  When nobody else is served it is free to
 * take all.
 */
#ifndef MVM_API_SHARE_H
#define MVM_API_SHARE_H

#include <stdbool.h>
#include <stdint.h>

enum {
	SHARE_PER_MILLE = 10,
	SHARE_BURST_NS = 200000,
	SHARE_CALM_NS = 10000000,
	SHARE_WAIT_MAX_NS = 10000000, /* then it looks again: others may have become calm */
};

/* Zeroed: calm. */
struct share {
	int64_t saved_ns; /* negative: debt */
	uint64_t at_ns;   /* of the last look */
	uint64_t busy_ns; /* of the last look that saw others served */
	uint64_t others;  /* served until then */
	bool is_busy;
};

/* now_ns and others never go back. */
void share_look(struct share *s, uint64_t now_ns, uint64_t others, bool others_wait);

/* Nanoseconds until the next piece of work may be done; 0: now. */
uint64_t share_wait(const struct share *s);

void share_charge(struct share *s, uint64_t ns);

#endif
