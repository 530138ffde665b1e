/*
 * Work that may block for long, such as opening a file on slow storage, away from the loop.
 *
 *     loop thread --job_start()--> thread of its own: work() --post--> loop thread: done()
 *
 * For rare things: each job makes a thread.  The job is its owner's and stays where it is until
 * done() begins.
 */
#ifndef MVM_CORE_JOB_H
#define MVM_CORE_JOB_H

#include <pthread.h>
#include <stdbool.h>

#include "base/check.h"
#include "core/loop.h"

struct err;

/* Zeroed but for work and done. */
struct job {
	void (*work)(struct job *j); /* on its own thread, all signals blocked */
	void (*done)(struct job *j); /* on the loop's thread; may start the job again */
	/* private */
	struct loop *loop;
	struct loop_post post;
	pthread_t thread;
	bool is_running;
};

/* The loop's thread; j is not running.  0, or -errno with e filled and neither function called. */
MUST_CHECK int job_start(struct loop *l, struct job *j, struct err *e);

static inline bool job_is_running(const struct job *j)
{
	return j->is_running;
}

/* Waits until work() is over; done() will not be called any more.  When the loop runs no more.
 * Accepts a job that is not running. */
void job_abandon(struct job *j);

/* The same, and nothing of j is left in the loop, which is turned for that: j may be freed although
 * others turn the loop later.  Not from inside a callback of the loop. */
void job_forget(struct job *j);

#endif
