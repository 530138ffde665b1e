/* Threads with a small stack and without signals (helper_thread.h). */
#include "snapshot/helper_thread.h"

#include <signal.h>

#include "base/err.h"

/* A path's way through the kernel needs little. */
enum { STACK_BYTES = 128 * 1024 };

int helper_thread_start(
	pthread_t *ret, const char *name, void *(*run)(void *arg), void *arg, struct err *e)
{
	sigset_t all, old;
	pthread_attr_t attr;
	pthread_t thread;
	int rc;

	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &old);
	(void)pthread_attr_init(&attr);
	(void)pthread_attr_setstacksize(&attr, STACK_BYTES);
	rc = -pthread_create(&thread, &attr, run, arg);
	(void)pthread_attr_destroy(&attr);
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (rc < 0)
		return err_sys(e, rc, "see RLIMIT_NPROC and the cgroup's pids.max",
			"cannot start a thread");
	(void)pthread_setname_np(thread, name);
	*ret = thread;
	return 0;
}
