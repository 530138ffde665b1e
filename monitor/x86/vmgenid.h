/*
 * The VM generation id: 16 random bytes that a guest finds by ACPI, others each time that its
 * machine goes on from a snapshot.  It tells a guest that somebody else may have the same random
 * numbers, so that it gets new ones.  (Microsoft, "Virtual Machine Generation ID".)
 */
#ifndef MVM_X86_VMGENID_H
#define MVM_X86_VMGENID_H

#include "base/check.h"
#include "core/mem.h"

struct err;

/* A new id at LAYOUT_VMGENID; before the first vCPU runs.  0, or -errno with e filled. */
MUST_CHECK int vmgenid_renew(const struct guest_mem *m, struct err *e);

#endif
