/*
 * Guest memory into a memory file: sparse, zero pages left out, through an io_uring of its own with
 * many writes in flight, or by pwrite() where the host refuses io_uring.
 *
 * On a thread that may block (core/job.h); the machine stands still, or what is written is
 * protected otherwise.  Not synced: that is the caller's business, who also renames.
 */
#ifndef MVM_SNAPSHOT_RAM_SAVE_H
#define MVM_SNAPSHOT_RAM_SAVE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/check.h"
#include "core/mem.h"

struct err;
struct page_run;

/* Zeroed by the caller; others may read it at any time. */
struct ram_progress {
	_Atomic uint64_t pages_done, pages_all; /* looked at, of so many */
	_Atomic uint64_t pages_written;         /* not zero, and in the file */
	_Atomic bool is_cancelled;              /* set by others: the save ends with -ECANCELED */
};

/* The pages that this process has touched in m: all others of an anonymous memory are zero, all
 * others of a mapped file are that file's.  From /proc/self/pagemap; bits as in mem_take_dirty(),
 * added to.  is_private_only: only those that are no more the mapped file's, which is what differs
 * from it.  0 or -errno with e filled. */
MUST_CHECK int ram_find_touched(
	const struct guest_mem *m, bool is_private_only, uint64_t *bits, struct err *e);

/* The pages that a full file needs, added to bits: those that were touched, and all of the parts
 * that map a file (a restored machine's memory, a kernel's image).  All others are zero - but where
 * a handler brings pages (uffd.h), untouched ones are the handler's: there the caller's set has to
 * have every page.  0 or -errno with e filled. */
MUST_CHECK int ram_find_needed(const struct guest_mem *m, uint64_t *bits, struct err *e);

/*
 * Writes the pages of bits to fd at their places; NULL stands for every page of memory, of which
 * only those of ram_find_needed() are looked at.  fd is a new empty file, whose length is set to
 * the memory's.  Zero pages become holes, and so does what is not in bits.  0, or -errno with e
 * filled (the file is then of no use).
 */
MUST_CHECK int ram_save(const struct guest_mem *m, const uint64_t *bits, int fd,
	struct ram_progress *p, struct err *e);

/* The same for a part, while the rest changes: pages of bits again, over what fd has; zero pages
 * are written as well. */
MUST_CHECK int ram_save_again(const struct guest_mem *m, const uint64_t *bits, int fd,
	struct ram_progress *p, struct err *e);

/* Fills e for a write to a memory file that failed with rc at byte off, and returns rc. */
int ram_write_error(struct err *e, int rc, uint64_t off);

/* True when the 4 KiB at page are zero; as far as it looks, they are read once. */
bool ram_page_is_zero(const void *page);

/* Bits as runs, from malloc(); 0 or -ENOMEM. */
MUST_CHECK int ram_runs(
	const uint64_t *bits, uint64_t pages, struct page_run **ret, unsigned *ret_n);

#endif
