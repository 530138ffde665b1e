/*
 * Runs of a memory file are read into guest memory, by several threads where they are much.
 */
#ifndef MVM_SNAPSHOT_RAM_READ_H
#define MVM_SNAPSHOT_RAM_READ_H

#include <stdbool.h>

#include "base/check.h"
#include "core/mem.h"
#include "snapshot/ram_load.h"

/*
 * Reads n runs of l, which are within memory and within the file, to their places.  needs_zeroes:
 * something is there already, so that holes of the file have to be read as well; otherwise the
 * pages of holes are not touched.  0, or -errno with e filled.
 */
MUST_CHECK int ram_read(const struct guest_mem *m, const struct ram_layer *l,
	const struct page_run *run, unsigned n, bool needs_zeroes, struct err *e);

#endif
