/* Something that has time (later.h). */
#include "core/later.h"

#include <errno.h>

static const uint64_t ns_in_ms = 1000000;

static void on_timer(struct loop_op *op, int res)
{
	struct later *later = container_of(op, struct later, timer);

	if (res == 0)
		later->run(later);
}

void later_start(struct later *later, struct loop *l, uint64_t ms, void (*run)(struct later *later))
{
	later->loop = l;
	later->run = run;
	later->timer.done = on_timer;
	loop_timeout(l, &later->timer, ms * ns_in_ms);
}

void later_end(struct later *later)
{
	int rc = 0;

	if (loop_op_is_pending(&later->timer))
		loop_cancel(later->loop, &later->timer);
	while (loop_op_is_pending(&later->timer) && (rc == 0 || rc == -EINTR))
		rc = loop_turn(later->loop);
}
