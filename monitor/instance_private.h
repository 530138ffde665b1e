/* Between the parts of instance.h. */
#ifndef MVM_INSTANCE_PRIVATE_H
#define MVM_INSTANCE_PRIVATE_H

#include "instance.h"

/* The description as one configuration; strings stay the instance's.  takes: what is open is handed
 * over with it, otherwise it is left out. */
void instance_compose(struct instance *in, const struct start_options *options, bool takes,
	struct vm_config *ret);

/* Frees the description. */
void instance_forget(struct instance *in);

/*
 * What takes time is done one at a time.  Begin: 0, or -EPERM or -EBUSY with e filled; then the
 * change ends with finish, which tells done, but never before the call that began it has returned.
 */
MUST_CHECK int instance_begin_change(
	struct instance *in, instance_done_fn *done, void *ctx, struct err *e);
void instance_finish_change(struct instance *in, int rc, const struct err *e);

/* A patch that is under way, if any, is over: what it opened is closed, and done is told.  The loop
 * runs no more. */
void instance_abandon_patch(struct instance *in);

#endif
