/* Work on a thread of its own. */
#include "t_probe.h"

#include "core/job.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/err.h"

TestSuite(job, .timeout = T_SECONDS);

struct work {
	struct job job;
	struct loop *l;
	pthread_t worked_on, done_on;
	unsigned worked, done;
	bool was_blocked, was_running;
	unsigned again;
	_Atomic bool may_go;
};

static void work(struct job *j)
{
	struct work *w = container_of(j, struct work, job);
	sigset_t mask;

	w->worked++;
	w->worked_on = pthread_self();
	(void)pthread_sigmask(SIG_SETMASK, NULL, &mask);
	w->was_blocked = sigismember(&mask, SIGTERM) == 1;
	while (!atomic_load(&w->may_go))
		(void)usleep(100);
}

static void done(struct job *j)
{
	struct work *w = container_of(j, struct work, job);
	struct err e = { 0 };

	w->done++;
	w->done_on = pthread_self();
	w->was_running = job_is_running(j);
	if (w->again > 0) {
		w->again--;
		t_int(job_start(w->l, j, &e), 0);
	}
}

static struct work make(struct loop *l)
{
	return (struct work){ .job.work = work, .job.done = done, .l = l, .may_go = true };
}

static void finish(struct work *w)
{
	while (job_is_running(&w->job))
		t_int(loop_turn(w->l), 0);
}

Test(job, works_elsewhere_and_is_done_on_the_loop)
{
	T_EACH_BACKEND(l)
	{
		struct work w = make(l);
		struct err e = { 0 };

		t_int(job_start(l, &w.job, &e), 0);
		t_true(job_is_running(&w.job));
		t_uint(w.done, 0);
		finish(&w);
		t_uint(w.worked, 1);
		t_uint(w.done, 1);
		t_false(pthread_equal(w.worked_on, pthread_self()));
		t_true(pthread_equal(w.done_on, pthread_self()));
		t_true(w.was_blocked);
		t_false(w.was_running);
	}
}

Test(job, may_be_started_again_from_done)
{
	T_EACH_BACKEND(l)
	{
		struct work w = make(l);
		struct err e = { 0 };

		w.again = 2;
		t_int(job_start(l, &w.job, &e), 0);
		finish(&w);
		t_uint(w.worked, 3);
		t_uint(w.done, 3);
	}
}

static void *release(void *arg)
{
	struct work *w = arg;

	(void)usleep(20000);
	atomic_store(&w->may_go, true);
	return NULL;
}

Test(job, abandoned_one_is_waited_for_and_never_done)
{
	T_EACH_BACKEND(l)
	{
		struct work w = make(l);
		struct err e = { 0 };
		pthread_t t;

		atomic_store(&w.may_go, false);
		t_int(job_start(l, &w.job, &e), 0);
		t_int(pthread_create(&t, NULL, release, &w), 0);
		job_abandon(&w.job);
		t_true(atomic_load(&w.may_go));
		t_false(job_is_running(&w.job));
		/* Its word is still on the way to the loop. */
		t_settle(l);
		t_uint(w.done, 0);
		(void)pthread_join(t, NULL);
	}
}

Test(job, that_does_not_run_may_be_abandoned)
{
	struct work w = make(NULL);

	job_abandon(&w.job);
	t_uint(w.done, 0);
}

/* Its memory may go, although the loop turns again: a sanitizer would tell. */
Test(job, forgotten_one_leaves_nothing_in_the_loop)
{
	T_EACH_BACKEND(l)
	{
		struct work *w = malloc(sizeof(*w));
		struct err e = { 0 };

		*w = make(l);
		t_int(job_start(l, &w->job, &e), 0);
		job_forget(&w->job);
		t_false(job_is_running(&w->job));
		t_uint(w->done, 0);
		job_forget(&w->job);
		memset(w, 0xff, sizeof(*w));
		free(w);
		t_settle(l);
	}
}
