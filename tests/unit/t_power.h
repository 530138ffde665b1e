/* A power_host that counts, for the tests of the devices that can end the machine. */
#ifndef MVM_TESTS_T_POWER_H
#define MVM_TESTS_T_POWER_H

#include "legacy/power.h"

struct t_power {
	unsigned offs, resets;
	const char *why;
};

static inline void t_power_event(void *ctx, enum power_event event, const char *why)
{
	struct t_power *p = ctx;

	if (event == POWER_OFF)
		p->offs++;
	else
		p->resets++;
	p->why = why;
}

static inline struct power_host t_power_host(struct t_power *p)
{
	return (struct power_host){ t_power_event, p };
}

#endif
