/* Threads for work that may block (job.h). */
#include "core/job.h"

#include <errno.h>
#include <signal.h>
#include <sys/prctl.h>

#include "base/err.h"

/* A path's way through the kernel needs little. */
enum { STACK_BYTES = 128 * 1024 };

static void on_posted(struct loop_post *post)
{
	struct job *j = container_of(post, struct job, post);

	/* Abandoned meanwhile: its owner has joined the thread and forgotten it. */
	if (!j->is_running)
		return;
	/* The post was the last thing that the thread did. */
	(void)pthread_join(j->thread, NULL);
	j->is_running = false;
	j->done(j);
}

static void *job_main(void *arg)
{
	struct job *j = arg;

	(void)prctl(PR_SET_NAME, "job");
	j->work(j);
	loop_post(j->loop, &j->post);
	return NULL;
}

int job_start(struct loop *l, struct job *j, struct err *e)
{
	sigset_t all, old;
	pthread_attr_t attr;
	int rc;

	INVARIANT(!j->is_running);
	j->loop = l;
	j->post.run = on_posted;
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &old);
	(void)pthread_attr_init(&attr);
	(void)pthread_attr_setstacksize(&attr, STACK_BYTES);
	rc = -pthread_create(&j->thread, &attr, job_main, j);
	(void)pthread_attr_destroy(&attr);
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (rc < 0)
		return err_sys(e, rc, "see RLIMIT_NPROC and the cgroup's pids.max",
			"cannot start a thread");
	j->is_running = true;
	return 0;
}

void job_abandon(struct job *j)
{
	if (!j->is_running)
		return;
	(void)pthread_join(j->thread, NULL);
	j->is_running = false;
}

void job_forget(struct job *j)
{
	int rc = 0;

	job_abandon(j);
	/* The thread has ended, so nobody else looks at it. */
	while (j->post.queued && (rc == 0 || rc == -EINTR))
		rc = loop_turn(j->loop);
}
