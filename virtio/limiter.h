/*
 * A rate limiter: one token bucket for bytes and one for operations.
 *
 * A bucket holds at most size tokens, starts full and refills at a constant size per refill_ms; the
 * refill is continuous, so a limited stream is smooth.  burst is an extra credit that is spent
 * first and never comes back; while it lasts the bucket is not refilled.  A request larger than the
 * bucket is never refused for ever: it passes when nothing is owed, empties the bucket, and what it
 * took too much is owed and waited for before anything else passes.
 *
 * No clock, no timer, no lock: the caller says what time it is (ns of CLOCK_MONOTONIC) and waits as
 * long as it is told.  One thread.
 */
#ifndef MVM_VIRTIO_LIMITER_H
#define MVM_VIRTIO_LIMITER_H

#include <stdbool.h>
#include <stdint.h>

/* size 0 or refill_ms 0: no limit. */
struct bucket_config {
	uint64_t size;      /* tokens: bytes or operations */
	uint64_t refill_ms; /* time to fill an empty bucket */
	uint64_t burst;     /* tokens, once */
};

struct limiter_config {
	struct bucket_config bytes, ops;
};

struct bucket {
	struct bucket_config cfg;
	uint64_t tokens; /* at most cfg.size */
	uint64_t debt;   /* tokens taken beyond an empty bucket, paid back before tokens grow */
	uint64_t burst;  /* what is left of cfg.burst */
	uint64_t at_ns;  /* up to when the refill has been counted */
	uint64_t rest;   /* of a token that is not whole yet, in units of 1 / refill time in ns */
};

struct limiter {
	struct bucket bytes, ops;
};

/* Full buckets.  Also changes a limiter at run time. */
void limiter_init(struct limiter *l, const struct limiter_config *cfg, uint64_t now_ns);

/* Replaces one bucket and leaves the other as it is. */
void bucket_init(struct bucket *b, const struct bucket_config *cfg, uint64_t now_ns);

bool limiter_is_limited(const struct limiter *l);

/*
 * Takes the tokens of one operation of so many bytes: 0, and the operation may go ahead; or how
 * many ns to wait before asking again, at least LIMITER_WAIT_MIN_NS, and then nothing was taken.
 */
enum { LIMITER_WAIT_MIN_NS = 1000000 };
uint64_t limiter_take(struct limiter *l, uint64_t bytes, uint64_t now_ns);

/* Takes as many of n tokens as there are now, and how many: for what is not waited for but dropped.
 * All of them where there is no limit. */
uint64_t bucket_take_some(struct bucket *b, uint64_t n, uint64_t now_ns);

#endif
