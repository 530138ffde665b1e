/*
 * What a device counts.  Written by the loop's thread, but for what says "any thread"; read by
 * anybody (core/count.h).
 */
#ifndef MVM_VIRTIO_COUNTERS_H
#define MVM_VIRTIO_COUNTERS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/count.h"

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

enum { COUNT_WAYS = 2 };

static inline bool count_is_way(enum counter_kind kind)
{
	return kind == COUNT_READ || kind == COUNT_WRITE;
}

/*
 * One way of a device: COUNT_READ, or COUNT_WRITE.  A disk has one queue and one limiter for both
 * ways; what it counts of these is under COUNT_READ.
 */
struct way_counters {
	_Atomic uint64_t kicks;          /* of the queue */
	_Atomic uint64_t no_buffer;      /* a look at the queue that found nothing in it */
	_Atomic uint64_t left;           /* times that a share ended before the queue did */
	_Atomic uint64_t throttled;      /* times that the limiter held something back */
	_Atomic uint64_t limiter_events; /* ends of that */
	_Atomic uint64_t fails;          /* requests and frames that came to nothing */
	_Atomic uint64_t backend_events; /* times that the tap said that it is ready */
	_Atomic uint64_t backend_fails;  /* calls on the tap that failed */
	/* How long it took. A disk: requests, from the queue to the answer, in ns.  A network card:
	 * only COUNT_WRITE, writes to the tap, in ticks. */
	struct tally took;
};

struct virtio_counters {
	_Atomic uint64_t requests[COUNT_KINDS];
	_Atomic uint64_t bytes[COUNT_KINDS];
	_Atomic uint64_t errors;      /* requests that failed, frames that were refused */
	_Atomic uint64_t unsupported; /* of them: what the device does not do */
	_Atomic uint64_t dropped;     /* frames that nobody had room for */
	_Atomic uint64_t throttled;   /* times that a rate limiter held the device back */
	_Atomic uint64_t kicks;       /* notifications that reached the loop */
	_Atomic uint64_t interrupts;  /* sent to the guest */
	_Atomic uint64_t
		config_changes;   /* of the configuration space that the driver was told of */
	_Atomic uint64_t updates; /* by the host's user: a new file, a new size, new limits */
	_Atomic uint64_t update_fails;
	_Atomic uint64_t malformed;      /* frames that were not sent because of their header */
	_Atomic uint64_t spoofed;        /* frames sent from another address than the card's */
	_Atomic uint64_t rule_breaks;    /* any thread */
	_Atomic uint64_t activate_fails; /* DRIVER_OK that was refused; any thread */
	_Atomic uint64_t config_fails;   /* accesses to what is no configuration; any thread */
	struct way_counters way[COUNT_WAYS];
	struct histogram latency; /* of block requests, from the queue to the answer */
};

/* Adds to a counter that any thread writes. */
static inline void count_any(_Atomic uint64_t *counter)
{
	atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

/* ns is how long it took. */
void histogram_add(struct histogram *h, uint64_t ns);

/* The smallest bound in microseconds below which at least the given part (1 to 1000 of 1000) of all
 * latencies lie; 0 when there are none. */
uint64_t histogram_quantile_us(const struct histogram *h, unsigned per_mille);

#endif
