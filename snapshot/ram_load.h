/*
 * A memory file, or a base and the differences on top of it, becomes guest memory.
 *
 *     file        mapped private: clones share the page cache, a page costs when it is touched
 *     huge pages  read into them, because a private mapping of a file has none
 *     userfaultfd another process brings the pages (uffd.h)
 */
#ifndef MVM_SNAPSHOT_RAM_LOAD_H
#define MVM_SNAPSHOT_RAM_LOAD_H

#include <stdint.h>

#include "base/check.h"
#include "core/mem.h"

struct err;
struct page_run;

enum { RAM_LAYERS_MAX = 64 }; /* a base and its differences */

/* One file of the chain, the base first. */
struct ram_layer {
	const char *path;           /* for messages */
	const struct page_run *run; /* NULL: it has every page; not NULL even where nruns is 0 */
	unsigned nruns;
	int fd; /* borrowed */
};

/*
 * Puts the layers into m, which guest_mem_init() has just reserved with the pages it is to have:
 * small pages are mapped, as long as there are not too many runs for that; everything else is read,
 * by several threads where it is much.  A base that is shorter or longer than m, or a difference
 * that is shorter than its last run, is -ENODATA or -EFBIG; runs that are not in order or not
 * within m are -EBADMSG; and then nothing was changed.  0, or -errno with e filled.
 *
 * A mapped file must keep its content as long as m is there, and may be renamed, replaced or
 * unlinked; fd may be closed.
 */
MUST_CHECK int ram_load(
	const struct guest_mem *m, const struct ram_layer *layer, unsigned n, struct err *e);

#endif
