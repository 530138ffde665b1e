/* What the user of a block device changes while it runs (blk.h). */
#include <linux/virtio_blk.h>
#include <stddef.h>

#include "base/err.h"
#include "virtio/blk_private.h"

/* A request that is held was checked against the disk as it was. */
static void disk_changed(struct blk *b)
{
	uint64_t capacity = b->disk->sectors;

	b->lim.sectors = capacity;
	if (b->held)
		blk_request_check(&b->held->job.req, &b->lim, b->held->job.ranges);
	virtio_config_write(
		&b->dev, offsetof(struct virtio_blk_config, capacity), &capacity, sizeof(capacity));
	if (b->dev.told)
		b->dev.told(&b->dev, VIRTIO_NEWS_CAPACITY, capacity * DISK_SECTOR, b->disk->path);
}

int blk_rescan(struct virtio_device *dev, struct err *e)
{
	struct blk *b = blk_of(dev);
	uint64_t before = b->disk->sectors;
	int rc = disk_rescan(b->disk, e);

	count_add(rc == 0 ? &dev->counters.updates : &dev->counters.update_fails, 1);
	if (rc == 0 && b->disk->sectors != before)
		disk_changed(b);
	return rc;
}

bool blk_is_at(const struct virtio_device *dev, const char *path)
{
	return disk_is_at(container_of(dev, struct blk, dev)->disk, path);
}

const struct disk *blk_disk(const struct virtio_device *dev)
{
	return container_of(dev, struct blk, dev)->disk;
}

void blk_config(const struct virtio_device *dev, struct disk_config *ret)
{
	*ret = container_of(dev, struct blk, dev)->cfg;
}

void blk_replace(struct virtio_device *dev, struct disk *d)
{
	struct blk *b = blk_of(dev);
	struct disk *old = b->disk;

	INVARIANT(d->read_only == old->read_only && d->direct == old->direct &&
		  d->sync_engine == old->sync_engine);
	count_add(&dev->counters.updates, 1);
	blk_use_disk(b, d);
	disk_changed(b);
	/* What is at work on it closes it at its end. */
	if (old->inflight == 0)
		disk_close(old);
}

void blk_set_limit(struct virtio_device *dev, const struct bucket_config *bytes,
	const struct bucket_config *ops)
{
	struct blk *b = blk_of(dev);

	if (!bytes && !ops)
		return;
	count_add(&dev->counters.updates, 1);
	if (bytes)
		bucket_init(&b->limiter.bytes, bytes, blk_now_ns(b));
	if (ops)
		bucket_init(&b->limiter.ops, ops, blk_now_ns(b));
	b->is_limited = limiter_is_limited(&b->limiter);
	if (loop_op_is_pending(&b->timer))
		loop_cancel(dev->loop, &b->timer);
}
