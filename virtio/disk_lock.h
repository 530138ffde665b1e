/*
 * Locks that keep two monitors from writing one disk image, and the search for who has it.
 */
#ifndef MVM_VIRTIO_DISK_LOCK_H
#define MVM_VIRTIO_DISK_LOCK_H

#include <stdbool.h>
#include <stddef.h>

#include "base/check.h"

/*
 * Takes an open file description lock on all of fd: it lasts until the last descriptor of this open
 * is closed, whatever else the process does with the file.  0; -EBUSY when a lock of somebody
 * else stands against it; or the -errno of fcntl.
 */
MUST_CHECK int disk_lock(int fd, bool is_exclusive);

/*
 * Words for who holds a lock on the file behind fd: "process 123 (mvm)", "another disk of this
 * process", or "another process" where /proc does not show it - because it is someone else's, in
 * another PID namespace, or in a crowd of more descriptors than are looked at.  Slow: reads through
 * /proc.
 */
void disk_lock_holder(int fd, char *buf, size_t len);

#endif
