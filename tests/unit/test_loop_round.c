/* The event loop: work for the end of a round, its time, rounds one by one, fallocate. */
#include "t_probe.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>

TestSuite(loop_round, .timeout = T_SECONDS);

/* --- the end of a round --- */

struct tail {
	struct loop_tail tail;
	struct loop *l;
	unsigned runs, order, *next_order;
	struct tail *then; /* deferred by it */
};

static void run_tail(struct loop_tail *tail)
{
	struct tail *t = container_of(tail, struct tail, tail);

	t->runs++;
	if (t->next_order)
		t->order = ++*t->next_order;
	if (t->then)
		loop_defer(t->l, &t->then->tail);
}

static struct tail tail(struct loop *l, unsigned *next_order)
{
	return (struct tail){ .tail.run = run_tail, .l = l, .next_order = next_order };
}

static void defer(struct tail *t)
{
	loop_defer(t->l, &t->tail);
}

struct deferrer {
	struct loop_op op;
	struct tail *t;
	unsigned runs_seen;
	int fd;
};

static void on_defer(struct loop_op *op, int res)
{
	struct deferrer *d = container_of(op, struct deferrer, op);

	(void)res;
	d->runs_seen = d->t->runs;
	defer(d->t);
}

Test(loop_round, what_many_completions_of_a_round_defer_runs_once_behind_all_of_them)
{
	T_EACH_BACKEND(l)
	{
		struct tail t = tail(l, NULL);
		struct deferrer d[8];

		for (unsigned i = 0; i < ARRAY_SIZE(d); i++) {
			d[i] = (struct deferrer){ .op.done = on_defer, .t = &t };
			d[i].fd = memfd_create("file", MFD_CLOEXEC); /* is always ready */
			loop_poll(l, &d[i].op, d[i].fd, POLLIN);
		}
		t_int(loop_turn(l), 0);
		t_uint(t.runs, 1);
		for (unsigned i = 0; i < ARRAY_SIZE(d); i++) {
			t_false(loop_op_is_pending(&d[i].op));
			t_uint(d[i].runs_seen, 0);
			(void)close(d[i].fd);
		}
		t_settle(l);
		t_uint(t.runs, 1);
	}
}

Test(loop_round, tails_run_in_their_order_and_without_anything_else_to_do)
{
	T_EACH_BACKEND(l)
	{
		unsigned order = 0;
		struct tail t[3] = { tail(l, &order), tail(l, &order), tail(l, &order) };

		for (unsigned i = 0; i < 3; i++)
			defer(&t[i]);
		defer(&t[0]); /* once more before it ran changes nothing */
		t_uint(order, 0);
		t_int(loop_turn(l), 0); /* does not sleep */
		for (unsigned i = 0; i < 3; i++) {
			t_uint(t[i].runs, 1);
			t_uint(t[i].order, i + 1);
		}
	}
}

Test(loop_round, what_a_tail_defers_runs_in_the_next_round_and_others_are_served_between)
{
	T_EACH_BACKEND(l)
	{
		struct tail a = tail(l, NULL), b = tail(l, NULL);
		struct t_probe p = t_probe(l);

		a.then = &b;
		defer(&a);
		t_int(loop_turn(l), 0);
		t_uint(a.runs, 1);
		t_uint(b.runs, 0);
		t_int(loop_turn(l), 0); /* does not sleep either */
		t_uint(b.runs, 1);
		/* Two that defer each other for ever hold up nobody. */
		b.then = &a;
		defer(&a);
		loop_timeout(l, &p.op, MS);
		while (p.calls == 0)
			t_int(loop_turn(l), 0);
		t_true(a.runs + b.runs > 3);
		a.then = b.then = NULL;
		t_settle(l);
	}
}

/* --- time --- */

static uint64_t clock_ns(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

struct times {
	struct loop_op op;
	uint64_t first, second, before;
};

static void on_time(struct loop_op *op, int res)
{
	struct times *t = container_of(op, struct times, op);

	(void)res;
	t->before = clock_ns();
	t->first = loop_now_ns(op->loop);
	(void)usleep(2000);
	t->second = loop_now_ns(op->loop);
}

Test(loop_round, the_time_is_read_once_in_a_round_and_anew_in_the_next)
{
	T_EACH_BACKEND(l)
	{
		struct times t = { .op.done = on_time };
		uint64_t last = 0;

		for (unsigned i = 0; i < 3; i++) {
			(void)loop_now_ns(l); /* between rounds: must not be what the round sees */
			(void)usleep(1000);
			loop_timeout(l, &t.op, 0);
			while (loop_op_is_pending(&t.op))
				t_int(loop_turn(l), 0);
			t_true(t.first >= t.before - MS / 2 && t.first <= clock_ns());
			t_uint(t.second, t.first);
			t_true(t.first >= last + 2 * MS);
			last = t.first;
		}
	}
}

/* --- rounds --- */

static void on_alarm(int signo)
{
	(void)signo;
}

Test(loop_round, a_round_waits_for_something_and_a_signal_ends_it)
{
	struct sigaction act = { .sa_handler = on_alarm };

	t_int(sigaction(SIGALRM, &act, NULL), 0);
	T_EACH_BACKEND(l)
	{
		struct t_probe p = t_probe(l);
		uint64_t start = clock_ns();

		loop_timeout(l, &p.op, 5 * MS);
		while (p.calls == 0)
			t_int(loop_turn(l), 0);
		t_true(clock_ns() - start >= 5 * MS);
		(void)ualarm(20000, 20000); /* again and again, in case one comes before the wait */
		t_int(loop_turn(l), -EINTR);
		(void)ualarm(0, 0);
		loop_timeout(l, &p.op, 0);
		while (p.calls == 1)
			t_int(loop_turn(l), 0);
	}
}

/* --- fallocate --- */

static int allocate(struct t_probe *p, int fd, int mode, int64_t off, int64_t len)
{
	unsigned before = p->calls;

	loop_allocate(p->l, &p->op, fd, mode, off, len);
	t_uint(p->calls, before);
	while (p->calls == before)
		t_int(loop_turn(p->l), 0);
	return p->res;
}

Test(loop_round, fallocate_makes_room_punches_and_zeroes)
{
	T_EACH_BACKEND(l)
	{
		struct t_probe p = t_probe(l);
		int fd = memfd_create("file", MFD_CLOEXEC);
		char buf[12288], zeroes[4096] = { 0 };
		struct stat st;

		memset(buf, 'x', sizeof(buf));
		t_int(pwrite(fd, buf, sizeof(buf), 0), sizeof(buf));
		t_int(allocate(&p, fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4096, 4096), 0);
		t_int(pread(fd, buf, sizeof(buf), 0), sizeof(buf));
		t_int(buf[4095], 'x');
		t_int(memcmp(buf + 4096, zeroes, 4096), 0);
		t_int(buf[8192], 'x');
		t_int(allocate(&p, fd, 0, 1 << 20, 4096), 0);
		t_int(fstat(fd, &st), 0);
		t_int(st.st_size, (1 << 20) + 4096);
		(void)close(fd);
	}
}

Test(loop_round, the_errors_of_fallocate_are_those_of_the_call)
{
	T_EACH_BACKEND(l)
	{
		struct t_probe p = t_probe(l);
		int fd = memfd_create("file", MFD_CLOEXEC), ends[2];

		t_int(pipe2(ends, O_CLOEXEC), 0);
		t_int(allocate(&p, -1, 0, 0, 1), -EBADF);
		t_int(allocate(&p, fd, 0, 0, 0), -EINVAL);
		t_int(allocate(&p, fd, FALLOC_FL_PUNCH_HOLE, 0, 4096), -EOPNOTSUPP);
		t_int(allocate(&p, fd, 0, INT64_MAX, INT64_MAX), -EFBIG);
		t_int(allocate(&p, ends[1], 0, 0, 4096), -ESPIPE);
		(void)close(ends[0]);
		(void)close(ends[1]);
		(void)close(fd);
	}
}

/* --- what was served --- */

static void turn_until(struct t_probe *p, unsigned calls)
{
	while (p->calls < calls)
		t_int(loop_turn(p->l), 0);
}

Test(loop_round, every_call_of_done_is_counted)
{
	T_EACH_BACKEND(l)
	{
		struct t_probe p = t_probe(l);
		uint64_t before = loop_served(l);

		for (unsigned i = 1; i <= 3; i++) {
			loop_timeout(l, &p.op, 0);
			t_uint(loop_served(l), before + i - 1);
			turn_until(&p, i);
			t_uint(loop_served(l), before + i);
		}
		/* One that is cancelled is told, too. */
		loop_timeout(l, &p.op, 3600000000000);
		loop_cancel(l, &p.op);
		turn_until(&p, 4);
		t_uint(loop_served(l), before + 4);
	}
}

Test(loop_round, every_signal_of_a_watch_is_counted)
{
	T_EACH_BACKEND(l)
	{
		struct t_probe p = t_probe(l);
		int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		uint64_t before = loop_served(l), one = 1;

		loop_watch(l, &p.op, fd);
		for (unsigned i = 1; i <= 3; i++) {
			t_int(write(fd, &one, sizeof(one)), sizeof(one));
			turn_until(&p, i);
			t_uint(loop_served(l), before + i);
		}
		loop_cancel(l, &p.op);
		turn_until(&p, 4);
		(void)close(fd);
	}
}

Test(loop_round, transfers_are_those_that_have_not_ended)
{
	T_EACH_BACKEND(l)
	{
		struct t_probe a = t_probe(l), b = t_probe(l), timer = t_probe(l);
		int fd = memfd_create("transfers", MFD_CLOEXEC);
		char byte = 'x';
		struct iovec iov = { &byte, 1 };

		t_uint(loop_transfers(l), 0);
		loop_writev(l, &a.op, fd, &iov, 1, 0);
		loop_sync(l, &b.op, fd);
		loop_timeout(l, &timer.op, 0);
		t_uint(loop_transfers(l), 2);
		turn_until(&timer, 1);
		turn_until(&a, 1);
		turn_until(&b, 1);
		t_uint(loop_transfers(l), 0);
		(void)close(fd);
	}
}
