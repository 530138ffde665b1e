/* Something that has time. */
#include "t_probe.h"

#include "core/later.h"

TestSuite(later, .timeout = T_SECONDS);

struct rig {
	struct later later;
	unsigned runs;
};

static void on_later(struct later *later)
{
	container_of(later, struct rig, later)->runs++;
}

Test(later, it_is_done_once_and_may_be_started_again)
{
	T_EACH_BACKEND(l)
	{
		struct rig r = { 0 };

		for (unsigned i = 1; i <= 2; i++) {
			later_start(&r.later, l, 1, on_later);
			t_uint(r.runs, i - 1);
			while (r.runs < i)
				t_int(loop_turn(l), 0);
		}
		later_end(&r.later);
		t_uint(r.runs, 2);
	}
}

Test(later, what_is_ended_before_is_never_done)
{
	T_EACH_BACKEND(l)
	{
		struct rig r = { 0 };

		later_end(&r.later);
		later_start(&r.later, l, 3600000, on_later);
		later_end(&r.later);
		t_uint(r.runs, 0);
		t_false(loop_op_is_pending(&r.later.timer));
		later_end(&r.later);
	}
}
