/* The virtio devices of a machine (devices.h). */
#include "devices.h"

#include <errno.h>

#include "base/err.h"
#include "base/log.h"
#include "core/loop.h"
#include "virtio/blk.h"
#include "virtio/net.h"
#include "x86/layout.h"

/*
 * One pin each, never shared.  Those of the I/O APIC alone come first: the lower ones are also the
 * PICs', which costs KVM a second look at every interrupt.
 */
static const uint8_t pins[CONFIG_DEVICES_MAX] = { 16, 17, 18, 19, 20, 21, 22, 23, 5, 6, 7, 10, 11,
	12, 13, 14, 15, 8 };

static int add(struct devices *d, struct virtio_device *dev, const struct guest_mem *m,
	const char *id, bool is_disk, struct err *e)
{
	struct device_slot *s = &d->slot[d->n];
	int rc;

	*s = (struct device_slot){ .owner = d,
		.dev = dev,
		.id = id,
		.base = LAYOUT_VIRTIO_BASE + d->n * LAYOUT_VIRTIO_LEN,
		.gsi = pins[d->n],
		.is_disk = is_disk };
	/* From here on devices_fini() knows of it. */
	d->n++;
	dev->mem = m;
	rc = virtio_mmio_init(&s->window, dev, e);
	return rc;
}

int devices_init(struct devices *d, struct vm_config *c, const struct guest_mem *m, struct err *e)
{
	struct virtio_device *dev = NULL;
	int rc = 0;

	*d = (struct devices){ 0 };
	INVARIANT(c->ndisks + c->nnets <= CONFIG_DEVICES_MAX);
	for (unsigned i = 0; i < c->ndisks && rc == 0; i++) {
		rc = blk_new(&c->disk[i], &dev, e);
		c->disk[i].opened = NULL;
		if (rc == 0)
			rc = add(d, dev, m, c->disk[i].id, true, e);
	}
	for (unsigned i = 0; i < c->nnets && rc == 0; i++) {
		rc = net_new(&c->net[i], &dev, e);
		c->net[i].opened = NULL;
		if (rc == 0)
			rc = add(d, dev, m, c->net[i].id, false, e);
	}
	config_close(c);
	if (rc < 0)
		devices_fini(d);
	return rc;
}

void devices_fini(struct devices *d)
{
	for (unsigned i = 0; i < d->n; i++) {
		virtio_mmio_fini(&d->slot[i].window);
		d->slot[i].dev->ops->free(d->slot[i].dev);
	}
	*d = (struct devices){ 0 };
}

void devices_describe(const struct devices *d, struct acpi_config *ret)
{
	_Static_assert((int)CONFIG_DEVICES_MAX <= (int)ACPI_SLOTS_MAX, "ACPI has room for all");
	ret->nslots = d->n;
	for (unsigned i = 0; i < d->n; i++)
		ret->slot[i] = (struct acpi_slot){ .base = (uint32_t)d->slot[i].base,
			.len = LAYOUT_VIRTIO_LEN,
			.gsi = d->slot[i].gsi };
}

int devices_connect(const struct devices *d, const struct kvm *k, struct err *e)
{
	int rc = 0;

	for (unsigned i = 0; i < d->n && rc == 0; i++) {
		const struct device_slot *s = &d->slot[i];

		for (unsigned q = 0; q < s->dev->ops->nqueues && rc == 0; q++)
			rc = kvm_add_ioeventfd(k, s->base + VIRTIO_MMIO_NOTIFY, sizeof(uint32_t), q,
				s->window.queue[q].kick_fd, e);
		if (rc == 0)
			rc = kvm_add_irqfd(k, s->gsi, s->dev->irq_fd, e);
		if (rc < 0)
			err_prefix(e, "%s", s->dev->name);
	}
	return rc;
}

void devices_add_to_bus(struct devices *d, struct bus *mmio)
{
	for (unsigned i = 0; i < d->n; i++)
		/* The layout is ours: it overlaps nowhere. */
		INVARIANT(bus_add(mmio, d->slot[i].base, LAYOUT_VIRTIO_LEN, &virtio_mmio_bus_ops,
				  &d->slot[i].window) == 0);
}

static void on_news(
	struct virtio_device *dev, enum virtio_news news, uint64_t number, const char *text)
{
	const struct device_slot *s = dev->told_ctx;
	const struct devices_host *host = &s->owner->host;

	host->news(host->ctx, s->id, news, number, text);
}

void devices_start(struct devices *d, struct loop *l, const struct devices_host *host)
{
	d->loop = l;
	if (host)
		d->host = *host;
	for (unsigned i = 0; i < d->n; i++) {
		d->slot[i].dev->told = d->host.news ? on_news : NULL;
		d->slot[i].dev->told_ctx = &d->slot[i];
		virtio_mmio_start(&d->slot[i].window, l);
	}
}

/* --- pause --- */

static void one_rests(struct devices *d)
{
	if (--d->awaited == 0)
		d->paused(d->paused_ctx);
}

static void on_rest(struct virtio_mmio *window)
{
	one_rests(container_of(window, struct device_slot, window)->owner);
}

void devices_pause(struct devices *d, void (*done)(void *ctx), void *ctx)
{
	d->paused = done;
	d->paused_ctx = ctx;
	d->awaited = d->n + 1;
	for (unsigned i = 0; i < d->n; i++)
		virtio_mmio_pause(&d->slot[i].window, on_rest);
	one_rests(d);
}

void devices_resume(struct devices *d)
{
	for (unsigned i = 0; i < d->n; i++)
		virtio_mmio_resume(&d->slot[i].window);
}

/* --- state --- */

void devices_save(const struct devices *d, struct virtio_state *ret)
{
	for (unsigned i = 0; i < d->n; i++)
		virtio_mmio_save(&d->slot[i].window, &ret[i]);
}

int devices_load(struct devices *d, const struct virtio_state *s, unsigned n, struct err *e)
{
	int rc = 0;

	if (n != d->n)
		return err_set(e, -EBADMSG, "the state has %u devices and the machine %u", n, d->n);
	for (unsigned i = 0; i < n && rc == 0; i++) {
		rc = virtio_mmio_load(&d->slot[i].window, &s[i], e);
		if (rc < 0)
			err_prefix(e, "%s", d->slot[i].dev->name);
	}
	return rc;
}

void devices_close(struct devices *d)
{
	for (unsigned i = 0; i < d->n; i++)
		virtio_mmio_close(&d->slot[i].window);
}

/* --- the end --- */

static bool is_idle(const struct device_slot *s)
{
	for (unsigned q = 0; q < s->dev->ops->nqueues; q++) {
		if (loop_op_is_pending(&s->window.queue[q].watch))
			return false;
	}
	return !s->dev->active;
}

static bool all_idle(const struct devices *d)
{
	for (unsigned i = 0; i < d->n; i++) {
		if (!is_idle(&d->slot[i]))
			return false;
	}
	return true;
}

/* The machine has ended and its driver with it. */
static void on_drained(struct virtio_device *dev)
{
	dev->ops->reset(dev);
	dev->active = false;
}

static void bring_to_rest(const struct device_slot *s)
{
	struct virtio_device *dev = s->dev;

	if (!dev->active)
		return;
	if (s->window.pause == MMIO_PAUSED) {
		on_drained(dev);
	} else if (!dev->is_quiesced) {
		/* Otherwise a pause, or a request of the driver's, has asked it already. */
		dev->is_quiesced = true;
		dev->ops->quiesce(dev);
	}
}

void devices_drain(struct devices *d)
{
	int rc = 0;

	if (!d->loop)
		return;
	for (unsigned i = 0; i < d->n; i++) {
		struct virtio_device *dev = d->slot[i].dev;

		virtio_mmio_stop(&d->slot[i].window);
		dev->quiesced = on_drained;
		bring_to_rest(&d->slot[i]);
	}
	while (!all_idle(d) && (rc == 0 || rc == -EINTR))
		rc = loop_turn(d->loop);
	if (all_idle(d))
		return;
	/* What the kernel may still write to cannot be freed. */
	log_error("the event loop failed while I/O was in flight");
	d->n = 0;
}

void devices_rescan(struct devices *d)
{
	for (unsigned i = 0; i < d->n; i++) {
		struct err e = { 0 };

		if (d->slot[i].is_disk && blk_rescan(d->slot[i].dev, &e) < 0)
			log_error("%s", e.text);
	}
}
