/* The event loop: one behaviour, two backends, so that every test runs on both. */
#include "t.h"

#include <fcntl.h>
#include <liburing.h>
#include <poll.h>
#include <pthread.h>
#include <pty.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <termios.h>
#include <time.h>

#include "base/err.h"
#include "core/loop.h"

TestSuite(loop, .timeout = T_SECONDS);

#define MS 1000000ULL

/* --- io_uring, refused on request --- */

static int refuse_queue, refuse_restrictions;
static bool refuse_newest;

int __real_io_uring_queue_init_params(
	unsigned entries, struct io_uring *ring, struct io_uring_params *p);
int __wrap_io_uring_queue_init_params(
	unsigned entries, struct io_uring *ring, struct io_uring_params *p);
int __real_io_uring_register_restrictions(
	struct io_uring *ring, struct io_uring_restriction *rule, unsigned n);
int __wrap_io_uring_register_restrictions(
	struct io_uring *ring, struct io_uring_restriction *rule, unsigned n);

int __wrap_io_uring_queue_init_params(
	unsigned entries, struct io_uring *ring, struct io_uring_params *p)
{
	if (refuse_newest && (p->flags & IORING_SETUP_DEFER_TASKRUN))
		return -EINVAL;
	return refuse_queue ? refuse_queue : __real_io_uring_queue_init_params(entries, ring, p);
}

int __wrap_io_uring_register_restrictions(
	struct io_uring *ring, struct io_uring_restriction *rule, unsigned n)
{
	return refuse_restrictions ? refuse_restrictions
				   : __real_io_uring_register_restrictions(ring, rule, n);
}

/* --- ops that remember --- */

struct run {
	struct loop *l;
	unsigned waiting; /* the loop stops when so many more are done */
	unsigned order;
};

struct probe {
	struct loop_op op;
	struct run *run;
	void (*then)(struct probe *p); /* inside done */
	void *arg;
	int res;
	unsigned calls, order;
};

static void on_done(struct loop_op *op, int res)
{
	struct probe *p = container_of(op, struct probe, op);

	p->res = res;
	p->calls++;
	p->order = ++p->run->order;
	if (p->then)
		p->then(p);
	if (--p->run->waiting == 0)
		loop_stop(p->run->l);
}

static struct probe probe(struct run *r)
{
	return (struct probe){ .op.done = on_done, .run = r };
}

static void wait_for(struct run *r, unsigned n)
{
	r->waiting = n;
	t_int(loop_run(r->l), 0);
}

/* Lets the loop run for a while, and then for some rounds more: a host that is busy elsewhere eats
 * up the time. */
static void run_for(struct loop *l, uint64_t ns)
{
	enum { ROUNDS = 10 };

	for (unsigned i = 0; i <= ROUNDS; i++) {
		struct run r = { .l = l };
		struct probe end = probe(&r);

		loop_timeout(l, &end.op, i == 0 ? ns : 0);
		wait_for(&r, 1);
	}
}

static uint64_t now_ns(clockid_t clock)
{
	struct timespec ts;

	(void)clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

struct pipe_ends {
	int in, out;
};

static struct pipe_ends new_pipe(void)
{
	int fd[2];

	t_int(pipe2(fd, O_CLOEXEC | O_NONBLOCK), 0);
	return (struct pipe_ends){ fd[0], fd[1] };
}

static void close_pipe(struct pipe_ends *p)
{
	(void)close(p->in);
	(void)close(p->out);
}

static void put_byte(int fd)
{
	t_int(write(fd, "x", 1), 1);
}

/* --- poll --- */

Test(loop, a_poll_of_a_ready_descriptor_is_done_once_with_what_it_has)
{
	T_EACH_BACKEND(l)
	{
		struct run r = { .l = l };
		struct probe p = probe(&r);
		struct pipe_ends ends = new_pipe();

		put_byte(ends.out);
		loop_poll(l, &p.op, ends.in, POLLIN);
		t_uint(p.calls, 0); /* never from inside the submitting call */
		t_true(loop_op_is_pending(&p.op));
		wait_for(&r, 1);
		t_uint(p.calls, 1);
		t_int(p.res & POLLIN, POLLIN);
		t_false(loop_op_is_pending(&p.op));
		run_for(l, 2 * MS); /* still readable, and nobody asked again */
		t_uint(p.calls, 1);
		close_pipe(&ends);
	}
}

static void then_write(struct probe *p)
{
	put_byte(*(int *)p->arg);
}

Test(loop, a_poll_waits_until_the_descriptor_is_ready)
{
	T_EACH_BACKEND(l)
	{
		struct run r = { .l = l };
		struct probe p = probe(&r), later = probe(&r);
		struct pipe_ends ends = new_pipe();

		later.then = then_write;
		later.arg = &ends.out;
		loop_poll(l, &p.op, ends.in, POLLIN);
		loop_timeout(l, &later.op, 3 * MS);
		wait_for(&r, 2);
		t_uint(later.order, 1);
		t_uint(p.order, 2);
		t_int(p.res & POLLIN, POLLIN);
		close_pipe(&ends);
	}
}

Test(loop, a_poll_for_room_to_write_is_done_at_once)
{
	T_EACH_BACKEND(l)
	{
		struct run r = { .l = l };
		struct probe p = probe(&r);
		struct pipe_ends ends = new_pipe();

		loop_poll(l, &p.op, ends.out, POLLOUT);
		wait_for(&r, 1);
		t_int(p.res & POLLOUT, POLLOUT);
		close_pipe(&ends);
	}
}

Test(loop, a_poll_of_a_pipe_without_a_writer_says_hang_up)
{
	T_EACH_BACKEND(l)
	{
		struct run r = { .l = l };
		struct probe p = probe(&r);
		struct pipe_ends ends = new_pipe();

		(void)close(ends.out);
		loop_poll(l, &p.op, ends.in, POLLIN);
		wait_for(&r, 1);
		t_int(p.res & POLLHUP, POLLHUP);
		(void)close(ends.in);
	}
}

Test(loop, a_poll_of_a_closed_descriptor_is_ebadf)
{
	T_EACH_BACKEND(l)
	{
		struct run r = { .l = l };
		struct probe p = probe(&r);

		loop_poll(l, &p.op, -1, POLLIN);
		wait_for(&r, 1);
		t_int(p.res, -EBADF);
	}
}

Test(loop, a_regular_file_is_always_ready)
{
	T_EACH_BACKEND(l)
	{
		struct run r = { .l = l };
		struct probe p = probe(&r);
		int fd = memfd_create("file", MFD_CLOEXEC);

		loop_poll(l, &p.op, fd, POLLIN);
		t_uint(p.calls, 0);
		wait_for(&r, 1);
		t_int(p.res & POLLIN, POLLIN);
		loop_poll(l, &p.op, fd, POLLOUT);
		wait_for(&r, 1);
		t_int(p.res & POLLOUT, POLLOUT);
		(void)close(fd);
	}
}

static void then_poll_again(struct probe *p)
{
	p->run->waiting++;
	loop_poll(p->run->l, &p->op, *(int *)p->arg, POLLIN);
}

Test(loop, a_file_that_is_polled_without_end_does_not_hold_up_the_rest)
{
	T_EACH_BACKEND(l)
	{
		struct run busy = { .l = l, .waiting = 1000 };
		struct probe p = probe(&busy);
		int fd = memfd_create("file", MFD_CLOEXEC);

		p.then = then_poll_again;
		p.arg = &fd;
		loop_poll(l, &p.op, fd, POLLIN);
		run_for(l, 3 * MS);
		t_true(p.calls > 3);
		(void)close(fd);
	}
}

Test(loop, an_op_may_be_submitted_again_inside_its_own_done)
{
	T_EACH_BACKEND(l)
	{
		struct run r = { .l = l, .waiting = 1 };
		struct probe p = probe(&r);
		struct pipe_ends ends = new_pipe();

		put_byte(ends.out);
		p.then = then_poll_again;
		p.arg = &ends.in;
		loop_poll(l, &p.op, ends.in, POLLIN);
		run_for(l, 2 * MS);
		t_true(p.calls >= 2);
		close_pipe(&ends);
	}
}

Test(loop, two_descriptors_of_the_same_pipe_may_be_polled_at_the_same_time)
{
	T_EACH_BACKEND(l)
	{
		struct run r = { .l = l };
		struct probe in = probe(&r), out = probe(&r);
		struct pipe_ends ends = new_pipe();

		put_byte(ends.out);
		loop_poll(l, &in.op, ends.in, POLLIN);
		loop_poll(l, &out.op, ends.out, POLLOUT);
		wait_for(&r, 2);
		t_uint(in.calls + out.calls, 2);
		close_pipe(&ends);
	}
}

/* --- timeouts --- */

Test(loop, timeouts_are_done_in_the_order_of_their_ends)
{
	T_EACH_BACKEND(l)
	{
		static const unsigned ms[] = { 9, 3, 12, 1, 6 };
		static const unsigned order[] = { 4, 2, 5, 1, 3 };
		struct run r = { .l = l };
		struct probe p[ARRAY_SIZE(ms)];

		for (unsigned i = 0; i < ARRAY_SIZE(ms); i++) {
			p[i] = probe(&r);
			loop_timeout(l, &p[i].op, ms[i] * MS);
		}
		wait_for(&r, ARRAY_SIZE(ms));
		for (unsigned i = 0; i < ARRAY_SIZE(ms); i++) {
			cr_expect(eq(uint, p[i].order, order[i]), "%u ms", ms[i]);
			cr_expect(eq(int, p[i].res, 0));
		}
	}
}

Test(loop, a_timeout_is_not_early)
{
	T_EACH_BACKEND(l)
	{
		uint64_t start = now_ns(CLOCK_MONOTONIC);

		run_for(l, 4 * MS);
		t_true(now_ns(CLOCK_MONOTONIC) - start >= 4 * MS);
	}
}

Test(loop, a_timeout_of_nothing_is_done_soon_but_not_at_once)
{
	T_EACH_BACKEND(l)
	{
		struct run r = { .l = l };
		struct probe p = probe(&r);

		loop_timeout(l, &p.op, 0);
		t_uint(p.calls, 0);
		wait_for(&r, 1);
		t_int(p.res, 0);
	}
}

Test(loop, a_timeout_of_centuries_does_not_end)
{
	T_EACH_BACKEND(l)
	{
		struct run r = { .l = l };
		struct probe p = probe(&r);

		loop_timeout(l, &p.op, UINT64_MAX);
		run_for(l, 2 * MS);
		t_uint(p.calls, 0);
		loop_cancel(l, &p.op);
		wait_for(&r, 1);
		t_int(p.res, -ECANCELED);
	}
}

/* --- cancellation --- */

Test(loop, a_cancelled_poll_is_done_once_with_ecanceled)
{
	T_EACH_BACKEND(l)
	{
		struct run r = { .l = l };
		struct probe p = probe(&r);
		struct pipe_ends ends = new_pipe();

		loop_poll(l, &p.op, ends.in, POLLIN);
		loop_cancel(l, &p.op);
		t_uint(p.calls, 0);
		loop_cancel(l, &p.op); /* twice changes nothing */
		wait_for(&r, 1);
		t_int(p.res, -ECANCELED);
		put_byte(ends.out);
		run_for(l, 2 * MS);
		t_uint(p.calls, 1);
		close_pipe(&ends);
	}
}

Test(loop, a_descriptor_may_be_polled_again_after_a_cancellation)
{
	T_EACH_BACKEND(l)
	{
		struct run r = { .l = l };
		struct probe p = probe(&r);
		struct pipe_ends ends = new_pipe();

		loop_poll(l, &p.op, ends.in, POLLIN);
		loop_cancel(l, &p.op);
		wait_for(&r, 1);
		put_byte(ends.out);
		loop_poll(l, &p.op, ends.in, POLLIN);
		wait_for(&r, 1);
		t_int(p.res & POLLIN, POLLIN);
		close_pipe(&ends);
	}
}

Test(loop, a_cancelled_timeout_is_done_at_once_and_the_others_go_on)
{
	T_EACH_BACKEND(l)
	{
		for (unsigned which = 0; which < 3; which++) {
			struct run r = { .l = l };
			struct probe p[3];
			uint64_t start = now_ns(CLOCK_MONOTONIC);

			for (unsigned i = 0; i < 3; i++) {
				p[i] = probe(&r);
				loop_timeout(l, &p[i].op, (i + 2) * MS);
			}
			loop_cancel(l, &p[which].op);
			wait_for(&r, 3);
			for (unsigned i = 0; i < 3; i++)
				cr_expect(eq(int, p[i].res, i == which ? -ECANCELED : 0),
					"timeout %u after %u was cancelled", i, which);
			cr_expect(eq(uint, p[which].order, 1));
			cr_expect(ge(u64, now_ns(CLOCK_MONOTONIC) - start, 3 * MS));
		}
	}
}

Test(loop, cancelling_an_idle_op_leaves_it_alone)
{
	T_EACH_BACKEND(l)
	{
		struct run r = { .l = l };
		struct probe p = probe(&r);

		loop_cancel(l, &p.op);
		loop_timeout(l, &p.op, 0);
		wait_for(&r, 1);
		loop_cancel(l, &p.op);
		run_for(l, 2 * MS);
		t_uint(p.calls, 1);
		t_int(p.res, 0);
	}
}

Test(loop, a_cancelled_transfer_is_done_once_with_its_result_or_ecanceled)
{
	T_EACH_BACKEND(l)
	{
		int fd = memfd_create("file", MFD_CLOEXEC);
		char buf[4] = "abc";
		struct iovec iov = { buf, 4 };

		for (unsigned round = 0; round < 30; round++) {
			struct run r = { .l = l };
			struct probe w = probe(&r), s = probe(&r);

			loop_writev(l, &w.op, fd, &iov, 1, 0);
			loop_sync(l, &s.op, fd);
			loop_cancel(l, &w.op);
			loop_cancel(l, &s.op);
			wait_for(&r, 2);
			cr_expect(eq(int, w.res == 4 || w.res == -ECANCELED, 1), "%d", w.res);
			cr_expect(eq(int, s.res == 0 || s.res == -ECANCELED, 1), "%d", s.res);
			cr_expect(eq(uint, w.calls + s.calls, 2));
		}
		(void)close(fd);
	}
}

static void then_cancel(struct probe *p)
{
	loop_cancel(p->run->l, &((struct probe *)p->arg)->op);
}

Test(loop, an_op_cancelled_by_another_of_the_same_batch_is_still_done_exactly_once)
{
	T_EACH_BACKEND(l)
	{
		struct run r = { .l = l };
		struct probe a = probe(&r), b = probe(&r);
		struct pipe_ends one = new_pipe(), two = new_pipe();

		/* Both are ready, so both are in the batch; whichever comes first cancels the
		 * other. */
		put_byte(one.out);
		put_byte(two.out);
		a.then = b.then = then_cancel;
		a.arg = &b;
		b.arg = &a;
		loop_poll(l, &a.op, one.in, POLLIN);
		loop_poll(l, &b.op, two.in, POLLIN);
		wait_for(&r, 2);
		run_for(l, 2 * MS);
		t_uint(a.calls, 1);
		t_uint(b.calls, 1);
		t_true(b.res == -ECANCELED || (b.res & POLLIN));
		close_pipe(&one);
		close_pipe(&two);
	}
}

Test(loop, an_always_ready_file_and_a_timeout_cancelled_in_the_same_batch_are_done_once)
{
	T_EACH_BACKEND(l)
	{
		struct run r = { .l = l };
		struct probe a = probe(&r), b = probe(&r);
		int fd = memfd_create("file", MFD_CLOEXEC);

		a.then = b.then = then_cancel;
		a.arg = &b;
		b.arg = &a;
		loop_poll(l, &a.op, fd, POLLIN);
		loop_timeout(l, &b.op, 0);
		wait_for(&r, 2);
		run_for(l, 2 * MS);
		t_uint(a.calls, 1);
		t_uint(b.calls, 1);
		(void)close(fd);
	}
}

/* --- terminals: a change of settings wakes their pollers for nothing --- */

static void touch_settings(int fd)
{
	struct termios t;

	t_int(tcgetattr(fd, &t), 0);
	t.c_lflag ^= ECHO;
	t_int(tcsetattr(fd, TCSANOW, &t), 0);
}

Test(loop, a_poll_of_a_terminal_survives_a_change_of_its_settings)
{
	T_EACH_BACKEND(l)
	{
		struct run r = { .l = l };
		struct probe p = probe(&r);
		int master, slave;

		t_int(openpty(&master, &slave, NULL, NULL, NULL), 0);
		loop_poll(l, &p.op, slave, POLLIN);
		for (unsigned i = 0; i < 3; i++) {
			run_for(l, MS);
			touch_settings(slave);
		}
		run_for(l, MS);
		t_uint(p.calls, 0);
		t_int(write(master, "x\n", 2), 2);
		wait_for(&r, 1);
		t_int(p.res & POLLIN, POLLIN);
		(void)close(master);
		(void)close(slave);
	}
}

Test(loop, a_poll_of_a_terminal_that_was_woken_for_nothing_can_be_cancelled_in_that_batch)
{
	T_EACH_BACKEND(l)
	{
		for (unsigned round = 0; round < 2; round++) {
			struct run r = { .l = l, .waiting = 100 };
			struct probe tty = probe(&r), other = probe(&r);
			struct pipe_ends ends = new_pipe();
			int master, slave;

			t_int(openpty(&master, &slave, NULL, NULL, NULL), 0);
			other.then = then_cancel;
			other.arg = &tty;
			loop_poll(l, &tty.op, slave, POLLIN);
			loop_poll(l, &other.op, ends.in, POLLIN);
			run_for(l, MS);
			if (round == 0)
				put_byte(ends.out);
			touch_settings(slave);
			if (round == 1)
				put_byte(ends.out);
			run_for(l, 5 * MS);
			t_uint(other.calls, 1);
			t_uint(tty.calls, 1);
			t_int(tty.res, -ECANCELED);
			close_pipe(&ends);
			(void)close(master);
			(void)close(slave);
		}
	}
}

/* --- files --- */

Test(loop, what_is_written_is_read_back_from_its_offset)
{
	T_EACH_BACKEND(l)
	{
		struct run r = { .l = l };
		struct probe p = probe(&r);
		int fd = memfd_create("file", MFD_CLOEXEC);
		char a[] = "hello", b[] = "world!", in[11] = "", rest[3] = "";
		struct iovec out[] = { { a, 5 }, { b, 6 } }, back[] = { { in, 9 }, { rest, 2 } };

		loop_writev(l, &p.op, fd, out, 2, 100);
		t_uint(p.calls, 0);
		wait_for(&r, 1);
		t_int(p.res, 11);
		loop_sync(l, &p.op, fd);
		wait_for(&r, 1);
		t_int(p.res, 0);
		loop_readv(l, &p.op, fd, back, 2, 100);
		wait_for(&r, 1);
		t_int(p.res, 11);
		t_str(in, "helloworl");
		t_str(rest, "d!");
		(void)close(fd);
	}
}

Test(loop, a_read_across_the_end_of_a_file_is_short_and_behind_it_empty)
{
	T_EACH_BACKEND(l)
	{
		struct run r = { .l = l };
		struct probe p = probe(&r);
		int fd = memfd_create("file", MFD_CLOEXEC);
		char buf[16];
		struct iovec iov = { buf, sizeof(buf) };

		t_int(write(fd, "0123456789", 10), 10);
		loop_readv(l, &p.op, fd, &iov, 1, 4);
		wait_for(&r, 1);
		t_int(p.res, 6);
		loop_readv(l, &p.op, fd, &iov, 1, 10);
		wait_for(&r, 1);
		t_int(p.res, 0);
		loop_readv(l, &p.op, fd, &iov, 1, 1LL << 40);
		wait_for(&r, 1);
		t_int(p.res, 0);
		(void)close(fd);
	}
}

Test(loop, the_errors_of_transfers_are_those_of_the_calls)
{
	T_EACH_BACKEND(l)
	{
		struct run r = { .l = l };
		struct probe p = probe(&r);
		struct pipe_ends ends = new_pipe();
		int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
		char buf[4] = "abc";
		struct iovec iov = { buf, 4 };

		loop_readv(l, &p.op, -1, &iov, 1, 0);
		wait_for(&r, 1);
		t_int(p.res, -EBADF);
		loop_readv(l, &p.op, full, &iov, 1, 0);
		wait_for(&r, 1);
		t_int(p.res, -EBADF); /* opened for writing */
		loop_writev(l, &p.op, full, &iov, 1, 0);
		wait_for(&r, 1);
		t_int(p.res, -ENOSPC);
		loop_sync(l, &p.op, ends.in);
		wait_for(&r, 1);
		t_int(p.res, -EINVAL);
		(void)close(full);
		close_pipe(&ends);
	}
}

Test(loop, more_ops_than_the_ring_has_entries_are_all_done)
{
	enum { MANY = 1500 };

	T_EACH_BACKEND(l)
	{
		struct run r = { .l = l };
		struct probe *p = calloc(MANY, sizeof(*p));
		int fd = memfd_create("file", MFD_CLOEXEC);
		char buf[1] = "x";
		struct iovec iov = { buf, 1 };
		unsigned wrong = 0;

		for (unsigned i = 0; i < MANY; i++) {
			p[i] = probe(&r);
			if (i % 3 == 0)
				loop_writev(l, &p[i].op, fd, &iov, 1, i);
			else if (i % 3 == 1)
				loop_timeout(l, &p[i].op, i * 1000ULL);
			else
				loop_sync(l, &p[i].op, fd);
		}
		wait_for(&r, MANY);
		for (unsigned i = 0; i < MANY; i++)
			wrong += p[i].calls != 1 || p[i].res != (i % 3 == 0 ? 1 : 0);
		t_uint(wrong, 0);
		free(p);
		(void)close(fd);
	}
}

/* --- posts --- */

struct counter {
	struct loop_post post;
	struct loop *l;
	unsigned runs, stop_at, order;
	unsigned *next_order;
	pthread_t ran_on;
};

static void count_run(struct loop_post *post)
{
	struct counter *c = container_of(post, struct counter, post);

	c->ran_on = pthread_self();
	if (c->next_order)
		c->order = ++*c->next_order;
	if (++c->runs == c->stop_at)
		loop_stop(c->l);
}

static struct counter counter(struct loop *l, unsigned stop_at)
{
	return (struct counter){ .post.run = count_run, .l = l, .stop_at = stop_at };
}

Test(loop, a_post_runs_on_the_loops_thread_and_not_at_once)
{
	T_EACH_BACKEND(l)
	{
		struct counter c = counter(l, 1);

		loop_post(l, &c.post);
		t_uint(c.runs, 0);
		t_int(loop_run(l), 0);
		t_uint(c.runs, 1);
		t_true(pthread_equal(c.ran_on, pthread_self()));
	}
}

Test(loop, posting_again_before_it_ran_changes_nothing)
{
	T_EACH_BACKEND(l)
	{
		struct counter c = counter(l, 0);

		for (unsigned i = 0; i < 5; i++)
			loop_post(l, &c.post);
		run_for(l, 2 * MS);
		t_uint(c.runs, 1);
		loop_post(l, &c.post);
		run_for(l, 2 * MS);
		t_uint(c.runs, 2);
	}
}

Test(loop, posts_run_in_their_order_however_many_there_are)
{
	T_EACH_BACKEND(l)
	{
		static struct counter c[1000];
		unsigned order = 0, wrong = 0;

		for (unsigned i = 0; i < ARRAY_SIZE(c); i++) {
			c[i] = counter(l, i + 1 == ARRAY_SIZE(c));
			c[i].next_order = &order;
			loop_post(l, &c[i].post);
		}
		t_int(loop_run(l), 0);
		for (unsigned i = 0; i < ARRAY_SIZE(c); i++)
			wrong += c[i].runs != 1 || c[i].order != i + 1;
		t_uint(wrong, 0);
	}
}

static void run_and_post_again(struct loop_post *post)
{
	struct counter *c = container_of(post, struct counter, post);

	c->runs++;
	loop_post(c->l, post);
}

Test(loop, a_post_that_posts_itself_for_ever_does_not_hold_up_the_rest)
{
	T_EACH_BACKEND(l)
	{
		struct counter c = counter(l, 0);

		c.post.run = run_and_post_again;
		loop_post(l, &c.post);
		run_for(l, 3 * MS);
		t_true(c.runs > 1);
	}
}

static void *post_later(void *arg)
{
	struct counter *c = arg;

	(void)usleep(3000);
	loop_post(c->l, &c->post);
	return NULL;
}

Test(loop, a_post_of_another_thread_wakes_the_loop)
{
	T_EACH_BACKEND(l)
	{
		struct counter c = counter(l, 1);
		pthread_t thread;

		t_int(pthread_create(&thread, NULL, post_later, &c), 0);
		t_int(loop_run(l), 0);
		t_int(pthread_join(thread, NULL), 0);
		t_uint(c.runs, 1);
		t_true(pthread_equal(c.ran_on, pthread_self()));
	}
}

enum { POSTERS = 4, POSTS_EACH = 400 };

struct poster {
	struct loop *l;
	struct counter all[POSTS_EACH];
};

static void *post_many(void *arg)
{
	struct poster *p = arg;

	for (unsigned i = 0; i < POSTS_EACH; i++)
		loop_post(p->l, &p->all[i].post);
	return NULL;
}

Test(loop, posts_of_several_threads_all_run_once_and_each_threads_in_order)
{
	T_EACH_BACKEND(l)
	{
		static struct poster p[POSTERS];
		pthread_t thread[POSTERS];
		unsigned order = 0, wrong = 0;

		for (unsigned i = 0; i < POSTERS; i++) {
			p[i].l = l;
			for (unsigned k = 0; k < POSTS_EACH; k++) {
				p[i].all[k] = counter(l, 0);
				p[i].all[k].next_order = &order;
			}
			t_int(pthread_create(&thread[i], NULL, post_many, &p[i]), 0);
		}
		while (order < POSTERS * POSTS_EACH)
			run_for(l, MS);
		for (unsigned i = 0; i < POSTERS; i++) {
			t_int(pthread_join(thread[i], NULL), 0);
			for (unsigned k = 0; k < POSTS_EACH; k++) {
				wrong += p[i].all[k].runs != 1;
				wrong += k > 0 && p[i].all[k].order < p[i].all[k - 1].order;
			}
		}
		t_uint(wrong, 0);
	}
}

static _Atomic bool flooding;

static void *flood(void *arg)
{
	struct counter *c = arg;

	while (flooding)
		loop_post(c->l, &c->post);
	return NULL;
}

Test(loop, a_flood_of_posts_of_another_thread_does_not_hold_up_the_rest)
{
	T_EACH_BACKEND(l)
	{
		struct counter c = counter(l, 0);
		pthread_t thread;

		flooding = true;
		t_int(pthread_create(&thread, NULL, flood, &c), 0);
		while (c.runs == 0) /* until the thread is there */
			run_for(l, MS);
		run_for(l, 5 * MS);
		flooding = false;
		t_int(pthread_join(thread, NULL), 0);
		run_for(l, 2 * MS); /* the last one */
		t_false(c.post.queued);
	}
}

/* --- the loop itself --- */

Test(loop, a_stopped_loop_may_run_again_and_keeps_what_was_submitted)
{
	T_EACH_BACKEND(l)
	{
		struct run r = { .l = l };
		struct probe early = probe(&r), late = probe(&r);

		loop_timeout(l, &late.op, 60 * MS);
		loop_timeout(l, &early.op, 1 * MS);
		wait_for(&r, 1);
		t_uint(early.calls, 1);
		t_uint(late.calls, 0);
		wait_for(&r, 1);
		t_uint(late.calls, 1);
	}
}

static _Atomic unsigned alarms;

static void on_alarm(int signo)
{
	(void)signo;
	alarms++;
}

Test(loop, signals_do_not_end_the_wait)
{
	struct sigaction act = { .sa_handler = on_alarm };
	struct itimerval often = { { 0, 1000 }, { 0, 1000 } }, never = { 0 };

	t_int(sigaction(SIGALRM, &act, NULL), 0);
	T_EACH_BACKEND(l)
	{
		uint64_t start = now_ns(CLOCK_MONOTONIC);

		alarms = 0;
		t_int(setitimer(ITIMER_REAL, &often, NULL), 0);
		run_for(l, 10 * MS);
		t_int(setitimer(ITIMER_REAL, &never, NULL), 0);
		t_true(alarms > 0);
		t_true(now_ns(CLOCK_MONOTONIC) - start >= 10 * MS);
	}
}

Test(loop, a_loop_with_nothing_to_do_sleeps)
{
	T_EACH_BACKEND(l)
	{
		uint64_t cpu = now_ns(CLOCK_PROCESS_CPUTIME_ID);

		run_for(l, 40 * MS);
		t_true(now_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu < 20 * MS);
	}
}

Test(loop, an_op_that_is_pending_cannot_be_submitted, .signal = SIGABRT)
{
	struct loop *l = t_loop_new(0);
	struct run r = { .l = l };
	struct probe p = probe(&r);

	loop_timeout(l, &p.op, MS);
	loop_timeout(l, &p.op, MS);
}

Test(loop, freeing_no_loop_is_allowed)
{
	loop_free(NULL);
	t_true(true);
}

Test(loop, a_freed_loop_leaves_no_descriptor_no_thread_and_no_memory)
{
	unsigned fds = t_count_fds(), threads = t_count_threads();

	T_EACH_BACKEND(l)
	{
		struct run r = { .l = l };
		struct probe p[8];
		int fd = memfd_create("file", MFD_CLOEXEC);

		for (unsigned i = 0; i < ARRAY_SIZE(p); i++) {
			p[i] = probe(&r);
			loop_sync(l, &p[i].op, fd); /* on epoll: starts the pool */
		}
		wait_for(&r, ARRAY_SIZE(p));
		(void)close(fd);
	}
	/* The kernel's own workers of a ring end a moment after it. */
	t_uint(t_settled_threads(threads), threads);
	t_uint(t_count_fds(), fds);
	T_NO_LEAKS();
}

/* --- a host that refuses io_uring --- */

Test(loop, where_io_uring_is_refused_epoll_takes_its_place)
{
	static const int codes[] = { -EPERM, -ENOSYS, -ENOMEM, -EACCES };
	unsigned fds = t_count_fds();

	for (unsigned i = 0; i < ARRAY_SIZE(codes); i++) {
		enum loop_backend got = LOOP_AUTO;
		struct loop *l = NULL;

		refuse_queue = codes[i];
		cr_expect(eq(int, loop_new(LOOP_AUTO, &l, &got, NULL), 0));
		cr_expect(eq(int, (int)got, LOOP_EPOLL));
		run_for(l, 1000);
		loop_free(l);
	}
	t_uint(t_count_fds(), fds);
}

Test(loop, where_io_uring_is_refused_and_asked_for_that_is_an_error_with_the_remedy)
{
	unsigned fds = t_count_fds();
	struct loop *l = NULL;
	struct err e = { 0 };

	refuse_queue = -EPERM;
	t_int(loop_new(LOOP_URING, &l, NULL, &e), -EPERM);
	t_int(e.code, -EPERM);
	t_has(e.text, "io_uring_disabled");
	t_false(l);
	t_uint(t_count_fds(), fds);
	T_NO_LEAKS();
}

Test(loop, a_ring_that_cannot_be_sealed_is_not_used)
{
	unsigned fds = t_count_fds();
	enum loop_backend got = LOOP_AUTO;
	struct loop *l = NULL;

	refuse_restrictions = -EINVAL;
	t_int(loop_new(LOOP_AUTO, &l, &got, NULL), 0);
	t_int(got, LOOP_EPOLL);
	loop_free(l);
	t_uint(t_count_fds(), fds);
	T_NO_LEAKS();
}

Test(loop, a_kernel_without_the_newest_flags_is_asked_again_without_them)
{
	enum loop_backend got = LOOP_AUTO;
	struct loop *l = NULL;
	struct err e = { 0 };

	if (t_uring_is_refused())
		cr_skip_test("this host refuses io_uring");
	refuse_newest = true;
	cr_assert(eq(int, loop_new(LOOP_URING, &l, &got, &e), 0), "%s", e.text);
	t_int(got, LOOP_URING);
	run_for(l, 1000);
	loop_free(l);
}
