/* A virtio device for tests (t_device.h). */
#include "t_device.h"

#include <errno.h>
#include <string.h>

static struct t_device *of(struct virtio_device *dev)
{
	return container_of(dev, struct t_device, v);
}

static void note(struct t_device *d, char what)
{
	if (d->nlog + 1 < T_DEVICE_LOG)
		d->log[d->nlog++] = what;
	d->ran_on = pthread_self();
}

static bool accepts(const struct virtio_device *dev, uint64_t features)
{
	(void)dev;
	return !(features & VIRTIO_BIT(T_FEATURE_A)) == !(features & VIRTIO_BIT(T_FEATURE_B));
}

static void activate(struct virtio_device *dev)
{
	note(of(dev), 'A');
}

static void kick(struct virtio_device *dev, unsigned q)
{
	struct t_device *d = of(dev);
	struct iovec iov[8];
	struct virtq_chain c = { .iov = iov, .iov_max = ARRAY_SIZE(iov) };
	int rc;

	note(d, (char)('0' + q));
	d->kicks[q]++;
	while (virtio_may_run(dev) && (rc = virtq_pop(&dev->vq[q], &c)) != 0) {
		if (rc < 0) {
			virtio_break(dev, rc == -ENOSPC ? RULE_CHAIN_LENGTH : dev->vq[q].broken);
			break;
		}
		d->served++;
		if (d->holds)
			d->held[q][d->nheld[q]++] = c.head;
		else
			virtq_push(&dev->vq[q], c.head, c.write_len);
	}
	virtio_publish(dev, q);
}

static void try_rest(struct t_device *d)
{
	for (unsigned q = 0; q < T_DEVICE_QUEUES; q++) {
		if (d->nheld[q] > 0)
			return;
	}
	if (!d->is_resting || d->late)
		return;
	d->is_resting = false;
	virtio_quiesced(&d->v);
}

static void quiesce(struct virtio_device *dev)
{
	struct t_device *d = of(dev);

	note(d, 'q');
	d->is_resting = true;
	try_rest(d);
}

static void resume(struct virtio_device *dev)
{
	note(of(dev), 'm');
	for (unsigned q = 0; q < T_DEVICE_QUEUES; q++) {
		if (dev->vq[q].ready)
			kick(dev, q);
	}
}

static void reset(struct virtio_device *dev)
{
	note(of(dev), 'r');
}

static void free_device(struct virtio_device *dev)
{
	virtio_device_fini(dev);
}

static const struct virtio_ops ops = {
	.id = T_DEVICE_ID,
	.nqueues = T_DEVICE_QUEUES,
	.queue_max = T_DEVICE_QUEUE_MAX,
	.accepts = accepts,
	.activate = activate,
	.kick = kick,
	.quiesce = quiesce,
	.resume = resume,
	.reset = reset,
	.free = free_device,
};

void t_device_init(struct t_device *d)
{
	memset(d, 0, sizeof(*d));
	memcpy(d->v.name, "thing 'test'", sizeof("thing 'test'"));
	virtio_device_init(&d->v, &ops,
		VIRTIO_BIT(T_FEATURE) | VIRTIO_BIT(T_FEATURE_A) | VIRTIO_BIT(T_FEATURE_B));
}

void t_device_finish(struct t_device *d)
{
	for (unsigned q = 0; q < T_DEVICE_QUEUES; q++) {
		for (unsigned i = 0; i < d->nheld[q]; i++)
			virtq_push(&d->v.vq[q], d->held[q][i], 0);
		d->nheld[q] = 0;
		virtio_publish(&d->v, q);
	}
	try_rest(d);
}

void t_device_rest(struct t_device *d)
{
	d->late = false;
	try_rest(d);
}
