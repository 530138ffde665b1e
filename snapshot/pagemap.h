/*
 * What /proc/self says about the pages of guest memory: which the process has, whose they are, and
 * which parts map a file.
 */
#ifndef MVM_SNAPSHOT_PAGEMAP_H
#define MVM_SNAPSHOT_PAGEMAP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/check.h"
#include "core/mem.h"

struct err;

/* A run of pages of one kind; is_private: they are the process's own, not a file's. */
typedef void pagemap_fn(void *ctx, uint64_t first, uint64_t count, bool is_private);

/*
 * Calls fn, in order, for the pages of m that are present or swapped out: what the guest and the
 * monitor have touched, and what the kernel mapped around that.  A mapped file's page that is
 * present is its own; one that was written to is private.  0 or -errno with e filled.
 */
MUST_CHECK int pagemap_scan(const struct guest_mem *m, pagemap_fn *fn, void *ctx, struct err *e);

/* Calls fn, in order, for the parts of m that map a file (is_private is false).  Huge pages of the
 * pool never do. 0 or -errno with e filled. */
MUST_CHECK int pagemap_find_mapped(
	const struct guest_mem *m, pagemap_fn *fn, void *ctx, struct err *e);

#endif
