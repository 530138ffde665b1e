/* The virtio-mmio transport as plain values, and back (mmio.h). */
#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "virtio/mmio_private.h"

/* --- saving --- */

static void save_queue(const struct virtio_mmio *t, unsigned q, struct virtq_state *ret)
{
	const struct virtio_mmio_queue *regs = &t->queue[q];

	*ret = (struct virtq_state){ .num = regs->num,
		.desc = regs->desc,
		.avail = regs->avail,
		.used = regs->used,
		.ready = regs->ready,
		.running = t->dev->vq[q].ready };
	virtq_get_position(&t->dev->vq[q], &ret->at);
}

/* No vCPU is in the middle of an access, so nobody has the lock. */
void virtio_mmio_save(const struct virtio_mmio *t, struct virtio_state *ret)
{
	struct virtio_device *dev = t->dev;

	INVARIANT(t->pause == MMIO_PAUSED && t->request == MMIO_NOTHING);
	*ret = (struct virtio_state){ .type = dev->ops->id,
		.status = t->status,
		.device_features_sel = t->device_features_sel,
		.driver_features_sel = t->driver_features_sel,
		.queue_sel = t->queue_sel,
		.driver_features = t->driver_features,
		.acked = dev->acked,
		.has_excess_features = t->has_excess_features,
		.needs_reset = atomic_load(&dev->needs_reset),
		.isr = atomic_load(&dev->isr),
		.nqueues = dev->ops->nqueues };
	(void)pthread_mutex_lock(&dev->config_lock);
	ret->generation = dev->generation;
	ret->config_len = (uint32_t)dev->config_len;
	memcpy(ret->config, dev->config, dev->config_len);
	(void)pthread_mutex_unlock(&dev->config_lock);
	for (unsigned q = 0; q < dev->ops->nqueues; q++)
		save_queue(t, q, &ret->queue[q]);
	if (dev->ops->save)
		dev->ops->save(dev, ret);
}

/* --- loading --- */

/* Whether write_status() leads there. */
static bool status_can_be(uint32_t status)
{
	bool is_set_up = (status & MMIO_STATUS_SET_UP) == MMIO_STATUS_SET_UP;
	bool has_features = status & VIRTIO_CONFIG_S_FEATURES_OK;

	return (status & ~(uint32_t)MMIO_STATUS_OF_DRIVER) == 0 && (is_set_up || !has_features) &&
	       (has_features || !(status & VIRTIO_CONFIG_S_DRIVER_OK));
}

static int check_features(
	const struct virtio_device *dev, const struct virtio_state *s, struct err *e)
{
	uint64_t missing = s->acked & ~dev->offered;

	if (!(s->status & VIRTIO_CONFIG_S_FEATURES_OK))
		return s->acked == 0
			       ? 0
			       : err_set(e, -EBADMSG,
					 "the state has features that no driver has agreed on");
	if (s->acked != s->driver_features)
		return err_set(e, -EBADMSG, "the state has features that were not asked for");
	if (missing)
		return err_set(e, -EOPNOTSUPP,
			"the driver uses features that this device does not have (0x%llx)",
			(unsigned long long)missing);
	if (!mmio_features_are_good(dev, s->acked))
		return err_set(e, -EBADMSG, "the state has features that do not go together");
	return 0;
}

static int check(const struct virtio_device *dev, const struct virtio_state *s, struct err *e)
{
	const uint32_t causes = VIRTIO_ISR_USED | VIRTIO_ISR_CONFIG;

	if (s->type != dev->ops->id)
		return err_set(e, -EBADMSG, "the state is that of a device of type %u, not %u",
			s->type, dev->ops->id);
	if (!status_can_be(s->status))
		return err_set(e, -EBADMSG, "the state has a status that no driver reaches (0x%x)",
			s->status);
	if (s->isr & ~causes)
		return err_set(
			e, -EBADMSG, "the state has unknown causes of interrupts (0x%x)", s->isr);
	if (s->config_len > sizeof(s->config))
		return err_set(
			e, -EBADMSG, "the state has a configuration of %u bytes", s->config_len);
	if (s->nqueues != dev->ops->nqueues)
		return err_set(e, -EBADMSG, "the state has %u queues, not %u", s->nqueues,
			dev->ops->nqueues);
	return check_features(dev, s, e);
}

/* As start_queue() in mmio.c.  A queue that is ready and does not run is one that broke: nobody
 * looks at it before the reset. */
static int load_queue(const struct virtio_device *dev, const struct virtio_state *s, unsigned q,
	struct virtq *ret, struct err *e)
{
	const struct virtq_state *from = &s->queue[q];
	struct virtq_layout at = { .num = (uint16_t)from->num,
		.desc = from->desc,
		.avail = from->avail,
		.used = from->used };
	enum virtio_rule rule = RULE_NONE;

	if (!from->ready && !from->running)
		return 0;
	if (!from->ready || (!from->running && !s->needs_reset))
		return err_set(e, -EBADMSG, "the state has a queue %u that is half ready", q);
	if (!(s->status & VIRTIO_CONFIG_S_FEATURES_OK))
		rule = RULE_STATUS_ORDER;
	else if (from->num > dev->ops->queue_max)
		rule = RULE_QUEUE_SIZE;
	else
		rule = virtq_start(ret, dev->mem, &at, s->acked);
	if (rule != RULE_NONE)
		return err_set(e, -EBADMSG, "the state has a queue %u that cannot be: a driver %s",
			q, virtio_rule_text(rule));
	virtq_set_position(ret, &from->at);
	if (!from->running)
		virtq_stop(ret);
	return 0;
}

static void load_registers(struct virtio_mmio *t, const struct virtio_state *s)
{
	t->status = s->status;
	t->device_features_sel = s->device_features_sel;
	t->driver_features_sel = s->driver_features_sel;
	t->queue_sel = s->queue_sel;
	t->driver_features = s->driver_features;
	t->has_excess_features = s->has_excess_features;
	for (unsigned q = 0; q < t->dev->ops->nqueues; q++) {
		t->queue[q].num = s->queue[q].num;
		t->queue[q].desc = s->queue[q].desc;
		t->queue[q].avail = s->queue[q].avail;
		t->queue[q].used = s->queue[q].used;
		t->queue[q].ready = s->queue[q].ready;
	}
}

/* The space is ours; the driver remembers the saved one, and compares generations with it. */
static void go_on_with_config(struct virtio_device *dev, const struct virtio_state *s)
{
	bool is_other;

	(void)pthread_mutex_lock(&dev->config_lock);
	is_other = s->config_len != dev->config_len ||
		   memcmp(s->config, dev->config, dev->config_len) != 0;
	dev->generation = s->generation + is_other;
	(void)pthread_mutex_unlock(&dev->config_lock);
	if (is_other && (s->status & VIRTIO_CONFIG_S_DRIVER_OK))
		atomic_fetch_or(&dev->isr, VIRTIO_ISR_CONFIG);
}

int virtio_mmio_load(struct virtio_mmio *t, const struct virtio_state *s, struct err *e)
{
	struct virtio_device *dev = t->dev;
	struct virtq vq[VIRTIO_QUEUES_MAX] = { 0 };
	int rc;

	INVARIANT(t->pause == MMIO_GOES && !dev->active && t->status == 0);
	rc = check(dev, s, e);
	for (unsigned q = 0; q < dev->ops->nqueues && rc == 0; q++)
		rc = load_queue(dev, s, q, &vq[q], e);
	if (rc < 0)
		return rc;
	load_registers(t, s);
	memcpy(dev->vq, vq, sizeof(vq));
	dev->acked = s->acked;
	atomic_store(&dev->isr, s->isr);
	atomic_store(&dev->needs_reset, s->needs_reset);
	rc = dev->ops->load ? dev->ops->load(dev, s) : 0;
	if (rc < 0)
		return err_sys(e, rc, NULL, "the device does not take its state");
	go_on_with_config(dev, s);
	t->pause = MMIO_PAUSED;
	t->is_loaded = true;
	return 0;
}
