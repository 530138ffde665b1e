/*
 * The virtio block device (virtio 1.2, 5.2): one queue, one disk (disk.h).
 *
 *     kick --> pop, parse (blk_request.h) --> rate limiter --> disk_start() --> file
 *                                               | may not: held, and the queue waits
 *     interrupt <-- virtio_publish(), once a round <-- push, status <-- done
 *
 * Requests live in an array that is made with the device and touched as far as the driver's queue
 * depth reaches.  Data goes between the file and the guest's buffers without a copy.
 *
 * A request that is well-formed but cannot be done is answered with VIRTIO_BLK_S_IOERR or _UNSUPP;
 * a chain that is no request breaks the device (rules.h).  What the host's file fails at is said in
 * the log once for each disk, and counted after that.
 *
 * A driver that leaves out VIRTIO_BLK_F_FLUSH takes the disk for one that writes through
 * (5.2.5.1): each of its writes is then made safe before it is answered, unless unsafe_cache is
 * set.
 *
 * Counters: COUNT_DISCARD has discards and write-zeroes; bytes are those of requests that went
 * well.
 *
 * The loop's thread, but for blk_new().
 */
#ifndef MVM_VIRTIO_BLK_H
#define MVM_VIRTIO_BLK_H

#include "base/check.h"
#include "virtio/disk.h"
#include "virtio/virtio.h"

struct err;

enum { BLK_QUEUE_MAX = 256 };

/*
 * Opens the disk and makes the device for it, named "disk 'ID'".  c and what it points to may go
 * afterwards.  To be freed by its ops.  0, or -errno with e filled (disk_open()).
 */
MUST_CHECK int blk_new(const struct disk_config *c, struct virtio_device **ret, struct err *e);

/* Looks at the size of the file again and tells the driver of a new one.  0, or -errno with e
 * filled and nothing changed. */
MUST_CHECK int blk_rescan(struct virtio_device *dev, struct err *e);

/*
 * Another file for a device that may be running.  It is opened, locked and checked before the old
 * one is let go; requests in flight finish on the old one, all others go to the new one.  The path
 * that the device already has open is a rescan.  0, or -errno with e filled and nothing changed.
 * What the guest wrote to the old file and did not flush is in the host's page cache then, and no
 * later flush reaches it: who cares syncs that file, or has the guest flush first.
 */
MUST_CHECK int blk_replace(struct virtio_device *dev, const char *path, struct err *e);

/* Other limits, full from now on.  A request that is held back is looked at again. */
void blk_set_limit(struct virtio_device *dev, const struct limiter_config *limit);

#endif
