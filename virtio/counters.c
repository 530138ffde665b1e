/* Histograms of latencies (counters.h). */
#include "virtio/counters.h"

static unsigned bucket_of(uint64_t us)
{
	unsigned bits = us == 0 ? 0 : 64 - (unsigned)__builtin_clzll(us);

	return bits < HISTOGRAM_BUCKETS ? bits : HISTOGRAM_BUCKETS - 1;
}

void histogram_add(struct histogram *h, uint64_t ns)
{
	uint64_t us = ns / 1000;

	count_add(&h->bucket[bucket_of(us)], 1);
	count_add(&h->sum_us, us);
}

uint64_t histogram_quantile_us(const struct histogram *h, unsigned per_mille)
{
	uint64_t count[HISTOGRAM_BUCKETS], total = 0, seen = 0;

	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
		count[i] = count_get(&h->bucket[i]);
		total += count[i];
	}
	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
		seen += count[i];
		/* In this order nothing overflows before 2^54 requests. */
		if (total > 0 && seen * 1000 >= total * per_mille)
			return UINT64_C(1) << i;
	}
	return 0;
}
