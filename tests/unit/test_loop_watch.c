/*
 * The event loop: eventfds that are watched for ever.  The end of a round and rounds one by one are
 * in test_loop_round.c, the rest is in test_loop.c.
 */
#include "t_probe.h"

#include <liburing.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/resource.h>

TestSuite(loop_watch, .timeout = 3 * T_SECONDS);

/* --- a third backend: io_uring as it was before Linux 6.1, whose completions come at any time ---
 */

static bool refuse_newest;

int __real_io_uring_queue_init_params(
	unsigned entries, struct io_uring *ring, struct io_uring_params *p);
int __wrap_io_uring_queue_init_params(
	unsigned entries, struct io_uring *ring, struct io_uring_params *p);

int __wrap_io_uring_queue_init_params(
	unsigned entries, struct io_uring *ring, struct io_uring_params *p)
{
	if (refuse_newest && (p->flags & IORING_SETUP_DEFER_TASKRUN))
		return -EINVAL;
	return __real_io_uring_queue_init_params(entries, ring, p);
}

static struct loop *new_loop(unsigned turn)
{
	refuse_newest = turn == 2;
	return t_loop_new(turn == 0 ? 0 : 1);
}

#define EACH_LOOP(l)                                                                               \
	for (unsigned turn_ = 0; turn_ < 3; turn_++)                                               \
		for (struct loop *l = new_loop(turn_); l; t_loop_done(l), l = NULL)

static struct t_probe watch(struct loop *l)
{
	struct t_probe p = t_probe(l);

	p.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	t_true(p.fd >= 0);
	return p;
}

static void ring(const struct t_probe *p)
{
	uint64_t one = 1;

	INVARIANT(write(p->fd, &one, sizeof(one)) == (ssize_t)sizeof(one));
}

static void end(struct t_probe *p)
{
	loop_cancel(p->l, &p->op);
	t_settle(p->l);
	t_false(loop_op_is_pending(&p->op));
	(void)close(p->fd);
}

/* --- watches --- */

Test(loop_watch, a_watch_tells_of_every_signal_and_stays)
{
	EACH_LOOP(l)
	{
		struct t_probe p = watch(l);

		loop_watch(l, &p.op, p.fd);
		t_settle(l);
		t_uint(p.calls, 0);
		for (unsigned i = 1; i <= 20; i++) {
			ring(&p);
			t_uint(p.calls, i - 1); /* never at once */
			t_settle(l);
			t_uint(p.calls, i);
			t_int(p.res, 0);
			t_true(loop_op_is_pending(&p.op));
		}
		end(&p);
		t_uint(p.calls, 21);
		t_int(p.res, -ECANCELED);
	}
}

Test(loop_watch, an_eventfd_that_was_signalled_before_is_told)
{
	EACH_LOOP(l)
	{
		struct t_probe p = watch(l);

		ring(&p);
		loop_watch(l, &p.op, p.fd);
		t_uint(p.calls, 0);
		t_settle(l);
		t_uint(p.calls, 1);
		end(&p);
	}
}

Test(loop_watch, signals_that_come_together_may_be_one_and_none_is_lost)
{
	EACH_LOOP(l)
	{
		struct t_probe p = watch(l);

		loop_watch(l, &p.op, p.fd);
		for (unsigned i = 0; i < 1000; i++)
			ring(&p);
		t_settle(l);
		t_true(p.calls >= 1 && p.calls <= 1000);
		p.calls = 0;
		ring(&p);
		t_settle(l);
		t_uint(p.calls, 1);
		end(&p);
	}
}

Test(loop_watch, the_counter_is_left_alone)
{
	EACH_LOOP(l)
	{
		struct t_probe p = watch(l);
		uint64_t count = 0;

		loop_watch(l, &p.op, p.fd);
		for (unsigned i = 0; i < 7; i++) {
			ring(&p);
			t_settle(l);
		}
		t_int(read(p.fd, &count, sizeof(count)), sizeof(count));
		t_uint(count, 7);
		end(&p);
	}
}

Test(loop_watch, a_watch_of_no_descriptor_ends_with_its_error)
{
	EACH_LOOP(l)
	{
		struct t_probe p = t_probe(l);

		loop_watch(l, &p.op, -1);
		t_uint(p.calls, 0);
		t_settle(l);
		t_uint(p.calls, 1);
		t_int(p.res, -EBADF);
		t_false(loop_op_is_pending(&p.op));
	}
}

/* --- the end of a watch, in every state --- */

Test(loop_watch, a_watch_that_was_cancelled_is_done_once_whatever_had_been_signalled)
{
	EACH_LOOP(l)
	{
		/* Bits: seen by the kernel before, signalled before and after, cancelled twice. */
		for (unsigned how = 0; how < 16; how++) {
			struct t_probe p = watch(l);

			loop_watch(l, &p.op, p.fd);
			if (how & 1)
				t_settle(l);
			if (how & 2)
				ring(&p);
			loop_cancel(l, &p.op);
			if (how & 4)
				ring(&p);
			if (how & 8)
				loop_cancel(l, &p.op);
			t_uint(p.calls, 0);
			t_settle(l);
			cr_expect(eq(uint, p.calls, 1), "case %u", how);
			cr_expect(eq(int, p.res, -ECANCELED), "case %u", how);
			t_false(loop_op_is_pending(&p.op));
			ring(&p);
			t_settle(l);
			cr_expect(eq(uint, p.calls, 1), "case %u", how);
			(void)close(p.fd);
		}
	}
}

static void then_cancel_self(struct t_probe *p)
{
	if (p->res == 0)
		loop_cancel(p->l, &p->op);
}

Test(loop_watch, a_watch_may_cancel_itself)
{
	EACH_LOOP(l)
	{
		struct t_probe p = watch(l);

		p.then = then_cancel_self;
		loop_watch(l, &p.op, p.fd);
		ring(&p);
		t_settle(l);
		t_uint(p.calls, 2); /* the signal, and the end */
		t_int(p.res, -ECANCELED);
		t_false(loop_op_is_pending(&p.op));
		(void)close(p.fd);
	}
}

static void then_cancel_other(struct t_probe *p)
{
	if (p->res == 0)
		loop_cancel(p->l, &p->other->op);
}

Test(loop_watch, two_watches_of_one_batch_may_cancel_each_other)
{
	EACH_LOOP(l)
	{
		struct t_probe a = watch(l), b = watch(l);

		a.then = b.then = then_cancel_other;
		a.other = &b;
		b.other = &a;
		loop_watch(l, &a.op, a.fd);
		loop_watch(l, &b.op, b.fd);
		t_settle(l);
		ring(&a);
		ring(&b);
		t_settle(l);
		/* Whichever was first ended the other, perhaps not before it was told too. */
		t_true(!loop_op_is_pending(&a.op) || !loop_op_is_pending(&b.op));
		t_true(a.calls + b.calls >= 2 && a.calls + b.calls <= 4);
		/* Only the one that is left, if one is, still listens. */
		a.then = b.then = NULL;
		for (unsigned i = 0; i < 2; i++) {
			struct t_probe *p = i == 0 ? &a : &b;
			unsigned before = p->calls;

			ring(p);
			t_settle(l);
			t_uint(p->calls, before + loop_op_is_pending(&p->op));
		}
		end(&a);
		end(&b);
		t_int(a.res, -ECANCELED);
		t_int(b.res, -ECANCELED);
	}
}

static void then_watch_again(struct t_probe *p)
{
	if (p->res == -ECANCELED && p->calls < 5)
		loop_watch(p->l, &p->op, p->fd);
}

Test(loop_watch, a_watch_may_begin_again_where_it_ends)
{
	EACH_LOOP(l)
	{
		struct t_probe p = watch(l);

		p.then = then_watch_again;
		loop_watch(l, &p.op, p.fd);
		t_settle(l);
		loop_cancel(l, &p.op);
		t_settle(l);
		t_true(loop_op_is_pending(&p.op));
		t_uint(p.calls, 1);
		ring(&p);
		t_settle(l);
		t_uint(p.calls, 2);
		t_int(p.res, 0);
		p.then = NULL;
		end(&p);
	}
}

/* --- many --- */

/* Together more than the ring's queue of completions has room for. */
enum { MANY = 600, EACH = 10 };

static void raise_limit(void)
{
	struct rlimit lim;

	t_int(getrlimit(RLIMIT_NOFILE, &lim), 0);
	lim.rlim_cur = MIN(lim.rlim_max, (rlim_t)4096);
	t_int(setrlimit(RLIMIT_NOFILE, &lim), 0);
}

Test(loop_watch, more_signals_at_once_than_the_ring_can_hold_are_all_told_and_all_watches_stay)
{
	raise_limit();
	EACH_LOOP(l)
	{
		struct t_probe *p = calloc(MANY, sizeof(*p));
		unsigned missed = 0, gone = 0;

		for (unsigned i = 0; i < MANY; i++) {
			p[i] = watch(l);
			loop_watch(l, &p[i].op, p[i].fd);
		}
		t_settle(l);
		for (unsigned round = 1; round <= 4; round++) {
			for (unsigned i = 0; i < MANY; i++)
				p[i].calls = 0;
			for (unsigned i = 0; i < EACH * MANY; i++)
				ring(&p[i % MANY]);
			t_settle(l);
			for (unsigned i = 0; i < MANY; i++)
				missed += p[i].calls == 0;
		}
		for (unsigned i = 0; i < MANY; i++) {
			gone += !loop_op_is_pending(&p[i].op);
			loop_cancel(l, &p[i].op);
		}
		t_settle(l);
		for (unsigned i = 0; i < MANY; i++) {
			gone += loop_op_is_pending(&p[i].op) || p[i].res != -ECANCELED;
			(void)close(p[i].fd);
		}
		t_uint(missed, 0);
		t_uint(gone, 0);
		free(p);
	}
}

static void then_submit_more(struct t_probe *p)
{
	if (p->res == 0 && !loop_op_is_pending(&p->other->op))
		loop_timeout(p->l, &p->other->op, 0);
}

Test(loop_watch, ops_may_be_submitted_while_the_ring_is_full_of_completions)
{
	raise_limit();
	EACH_LOOP(l)
	{
		struct t_probe *p = calloc(MANY, sizeof(*p)), *more = calloc(MANY, sizeof(*p));
		unsigned missed = 0;

		for (unsigned i = 0; i < MANY; i++) {
			p[i] = watch(l);
			more[i] = t_probe(l);
			p[i].then = then_submit_more;
			p[i].other = &more[i];
			loop_watch(l, &p[i].op, p[i].fd);
		}
		t_settle(l);
		for (unsigned i = 0; i < EACH * MANY; i++)
			ring(&p[i % MANY]);
		for (unsigned i = 0; i < 20; i++)
			t_settle(l);
		for (unsigned i = 0; i < MANY; i++) {
			missed += p[i].calls == 0 || more[i].calls == 0;
			loop_cancel(l, &p[i].op);
		}
		t_settle(l);
		t_uint(missed, 0);
		for (unsigned i = 0; i < MANY; i++)
			(void)close(p[i].fd);
		free(p);
		free(more);
	}
}

struct ringer {
	struct t_probe *p;
	unsigned sent;
};

static void *ring_main(void *arg)
{
	struct ringer *r = arg;

	for (unsigned i = 0; i < 20000; i++) {
		/* Its answer before the next: none may be lost. */
		unsigned before = __atomic_load_n(&r->p->calls, __ATOMIC_SEQ_CST);

		ring(r->p);
		r->sent++;
		for (unsigned k = 0; __atomic_load_n(&r->p->calls, __ATOMIC_SEQ_CST) == before;
			k++) {
			if (k > 1000)
				(void)usleep(10);
		}
	}
	return NULL;
}

Test(loop_watch, no_signal_of_another_thread_is_lost)
{
	EACH_LOOP(l)
	{
		struct t_probe p = watch(l);
		struct ringer r = { .p = &p };
		pthread_t thread;

		loop_watch(l, &p.op, p.fd);
		t_int(pthread_create(&thread, NULL, ring_main, &r), 0);
		/* A lost one would leave both asleep. */
		while (p.calls < 20000) {
			int rc = loop_turn(l);

			t_true(rc == 0 || rc == -EINTR);
		}
		t_int(pthread_join(thread, NULL), 0);
		t_uint(r.sent, 20000);
		end(&p);
	}
}
