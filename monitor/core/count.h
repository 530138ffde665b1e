/*
 * Counters that one thread writes and any thread reads, and how long things take.
 *
 * A counter is a whole number at any time; several of them are not a snapshot of one moment.
 * Writing one is a load and a store, no locked instruction.
 *
 * Time is taken in ticks of the CPU's time stamp counter, because reading that costs less than
 * reading a clock and needs no system call anywhere; what a tick is worth is found out when
 * somebody reads.
 */
#ifndef MVM_CORE_COUNT_H
#define MVM_CORE_COUNT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <x86intrin.h>

/* Adds to a counter that only this thread writes. */
static inline void count_add(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n,
		memory_order_relaxed);
}

static inline uint64_t count_get(const _Atomic uint64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

/* How often something was done, and how long it took; in ns or in ticks, as its owner says. */
struct tally {
	_Atomic uint64_t count, sum, min, max; /* min means nothing while count is 0 */
};

/* As count_add(). */
static inline void tally_add(struct tally *t, uint64_t took)
{
	uint64_t n = count_get(&t->count);

	if (n == 0 || took < count_get(&t->min))
		atomic_store_explicit(&t->min, took, memory_order_relaxed);
	if (took > count_get(&t->max))
		atomic_store_explicit(&t->max, took, memory_order_relaxed);
	count_add(&t->sum, took);
	atomic_store_explicit(&t->count, n + 1, memory_order_relaxed);
}

/* A tally as people and clients read it. */
struct tally_us {
	uint64_t count, sum_us, min_us, max_us; /* all 0 when there was nothing */
};

/* What a tick is worth: the counter beside CLOCK_MONOTONIC, at two moments. */
struct tick_clock {
	uint64_t ticks, ns; /* the earlier one */
};

static inline uint64_t tick_now(void)
{
	return __rdtsc();
}

void tick_clock_init(struct tick_clock *c);

/* How many microseconds so many ticks are, by what has passed since tick_clock_init(): the longer
 * ago that is, the better; within a percent from 10 ms on. */
uint64_t tick_to_us(const struct tick_clock *c, uint64_t ticks);

/* Reads t.  A tally in ns: c is NULL. */
struct tally_us tally_read(const struct tally *t, const struct tick_clock *c);

/* Adds b to a, as if they had been one. */
void tally_us_merge(struct tally_us *a, const struct tally_us *b);

#endif
