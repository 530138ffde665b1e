/*
 * A userfaultfd (userfaultfd(2)) that also sees the faults of KVM and of the kernel's copies, which
 * happen in kernel mode.
 */
#ifndef MVM_SNAPSHOT_USERFAULT_H
#define MVM_SNAPSHOT_USERFAULT_H

#include <stdint.h>

#include "base/check.h"
#include "core/mem.h"

struct err;

/*
 * A descriptor, close-on-exec and non-blocking, with all features (UFFD_FEATURE_...) of needed and
 * those of wished or none of them; or -errno with e filled: -EOPNOTSUPP where the kernel lacks what
 * is needed.
 */
MUST_CHECK int userfault_open(uint64_t needed, uint64_t wished, struct err *e);

/* Registers all of m for mode (UFFDIO_REGISTER_MODE_...), for which the kernel must have the
 * operation op (a bit of its ioctls).  0, or -errno with e filled: -EOPNOTSUPP when memory is of a
 * kind that cannot be. */
MUST_CHECK int userfault_register(
	int fd, const struct guest_mem *m, uint64_t mode, unsigned op, struct err *e);

#endif
