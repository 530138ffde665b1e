/*
 * Threads of this layer that serve on their own: a small stack, and no signal ever comes to them.
 */
#ifndef MVM_SNAPSHOT_HELPER_THREAD_H
#define MVM_SNAPSHOT_HELPER_THREAD_H

#include <pthread.h>

#include "base/check.h"

struct err;

/* name is at most 15 characters.  0, or -errno with e filled; who calls joins it. */
MUST_CHECK int helper_thread_start(
	pthread_t *ret, const char *name, void *(*run)(void *arg), void *arg, struct err *e);

#endif
