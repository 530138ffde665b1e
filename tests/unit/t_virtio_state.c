/* Devices that are saved and loaded (t_virtio_state.h). */
#include "t_virtio_state.h"

#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <stdlib.h>

#include "base/err.h"

void t_virtio_state_begin(struct virtio_state *ret, struct virtio_device *dev, uint64_t features,
	const struct t_virtq *q)
{
	*ret = (struct virtio_state){ .type = dev->ops->id,
		.status = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER |
			  VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK,
		.driver_features = dev->offered & features,
		.acked = dev->offered & features,
		.generation = virtio_config_generation(dev),
		.config_len = (uint32_t)dev->config_len,
		.nqueues = dev->ops->nqueues,
		.is_link_up = dev->ops->id == VIRTIO_ID_NET };
	virtio_config_read(dev, 0, ret->config, dev->config_len);
	for (unsigned i = 0; i < VIRTIO_LIMITERS_MAX; i++)
		ret->limiter[i] = (struct limiter_state){ .bytes = { UINT64_MAX, 0, UINT64_MAX, 0 },
			.ops = { UINT64_MAX, 0, UINT64_MAX, 0 } };
	for (unsigned i = 0; i < dev->ops->nqueues; i++)
		ret->queue[i] = (struct virtq_state){ .num = q[i].at.num,
			.desc = q[i].at.desc,
			.avail = q[i].at.avail,
			.used = q[i].at.used,
			.ready = true,
			.running = true };
}

static void queue_equal(const struct virtq_state *a, const struct virtq_state *b)
{
	t_uint(a->num, b->num);
	t_hex(a->desc, b->desc);
	t_hex(a->avail, b->avail);
	t_hex(a->used, b->used);
	t_int(a->ready, b->ready);
	t_int(a->running, b->running);
	t_uint(a->at.next_avail, b->at.next_avail);
	t_uint(a->at.next_used, b->at.next_used);
	t_uint(a->at.signalled, b->at.signalled);
	t_int(a->at.has_signalled, b->at.has_signalled);
}

void t_virtio_state_equal(const struct virtio_state *a, const struct virtio_state *b)
{
	t_uint(a->type, b->type);
	t_hex(a->status, b->status);
	t_uint(a->device_features_sel, b->device_features_sel);
	t_uint(a->driver_features_sel, b->driver_features_sel);
	t_uint(a->queue_sel, b->queue_sel);
	t_hex(a->driver_features, b->driver_features);
	t_hex(a->acked, b->acked);
	t_int(a->has_excess_features, b->has_excess_features);
	t_int(a->needs_reset, b->needs_reset);
	t_uint(a->isr, b->isr);
	t_uint(a->generation, b->generation);
	t_uint(a->config_len, b->config_len);
	t_int(memcmp(a->config, b->config, sizeof(a->config)), 0);
	t_uint(a->nqueues, b->nqueues);
	for (unsigned q = 0; q < VIRTIO_QUEUES_MAX; q++)
		queue_equal(&a->queue[q], &b->queue[q]);
	for (unsigned i = 0; i < VIRTIO_LIMITERS_MAX; i++) {
		t_uint(a->limiter[i].bytes.burst, b->limiter[i].bytes.burst);
		t_uint(a->limiter[i].ops.burst, b->limiter[i].ops.burst);
	}
	t_int(a->is_link_up, b->is_link_up);
}

void t_virtio_state_load(struct virtio_mmio *w, struct virtio_device *dev, struct loop *l,
	const struct virtio_state *s)
{
	struct err e = { 0 };

	cr_assert(eq(int, virtio_mmio_init(w, dev, &e), 0), "%s", e.text);
	cr_assert(eq(int, virtio_mmio_load(w, s, &e), 0), "%s", e.text);
	virtio_mmio_start(w, l);
	t_int(w->pause, MMIO_PAUSED);
}

static void do_nothing(struct loop_tail *tail)
{
	(void)tail;
}

void t_virtio_state_turn(struct virtio_mmio *w)
{
	struct loop_tail nothing = { .run = do_nothing };

	/* With something deferred a round does not wait. */
	for (unsigned i = 0; i < 4; i++) {
		int rc;

		loop_defer(w->dev->loop, &nothing);
		rc = loop_turn(w->dev->loop);
		t_true(rc == 0 || rc == -EINTR);
	}
}

static void ignore(struct virtio_mmio *w)
{
	t_int(w->pause, MMIO_PAUSED);
}

void t_virtio_state_pause(struct virtio_mmio *w)
{
	virtio_mmio_pause(w, ignore);
	while (w->pause != MMIO_PAUSED)
		t_virtio_state_turn(w);
}

void t_virtio_state_save(struct virtio_mmio *w, struct virtio_state *ret)
{
	if (w->pause == MMIO_GOES)
		t_virtio_state_pause(w);
	memset(ret, 0xa5, sizeof(*ret));
	virtio_mmio_save(w, ret);
}

void t_virtio_state_kick(struct virtio_mmio *w, unsigned q)
{
	uint64_t one = 1;

	t_int(write(w->queue[q].kick_fd, &one, sizeof(one)), sizeof(one));
	t_virtio_state_turn(w);
}

uint64_t t_virtio_state_interrupts(struct virtio_mmio *w)
{
	uint64_t n;

	return read(w->dev->irq_fd, &n, sizeof(n)) == (ssize_t)sizeof(n) ? n : 0;
}

static bool is_watched(const struct virtio_mmio *w)
{
	for (unsigned q = 0; q < w->dev->ops->nqueues; q++) {
		if (loop_op_is_pending(&w->queue[q].watch))
			return true;
	}
	return false;
}

void t_virtio_state_end(struct virtio_mmio *w)
{
	struct virtio_device *dev = w->dev;

	virtio_mmio_close(w);
	if (w->pause == MMIO_GOES)
		t_virtio_state_pause(w);
	virtio_mmio_stop(w);
	while (is_watched(w))
		t_virtio_state_turn(w);
	if (dev->active)
		dev->ops->reset(dev);
	dev->active = false;
	virtio_mmio_fini(w);
	dev->ops->free(dev);
}

/* --- dirty pages --- */

void t_dirty_begin(struct t_dirty *d, struct guest_mem *m)
{
	if (!m->dirty)
		t_int(mem_track_dirty(m), 0);
	*d = (struct t_dirty){ .m = m,
		.before = malloc(m->map_len),
		.bits = calloc(align_up(mem_pages(m), 64) / 64, sizeof(uint64_t)) };
	t_true(d->before && d->bits);
	/* What was marked until now is another's. */
	mem_take_dirty(m, d->bits);
	memset(d->bits, 0, align_up(mem_pages(m), 64) / 8);
	memcpy(d->before, m->map, m->map_len);
}

unsigned t_dirty_end(struct t_dirty *d, const char *name)
{
	const uint8_t *now = d->m->map;
	unsigned marked = 0;

	mem_take_dirty(d->m, d->bits);
	for (uint64_t p = 0; p < mem_pages(d->m); p++) {
		bool is_marked = d->bits[p / 64] >> (p % 64) & 1;
		bool has_changed = memcmp(now + p * MEM_PAGE_SIZE, d->before + p * MEM_PAGE_SIZE,
					   MEM_PAGE_SIZE) != 0;

		marked += is_marked;
		cr_expect(eq(int, has_changed && !is_marked, 0),
			"row '%s': page 0x%llx has changed and is not marked", name,
			(unsigned long long)p);
	}
	free(d->before);
	free(d->bits);
	return marked;
}
