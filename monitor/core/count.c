/* What ticks are worth, and tallies for readers (count.h). */
#include "core/count.h"

#include <time.h>

#include "base/check.h"

static uint64_t now_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

void tick_clock_init(struct tick_clock *c)
{
	c->ticks = tick_now();
	c->ns = now_ns();
}

uint64_t tick_to_us(const struct tick_clock *c, uint64_t ticks)
{
	uint64_t ticks_passed = tick_now() - c->ticks, ns_passed = now_ns() - c->ns;

	/* A counter that stands still, or was set back. */
	if (ticks_passed == 0 || ticks_passed > INT64_MAX)
		return 0;
	return (uint64_t)((unsigned __int128)ticks * ns_passed / ticks_passed / 1000);
}

struct tally_us tally_read(const struct tally *t, const struct tick_clock *c)
{
	uint64_t raw[] = { count_get(&t->sum), count_get(&t->min), count_get(&t->max) };
	struct tally_us us = { .count = count_get(&t->count) };

	if (us.count == 0)
		return us;
	for (unsigned i = 0; i < ARRAY_SIZE(raw); i++)
		raw[i] = c ? tick_to_us(c, raw[i]) : raw[i] / 1000;
	us.sum_us = raw[0];
	us.min_us = raw[1];
	us.max_us = raw[2];
	return us;
}

void tally_us_merge(struct tally_us *a, const struct tally_us *b)
{
	if (b->count == 0)
		return;
	a->min_us = a->count == 0 ? b->min_us : MIN(a->min_us, b->min_us);
	a->max_us = MAX(a->max_us, b->max_us);
	a->sum_us += b->sum_us;
	a->count += b->count;
}
