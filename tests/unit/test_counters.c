/* Counters and histograms of a device. */
#include "t.h"

#include <pthread.h>

#include "virtio/counters.h"

TestSuite(counters, .timeout = T_SECONDS);

#define US 1000ULL

/* The one bucket that a latency falls into. */
static unsigned bucket_of(uint64_t ns)
{
	struct histogram h = { 0 };
	unsigned found = HISTOGRAM_BUCKETS, n = 0;

	histogram_add(&h, ns);
	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
		if (count_get(&h.bucket[i]) == 0)
			continue;
		found = i;
		n += (unsigned)count_get(&h.bucket[i]);
	}
	t_uint(n, 1);
	t_uint(count_get(&h.sum_us), ns / US);
	return found;
}

Test(counters, a_latency_falls_into_the_bucket_of_its_power_of_two)
{
	t_uint(bucket_of(0), 0);
	t_uint(bucket_of(999), 0);
	for (unsigned i = 1; i < HISTOGRAM_BUCKETS - 1; i++) {
		/* Below 2^i microseconds and not below 2^(i - 1). */
		cr_expect(eq(uint, bucket_of(US << (i - 1)), i), "2^%u us", i - 1);
		cr_expect(eq(uint, bucket_of((US << i) - 1), i), "just below 2^%u us", i);
	}
}

Test(counters, the_last_bucket_has_all_that_are_longer)
{
	t_uint(bucket_of(US << (HISTOGRAM_BUCKETS - 2)), HISTOGRAM_BUCKETS - 1);
	t_uint(bucket_of(US << HISTOGRAM_BUCKETS), HISTOGRAM_BUCKETS - 1);
	t_uint(bucket_of(UINT64_MAX), HISTOGRAM_BUCKETS - 1);
}

Test(counters, a_quantile_is_the_least_bound_below_which_so_many_lie)
{
	struct histogram h = { 0 };

	t_uint(histogram_quantile_us(&h, 500), 0);
	for (unsigned i = 0; i < 990; i++)
		histogram_add(&h, 100 * US); /* below 128 */
	for (unsigned i = 0; i < 9; i++)
		histogram_add(&h, 1000 * US); /* below 1024 */
	histogram_add(&h, 5000 * US);         /* below 8192 */
	t_uint(histogram_quantile_us(&h, 1), 128);
	t_uint(histogram_quantile_us(&h, 500), 128);
	t_uint(histogram_quantile_us(&h, 990), 128);
	t_uint(histogram_quantile_us(&h, 991), 1024);
	t_uint(histogram_quantile_us(&h, 999), 1024);
	t_uint(histogram_quantile_us(&h, 1000), 8192);
	t_uint(count_get(&h.sum_us), 990 * 100 + 9 * 1000 + 5000);
}

Test(counters, quantiles_of_one_latency_are_all_the_same)
{
	struct histogram h = { 0 };

	histogram_add(&h, 0);
	for (unsigned per_mille = 1; per_mille <= 1000; per_mille++)
		cr_expect(eq(u64, histogram_quantile_us(&h, per_mille), 1), "%u", per_mille);
}

struct reader {
	struct histogram h;
	_Atomic uint64_t counter;
	_Atomic bool stop;
	unsigned wrong;
};

static void *read_main(void *arg)
{
	struct reader *r = arg;
	uint64_t last = 0;

	while (!r->stop) {
		uint64_t now = count_get(&r->counter), us = histogram_quantile_us(&r->h, 500);

		r->wrong += now < last || (us != 0 && us != 2);
		last = now;
	}
	return NULL;
}

Test(counters, another_thread_reads_whole_numbers_that_only_grow)
{
	enum { TURNS = 1000000 };
	static struct reader r;
	pthread_t thread;

	t_int(pthread_create(&thread, NULL, read_main, &r), 0);
	for (unsigned i = 0; i < TURNS; i++) {
		/* Carries into the upper half all the time. */
		count_add(&r.counter, 0xfffffff1);
		histogram_add(&r.h, US);
	}
	r.stop = true;
	t_int(pthread_join(thread, NULL), 0);
	t_uint(r.wrong, 0);
	t_uint(count_get(&r.counter), TURNS * 0xfffffff1ULL);
}
