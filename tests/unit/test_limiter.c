/*
 * Token buckets under a clock of our own: how much passes in which time, for sizes from one token
 * to all that fit into 64 bits.
 */
#include "t.h"

#include "virtio/limiter.h"
#include "virtio/state.h"

TestSuite(limiter, .timeout = T_SECONDS);

#define MS  1000000ULL
#define SEC (1000 * MS)

static struct limiter make(struct bucket_config bytes, struct bucket_config ops, uint64_t now)
{
	struct limiter_config cfg = { .bytes = bytes, .ops = ops };
	struct limiter l;

	memset(&l, 0xee, sizeof(l));
	limiter_init(&l, &cfg, now);
	return l;
}

static const struct bucket_config none = { 0 };

/* As a device does: waits as long as it is told, then asks again.  Bytes that passed up to end. */
static uint64_t run_until(struct limiter *l, uint64_t *now, uint64_t end, uint64_t request)
{
	uint64_t passed = 0, wait;

	while (*now < end) {
		wait = limiter_take(l, request, *now);
		if (wait == 0) {
			passed += request;
			continue;
		}
		if (wait < LIMITER_WAIT_MIN_NS)
			cr_fatal("told to wait %llu ns", (unsigned long long)wait);
		*now += wait;
	}
	return passed;
}

/* --- no limit --- */

Test(limiter, a_bucket_of_no_size_or_no_time_limits_nothing)
{
	static const struct bucket_config free[] = { { 0, 0, 0 }, { 0, 1000, 5 }, { 1000, 0, 5 } };

	for (unsigned i = 0; i < ARRAY_SIZE(free); i++) {
		struct limiter l = make(free[i], free[i], 77);

		t_false(limiter_is_limited(&l));
		for (unsigned k = 0; k < 1000; k++)
			t_uint(limiter_take(&l, UINT64_MAX, 77), 0);
		t_uint(limiter_take(&l, UINT64_MAX, 0), 0);
	}
}

Test(limiter, one_limited_bucket_is_a_limit)
{
	struct limiter bytes = make((struct bucket_config){ 1, 1, 0 }, none, 0);
	struct limiter ops = make(none, (struct bucket_config){ 1, 1, 0 }, 0);

	t_true(limiter_is_limited(&bytes));
	t_true(limiter_is_limited(&ops));
	t_uint(limiter_take(&bytes, 1, 0), 0);
	t_uint(limiter_take(&bytes, 0, 0), 0); /* no bytes are none */
	t_true(limiter_take(&bytes, 1, 0) > 0);
	t_uint(limiter_take(&ops, 1000, 0), 0);
	t_true(limiter_take(&ops, 0, 0) > 0);
}

/* --- rate --- */

struct rate {
	uint64_t size, refill_ms, request;
};

/* Within 5 % of the rate in each second after the first bucket is spent. */
static void keeps_rate(const struct rate *r, uint64_t seconds)
{
	struct limiter l = make((struct bucket_config){ r->size, r->refill_ms, 0 }, none, 5 * SEC);
	uint64_t now = 5 * SEC, total = run_until(&l, &now, now + 1, r->request);
	double rate = (double)r->size / (double)r->refill_ms * 1000;
	uint64_t start = now;

	/* The full bucket first, and at most one request more. */
	cr_expect(ge(u64, total, r->size - r->size % r->request));
	cr_expect(le(u64, total, r->size + r->request));
	total = run_until(&l, &now, start + seconds * SEC, r->request);
	cr_expect(gt(dbl, (double)total, rate * (double)seconds * 0.95 - (double)r->request),
		"%llu in %llu ms by %llu", (unsigned long long)r->size,
		(unsigned long long)r->refill_ms, (unsigned long long)r->request);
	cr_expect(lt(dbl, (double)total, rate * (double)seconds * 1.05 + (double)r->request),
		"%llu in %llu ms by %llu", (unsigned long long)r->size,
		(unsigned long long)r->refill_ms, (unsigned long long)r->request);
}

Test(limiter, rates_of_all_sizes_are_kept_within_5_percent)
{
	static const struct rate rows[] = { { 1, 10, 1 }, { 3, 7, 1 }, { 100, 1000, 1 },
		{ 1000, 100, 7 }, { 1 << 20, 1000, 4096 }, { 1 << 20, 1000, 1 << 20 },
		{ 10 << 20, 1000, 65536 }, { 1 << 20, 100, 131072 }, { 999983, 997, 512 },
		{ 10ULL << 30, 1000, 1 << 20 }, { 1ULL << 40, 1000, 1 << 30 },
		{ 1000000, 60000, 512 }, { 12345, 3, 1500 } };

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++)
		keeps_rate(&rows[i], MAX(1, 2 * rows[i].refill_ms / 1000));
}

Test(limiter, requests_larger_than_the_bucket_keep_the_rate_and_all_pass)
{
	static const struct rate rows[] = { { 4096, 10, 65536 }, { 1000, 1000, 1001 },
		{ 1000, 1000, 5000 }, { 1, 1, 512 }, { 1 << 20, 1000, 10 << 20 } };

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++)
		keeps_rate(&rows[i], 60);
}

Test(limiter, numbers_at_the_end_of_64_bits_do_not_overflow)
{
	static const uint64_t ends[] = { 1, 2, 1ULL << 32, 1ULL << 63, UINT64_MAX - 1, UINT64_MAX };

	for (unsigned s = 0; s < ARRAY_SIZE(ends); s++) {
		for (unsigned r = 0; r < ARRAY_SIZE(ends); r++) {
			for (unsigned k = 0; k < ARRAY_SIZE(ends); k++) {
				struct limiter l = make(
					(struct bucket_config){ ends[s], ends[r], 0 }, none, 0);
				uint64_t wait;

				/* Once is always possible with a full bucket. */
				t_uint(limiter_take(&l, ends[k], 0), 0);
				t_uint(l.bytes.tokens, ends[s] - MIN(ends[s], ends[k]));
				t_uint(l.bytes.debt, ends[k] - MIN(ends[s], ends[k]));
				wait = limiter_take(&l, ends[k], UINT64_MAX / 2);
				t_true(wait == 0 || wait >= LIMITER_WAIT_MIN_NS);
				(void)limiter_take(&l, ends[k], UINT64_MAX);
				t_true(l.bytes.tokens <= ends[s]);
			}
		}
	}
}

Test(limiter, the_largest_rate_of_all_passes_everything_and_a_slow_one_says_how_long)
{
	struct limiter l = make((struct bucket_config){ UINT64_MAX, 1, 0 }, none, 0);
	struct limiter slow = make((struct bucket_config){ 1000, 1000, 0 }, none, 0);
	struct limiter year = make((struct bucket_config){ 10, 365ULL * 86400 * 1000, 0 }, none, 0);

	for (uint64_t i = 0; i < 100; i++)
		t_uint(limiter_take(&l, UINT64_MAX / 2, i * MS), 0);
	t_uint(limiter_take(&slow, 1000, 0), 0);
	t_uint(limiter_take(&slow, 1, 0), MS);
	t_uint(limiter_take(&slow, 500, 0), 500 * MS);
	t_uint(limiter_take(&slow, 1000, 0), SEC);
	t_uint(limiter_take(&slow, 1000, SEC - 1), LIMITER_WAIT_MIN_NS);
	t_uint(limiter_take(&slow, 1000, SEC), 0);
	t_uint(limiter_take(&year, 10, 0), 0);
	t_uint(limiter_take(&year, 1, 0), 365ULL * 8640 * SEC);
}

Test(limiter, a_refill_that_takes_for_ever_gives_nothing_and_its_wait_is_the_longest)
{
	struct limiter l = make((struct bucket_config){ 1, UINT64_MAX, 0 }, none, 0);

	t_uint(limiter_take(&l, 3, 0), 0);
	t_uint(limiter_take(&l, 1, 0), UINT64_MAX);
	t_uint(limiter_take(&l, 1, 1000000 * SEC), UINT64_MAX);
	t_uint(l.bytes.debt, 2);
}

Test(limiter, waits_are_rounded_up_and_what_flows_over_is_gone_to_the_last_part)
{
	/* A token is 2333333 1/3 ns. */
	struct limiter l = make((struct bucket_config){ 3, 7, 0 }, none, 0);

	t_uint(limiter_take(&l, 3, 100 * MS + 1), 0);
	t_uint(limiter_take(&l, 1, 100 * MS + 1), 2333334);
	t_true(limiter_take(&l, 1, 100 * MS + 2333334) > 0);
	t_uint(limiter_take(&l, 1, 100 * MS + 2333335), 0);
}

/* --- smoothness --- */

/*
 * In any 5 ms no more passes than flows in meanwhile, a full bucket and what one request takes too
 * much; with the bucket empty no more than what flows in and two requests.
 */
Test(limiter, a_limited_stream_is_smooth)
{
	enum { SIZE = 10 << 20, REQUEST = 4096, STEPS = 4000 };
	struct limiter l = make((struct bucket_config){ SIZE, 1000, 0 }, none, 0);
	static uint64_t passed[STEPS]; /* in each half millisecond */
	uint64_t now = 0, window = 0, most = 0, flow = SIZE / 200;

	(void)run_until(&l, &now, 1, REQUEST);
	for (uint64_t step = 0; step < STEPS; step++) {
		uint64_t at = now + step * MS / 2;

		while (limiter_take(&l, REQUEST, at) == 0)
			passed[step] += REQUEST;
		window += passed[step] - (step >= 10 ? passed[step - 10] : 0);
		most = MAX(most, window);
	}
	t_true(most <= flow + 2 * REQUEST);
	t_true(most >= flow - 2 * REQUEST);
	/* A pause of any length saves up one bucket and no more. */
	window = 0;
	while (limiter_take(&l, REQUEST, now + 3600 * SEC) == 0)
		window += REQUEST;
	t_true(window <= SIZE);
	t_true(window > SIZE - REQUEST);
}

/* --- burst --- */

Test(limiter, a_burst_is_spent_first_and_once)
{
	struct limiter l = make((struct bucket_config){ 1000, 1000, 5000 }, none, 0);
	uint64_t passed = 0;

	while (limiter_take(&l, 100, 0) == 0)
		passed += 100;
	t_uint(passed, 6000);
	t_uint(l.bytes.burst, 0);
	for (uint64_t s = 1; s <= 10; s++) {
		passed = 0;
		while (limiter_take(&l, 100, s * SEC) == 0)
			passed += 100;
		t_uint(passed, 1000);
	}
}

Test(limiter, while_a_burst_lasts_nothing_flows_in)
{
	struct limiter l = make((struct bucket_config){ 1000, 1000, 1000 }, none, 0);

	t_uint(limiter_take(&l, 900, 0), 0);
	t_uint(limiter_take(&l, 100, 3600 * SEC), 0); /* the rest of it, an hour later */
	t_uint(l.bytes.tokens, 1000);
	t_uint(limiter_take(&l, 1000, 3600 * SEC), 0);
	t_uint(limiter_take(&l, 1000, 3600 * SEC), SEC);
}

Test(limiter, a_request_may_take_the_end_of_a_burst_and_the_bucket)
{
	struct limiter l = make((struct bucket_config){ 1000, 1000, 100 }, none, 0);

	t_uint(limiter_take(&l, 600, 0), 0);
	t_uint(l.bytes.burst, 0);
	t_uint(l.bytes.tokens, 500);
	t_uint(limiter_take(&l, 600, 0), 100 * MS);
}

Test(limiter, the_bucket_begins_to_fill_when_its_burst_ends)
{
	struct limiter l = make((struct bucket_config){ 1000, 1000, 100 }, none, 0);

	t_uint(limiter_take(&l, 50, 0), 0);
	t_uint(limiter_take(&l, 1050, 3600 * SEC), 0);
	t_uint(limiter_take(&l, 1000, 3600 * SEC), SEC);
}

/* --- debt --- */

Test(limiter, what_a_large_request_takes_too_much_is_owed_before_anything_passes)
{
	struct limiter l = make((struct bucket_config){ 1000, 1000, 0 }, none, 0);

	t_uint(limiter_take(&l, 3000, 0), 0);
	t_uint(limiter_take(&l, 1, 0), 2 * SEC);
	t_uint(limiter_take(&l, 0, 0), 0); /* what needs none does not wait */
	t_uint(limiter_take(&l, 3000, SEC), SEC);
	t_true(limiter_take(&l, 1, 2 * SEC - 1) > 0);
	/* Nothing is owed any more: the next large one goes, on an empty bucket. */
	t_uint(limiter_take(&l, 3000, 2 * SEC), 0);
	t_uint(limiter_take(&l, 3000, 2 * SEC), 3 * SEC);
}

Test(limiter, a_request_as_large_as_the_bucket_waits_for_all_of_it)
{
	struct limiter l = make((struct bucket_config){ 1000, 1000, 0 }, none, 0);

	t_uint(limiter_take(&l, 1, 0), 0);
	t_uint(limiter_take(&l, 1000, 0), MS);
	t_uint(limiter_take(&l, 1000, MS), 0);
	t_uint(l.bytes.debt, 0);
}

/* --- two buckets --- */

Test(limiter, both_buckets_must_let_it_go_and_neither_pays_when_one_does_not)
{
	struct limiter l = make(
		(struct bucket_config){ 1000, 1000, 0 }, (struct bucket_config){ 2, 1000, 0 }, 0);

	t_uint(limiter_take(&l, 1000, 0), 0);
	t_uint(limiter_take(&l, 200, 0), 200 * MS); /* bytes */
	t_uint(l.ops.tokens, 1);
	t_uint(limiter_take(&l, 0, 0), 0);
	t_uint(limiter_take(&l, 0, 0), 500 * MS);   /* operations */
	t_uint(limiter_take(&l, 800, 0), 800 * MS); /* the longer of both */
	t_uint(limiter_take(&l, 1, 100 * MS), 400 * MS);
	t_uint(l.bytes.tokens, 100);
}

/* --- clocks --- */

Test(limiter, a_clock_that_stands_still_or_goes_back_gives_nothing)
{
	struct limiter l = make((struct bucket_config){ 1000, 1000, 0 }, none, 10 * SEC);

	t_uint(limiter_take(&l, 1000, 10 * SEC), 0);
	for (unsigned i = 0; i < 100; i++)
		t_uint(limiter_take(&l, 1, 10 * SEC), MS);
	t_true(limiter_take(&l, 1, 0) > 0);
	t_true(limiter_take(&l, 1, 9 * SEC) > 0);
	/* And nothing is counted twice when it comes again. */
	t_uint(limiter_take(&l, 500, 10 * SEC + 500 * MS), 0);
	t_true(limiter_take(&l, 1, 10 * SEC + 500 * MS) > 0);
}

Test(limiter, a_clock_read_very_often_loses_no_part_of_a_token)
{
	/* Three tokens in 7 ms: no step of 1000 ns is a whole one. */
	struct limiter l = make((struct bucket_config){ 3, 7, 0 }, none, 0);
	uint64_t passed = 0;

	for (uint64_t now = 0; now < SEC; now += 1000)
		passed += limiter_take(&l, 1, now) == 0;
	t_uint(passed, 3 + 428);
}

/* --- changes --- */

Test(limiter, a_change_at_run_time_fills_what_it_changes_and_leaves_the_rest)
{
	struct bucket_config faster = { 5000, 1000, 10 }, off = { 0 };
	struct limiter l = make(
		(struct bucket_config){ 1000, 1000, 0 }, (struct bucket_config){ 2, 1000, 0 }, 0);

	t_uint(limiter_take(&l, 3000, 0), 0);
	bucket_init(&l.bytes, &faster, SEC);
	t_uint(l.bytes.debt, 0);
	t_uint(l.bytes.tokens, 5000);
	t_uint(l.bytes.burst, 10);
	t_uint(l.ops.tokens, 1);
	t_uint(limiter_take(&l, 5010, SEC), 0);
	t_true(limiter_take(&l, 1, SEC) > 0);
	bucket_init(&l.bytes, &off, SEC);
	t_uint(limiter_take(&l, UINT64_MAX, SEC), 0);
	t_true(limiter_is_limited(&l)); /* of operations, still */
}

/* --- what is dropped instead --- */

Test(limiter, some_of_what_is_asked_for_may_be_had)
{
	struct bucket b;

	bucket_init(&b, &(struct bucket_config){ .size = 100, .refill_ms = 1000, .burst = 30 }, 0);
	t_uint(bucket_take_some(&b, 20, 0), 20); /* of the burst */
	t_uint(bucket_take_some(&b, 60, 0), 60);
	t_uint(bucket_take_some(&b, 60, 0), 50);
	t_uint(bucket_take_some(&b, 60, 0), 0);
	t_uint(bucket_take_some(&b, 60, 100 * MS), 10);
	t_uint(bucket_take_some(&b, 60, 100 * MS), 0);
	t_uint(bucket_take_some(&b, UINT64_MAX, 10 * SEC), 100);
	t_uint(bucket_take_some(&b, 0, 20 * SEC), 0);
	t_uint(b.debt, 0);
	bucket_init(&b, &(struct bucket_config){ 0 }, 0);
	t_uint(bucket_take_some(&b, UINT64_MAX, 0), UINT64_MAX);
	bucket_init(&b,
		&(struct bucket_config){ .size = UINT64_MAX, .refill_ms = 1, .burst = UINT64_MAX },
		0);
	t_uint(bucket_take_some(&b, UINT64_MAX, 0), UINT64_MAX);
	t_uint(bucket_take_some(&b, UINT64_MAX, 0), UINT64_MAX);
	t_uint(bucket_take_some(&b, UINT64_MAX, 0), 0);
}

/* --- state --- */

Test(limiter, one_that_was_loaded_goes_on_as_the_other_would_have)
{
	static const struct {
		const char *name;
		struct bucket_config bytes, ops;
	} rows[] = { { "plain", { 1000, 100, 0 }, { 0 } },
		{ "with a burst", { 1000, 100, 9000 }, { 0 } },
		{ "both", { 4096, 7, 100 }, { 3, 70, 5 } }, { "slow", { 7, 3600000, 0 }, { 0 } },
		{ "none", { 0 }, { 0 } } };

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		for (unsigned when = 0; when < 40; when++) {
			/* The other's clock is that of another host. */
			const uint64_t there = 77 * SEC;
			struct limiter a = make(rows[i].bytes, rows[i].ops, 0),
				       b = make(rows[i].bytes, rows[i].ops, there);
			struct limiter_state s;
			uint64_t now = 0;

			for (unsigned k = 0; k < when; k++, now += 3333333)
				(void)limiter_take(&a, 600 + k * 100, now);
			limiter_save(&a, now, &s);
			limiter_load(&b, &s, there);
			for (unsigned k = 0; k < 100; k++, now += 1234567) {
				uint64_t wait = limiter_take(&a, k * 50, now);

				t_row_int(rows[i].name,
					limiter_take(&b, k * 50, there + k * 1234567ULL), wait);
			}
		}
	}
}

Test(limiter, what_flowed_in_before_the_save_is_saved_and_saving_changes_nothing)
{
	struct limiter l = make((struct bucket_config){ 1000, 1000, 0 }, none, 0), before;
	struct limiter_state s;

	t_uint(limiter_take(&l, 1000, 0), 0);
	before = l;
	limiter_save(&l, SEC / 2, &s);
	t_uint(s.bytes.tokens, 500);
	t_int(memcmp(&before, &l, sizeof(l)), 0);
	limiter_save(&l, 0, &s); /* a clock that went back */
	t_uint(s.bytes.tokens, 0);
}

Test(limiter, more_than_the_configuration_allows_is_cut_down)
{
	struct limiter l =
		make((struct bucket_config){ 100, 50, 30 }, (struct bucket_config){ 5, 1, 0 }, 0);
	struct limiter_state s = { .bytes = { UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX },
		.ops = { 6, 0, 7, 1000000 } };

	limiter_load(&l, &s, SEC);
	t_uint(l.bytes.tokens, 100);
	t_uint(l.bytes.burst, 30);
	t_uint(l.bytes.debt, UINT32_MAX);
	t_uint(l.bytes.rest, 50 * MS - 1);
	t_uint(l.bytes.at_ns, SEC);
	t_uint(l.ops.tokens, 5);
	t_uint(l.ops.burst, 0);
	t_uint(l.ops.rest, MS - 1);
	/* Nothing owed lasts for ever. */
	t_true(limiter_take(&l, 200, SEC) < UINT64_MAX);
}

Test(limiter, no_value_of_a_state_leads_beyond_a_bucket)
{
	static const uint64_t values[] = { 0, 1, 99, 100, 101, UINT32_MAX, UINT64_MAX };
	static const struct bucket_config configs[] = { { 100, 1, 0 }, { 100, 1, 50 },
		{ 1, UINT64_MAX, 0 }, { UINT64_MAX, 1, 0 }, { UINT64_MAX, UINT64_MAX, UINT64_MAX },
		{ 0, 0, 0 } };
	enum { N = ARRAY_SIZE(values) };

	for (unsigned i = 0; i < N * N * N * N * ARRAY_SIZE(configs); i++) {
		const struct bucket_config *c = &configs[i / (N * N * N * N)];
		struct limiter l = make(*c, none, 0);
		struct limiter_state s = { .bytes = { values[i % N], values[i / N % N],
						   values[i / N / N % N],
						   values[i / N / N / N % N] } };

		limiter_load(&l, &s, SEC);
		for (unsigned k = 0; k < 4; k++) {
			uint64_t wait = limiter_take(&l, 150, SEC + k * SEC);

			t_true(wait == 0 || wait >= LIMITER_WAIT_MIN_NS);
			t_true(l.bytes.tokens <= c->size && l.bytes.burst <= c->burst);
		}
	}
}
