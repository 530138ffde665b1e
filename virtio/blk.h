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
 * The loop's thread, but for blk_new() and blk_is_at().
 */
#ifndef MVM_VIRTIO_BLK_H
#define MVM_VIRTIO_BLK_H

#include "base/check.h"
#include "virtio/disk.h"
#include "virtio/virtio.h"

struct err;

enum { BLK_QUEUE_MAX = 256 };

/*
 * Opens the disk, or takes over c->opened, and makes the device for it, named "disk 'ID'".  c and
 * what it points to may go afterwards.  To be freed by its ops.  0, or -errno with e filled
 * (disk_open()), and then c->opened is closed.
 */
MUST_CHECK int blk_new(const struct disk_config *c, struct virtio_device **ret, struct err *e);

/* Looks at the size of the file again and tells the driver of a new one.  0, or -errno with e
 * filled and nothing changed. */
MUST_CHECK int blk_rescan(struct virtio_device *dev, struct err *e);

/* Whether the device has the file open that path names at this moment.  Asks the file system, which
 * may take long.  Any thread, while the loop does not replace the disk. */
bool blk_is_at(const struct virtio_device *dev, const char *path);

/* The disk that requests begin on; valid until it is replaced. */
const struct disk *blk_disk(const struct virtio_device *dev);

/*
 * What the device's disk was opened with: to be given to disk_open() with another path.  The
 * strings are the device's and valid until the disk is replaced.
 */
void blk_config(const struct virtio_device *dev, struct disk_config *ret);

/*
 * Another disk for a device that may be running, opened with the same flags, and not the file that
 * it has (which would have stood against its own lock): blk_config(), blk_is_at().  d is the
 * device's from now on.  Requests in flight finish on the old disk, which is closed behind them, on
 * this thread (disk_close()); all others go to the new one.  What the guest wrote to the old file
 * and did not flush is in the host's page cache then, and no later flush reaches it: who cares
 * syncs that file, or has the guest flush first.
 */
void blk_replace(struct virtio_device *dev, struct disk *d);

/* Other limits, each full from now on; NULL leaves one as it is.  A request that is held back is
 * looked at again. */
void blk_set_limit(struct virtio_device *dev, const struct bucket_config *bytes,
	const struct bucket_config *ops);

#endif
