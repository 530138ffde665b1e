/* Between the parts of instance.h. */
#ifndef MVM_INSTANCE_PRIVATE_H
#define MVM_INSTANCE_PRIVATE_H

#include "instance.h"
#include "instance_change.h"

/* The description as one configuration; strings stay the instance's.  takes: what is open is handed
 * over with it, otherwise it is left out. */
void instance_compose(struct instance *in, const struct start_options *options, bool takes,
	struct vm_config *ret);

/* A patch that is under way, if any, is over: what it opened is closed, and done is told.  The loop
 * runs no more. */
void instance_abandon_patch(struct instance *in);

#endif
