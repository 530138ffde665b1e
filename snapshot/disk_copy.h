/*
 * What a disk held at one moment, as a file of its own: a second name for the same blocks where the
 * file system can do that (FICLONE), a sparse copy otherwise.
 */
#ifndef MVM_SNAPSHOT_DISK_COPY_H
#define MVM_SNAPSHOT_DISK_COPY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/check.h"

struct err;

/* At once, whatever the size.  -EOPNOTSUPP where there is no such thing between these two files. */
MUST_CHECK int disk_clone(int from, int to);

/* All of from, which nobody writes to meanwhile, into the empty file to; holes stay holes, and
 * zeroes become some.  May take long; ends with -ECANCELED soon after *is_cancelled was set.  0 or
 * -errno with e filled. */
MUST_CHECK int disk_copy(
	int from, int to, const char *path, const _Atomic bool *is_cancelled, struct err *e);

#endif
