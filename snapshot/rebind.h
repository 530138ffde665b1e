/*
 * The resources of the host that a restored machine gets: as they were saved, or others.
 */
#ifndef MVM_SNAPSHOT_REBIND_H
#define MVM_SNAPSHOT_REBIND_H

#include "base/check.h"
#include "instance.h"
#include "snapshot/load.h"
#include "snapshot/snapshot.h"

struct err;

/* Everything in o that names a drive or a network card names one of s, once.  0 or -ENODEV with e
 * filled. */
MUST_CHECK int rebind_check(const struct snapshot *s, const struct load_options *o, struct err *e);

/*
 * Describes the machine of s to the instance, with what o says otherwise: disks and taps are
 * opened.  A disk that is not what it was when the machine was saved is refused, because its guest
 * has parts of it in memory: -ESTALE, and e says what differs and how to go on; one that was named
 * by o need only have the same size.  0, or -errno with e filled; the caller then takes the
 * description back (instance_forget()).
 */
MUST_CHECK int rebind(struct instance *in, const struct snapshot *s, const struct load_options *o,
	const char *state_path, struct err *e);

#endif
