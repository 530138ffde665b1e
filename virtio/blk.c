/* The virtio block device (blk.h). */
#include "virtio/blk.h"

#include <errno.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_ids.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "base/err.h"
#include "virtio/blk_private.h"
#include "virtio/state.h"

enum {
	/* Of one request beside header and status, so that it fits the queue without an indirect
	 * table. */
	SEG_MAX = BLK_QUEUE_MAX - 2,
	/* As many segments of this size as a request may have still go to the file in one call,
	 * which moves at most 2 GiB less a page. */
	SEG_BYTES_MAX = 8 << 20,
	/* Taken in one go; the rest comes after the loop has served everybody else, so that a guest
	 * that never stops asking does not have the loop for itself. */
	BATCH = BLK_QUEUE_MAX,
	SHARE_BYTES =
		1 << 20, /* of data: what the page cache copies in a fraction of a millisecond */
};

/* The synchronous engine spends a round inside requests, so that the round's time says nothing. */
uint64_t blk_now_ns(const struct blk *b)
{
	struct timespec now;

	if (b->dev.loop && !b->cfg.sync_engine)
		return loop_now_ns(b->dev.loop);
	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* --- slots --- */

static struct blk_slot *slot_get(struct blk *b)
{
	uint16_t index;
	struct blk_slot *s;

	/* The queue lets no more chains out than it has entries. */
	INVARIANT(b->nfree > 0);
	index = b->free[--b->nfree];
	s = &b->pool->slot[index];
	s->index = index;
	s->blk = b;
	return s;
}

static void slot_put(struct blk *b, const struct blk_slot *s)
{
	b->free[b->nfree++] = s->index;
}

/* Moves a request out of the place where the next chain will be taken apart. */
static void slot_keep(struct blk *b, struct blk_slot *s)
{
	union blk_many *many = &b->pool->many[s->index];
	struct blk_request *r = &s->job.req;
	struct iovec *iov = r->iov_count > BLK_FEW ? many->iov : s->few;

	if (r->range_count > 0) {
		memcpy(many->range, b->ranges, r->range_count * sizeof(b->ranges[0]));
		s->job.ranges = many->range;
		return;
	}
	for (unsigned i = 0; i < r->iov_count; i++)
		iov[i] = r->iov[i];
	r->iov = iov;
}

/* --- the end of a request --- */

static void defer(struct blk *b)
{
	b->is_tail_due = true;
	loop_defer(b->dev.loop, &b->tail);
}

static enum counter_kind kind_of(enum blk_op op)
{
	switch (op) {
	case BLK_READ: return COUNT_READ;
	case BLK_WRITE: return COUNT_WRITE;
	case BLK_FLUSH: return COUNT_FLUSH;
	case BLK_DISCARD:
	case BLK_WRITE_ZEROES: return COUNT_DISCARD;
	case BLK_GET_ID:
	case BLK_UNKNOWN: break;
	}
	return COUNT_OTHER;
}

static void count_result(struct blk *b, const struct blk_slot *s)
{
	struct virtio_counters *count = &b->dev.counters;
	enum counter_kind kind = kind_of(s->job.req.op);
	uint64_t took = blk_now_ns(b) - s->began_ns;
	uint8_t status = s->job.req.status;

	count_add(&count->requests[kind], 1);
	histogram_add(&count->latency, took);
	if (count_is_way(kind))
		tally_add(&count->way[kind].took, took);
	if (status == VIRTIO_BLK_S_OK) {
		count_add(&count->bytes[kind], s->job.bytes);
		return;
	}
	count_add(&count->errors, 1);
	if (status == VIRTIO_BLK_S_UNSUPP)
		count_add(&count->unsupported, 1);
	else if (count_is_way(kind))
		count_add(&count->way[kind].fails, 1);
}

static void finish(struct blk *b, struct blk_slot *s)
{
	const struct blk_request *r = &s->job.req;

	count_result(b, s);
	/* Before the used index, which virtio_publish() writes behind a fence. */
	WRITE_ONCE(*r->status_at, r->status);
	mem_mark_dirty(b->dev.mem, r->status_at, sizeof(*r->status_at));
	virtq_push(&b->dev.vq[0], s->head, blk_request_written(r, s->job.bytes));
	slot_put(b, s);
	defer(b);
}

static void on_done(struct blk_job *job)
{
	struct blk_slot *s = container_of(job, struct blk_slot, job);
	struct disk *d = job->disk;
	struct blk *b = s->blk;

	b->inflight--;
	finish(b, s);
	/* The last request on a file that was replaced. */
	if (d != b->disk && d->inflight == 0)
		disk_close(d);
}

static void begin(struct blk *b, struct blk_slot *s)
{
	const struct blk_request *r = &s->job.req;

	/* Now, because a transfer that goes on eats its segments. */
	if (r->status == VIRTIO_BLK_S_OK && (r->op == BLK_READ || r->op == BLK_GET_ID))
		virtio_mark_dirty(&b->dev, r->iov, 0, r->len);
	s->job.disk = b->disk;
	s->job.is_write_through = b->is_write_through;
	s->job.done = on_done;
	if (blk_job_start(&s->job, b->dev.loop))
		finish(b, s);
	else
		b->inflight++;
}

/* --- the queue --- */

/* What the limiter counts beside the operation: the guest's data. */
static uint64_t price_of(const struct blk_request *r)
{
	bool is_data = r->op == BLK_READ || r->op == BLK_WRITE;

	return is_data && r->status == VIRTIO_BLK_S_OK ? r->len : 0;
}

/* True when s may begin; otherwise it is held, and the timer brings us back. */
static bool may_begin(struct blk *b, struct blk_slot *s)
{
	uint64_t wait = 0;

	if (b->is_limited)
		wait = limiter_take(&b->limiter, price_of(&s->job.req), blk_now_ns(b));
	if (wait == 0) {
		b->held = NULL;
		return true;
	}
	if (!b->held)
		virtio_throttled(&b->dev, COUNT_READ, blk_now_ns(b));
	b->held = s;
	loop_timeout(b->dev.loop, &b->timer, wait);
	return false;
}

/* One chain: true when it was begun and there may be another. */
static bool take_one(struct blk *b)
{
	struct virtq *vq = &b->dev.vq[0];
	struct virtq_chain c = { .iov = b->iov, .iov_max = ARRAY_SIZE(b->iov) };
	enum virtio_rule rule;
	struct blk_slot *s;
	int rc = virtq_pop(vq, &c);

	if (rc == 0)
		return false;
	if (rc < 0) {
		/* The array is as long as the queue may be, so it is never too short. */
		virtio_break(&b->dev, rc == -EBADMSG ? vq->broken : RULE_CHAIN_LENGTH);
		return false;
	}
	s = slot_get(b);
	s->head = c.head;
	s->began_ns = blk_now_ns(b);
	rule = blk_request_parse(&c, &b->lim, &s->job.req, b->ranges);
	if (rule != RULE_NONE) {
		slot_put(b, s);
		virtio_break(&b->dev, rule);
		return false;
	}
	slot_keep(b, s);
	if (!may_begin(b, s))
		return false;
	b->share -= MIN(b->share, price_of(&s->job.req));
	begin(b, s);
	return true;
}

static bool begin_held(struct blk *b)
{
	struct blk_slot *s = b->held;

	if (!s)
		return true;
	if (!may_begin(b, s))
		return false;
	begin(b, s);
	return true;
}

/* Takes what there is, at most a batch. */
static void process(struct blk *b)
{
	struct way_counters *count = &b->dev.counters.way[COUNT_READ];
	struct virtq *vq = &b->dev.vq[0];
	unsigned left = BATCH;
	bool again = true;

	b->share = SHARE_BYTES;
	b->has_more = false;
	/* The end of a timer, even of one that was cancelled, brings us back. */
	if (!virtio_may_run(&b->dev) || loop_op_is_pending(&b->timer) || !begin_held(b))
		return;
	while (again) {
		virtq_kicks_off(vq);
		while (left > 0 && b->share > 0 && take_one(b))
			left--;
		if (b->held || !virtio_may_run(&b->dev))
			return;
		if (left == 0 || b->share == 0) {
			b->has_more = true;
			count_add(&count->left, 1);
			defer(b);
			return;
		}
		again = virtq_kicks_on(vq);
	}
	if (left == BATCH)
		count_add(&count->no_buffer, 1);
}

/* Tells who waits that nothing is in flight any more: no I/O, no timer, no answer unpublished. */
static void settle(struct blk *b)
{
	if (!b->is_waited_for || b->inflight > 0 || b->is_tail_due || loop_op_is_pending(&b->timer))
		return;
	b->is_waited_for = false;
	virtio_quiesced(&b->dev);
}

static void end_of_round(struct loop_tail *tail)
{
	struct blk *b = container_of(tail, struct blk, tail);

	b->is_tail_due = false;
	virtio_publish(&b->dev, 0);
	if (b->has_more)
		process(b);
	settle(b);
}

static void on_timer(struct loop_op *op, int res)
{
	struct blk *b = container_of(op, struct blk, timer);

	/* Over, or cancelled for other limits: the limiter knows.  Cancelled for a quiesce: nothing
	 * begins. */
	if (res == 0)
		count_add(&b->dev.counters.way[COUNT_READ].limiter_events, 1);
	process(b);
	settle(b);
}

/* --- what the transport calls --- */

/* Every choice of ours is whole: no feature here needs another. */
static bool blk_accepts(const struct virtio_device *dev, uint64_t features)
{
	return (features & ~dev->offered) == 0;
}

static void blk_activate(struct virtio_device *dev)
{
	struct blk *b = blk_of(dev);

	b->is_write_through = b->lim.has_flush && !virtio_has(dev, VIRTIO_BLK_F_FLUSH);
}

static void blk_kick(struct virtio_device *dev, unsigned q)
{
	(void)q;
	process(blk_of(dev));
}

static void blk_quiesce(struct virtio_device *dev)
{
	struct blk *b = blk_of(dev);

	dev->is_quiesced = true;
	b->is_waited_for = true;
	if (loop_op_is_pending(&b->timer))
		loop_cancel(dev->loop, &b->timer);
	settle(b);
}

static void blk_resume(struct virtio_device *dev)
{
	dev->is_quiesced = false;
	process(blk_of(dev));
}

static void blk_reset(struct virtio_device *dev)
{
	struct blk *b = blk_of(dev);

	INVARIANT(b->inflight == 0 && !loop_op_is_pending(&b->timer));
	if (b->held)
		slot_put(b, b->held);
	b->held = NULL;
	b->has_more = false;
	INVARIANT(b->nfree == BLK_QUEUE_MAX);
}

/* There is only one. */
static void blk_queue_stopped(struct virtio_device *dev, unsigned q)
{
	(void)q;
	blk_reset(dev);
}

/* A request that is held was not paid for: it stays in the ring. */
static void blk_save(const struct virtio_device *dev, struct virtio_state *ret)
{
	const struct blk *b = container_of(dev, struct blk, dev);

	limiter_save(&b->limiter, blk_now_ns(b), &ret->limiter[0]);
}

static int blk_load(struct virtio_device *dev, const struct virtio_state *s)
{
	struct blk *b = blk_of(dev);

	limiter_load(&b->limiter, &s->limiter[0], blk_now_ns(b));
	return 0;
}

static void blk_free(struct virtio_device *dev)
{
	struct blk *b = blk_of(dev);

	INVARIANT(b->inflight == 0 && !b->held && !b->is_tail_due);
	INVARIANT(!loop_op_is_pending(&b->timer));
	virtio_device_fini(dev);
	disk_close(b->disk);
	if (b->pool)
		(void)munmap(b->pool, sizeof(*b->pool));
	free(b);
}

static const struct virtio_ops blk_ops = {
	.id = VIRTIO_ID_BLOCK,
	.nqueues = 1,
	.queue_max = BLK_QUEUE_MAX,
	.accepts = blk_accepts,
	.activate = blk_activate,
	.kick = blk_kick,
	.quiesce = blk_quiesce,
	.resume = blk_resume,
	.queue_stopped = blk_queue_stopped,
	.reset = blk_reset,
	.save = blk_save,
	.load = blk_load,
	.free = blk_free,
};

/* --- making one --- */

static uint64_t features_of(const struct disk_config *c)
{
	uint64_t features = VIRTIO_BIT(VIRTIO_BLK_F_SIZE_MAX) | VIRTIO_BIT(VIRTIO_BLK_F_SEG_MAX) |
			    VIRTIO_BIT(VIRTIO_BLK_F_BLK_SIZE) | VIRTIO_BIT(VIRTIO_BLK_F_TOPOLOGY);

	if (!c->unsafe_cache)
		features |= VIRTIO_BIT(VIRTIO_BLK_F_FLUSH);
	if (c->read_only)
		features |= VIRTIO_BIT(VIRTIO_BLK_F_RO);
	else
		features |=
			VIRTIO_BIT(VIRTIO_BLK_F_DISCARD) | VIRTIO_BIT(VIRTIO_BLK_F_WRITE_ZEROES);
	return features;
}

/* The fields of features that are not offered are there all the same, and mean nothing (5.2.4). */
static void describe(struct blk *b)
{
	const struct disk *d = b->disk;
	uint32_t ratio = d->physical_size / d->block_size;
	struct virtio_blk_config config = {
		.capacity = d->sectors,
		.size_max = SEG_BYTES_MAX,
		.seg_max = SEG_MAX,
		.blk_size = d->block_size,
		.physical_block_exp = (uint8_t)__builtin_ctz(ratio),
		.min_io_size = (uint16_t)ratio,
		.opt_io_size = d->optimal_size / d->block_size,
		.num_queues = 1,
		.max_discard_sectors = BLK_RANGE_SECTORS_MAX,
		.max_discard_seg = BLK_RANGES_MAX,
		.discard_sector_alignment = d->discard_size / DISK_SECTOR,
		.max_write_zeroes_sectors = BLK_RANGE_SECTORS_MAX,
		.max_write_zeroes_seg = BLK_RANGES_MAX,
		.write_zeroes_may_unmap = 1,
	};

	virtio_config_write(&b->dev, 0, &config, offsetof(struct virtio_blk_config, unused1) + 3);
}

static int make_pool(struct blk *b)
{
	void *pool;

	_Static_assert(sizeof(union blk_many) == 4096, "what one slot touches is one page");
	pool = mmap(NULL, sizeof(*b->pool), PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (pool == MAP_FAILED)
		return -errno;
	/* A huge page would make all of it resident at the first touch. */
	(void)madvise(pool, sizeof(*b->pool), MADV_NOHUGEPAGE);
	b->pool = pool;
	b->nfree = BLK_QUEUE_MAX;
	for (unsigned i = 0; i < BLK_QUEUE_MAX; i++)
		b->free[i] = (uint16_t)(BLK_QUEUE_MAX - 1 - i);
	return 0;
}

void blk_use_disk(struct blk *b, struct disk *d)
{
	b->disk = d;
	b->cfg.id = d->id;
	b->cfg.path = d->path;
	b->lim.sectors = d->sectors;
}

/* What blk_new() was given, or a file that it opens. */
static int get_disk(const struct disk_config *c, struct disk **d, struct err *e)
{
	if (!*d)
		return disk_open(c, d, e);
	if ((*d)->read_only == c->read_only && (*d)->direct == c->direct &&
		(*d)->sync_engine == c->sync_engine)
		return 0;
	return err_set(e, -EINVAL, "disk '%s': '%s' was opened in another way", c->id, (*d)->path);
}

int blk_new(const struct disk_config *c, struct virtio_device **ret, struct err *e)
{
	struct blk *b = calloc(1, sizeof(*b));
	struct disk *d = c->opened;
	int rc;

	if (!b) {
		disk_close(d);
		return err_sys(e, -ENOMEM, NULL, "disk '%s'", c->id);
	}
	virtio_device_init(&b->dev, &blk_ops, features_of(c));
	(void)snprintf(b->dev.name, sizeof(b->dev.name), "disk '%s'", c->id);
	b->tail.run = end_of_round;
	b->timer.done = on_timer;
	b->cfg = *c;
	b->cfg.opened = NULL;
	b->lim.is_read_only = c->read_only;
	b->lim.has_flush = !c->unsafe_cache;
	rc = make_pool(b);
	if (rc < 0)
		(void)err_sys(e, rc, NULL, "disk '%s': cannot map its requests", c->id);
	else
		rc = get_disk(c, &d, e);
	if (rc < 0) {
		disk_close(d);
		blk_free(&b->dev);
		return rc;
	}
	blk_use_disk(b, d);
	describe(b);
	limiter_init(&b->limiter, &c->limit, blk_now_ns(b));
	b->is_limited = limiter_is_limited(&b->limiter);
	*ret = &b->dev;
	return 0;
}
