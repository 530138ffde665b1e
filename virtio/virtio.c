/* What all virtio devices share: interrupts, configuration space, broken rules (virtio.h). */
#include "virtio/virtio.h"

#include <linux/virtio_config.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"

void virtio_device_init(struct virtio_device *dev, const struct virtio_ops *ops, uint64_t offered)
{
	INVARIANT(ops->nqueues >= 1 && ops->nqueues <= VIRTIO_QUEUES_MAX);
	dev->ops = ops;
	dev->offered = offered | VIRTIO_FEATURES_COMMON;
	dev->irq_fd = -1;
	(void)pthread_mutex_init(&dev->config_lock, NULL);
}

void virtio_device_fini(struct virtio_device *dev)
{
	INVARIANT(!dev->active);
	(void)pthread_mutex_destroy(&dev->config_lock);
}

/* The cause first, then the interrupt: the handler that it starts reads the cause. */
static void interrupt(struct virtio_device *dev, uint32_t cause)
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
	interrupt(dev, VIRTIO_ISR_USED);
}

void virtio_break(struct virtio_device *dev, enum virtio_rule rule)
{
	atomic_fetch_add_explicit(&dev->counters.rule_breaks, 1, memory_order_relaxed);
	log_guest(LOG_WARNING, "%s: the driver %s (virtio 1.2, %s); the device needs a reset",
		dev->name, virtio_rule_text(rule), virtio_rule_section(rule));
	/* Once is enough: the driver is told until it resets. */
	if (!atomic_exchange(&dev->needs_reset, true))
		interrupt(dev, VIRTIO_ISR_CONFIG);
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
	count_add(&dev->counters.interrupts, 1);
	interrupt(dev, VIRTIO_ISR_CONFIG);
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
