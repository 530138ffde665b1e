/*
 * A full snapshot and the differences on top of it become one full snapshot, without a machine.
 *
 * The result has the last one's id, because it is the same moment of the same machine: what is a
 * difference to the last one is a difference to it as well.
 */
#ifndef MVM_SNAPSHOT_MERGE_H
#define MVM_SNAPSHOT_MERGE_H

#include "base/check.h"

struct err;

/*
 * dirs: n folders, the base first, each of the others a difference to the one before it.  out: a
 * folder that is there and is none of them; a snapshot in it is replaced, by the protocol of
 * commit.h.  0, or -errno with e filled and out as it was.
 */
MUST_CHECK int snapshot_merge(const char *const *dirs, unsigned n, const char *out, struct err *e);

#endif
