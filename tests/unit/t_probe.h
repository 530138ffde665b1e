/* Ops of the event loop that count, and a loop that is served until it is quiet. */
#ifndef MVM_TESTS_T_PROBE_H
#define MVM_TESTS_T_PROBE_H

#include "t.h"

#include "core/loop.h"

#define MS 1000000ULL

/* An op that counts, and may do something inside done. */
struct t_probe {
	struct loop_op op;
	struct loop *l;
	int fd;
	unsigned calls;
	int res;
	void (*then)(struct t_probe *p);
	struct t_probe *other;
};

static inline void t_probe_done(struct loop_op *op, int res)
{
	struct t_probe *p = container_of(op, struct t_probe, op);

	p->calls++;
	p->res = res;
	if (p->then)
		p->then(p);
}

static inline struct t_probe t_probe(struct loop *l)
{
	return (struct t_probe){ .op.done = t_probe_done, .l = l, .fd = -1 };
}

static inline void t_probe_stop(struct loop_op *op, int res)
{
	(void)res;
	loop_stop(op->loop);
}

/* Everything that is there is served, and what that brings about too. */
static inline void t_settle(struct loop *l)
{
	for (unsigned i = 0; i < 5; i++) {
		struct loop_op op = { .done = t_probe_stop };

		loop_timeout(l, &op, 0);
		t_int(loop_run(l), 0);
	}
}

#endif
