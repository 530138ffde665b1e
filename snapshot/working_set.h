/*
 * The working set: the pages that a guest needs first after a restore, kept as "working-set" beside
 * the snapshot, so that later restores bring them in ahead of the guest instead of one fault after
 * the other.
 *
 *     restore --(N ms)--> working_set_record() --> file          restore -->
 * working_set_prefetch(), beside the guest
 *
 * The file belongs to one snapshot (its id is in it), has a checksum, and is only ever advice: one
 * that does not fit is ignored with a word in the log.
 */
#ifndef MVM_SNAPSHOT_WORKING_SET_H
#define MVM_SNAPSHOT_WORKING_SET_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/check.h"
#include "core/mem.h"
#include "snapshot/snapshot.h"

struct working_set {
	uint8_t id[SNAPSHOT_ID_LEN]; /* of the snapshot */
	uint64_t window_ms;          /* how long was looked */
	unsigned nread, nwritten; /* runs of pages that were only read, and that were written to */
	struct page_run *read, *written; /* owned */
};

void working_set_fini(struct working_set *w);

/*
 * What the guest has touched so far in m, which maps the snapshot's memory file: into a zeroed w,
 * whose id and window_ms are the caller's.  The kernel maps what lies around a page that is read as
 * well, so that a few neighbours are in it, too; small gaps between pages that were read are
 * filled, those between written ones never, since each costs memory.  0 or -errno with e filled.
 */
MUST_CHECK int working_set_record(struct working_set *w, const struct guest_mem *m, struct err *e);

/* As a file at path, by rename; and back, into a zeroed w: -EBADMSG for one that is damaged or does
 * not fit into so many pages. */
MUST_CHECK int working_set_write(const struct working_set *w, const char *path, struct err *e);
MUST_CHECK int working_set_read(
	struct working_set *w, const char *path, uint64_t pages, struct err *e);

/*
 * Brings the pages in: memory_fd is read ahead in large pieces where it is not in the page cache,
 * then the pages are mapped in batches, those that the guest writes to as its own copies.  On a
 * thread that may block, beside the running guest.  0 or -errno with e filled: -ECANCELED soon
 * after somebody has set is_cancelled, because storage may be slow and the machine end meanwhile.
 */
MUST_CHECK int working_set_prefetch(const struct working_set *w, const struct guest_mem *m,
	int memory_fd, const atomic_bool *is_cancelled, struct err *e);

/* How well it did: pages of the set, and pages that the guest touched beside it (or that the kernel
 * mapped around those). */
struct working_set_score {
	uint64_t brought, missed;
};

MUST_CHECK int working_set_score(const struct working_set *w, const struct guest_mem *m,
	struct working_set_score *ret, struct err *e);

#endif
