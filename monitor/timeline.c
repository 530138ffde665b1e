/* The cold start as points in time (timeline.h). */
#include "timeline.h"

#include <inttypes.h>
#include <stdbool.h>
#include <time.h>

static const struct {
	const char *key, *words;
} points[TIMELINE_POINTS] = {
	[TIMELINE_PROCESS] = { "process_us", "process start" },
	[TIMELINE_MAIN] = { "main_us", "main()" },
	[TIMELINE_ASKED] = { "asked_us", "start asked for" },
	[TIMELINE_BUILT] = { "built_us", "VM built" },
	[TIMELINE_ENTERED] = { "entered_us", "first guest instruction" },
	[TIMELINE_EXITED] = { "exited_us", "first exit from the guest" },
	[TIMELINE_KERNEL] = { "kernel_us", "kernel entry (its clock starts)" },
	[TIMELINE_MARK] = { "mark_us", "init" },
	[TIMELINE_ENDED] = { "ended_us", "machine ended" },
};

uint64_t timeline_now_us(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

void timeline_set_at(struct timeline *t, enum timeline_point point, uint64_t at_us)
{
	uint64_t unset = 0;

	(void)atomic_compare_exchange_strong(&t->us[point], &unset, at_us);
}

void timeline_set(struct timeline *t, enum timeline_point point)
{
	timeline_set_at(t, point, timeline_now_us());
}

void timeline_mark(struct timeline *t, uint32_t guest_us)
{
	uint64_t now = timeline_now_us(), entered = atomic_load(&t->us[TIMELINE_ENTERED]);

	if (atomic_load(&t->us[TIMELINE_MARK]) != 0)
		return;
	timeline_set_at(t, TIMELINE_MARK, now);
	/* The guest's word: believed only where it can be true. */
	if (guest_us > 0 && guest_us <= now - entered)
		timeline_set_at(t, TIMELINE_KERNEL, now - guest_us);
}

void timeline_print(const struct timeline *t, FILE *out)
{
	uint64_t start = atomic_load(&t->us[TIMELINE_PROCESS]), before = start;

	(void)fprintf(out, "%-34s %10s %10s\n", "cold start", "at ms", "took ms");
	/* The first exit lies where the guest puts it, often after the kernel's clock began: sort
	 * by time. */
	for (uint64_t from = 0;;) {
		uint64_t best = UINT64_MAX;
		unsigned which = TIMELINE_POINTS;

		for (unsigned i = 0; i < TIMELINE_POINTS; i++) {
			uint64_t at = atomic_load(&t->us[i]);

			/* When nobody told us when the process began, main() is its first moment.
			 */
			if (i == TIMELINE_MAIN && at == start)
				continue;
			/* Equal times keep the order of the table. */
			if (at != 0 && at * TIMELINE_POINTS + i >= from &&
				at * TIMELINE_POINTS + i < best) {
				best = at * TIMELINE_POINTS + i;
				which = i;
			}
		}
		if (which == TIMELINE_POINTS)
			break;
		from = best + 1;
		best /= TIMELINE_POINTS;
		/* Signed: a starter that is mistaken about its own start puts points before it. */
		(void)fprintf(out, "%-34s %10.3f %10.3f\n", points[which].words,
			(double)(int64_t)(best - start) / 1000,
			(double)(int64_t)(best - before) / 1000);
		before = best;
	}
}

void timeline_print_json(const struct timeline *t, FILE *out)
{
	bool first = true;

	(void)fputc('{', out);
	for (unsigned i = 0; i < TIMELINE_POINTS; i++) {
		uint64_t at = atomic_load(&t->us[i]);

		if (at == 0)
			continue;
		(void)fprintf(out, "%s\"%s\": %" PRIu64, first ? "" : ", ", points[i].key, at);
		first = false;
	}
	(void)fputs("}\n", out);
}
