/*
 * Parts of guest memory that map a file become memory of the process's own.
 */
#ifndef MVM_SNAPSHOT_RAM_OWN_H
#define MVM_SNAPSHOT_RAM_OWN_H

#include "base/check.h"
#include "core/mem.h"

struct err;

/* The machine stands still.  0, or -errno with e filled: -EOPNOTSUPP, and nothing has changed, when
 * that would be too much to copy (a restored machine). */
MUST_CHECK int ram_own(const struct guest_mem *m, struct err *e);

#endif
