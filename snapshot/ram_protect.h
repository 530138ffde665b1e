/*
 * A copy of guest memory as it was at one moment, while the machine runs on at once.
 *
 *     machine stands still   ram_protect_begin(): nothing can be written any more (userfaultfd,
 *                            write protection)
 *     machine runs           ram_protect_save(): pages are copied in order and let go; a page that
 *                            somebody wants to write to is copied first, by a thread that serves
 *                            such faults, and the writer waits a few microseconds
 *                            ram_protect_end()
 *
 * Who writes does not matter: a vCPU, the kernel for a device, or a thread of the monitor.  The
 * thread that serves faults takes no lock but its own and needs nobody else, the loop least of all.
 *
 * Only pages that were there at the beginning are protected: all others of an anonymous memory were
 * zero then, and are a hole in the file whatever becomes of them.
 *
 * Whatever fails, the protection is taken away: the copy is lost, the machine is not.
 */
#ifndef MVM_SNAPSHOT_RAM_PROTECT_H
#define MVM_SNAPSHOT_RAM_PROTECT_H

#include <stdint.h>

#include "base/check.h"
#include "core/mem.h"

struct err;
struct ram_progress;
struct ram_protect;

/*
 * Protects the pages of bits (NULL: all; borrowed during the call).  The machine stands still: no
 * vCPU runs, every device is at rest.  Small parts of m that map a file, as a kernel's image does,
 * become copies of it first.
 *
 * 0, or -errno with e filled and nothing protected: -EOPNOTSUPP where memory or kernel is not of a
 * kind that allows it (a restored machine's mapped file, huge pages of the pool, pages that a
 * handler brings, Linux before 5.19), -EPERM, -EACCES or -ENOSYS where this user or kernel has no
 * userfaultfd: there is the log of dirty pages then.
 */
MUST_CHECK int ram_protect_begin(
	const struct guest_mem *m, const uint64_t *bits, struct ram_protect **ret, struct err *e);

/*
 * Writes the pages as they were to fd, a new empty file, whose length is set; zero pages become
 * holes.  Once, soon after the machine was let go - writers wait when more pages are copied than
 * the buffer holds - and on a thread that may block.  Nothing is protected any more when it
 * returns.  0, or -errno with e filled (the file is then of no use): -ECANCELED by progress.
 */
MUST_CHECK int ram_protect_save(
	struct ram_protect *p, int fd, struct ram_progress *progress, struct err *e);

/* With or without a save, which is over.  Accepts NULL. */
void ram_protect_end(struct ram_protect *p);

#endif
