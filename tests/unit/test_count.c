/* Tallies, and what ticks are worth. */
#include "t.h"

#include "core/count.h"

TestSuite(count, .timeout = T_SECONDS);

Test(count, a_tally_has_number_sum_least_and_most)
{
	static const uint64_t took[] = { 5000, 3000, 9000, 4000 };
	struct tally t = { 0 };
	struct tally_us us = tally_read(&t, NULL);

	t_uint(us.count + us.sum_us + us.min_us + us.max_us, 0);
	for (unsigned i = 0; i < ARRAY_SIZE(took); i++)
		tally_add(&t, took[i]);
	us = tally_read(&t, NULL);
	t_uint(us.count, 4);
	t_uint(us.sum_us, 21);
	t_uint(us.min_us, 3);
	t_uint(us.max_us, 9);
	tally_add(&t, 0);
	t_uint(tally_read(&t, NULL).min_us, 0);
}

Test(count, tallies_are_added_and_empty_ones_change_nothing)
{
	struct tally_us a = { 0 }, b = { .count = 2, .sum_us = 10, .min_us = 4, .max_us = 6 };
	const struct tally_us c = { .count = 1, .sum_us = 3, .min_us = 3, .max_us = 3 };
	const struct tally_us none = { 0 };

	tally_us_merge(&a, &none);
	t_uint(a.count, 0);
	tally_us_merge(&a, &b);
	t_uint(a.min_us, 4);
	tally_us_merge(&a, &c);
	tally_us_merge(&a, &none);
	t_uint(a.count, 3);
	t_uint(a.sum_us, 13);
	t_uint(a.min_us, 3);
	t_uint(a.max_us, 6);
}

Test(count, ticks_are_microseconds_within_a_few_percent)
{
	struct tick_clock c;
	struct tally t = { 0 };
	uint64_t began, us;

	tick_clock_init(&c);
	began = tick_now();
	(void)usleep(50000);
	tally_add(&t, tick_now() - began);
	us = tally_read(&t, &c).sum_us;
	t_true(us >= 49000);
	/* Both clocks saw the same sleep, however long it became. */
	t_true(tick_to_us(&c, tick_now() - c.ticks) + 2000 > us);
}

Test(count, a_counter_that_stands_still_is_no_division_by_zero)
{
	struct tick_clock c;

	tick_clock_init(&c);
	c.ticks += UINT64_C(1) << 62;
	t_uint(tick_to_us(&c, 1000), 0);
	c.ticks = tick_now();
	(void)tick_to_us(&c, UINT64_MAX);
}
