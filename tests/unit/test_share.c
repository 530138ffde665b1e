/* The server's share of the loop's time (share.h). */
#include "t.h"

#include "api/share.h"

TestSuite(share, .timeout = T_SECONDS);

enum { US = 1000 };
#define START 1000000000ULL

/* Others are served every microsecond; the server works as often as it may, each time for cost.
 * How much of the time it took, per mille. */
static unsigned taken(uint64_t ns, uint64_t cost)
{
	struct share s = { 0 };
	uint64_t now = START, others = 0, spent = 0;

	while (now < START + ns) {
		share_look(&s, now, ++others, false);
		if (share_wait(&s) == 0) {
			share_charge(&s, cost);
			now += cost;
			spent += cost;
		} else {
			now += share_wait(&s);
		}
	}
	return (unsigned)(spent * 1000 / ns);
}

Test(share, alone_it_never_waits)
{
	struct share s = { 0 };

	for (uint64_t now = START; now < START + 1000000000; now += 100 * US) {
		share_look(&s, now, 0, false);
		t_uint(share_wait(&s), 0);
		share_charge(&s, 100 * US);
	}
}

Test(share, beside_others_it_takes_one_per_cent)
{
	static const uint64_t costs[] = { 1 * US, 20 * US, 300 * US, 5000 * US };

	for (unsigned i = 0; i < ARRAY_SIZE(costs); i++) {
		unsigned got = taken(10000000000, costs[i]);

		t_true(got >= SHARE_PER_MILLE - 1 && got <= SHARE_PER_MILLE + 1);
	}
}

Test(share, a_burst_is_done_at_once)
{
	struct share s = { 0 };
	unsigned n = 0;

	share_look(&s, START, 0, false);
	share_look(&s, START + 1, 1, false);
	t_true(s.is_busy);
	while (share_wait(&s) == 0) {
		share_charge(&s, 20 * US);
		n++;
	}
	t_uint(n, SHARE_BURST_NS / (20 * US) + 1);
	/* The rest of the last one is worked off at the share's pace. */
	t_uint(share_wait(&s), 20 * US * 1000 / SHARE_PER_MILLE);
}

Test(share, when_others_have_been_calm_for_a_while_it_is_free)
{
	struct share s = { 0 };

	share_look(&s, START, 1, false);
	share_charge(&s, 5000 * US);
	share_look(&s, START + SHARE_CALM_NS - 1, 1, false);
	t_true(share_wait(&s) > 0);
	t_true(share_wait(&s) <= SHARE_WAIT_MAX_NS);
	share_look(&s, START + SHARE_CALM_NS, 1, false);
	t_uint(share_wait(&s), 0);
	t_false(s.is_busy);
}

Test(share, others_that_wait_are_not_calm)
{
	struct share s = { 0 };

	share_look(&s, START, 0, true);
	share_charge(&s, SHARE_BURST_NS + 1000 * US);
	share_look(&s, START + 2 * SHARE_CALM_NS, 0, true);
	t_true(share_wait(&s) > 0);
	share_look(&s, START + 3 * SHARE_CALM_NS - 1, 0, false);
	t_true(share_wait(&s) > 0);
	share_look(&s, START + 3 * SHARE_CALM_NS, 0, false);
	t_uint(share_wait(&s), 0);
}

Test(share, a_very_long_piece_of_work_does_not_silence_it)
{
	struct share s = { 0 };
	uint64_t now = START, others = 0;

	share_look(&s, now, ++others, false);
	share_charge(&s, 3600 * 1000000000ULL);
	while (share_wait(&s) > 0) {
		now += share_wait(&s);
		share_look(&s, now, ++others, false);
	}
	t_true(now - START <= 2000000000);
}

Test(share, looks_closer_than_its_resolution_earn_as_well)
{
	struct share s = { 0 };
	uint64_t now = START, others = 0;

	share_look(&s, now, ++others, false);
	share_charge(&s, SHARE_BURST_NS + 100 * US);
	while (share_wait(&s) > 0) {
		now += 100;
		share_look(&s, now, ++others, false);
	}
	t_true(now - START <= 100 * US * 1000 / SHARE_PER_MILLE + US);
}
