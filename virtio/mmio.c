/* The virtio-mmio transport (mmio.h; virtio 1.2, 4.2.2). */
#include "virtio/mmio.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "virtio/mmio_private.h"

enum {
	REG_MAGIC = 0x000,
	REG_VERSION = 0x004,
	REG_DEVICE_ID = 0x008,
	REG_VENDOR_ID = 0x00c,
	REG_DEVICE_FEATURES = 0x010,
	REG_DEVICE_FEATURES_SEL = 0x014,
	REG_DRIVER_FEATURES = 0x020,
	REG_DRIVER_FEATURES_SEL = 0x024,
	REG_QUEUE_SEL = 0x030,
	REG_QUEUE_NUM_MAX = 0x034,
	REG_QUEUE_NUM = 0x038,
	REG_QUEUE_READY = 0x044,
	REG_QUEUE_NOTIFY = VIRTIO_MMIO_NOTIFY,
	REG_INTERRUPT_STATUS = 0x060,
	REG_INTERRUPT_ACK = 0x064,
	REG_STATUS = 0x070,
	REG_QUEUE_DESC_LOW = 0x080,
	REG_QUEUE_DESC_HIGH = 0x084,
	REG_QUEUE_DRIVER_LOW = 0x090,
	REG_QUEUE_DRIVER_HIGH = 0x094,
	REG_QUEUE_DEVICE_LOW = 0x0a0,
	REG_QUEUE_DEVICE_HIGH = 0x0a4,
	REG_SHM_LEN_LOW = 0x0b0,
	REG_SHM_BASE_HIGH = 0x0bc,
	REG_GENERATION = 0x0fc,
	REG_CONFIG = 0x100,

	MAGIC = 0x74726976, /* "virt" */
	VERSION = 2,
	VENDOR = 0x004d564d, /* "MVM" */
};

/* --- what the loop does for a vCPU --- */

static void request_done(struct virtio_mmio *t)
{
	(void)pthread_mutex_lock(&t->lock);
	t->request = MMIO_NOTHING;
	(void)pthread_cond_broadcast(&t->changed);
	(void)pthread_mutex_unlock(&t->lock);
}

static void activate(struct virtio_device *dev)
{
	dev->active = true;
	dev->is_quiesced = false;
	dev->ops->activate(dev);
	/* What was made available before the device was active. */
	for (unsigned q = 0; q < dev->ops->nqueues; q++) {
		if (virtio_may_run(dev) && dev->vq[q].ready)
			dev->ops->kick(dev, q);
	}
}

static void deactivate(struct virtio_device *dev)
{
	dev->ops->reset(dev);
	dev->active = false;
	dev->is_quiesced = false;
}

/* Nothing is in flight any more: what the request wanted that for. */
static void on_quiesced(struct virtio_device *dev)
{
	struct virtio_mmio *t = dev->transport;
	enum mmio_request request;
	unsigned q;

	if (t->pause == MMIO_PAUSES) {
		t->pause = MMIO_PAUSED;
		t->paused(t);
		return;
	}
	(void)pthread_mutex_lock(&t->lock);
	request = t->request;
	q = t->request_queue;
	(void)pthread_mutex_unlock(&t->lock);
	INVARIANT(request == MMIO_RESET || request == MMIO_STOP_QUEUE);
	if (request == MMIO_RESET) {
		deactivate(dev);
	} else {
		virtq_stop(&dev->vq[q]);
		if (dev->ops->queue_stopped)
			dev->ops->queue_stopped(dev, q);
		dev->is_quiesced = false;
		dev->ops->resume(dev);
	}
	request_done(t);
}

static void run_request(struct loop_post *post)
{
	struct virtio_mmio *t = container_of(post, struct virtio_mmio, post);
	struct virtio_device *dev = t->dev;
	enum mmio_request request;

	(void)pthread_mutex_lock(&t->lock);
	request = t->closing ? MMIO_NOTHING : t->request;
	(void)pthread_mutex_unlock(&t->lock);
	if (request == MMIO_ACTIVATE) {
		activate(dev);
		request_done(t);
	} else if (request != MMIO_NOTHING) {
		dev->is_quiesced = true;
		dev->ops->quiesce(dev);
	}
}

/*
 * Under the lock, which is released while the loop works.  Others are kept out until the caller,
 * not only the loop, has done its part: between the two a device is reset and its registers are
 * not.
 */
static void ask_loop(struct virtio_mmio *t, enum mmio_request request, unsigned q)
{
	t->request = request;
	t->request_queue = q;
	t->is_busy = true;
	loop_post(t->dev->loop, &t->post);
	while (t->request != MMIO_NOTHING && !t->closing)
		(void)pthread_cond_wait(&t->changed, &t->lock);
	t->is_busy = false;
	/* They look when this register access ends and with it the lock. */
	(void)pthread_cond_broadcast(&t->changed);
}

/* --- status --- */

static void clear(struct virtio_mmio *t)
{
	struct virtio_device *dev = t->dev;

	for (unsigned q = 0; q < dev->ops->nqueues; q++) {
		virtq_stop(&dev->vq[q]);
		t->queue[q].num = 0;
		t->queue[q].desc = t->queue[q].avail = t->queue[q].used = 0;
		t->queue[q].ready = false;
	}
	t->status = t->device_features_sel = t->driver_features_sel = t->queue_sel = 0;
	t->driver_features = 0;
	t->has_excess_features = false;
	dev->acked = 0;
	atomic_store(&dev->isr, 0);
	atomic_store(&dev->needs_reset, false);
}

static void reset(struct virtio_mmio *t)
{
	if (t->status & VIRTIO_CONFIG_S_DRIVER_OK)
		ask_loop(t, MMIO_RESET, 0);
	if (!t->closing)
		clear(t);
}

static void driver_ok(struct virtio_mmio *t)
{
	if (!(t->status & VIRTIO_CONFIG_S_FEATURES_OK)) {
		count_any(&t->dev->counters.activate_fails);
		virtio_break(t->dev, RULE_STATUS_ORDER);
		return;
	}
	/* A device that already needs a reset does not begin. */
	if (atomic_load(&t->dev->needs_reset)) {
		count_any(&t->dev->counters.activate_fails);
		return;
	}
	t->status |= VIRTIO_CONFIG_S_DRIVER_OK;
	ask_loop(t, MMIO_ACTIVATE, 0);
}

/*
 * Bits are only ever added, until a reset (2.1.1).  FEATURES_OK stays clear when the features are
 * refused, which is how the driver learns of it (3.1.1).
 */
static void write_status(struct virtio_mmio *t, uint32_t value)
{
	uint32_t added = value & MMIO_STATUS_OF_DRIVER & ~t->status;

	if (value == 0) {
		reset(t);
		return;
	}
	t->status |= added & (MMIO_STATUS_SET_UP | VIRTIO_CONFIG_S_FAILED);
	if ((added & VIRTIO_CONFIG_S_FEATURES_OK) &&
		(t->status & MMIO_STATUS_SET_UP) == MMIO_STATUS_SET_UP && !t->has_excess_features &&
		mmio_features_are_good(t->dev, t->driver_features)) {
		t->status |= VIRTIO_CONFIG_S_FEATURES_OK;
		t->dev->acked = t->driver_features;
	}
	if (added & VIRTIO_CONFIG_S_DRIVER_OK)
		driver_ok(t);
}

static uint32_t read_status(const struct virtio_mmio *t)
{
	return t->status |
	       (atomic_load(&t->dev->needs_reset) ? (uint32_t)VIRTIO_CONFIG_S_NEEDS_RESET : 0);
}

static void write_features(struct virtio_mmio *t, uint32_t value)
{
	uint64_t features = t->driver_features;

	if (t->driver_features_sel == 0)
		features = (features & ~(uint64_t)UINT32_MAX) | value;
	else if (t->driver_features_sel == 1)
		features = (features & UINT32_MAX) | (uint64_t)value << 32;
	else if (value != 0)
		t->has_excess_features = true;
	if (features != t->driver_features && (t->status & VIRTIO_CONFIG_S_FEATURES_OK))
		virtio_break(t->dev, RULE_FEATURES_LATE);
	else
		t->driver_features = features;
}

static uint32_t offered_word(const struct virtio_mmio *t)
{
	if (t->device_features_sel > 1)
		return 0;
	return (uint32_t)(t->dev->offered >> (32 * t->device_features_sel));
}

/* --- queues --- */

static struct virtio_mmio_queue *selected(struct virtio_mmio *t)
{
	return t->queue_sel < t->dev->ops->nqueues ? &t->queue[t->queue_sel] : NULL;
}

static void start_queue(struct virtio_mmio *t, struct virtio_mmio_queue *q)
{
	struct virtio_device *dev = t->dev;
	struct virtq_layout at = {
		.num = (uint16_t)q->num, .desc = q->desc, .avail = q->avail, .used = q->used
	};
	enum virtio_rule rule = RULE_NONE;

	if (!(t->status & VIRTIO_CONFIG_S_FEATURES_OK))
		rule = RULE_STATUS_ORDER;
	else if (t->status & VIRTIO_CONFIG_S_DRIVER_OK)
		rule = RULE_QUEUE_LATE;
	else if (q->num > dev->ops->queue_max)
		rule = RULE_QUEUE_SIZE;
	if (rule == RULE_NONE)
		rule = virtq_start(&dev->vq[q - t->queue], dev->mem, &at, dev->acked);
	if (rule != RULE_NONE)
		virtio_break(dev, rule);
	else
		q->ready = true;
}

/* The device leaves the queue alone when the write has returned (4.2.2.2). */
static void stop_queue(struct virtio_mmio *t, struct virtio_mmio_queue *q)
{
	unsigned index = (unsigned)(q - t->queue);

	if (t->status & VIRTIO_CONFIG_S_DRIVER_OK)
		ask_loop(t, MMIO_STOP_QUEUE, index);
	else
		virtq_stop(&t->dev->vq[index]);
	q->ready = false;
}

static void write_ready(struct virtio_mmio *t, struct virtio_mmio_queue *q, uint32_t value)
{
	if (value == 1 && !q->ready)
		start_queue(t, q);
	else if (value == 0 && q->ready)
		stop_queue(t, q);
}

static void set_low(gpa_t *at, uint32_t value)
{
	*at = (*at & ~(gpa_t)UINT32_MAX) | value;
}

static void set_high(gpa_t *at, uint32_t value)
{
	*at = (*at & UINT32_MAX) | (gpa_t)value << 32;
}

static void write_queue(struct virtio_mmio *t, uint32_t reg, uint32_t value)
{
	struct virtio_mmio_queue *q = selected(t);

	/* Linux stops a queue that it did not find. */
	if (!q && reg == REG_QUEUE_READY && value == 0)
		return;
	if (!q) {
		virtio_break(t->dev, RULE_QUEUE_NONE);
		return;
	}
	if (reg == REG_QUEUE_READY) {
		write_ready(t, q, value);
		return;
	}
	/* A queue that is ready stays as it is (4.2.2.2). */
	if (q->ready) {
		virtio_break(t->dev, RULE_QUEUE_LATE);
		return;
	}
	switch (reg) {
	case REG_QUEUE_NUM: q->num = value; break;
	case REG_QUEUE_DESC_LOW: set_low(&q->desc, value); break;
	case REG_QUEUE_DESC_HIGH: set_high(&q->desc, value); break;
	case REG_QUEUE_DRIVER_LOW: set_low(&q->avail, value); break;
	case REG_QUEUE_DRIVER_HIGH: set_high(&q->avail, value); break;
	case REG_QUEUE_DEVICE_LOW: set_low(&q->used, value); break;
	default: set_high(&q->used, value); break;
	}
}

/* Only what KVM does not take: a queue that does not exist, or a machine without ioeventfds. */
static void notify(struct virtio_mmio *t, uint32_t queue)
{
	uint64_t one = 1;

	if (queue >= t->dev->ops->nqueues)
		virtio_break(t->dev, RULE_QUEUE_NONE);
	else
		(void)!write(t->queue[queue].kick_fd, &one, sizeof(one));
}

static void kicked(struct loop_op *op, int res)
{
	struct virtio_mmio_queue *q = container_of(op, struct virtio_mmio_queue, watch);
	struct virtio_mmio *t = q->transport;
	struct virtio_device *dev = t->dev;
	unsigned index = (unsigned)(q - t->queue);

	if (res < 0 || !virtio_may_run(dev) || !dev->vq[index].ready)
		return;
	count_add(&dev->counters.kicks, 1);
	/* A network card's control queue is neither. */
	if (index < COUNT_WAYS)
		count_add(&dev->counters.way[index].kicks, 1);
	dev->ops->kick(dev, index);
}

/* --- register accesses, on vCPU threads --- */

static uint32_t read_register(struct virtio_mmio *t, uint32_t reg)
{
	const struct virtio_mmio_queue *q = selected(t);

	switch (reg) {
	case REG_MAGIC: return MAGIC;
	case REG_VERSION: return VERSION;
	case REG_DEVICE_ID: return t->dev->ops->id;
	case REG_VENDOR_ID: return VENDOR;
	case REG_DEVICE_FEATURES: return offered_word(t);
	case REG_QUEUE_NUM_MAX: return q ? t->dev->ops->queue_max : 0;
	case REG_QUEUE_READY: return q && q->ready;
	case REG_STATUS: return read_status(t);
	case REG_GENERATION: return virtio_config_generation(t->dev);
	default:
		/* No shared memory: its length and base are all ones (4.2.2). */
		return reg >= REG_SHM_LEN_LOW && reg <= REG_SHM_BASE_HIGH ? UINT32_MAX : 0;
	}
}

static void write_register(struct virtio_mmio *t, uint32_t reg, uint32_t value)
{
	switch (reg) {
	case REG_DEVICE_FEATURES_SEL: t->device_features_sel = value; break;
	case REG_DRIVER_FEATURES: write_features(t, value); break;
	case REG_DRIVER_FEATURES_SEL: t->driver_features_sel = value; break;
	case REG_QUEUE_SEL: t->queue_sel = value; break;
	case REG_QUEUE_NOTIFY: notify(t, value); break;
	case REG_STATUS: write_status(t, value); break;
	case REG_QUEUE_NUM:
	case REG_QUEUE_READY:
	case REG_QUEUE_DESC_LOW:
	case REG_QUEUE_DESC_HIGH:
	case REG_QUEUE_DRIVER_LOW:
	case REG_QUEUE_DRIVER_HIGH:
	case REG_QUEUE_DEVICE_LOW:
	case REG_QUEUE_DEVICE_HIGH: write_queue(t, reg, value); break;
	default: break;
	}
}

/* Another vCPU's request is finished first, so that it is never seen half-done. */
static bool enter(struct virtio_mmio *t)
{
	(void)pthread_mutex_lock(&t->lock);
	while (t->is_busy && !t->closing)
		(void)pthread_cond_wait(&t->changed, &t->lock);
	return !t->closing;
}

static void leave(struct virtio_mmio *t)
{
	(void)pthread_mutex_unlock(&t->lock);
}

/* Registers are 32 bits wide and are accessed so (4.2.2.2); anything else reads as zero. */
static void mmio_read(void *dev, uint64_t off, uint8_t *buf, uint32_t len)
{
	struct virtio_mmio *t = dev;
	uint32_t value = 0;

	if (off >= REG_CONFIG) {
		virtio_config_read(t->dev, off - REG_CONFIG, buf, len);
		return;
	}
	memset(buf, 0, len);
	if (off % sizeof(value) != 0 || len != sizeof(value))
		return;
	/* The one that the interrupt handler reads every time; it needs no lock. */
	if (off == REG_INTERRUPT_STATUS) {
		value = atomic_load(&t->dev->isr);
	} else {
		if (enter(t))
			value = read_register(t, (uint32_t)off);
		leave(t);
	}
	memcpy(buf, &value, sizeof(value));
}

static void mmio_write(void *dev, uint64_t off, const uint8_t *buf, uint32_t len)
{
	struct virtio_mmio *t = dev;
	uint32_t value;

	/* No device of ours has a configuration field that the driver may write. */
	if (off >= REG_CONFIG)
		count_any(&t->dev->counters.config_fails);
	if (off >= REG_CONFIG || off % sizeof(value) != 0 || len != sizeof(value))
		return;
	memcpy(&value, buf, sizeof(value));
	if (off == REG_INTERRUPT_ACK) {
		atomic_fetch_and(&t->dev->isr, ~value);
		return;
	}
	if (enter(t))
		write_register(t, (uint32_t)off, value);
	leave(t);
}

const struct bus_ops virtio_mmio_bus_ops = { .read = mmio_read, .write = mmio_write };

/* --- life --- */

int virtio_mmio_init(struct virtio_mmio *t, struct virtio_device *dev, struct err *e)
{
	*t = (struct virtio_mmio){ .dev = dev, .post = { .run = run_request } };
	(void)pthread_mutex_init(&t->lock, NULL);
	(void)pthread_cond_init(&t->changed, NULL);
	dev->transport = t;
	dev->quiesced = on_quiesced;
	for (unsigned q = 0; q < VIRTIO_QUEUES_MAX; q++) {
		t->queue[q].transport = t;
		t->queue[q].watch.done = kicked;
		t->queue[q].kick_fd = -1;
	}
	dev->irq_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	for (unsigned q = 0; q < dev->ops->nqueues && dev->irq_fd >= 0; q++) {
		t->queue[q].kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (t->queue[q].kick_fd < 0)
			break;
	}
	if (dev->irq_fd < 0 || t->queue[dev->ops->nqueues - 1].kick_fd < 0) {
		int rc = -errno;

		virtio_mmio_fini(t);
		return err_sys(e, rc, "see ulimit -n", "%s: cannot make its eventfds", dev->name);
	}
	return 0;
}

void virtio_mmio_start(struct virtio_mmio *t, struct loop *l)
{
	t->dev->loop = l;
	for (unsigned q = 0; q < t->dev->ops->nqueues; q++)
		loop_watch(l, &t->queue[q].watch, t->queue[q].kick_fd);
	/* One that was loaded: its queues are looked at when the pause ends. */
	if (t->pause == MMIO_PAUSED && (t->status & VIRTIO_CONFIG_S_DRIVER_OK)) {
		t->dev->active = true;
		t->dev->is_quiesced = true;
		t->dev->ops->activate(t->dev);
	}
}

void virtio_mmio_stop(struct virtio_mmio *t)
{
	for (unsigned q = 0; q < t->dev->ops->nqueues; q++)
		loop_cancel(t->dev->loop, &t->queue[q].watch);
}

void virtio_mmio_pause(struct virtio_mmio *t, void (*done)(struct virtio_mmio *t))
{
	struct virtio_device *dev = t->dev;

	INVARIANT(t->pause == MMIO_GOES && t->request == MMIO_NOTHING);
	t->paused = done;
	if (!dev->active) {
		t->pause = MMIO_PAUSED;
		done(t);
		return;
	}
	t->pause = MMIO_PAUSES;
	dev->is_quiesced = true;
	dev->ops->quiesce(dev);
}

void virtio_mmio_resume(struct virtio_mmio *t)
{
	struct virtio_device *dev = t->dev;

	INVARIANT(t->pause == MMIO_PAUSED);
	t->pause = MMIO_GOES;
	if (!dev->active)
		return;
	dev->is_quiesced = false;
	if (t->is_loaded) {
		count_add(&dev->counters.interrupts, 1);
		virtio_interrupt(dev, VIRTIO_ISR_USED);
	}
	t->is_loaded = false;
	dev->ops->resume(dev);
}

void virtio_mmio_close(struct virtio_mmio *t)
{
	(void)pthread_mutex_lock(&t->lock);
	t->closing = true;
	(void)pthread_cond_broadcast(&t->changed);
	(void)pthread_mutex_unlock(&t->lock);
}

void virtio_mmio_fini(struct virtio_mmio *t)
{
	if (!t->dev)
		return;
	for (unsigned q = 0; q < VIRTIO_QUEUES_MAX; q++) {
		INVARIANT(!loop_op_is_pending(&t->queue[q].watch));
		fd_closep(&t->queue[q].kick_fd);
	}
	fd_closep(&t->dev->irq_fd);
	t->dev->irq_fd = -1;
	(void)pthread_cond_destroy(&t->changed);
	(void)pthread_mutex_destroy(&t->lock);
	*t = (struct virtio_mmio){ 0 };
}
