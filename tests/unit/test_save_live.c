/*
 * Machines are saved while they run: the snapshot is the machine at the second stop, whatever its
 * guest writes meanwhile, and it goes on whatever fails.
 */
#include "t.h"

#include <errno.h>
#include <stdio.h>

#include "t_kvm.h"
#include "t_machine.h"
#include "t_save_steps.h"
#include "t_saved.h"

TestSuite(save_live, .timeout = 6 * T_SECONDS, .init = t_saved_setup, .fini = t_saved_teardown);

/* The guest writes between two looks at the log. */
static struct {
	struct t_saved *t;
	unsigned looks, many; /* so many looks find many pages */
	bool was_logging;
} live;

static void (*take_kept)(unsigned slot, uint64_t *bits);

static void write_and_take(unsigned slot, uint64_t *bits)
{
	unsigned pages = live.looks++ < live.many ? 1000 : 3;

	live.was_logging = true;
	for (unsigned i = 0; i < pages; i++)
		t_saved_write(live.t, 2000 + i, (int)(1 + (live.looks + i) % 250));
	/* To zero, and from it. */
	t_saved_write(live.t, 3500, live.looks % 2 ? 1 : 0);
	t_saved_write(live.t, 3501, live.looks % 2 ? 0 : 1);
	take_kept(slot, bits);
}

static void begin_live(struct t_saved *t, unsigned many)
{
	t_steps.protect_errno = EOPNOTSUPP;
	take_kept = t_kvm.take_log;
	t_kvm.take_log = write_and_take;
	live.t = t;
	live.looks = 0;
	live.many = many;
	live.was_logging = false;
}

static void end_live(void)
{
	t_kvm.take_log = take_kept;
}

Test(save_live, a_machine_that_runs_is_saved_as_it_was_at_the_second_stop)
{
	T_EACH_BACKEND(l)
	{
		static const unsigned many[] = { 0, 3, 100 };

		for (unsigned i = 0; i < 2 * ARRAY_SIZE(many); i++) {
			bool tracked = i % 2;
			struct t_saved t;

			t_saved_started(&t, l, tracked);
			t_saved_write(&t, 2001, 99);
			begin_live(&t, many[i / 2]);
			t_saved_saved(&t, "a", SNAPSHOT_FULL);
			end_live();
			t_true(live.was_logging);
			t_true(live.looks >= 3 && live.looks <= 9);
			t_int(t_saved_kind("a"), SNAPSHOT_FULL);
			t_saved_expect(&t, "a");
			t_int(t.in->state, INSTANCE_RUNNING);
			t_true(t.result.pause_us > 0 && t.result.pause_us <= t.result.total_us);
			t_true(t.result.pages_written <= t.result.pages_all);
			/* The log goes on where it was before. */
			t_uint(t_kvm.slot[0].flags, tracked ? KVM_MEM_LOG_DIRTY_PAGES : 0);
			if (tracked) {
				t_saved_write(&t, 1, 1);
				t_saved_saved(&t, "b", SNAPSHOT_DIFF);
				t_str(t_saved_runs("b"), "1+1 ");
				t_saved_expect(&t, "b");
			}
			t_saved_pause(&t);
			t_saved_saved(&t, "c", SNAPSHOT_FULL);
			t_saved_expect(&t, "c");
			t_saved_end(&t);
		}
	}
	T_NO_LEAKS();
}

Test(save_live, a_difference_of_a_machine_that_runs)
{
	T_EACH_BACKEND(l)
	{
		struct t_saved t;

		t_saved_started(&t, l, true);
		t_saved_saved(&t, "a", SNAPSHOT_FULL);
		t_saved_write(&t, 10, 1);
		begin_live(&t, 2);
		t_saved_saved(&t, "b", SNAPSHOT_DIFF);
		end_live();
		t_str(t_saved_runs("b"), "10+1 2000+1000 3500+2 ");
		t_saved_expect(&t, "b");
		/* One onto its base is full, and chosen while the guest runs. */
		t_saved_write(&t, 11, 1);
		begin_live(&t, 2);
		t_saved_saved(&t, "a", SNAPSHOT_DIFF);
		end_live();
		t_int(t_saved_kind("a"), SNAPSHOT_FULL);
		t_saved_expect(&t, "a");
		t_saved_end(&t);
	}
}

Test(save_live, a_live_save_that_fails_lets_the_machine_go_on_and_loses_nothing)
{
	T_EACH_BACKEND(l)
	{
		for (unsigned tracked = 0; tracked < 2; tracked++) {
			struct t_saved t;

			t_saved_started(&t, l, tracked);
			t_saved_saved(&t, "a", SNAPSHOT_FULL);
			for (unsigned left = 0; left < 8; left += 1) {
				t_saved_write(&t, 10 + left, 1);
				begin_live(&t, 2);
				t_steps.write_errno = ENOSPC;
				t_steps.writes_left = left;
				t_int(t_saved_save(&t, "b", SNAPSHOT_DIFF),
					left < 2 ? -ENOSPC : t.rc);
				t_steps.write_errno = 0;
				end_live();
				t_int(t.in->state, INSTANCE_RUNNING);
				t_uint(t_kvm.slot[0].flags, tracked ? KVM_MEM_LOG_DIRTY_PAGES : 0);
				t_false(t.in->is_changing);
			}
			t_steps.fsync_errno = EIO;
			t_int(t_saved_save(&t, "c", SNAPSHOT_DIFF), -EIO);
			t_steps.fsync_errno = 0;
			t_saved_saved(&t, "d", SNAPSHOT_DIFF);
			t_saved_expect(&t, "d");
			t_saved_end(&t);
		}
	}
	T_NO_LEAKS();
}

/* A vCPU that does not leave the guest when it is told to. */
static _Atomic bool is_stubborn, may_stop;

static int stubborn(struct t_vcpu *v)
{
	while (atomic_load(&is_stubborn) && !atomic_load(&may_stop))
		(void)usleep(100);
	return t_machine_wait(v);
}

Test(save_live, the_machine_ends_while_it_is_to_stop_for_a_live_save)
{
	T_EACH_BACKEND(l)
	{
		struct t_saved t;

		atomic_store(&is_stubborn, true);
		atomic_store(&may_stop, false);
		t_kvm.on_run = stubborn;
		t_saved_started(&t, l, false);
		t_int(t_saved_begin(&t, "a", SNAPSHOT_FULL, true, NULL), 0);
		t_saved_run(&t, 5000);
		t_uint(t.done, 0);
		instance_stop(t.in, "test");
		T_SAVED_UNTIL(&t, t.done == 1);
		t_int(t.rc, -ECANCELED);
		t_has(t.e.text, "the machine has ended");
		t_uint(t_saved_files(), 0);
		atomic_store(&may_stop, true);
		t_saved_end(&t);
		t_uint(t.done, 1);
		t_kvm.on_run = NULL;
	}
	T_NO_LEAKS();
}

Test(save_live, the_machine_ends_in_a_round_of_a_live_save)
{
	T_EACH_BACKEND(l)
	{
		struct t_saved t;

		t_saved_started(&t, l, true);
		t_steps.protect_errno = EOPNOTSUPP;
		atomic_store(&t_steps.holds_begin, true);
		t_int(t_saved_begin(&t, "a", SNAPSHOT_FULL, true, NULL), 0);
		T_SAVED_UNTIL(&t, t_steps.held > 0);
		instance_stop(t.in, "test");
		T_SAVED_UNTIL(&t, t.ended == 1);
		t_uint(t.done, 0);
		atomic_store(&t_steps.holds_begin, false);
		T_SAVED_UNTIL(&t, t.done == 1);
		t_int(t.rc, -ECANCELED);
		t_uint(t_saved_files(), 0);
		t_saved_end(&t);
		t_uint(t.done, 1);
		t_steps.held = 0;
	}
	T_NO_LEAKS();
}

/* Whenever it ends: once done, with one of the two results, and nothing but whole files. */
Test(save_live, the_machine_ends_at_any_moment_of_a_live_save)
{
	unsigned fds = t_count_fds();

	T_EACH_BACKEND(l)
	{
		for (unsigned us = 0; us < 12000; us += 300) {
			struct t_saved t;
			bool ends_by_quiet = us / 300 % 2;

			t_saved_started(&t, l, us / 600 % 2);
			t_int(t_saved_begin(&t, "a", SNAPSHOT_FULL, true, NULL), 0);
			t_saved_run(&t, us);
			if (!ends_by_quiet) {
				instance_stop(t.in, "test");
				T_SAVED_UNTIL(&t, t.done == 1 && t.ended == 1);
			}
			t_saved_end(&t);
			t_uint(t.done, 1);
			t_true(t.rc == 0 || t.rc == -ECANCELED || t.rc == -EBUSY);
			if (t.rc == 0)
				t_int(t_saved_kind("a"), SNAPSHOT_FULL);
			t_true(t_saved_files() == 0 || t_saved_files() == 2);
		}
	}
	t_uint(t_count_fds(), fds);
	T_NO_LEAKS();
}

/* Where the guest's writes wait for the copy: the snapshot is the machine at the only stop. */
Test(save_live, by_write_protection_where_that_can_be_had)
{
	T_EACH_BACKEND(l)
	{
		for (unsigned tracked = 0; tracked < 2; tracked++) {
			struct t_saved t;

			t_saved_started(&t, l, tracked);
			t_saved_write(&t, 3000, 3);
			t_saved_saved(&t, "a", SNAPSHOT_FULL);
			t_saved_expect(&t, "a");
			t_saved_write(&t, 3001, 4);
			t_saved_saved(&t, "b", SNAPSHOT_DIFF);
			t_saved_expect(&t, "b");
			t_int(t_saved_kind("b"), tracked ? SNAPSHOT_DIFF : SNAPSHOT_FULL);
			/* Onto its own base, and with that gone, it is a full one. */
			t_saved_write(&t, 3002, 5);
			t_saved_saved(&t, "a", SNAPSHOT_DIFF);
			t_int(t_saved_kind("a"), SNAPSHOT_FULL);
			t_saved_expect(&t, "a");
			t_int(unlink(t_saved_path("a")), 0);
			t_saved_write(&t, 3003, 6);
			t_saved_saved(&t, "b", SNAPSHOT_DIFF);
			t_int(t_saved_kind("b"), SNAPSHOT_FULL);
			t_saved_expect(&t, "b");
			t_int(t.in->state, INSTANCE_RUNNING);
			t_saved_end(&t);
		}
	}
	T_NO_LEAKS();
}

/* Without the right to a userfaultfd, as most users are, or a kernel that has it. */
Test(save_live, by_the_log_where_protection_cannot_be_had)
{
	static const int codes[] = { EOPNOTSUPP, EPERM, EACCES, ENOSYS };

	T_EACH_BACKEND(l)
	{
		struct t_saved t;
		unsigned done;

		t_saved_started(&t, l, false);
		for (unsigned i = 0; i < ARRAY_SIZE(codes); i++) {
			t_steps.protect_errno = codes[i];
			t_saved_write(&t, 3000 + i, 3);
			t_saved_saved(&t, "a", SNAPSHOT_FULL);
			t_saved_expect(&t, "a");
		}
		/* What may pass is the save's failure. */
		t_steps.protect_errno = ENOMEM;
		done = t.done;
		t_int(t_saved_begin(&t, "b", SNAPSHOT_FULL, true, NULL), 0);
		T_SAVED_UNTIL(&t, t.done > done);
		t_int(t.rc, -ENOMEM);
		t_int(t.in->state, INSTANCE_RUNNING);
		t_saved_end(&t);
		t_steps.protect_errno = 0;
	}
	T_NO_LEAKS();
}
