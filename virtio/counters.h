/*
 * What a device counts.  Written by the loop's thread, but for rule_breaks; read by anybody: every
 * counter is a whole number at any time, but they are not a snapshot of one moment.
 */
#ifndef MVM_VIRTIO_COUNTERS_H
#define MVM_VIRTIO_COUNTERS_H

#include <stdatomic.h>
#include <stdint.h>

/* Bucket i of a histogram holds latencies below 2^i microseconds and not below 2^(i-1); the last
 * one holds all that are longer. */
enum { HISTOGRAM_BUCKETS = 24 };

struct histogram {
	_Atomic uint64_t bucket[HISTOGRAM_BUCKETS];
	_Atomic uint64_t sum_us;
};

/* What is read and what is written, from the guest's side: a frame that the guest sends is
 * written. */
enum counter_kind { COUNT_READ, COUNT_WRITE, COUNT_FLUSH, COUNT_DISCARD, COUNT_OTHER, COUNT_KINDS };

struct virtio_counters {
	_Atomic uint64_t requests[COUNT_KINDS];
	_Atomic uint64_t bytes[COUNT_KINDS];
	_Atomic uint64_t errors;      /* requests that failed, frames that were refused */
	_Atomic uint64_t dropped;     /* frames that nobody had room for */
	_Atomic uint64_t throttled;   /* times that a rate limiter held the device back */
	_Atomic uint64_t kicks;       /* notifications that reached the loop */
	_Atomic uint64_t interrupts;  /* sent to the guest */
	_Atomic uint64_t rule_breaks; /* any thread */
	struct histogram latency;     /* of block requests, from the queue to the answer */
};

/* Adds to a counter that only this thread writes: no locked instruction. */
static inline void count_add(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n,
		memory_order_relaxed);
}

static inline uint64_t count_get(const _Atomic uint64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

/* ns is how long it took. */
void histogram_add(struct histogram *h, uint64_t ns);

/* The smallest bound in microseconds below which at least the given part (1 to 1000 of 1000) of all
 * latencies lie; 0 when there are none. */
uint64_t histogram_quantile_us(const struct histogram *h, unsigned per_mille);

#endif
