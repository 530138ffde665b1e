/* What all virtio devices share: interrupts, configuration space, broken rules (virtio.h). */
#include "virtio/virtio.h"

#include <linux/virtio_config.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"

static void broken_posted(struct loop_post *post)
{
	struct virtio_device *dev = container_of(post, struct virtio_device, broken_post);
	uint32_t untold = 0;

	/* A driver that breaks and resets its device for ever would drown all other news. */
	if (log_budget_take(&dev->broken_budget, log_now_ms(), &untold))
		dev->told(dev, VIRTIO_NEWS_BROKEN, untold,
			virtio_rule_text(atomic_load(&dev->broken_rule)));
}

void virtio_device_init(struct virtio_device *dev, const struct virtio_ops *ops, uint64_t offered)
{
	INVARIANT(ops->nqueues >= 1 && ops->nqueues <= VIRTIO_QUEUES_MAX);
	dev->ops = ops;
	dev->offered = offered | VIRTIO_FEATURES_COMMON;
	dev->irq_fd = -1;
	dev->broken_post.run = broken_posted;
	(void)pthread_mutex_init(&dev->config_lock, NULL);
}

void virtio_device_fini(struct virtio_device *dev)
{
	INVARIANT(!dev->active);
	(void)pthread_mutex_destroy(&dev->config_lock);
}

void virtio_mark_dirty_slowly(
	const struct virtio_device *dev, const struct iovec *iov, uint64_t off, uint64_t len)
{
	for (; len > 0; iov++) {
		uint64_t part = off < iov->iov_len ? MIN(len, iov->iov_len - off) : 0;

		if (part > 0)
			mem_mark_dirty(dev->mem, (const uint8_t *)iov->iov_base + off, part);
		len -= part;
		off -= MIN(off, (uint64_t)iov->iov_len);
	}
}

/* The cause first, then the interrupt: the handler that it starts reads the cause. */
void virtio_interrupt(struct virtio_device *dev, uint32_t cause)
{
	uint64_t one = 1;

	atomic_fetch_or(&dev->isr, cause);
	if (dev->irq_fd >= 0)
		/* An eventfd that is full is one that is signalled. */
		(void)!write(dev->irq_fd, &one, sizeof(one));
}

void virtio_publish(struct virtio_device *dev, unsigned q)
{
	if (!virtq_publish(&dev->vq[q]))
		return;
	count_add(&dev->counters.interrupts, 1);
	virtio_interrupt(dev, VIRTIO_ISR_USED);
}

void virtio_break(struct virtio_device *dev, enum virtio_rule rule)
{
	atomic_fetch_add_explicit(&dev->counters.rule_breaks, 1, memory_order_relaxed);
	log_guest(LOG_WARNING, "%s: the driver %s (virtio 1.2, %s); the device needs a reset",
		dev->name, virtio_rule_text(rule), virtio_rule_section(rule));
	/* Once is enough: the driver is told until it resets. */
	if (atomic_exchange(&dev->needs_reset, true))
		return;
	virtio_interrupt(dev, VIRTIO_ISR_CONFIG);
	atomic_store(&dev->broken_rule, rule);
	if (dev->told)
		loop_post(dev->loop, &dev->broken_post);
}

void virtio_throttled(struct virtio_device *dev, enum counter_kind way, uint64_t now_ns)
{
	static const uint64_t pause_ns = 1000000000;

	count_add(&dev->counters.throttled, 1);
	count_add(&dev->counters.way[way].throttled, 1);
	dev->throttled_untold++;
	if (!dev->told || (dev->throttled_told_ns && now_ns - dev->throttled_told_ns < pause_ns))
		return;
	dev->told(dev, VIRTIO_NEWS_THROTTLED, dev->throttled_untold, NULL);
	dev->throttled_told_ns = now_ns;
	dev->throttled_untold = 0;
}

void virtio_quiesced(struct virtio_device *dev)
{
	INVARIANT(dev->is_quiesced);
	if (dev->quiesced)
		dev->quiesced(dev);
}

void virtio_config_write(struct virtio_device *dev, size_t off, const void *src, size_t len)
{
	INVARIANT(off <= sizeof(dev->config) && len <= sizeof(dev->config) - off);
	(void)pthread_mutex_lock(&dev->config_lock);
	memcpy(dev->config + off, src, len);
	dev->config_len = MAX(dev->config_len, off + len);
	dev->generation++;
	(void)pthread_mutex_unlock(&dev->config_lock);
	if (!dev->active)
		return;
	count_add(&dev->counters.config_changes, 1);
	count_add(&dev->counters.interrupts, 1);
	virtio_interrupt(dev, VIRTIO_ISR_CONFIG);
}

void virtio_config_read(struct virtio_device *dev, size_t off, void *dst, size_t len)
{
	memset(dst, 0, len);
	(void)pthread_mutex_lock(&dev->config_lock);
	if (off < dev->config_len)
		memcpy(dst, dev->config + off, MIN(len, dev->config_len - off));
	(void)pthread_mutex_unlock(&dev->config_lock);
}

uint32_t virtio_config_generation(struct virtio_device *dev)
{
	uint32_t generation;

	(void)pthread_mutex_lock(&dev->config_lock);
	generation = dev->generation;
	(void)pthread_mutex_unlock(&dev->config_lock);
	return generation;
}
