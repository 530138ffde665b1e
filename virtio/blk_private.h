/* Between the halves of the block device: blk.c (requests, life) and blk_change.c (what its user
 * changes). */
#ifndef MVM_VIRTIO_BLK_PRIVATE_H
#define MVM_VIRTIO_BLK_PRIVATE_H

#include "core/loop.h"
#include "virtio/blk.h"
#include "virtio/blk_job.h"

/* Segments that a slot has room for in itself; more are rare. */
enum { BLK_FEW = 6 };

/* A request at work. */
struct blk_slot {
	struct blk_job job;
	struct blk *blk;
	uint64_t began_ns;
	uint16_t index, head;
	struct iovec few[BLK_FEW];
};

/* What does not fit into a slot: a page for each. */
union blk_many {
	struct iovec iov[BLK_QUEUE_MAX];
	struct blk_range range[BLK_RANGES_MAX];
};

/* All that requests need, in one mapping of which only what is used is ever touched. */
struct blk_pool {
	union blk_many many[BLK_QUEUE_MAX];
	struct blk_slot slot[BLK_QUEUE_MAX];
};

struct blk {
	struct virtio_device dev;
	struct disk *disk;      /* what requests begin on; older ones may still be at work */
	struct disk_config cfg; /* its strings are those of disk */
	struct blk_limits lim;
	bool is_write_through; /* the driver did not agree on flushes */
	bool is_waited_for;    /* virtio_quiesced() is owed */
	unsigned inflight;     /* slots whose I/O the loop has */
	/* the end of a round */
	struct loop_tail tail;
	bool is_tail_due;
	bool has_more;  /* a batch or a share was used up before the queue was */
	uint64_t share; /* bytes that may still be taken in this go */
	/* the rate limit */
	struct limiter limiter;
	bool is_limited;
	struct blk_slot *held; /* taken, and not begun: the timer brings us back */
	struct loop_op timer;
	/* slots */
	struct blk_pool *pool;
	unsigned nfree;
	uint16_t free[BLK_QUEUE_MAX]; /* last in, first out, so that few slots are ever touched */
	/* where a chain is taken apart */
	struct iovec iov[BLK_QUEUE_MAX];
	struct blk_range ranges[BLK_RANGES_MAX];
};

static inline struct blk *blk_of(struct virtio_device *dev)
{
	return container_of(dev, struct blk, dev);
}

/* Of CLOCK_MONOTONIC. */
uint64_t blk_now_ns(const struct blk *b);

/* Requests begin on d from now on. */
void blk_use_disk(struct blk *b, struct disk *d);

#endif
