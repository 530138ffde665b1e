/* The server's share of the loop's time (share.h). */
#include "api/share.h"

#include "base/check.h"

/* A debt is forgotten beyond this: one very long piece of work does not silence the server. */
enum { DEBT_MAX_NS = 10000000 };

void share_look(struct share *s, uint64_t now_ns, uint64_t others, bool others_wait)
{
	uint64_t earned = (now_ns - s->at_ns) / 1000 * SHARE_PER_MILLE;

	others_wait |= others != s->others;
	s->is_busy = others_wait || (s->is_busy && now_ns - s->busy_ns < SHARE_CALM_NS);
	if (others_wait)
		s->busy_ns = now_ns;
	s->others = others;
	if (!s->is_busy || earned >= SHARE_BURST_NS + DEBT_MAX_NS)
		s->saved_ns = SHARE_BURST_NS;
	else
		s->saved_ns = MIN(s->saved_ns + (int64_t)earned, SHARE_BURST_NS);
	/* What was too short to earn anything counts the next time. */
	if (earned > 0 || !s->is_busy)
		s->at_ns = now_ns;
}

uint64_t share_wait(const struct share *s)
{
	if (!s->is_busy || s->saved_ns >= 0)
		return 0;
	return MIN((uint64_t)-s->saved_ns * 1000 / SHARE_PER_MILLE, SHARE_WAIT_MAX_NS);
}

void share_charge(struct share *s, uint64_t ns)
{
	if (s->is_busy)
		s->saved_ns = MAX(s->saved_ns - (int64_t)MIN(ns, DEBT_MAX_NS), -DEBT_MAX_NS);
}
