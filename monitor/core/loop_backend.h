/*
 * What a backend of the loop provides, and the little it may call back.  Only for loop*.c.
 */
#ifndef MVM_CORE_LOOP_BACKEND_H
#define MVM_CORE_LOOP_BACKEND_H

#include "core/loop.h"

struct loop_backend_ops {
	/* state is the backend's own, made by init.  -EPERM, -ENOSYS, -ENOMEM...: the host refuses.
	 */
	int (*init)(struct loop *l, void **ret_state);
	void (*fini)(void *state);
	/* op is filled in; the backend must call loop_complete() for it later, never from inside
	 * submit. */
	void (*submit)(void *state, struct loop_op *op);
	void (*cancel)(void *state, struct loop_op *op);
	/* Reports all completions there are; block: waits for at least one.  0 or -errno. */
	int (*wait)(void *state, bool block);
};

extern const struct loop_backend_ops loop_uring_ops, loop_epoll_ops;

/* Ends op: marks it idle and calls done. */
void loop_complete(struct loop_op *op, int res);

/* Calls done of a watch that goes on. */
void loop_signal(struct loop_op *op);

#endif
