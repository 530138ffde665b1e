/*
 * The host that a machine is saved and restored on.
 */
#ifndef MVM_SNAPSHOT_HOST_H
#define MVM_SNAPSHOT_HOST_H

#include <stdbool.h>

#include "base/check.h"
#include "core/kvm.h"
#include "snapshot/snapshot.h"

struct err;

/* This one. */
void host_describe(struct snapshot_host *ret);

/*
 * Whether s can run here: its CPU features and MSRs against those that this KVM offers.  A host
 * that is still the one that saved it, since the same start of its kernel and with the same CPU, is
 * not asked; the answer costs half a millisecond. 0, or -errno with e filled: -EOPNOTSUPP naming
 * what is missing.
 */
MUST_CHECK int host_check(const struct snapshot *s, const char *kvm_path, struct err *e);

#endif
