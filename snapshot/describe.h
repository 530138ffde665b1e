/*
 * What the instance has described, as values of a snapshot.
 */
#ifndef MVM_SNAPSHOT_DESCRIBE_H
#define MVM_SNAPSHOT_DESCRIBE_H

#include "base/check.h"
#include "instance.h"
#include "snapshot/snapshot.h"

struct err;

/*
 * Fills what an instance whose machine is paused says of it: boot source, drives, network cards, in
 * the order of the machine's devices, and what each disk's file is at this moment.  0, or -errno
 * with e filled.
 */
MUST_CHECK int describe_instance(const struct instance *in, struct snapshot *s, struct err *e);

/* What the file behind d is.  0 or -errno. */
MUST_CHECK int disk_identify(const struct disk *d, struct disk_identity *ret);

/* The disk that the running machine's drive has, by its number among the machine's disks. */
const struct disk *describe_disk(const struct instance *in, unsigned drive);

#endif
