<<<<<<< HEAD
/* States to save (t_state.h). */
#include "t_state.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "snapshot/snapshot.h"

enum { XSAVE_SMALL = 576, XSAVE_USUAL = 4096, CPUID_USUAL = 45, MSRS_USUAL = 70 };

static uint64_t rnd(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

static void noise(uint64_t *seed, void *data, size_t len)
{
	uint8_t *at = data;

	for (size_t i = 0; i < len; i++)
		at[i] = (uint8_t)(rnd(seed) >> 24);
}

static bool coin(uint64_t *seed)
{
	return (rnd(seed) >> 20 & 1) != 0;
}

static void shape_fill(uint64_t *r, struct limit_shape *s, struct limiter_config *c)
{
	*s = (struct limit_shape){ coin(r), coin(r), coin(r), coin(r), coin(r) };
	noise(r, c, sizeof(*c));
}

static void drive_fill(uint64_t *r, struct snapshot_drive *d, unsigned i)
{
	(void)snprintf(d->id, sizeof(d->id), "disk_%u", i);
	(void)snprintf(d->path, sizeof(d->path), "/disks/%u.img", i);
	d->has_partuuid = i == 1;
	if (d->has_partuuid)
		(void)snprintf(d->partuuid, sizeof(d->partuuid), "0fc63daf-01");
	d->is_root = i == 0;
	d->read_only = coin(r);
	d->direct = coin(r);
	d->sync_engine = coin(r);
	d->unsafe_cache = coin(r);
	d->is_captured = coin(r);
	shape_fill(r, &d->shape, &d->limit);
	d->identity = (struct disk_identity){ coin(r), rnd(r), rnd(r), rnd(r), rnd(r),
		rnd(r) % 1000000000 };
}

static void nic_fill(uint64_t *r, struct snapshot_nic *n, unsigned i)
{
	(void)snprintf(n->id, sizeof(n->id), "net-%u", i);
	if (i != 1)
		(void)snprintf(n->tap, sizeof(n->tap), "tap%u", i);
	n->has_mac = coin(r);
	noise(r, n->mac, sizeof(n->mac));
	n->mtu = coin(r) ? 0 : 1500;
	n->no_csum = coin(r);
	n->no_tso = coin(r);
	n->no_ufo = coin(r);
	n->no_uso = coin(r);
	n->no_mrg = coin(r);
	shape_fill(r, &n->rx_shape, &n->rx);
	shape_fill(r, &n->tx_shape, &n->tx);
}

static void cpu_fill(uint64_t *r, struct cpu_state *c, bool is_small)
{
	noise(r, &c->regs, sizeof(c->regs));
	noise(r, &c->sregs, sizeof(c->sregs));
	noise(r, &c->xcrs, sizeof(c->xcrs));
	c->xcrs.nr_xcrs = 1;
	noise(r, &c->debugregs, sizeof(c->debugregs));
	noise(r, &c->lapic, sizeof(c->lapic));
	noise(r, &c->events, sizeof(c->events));
	c->mp_state.mp_state = rnd(r) % 5;
	c->tsc_khz = 2400000;
	c->xsave_len = is_small ? XSAVE_SMALL : XSAVE_USUAL;
	noise(r, c->xsave, c->xsave_len);
	c->nmsrs = is_small ? 2 : MSRS_USUAL;
	for (unsigned i = 0; i < c->nmsrs; i++)
		c->msr[i] = (struct kvm_msr_entry){ .index = (uint32_t)rnd(r), .data = rnd(r) };
}

static void queue_fill(uint64_t *r, struct virtq_state *q)
{
	*q = (struct virtq_state){ .num = 256, .desc = rnd(r), .avail = rnd(r), .used = rnd(r) };
	q->ready = coin(r);
	q->running = q->ready && coin(r);
	q->at = (struct virtq_position){ (uint16_t)rnd(r), (uint16_t)rnd(r), (uint16_t)rnd(r),
		coin(r) };
}

static void device_fill(uint64_t *r, struct virtio_state *v, bool is_disk)
{
	v->type = is_disk ? 2 : 1;
	v->status = 0xf;
	v->device_features_sel = (uint32_t)rnd(r);
	v->driver_features_sel = (uint32_t)rnd(r);
	v->queue_sel = (uint32_t)rnd(r);
	v->driver_features = rnd(r);
	v->acked = v->driver_features;
	v->has_excess_features = coin(r);
	v->needs_reset = coin(r);
	v->isr = rnd(r) % 4;
	v->generation = (uint32_t)rnd(r);
	v->is_link_up = coin(r);
	v->config_len = is_disk ? 60 : 12;
	noise(r, v->config, v->config_len);
	v->nqueues = is_disk ? 1 : 3;
	for (unsigned i = 0; i < v->nqueues; i++)
		queue_fill(r, &v->queue[i]);
	noise(r, v->limiter, sizeof(v->limiter));
}

static void vm_fill(uint64_t *r, struct vm_state *vm, const struct t_state_shape *shape)
{
	vm->mem_size = 128ULL << 20;
	vm->pages = MEM_PAGES_4K;
	vm->smt = shape->cpus % 2 == 0;
	vm->has_boot_timer = coin(r);
	vm->cpuid.head.nent = shape->is_small ? 1 : CPUID_USUAL;
	noise(r, vm->cpuid.entry, vm->cpuid.head.nent * sizeof(vm->cpuid.entry[0]));
	for (unsigned i = 0; i < vm->cpus; i++)
		cpu_fill(r, &vm->cpu[i], shape->is_small);
	noise(r, &vm->chips, sizeof(vm->chips));
	for (unsigned i = 0; i < CHIP_IRQCHIPS; i++)
		vm->chips.irqchip[i].chip_id = i;
	vm->clock = (struct clock_state){ rnd(r), rnd(r) };
	vm->serial = (struct serial_state){ .ier = 5, .dll = 1, .listening = true, .count = 3 };
	noise(r, vm->serial.fifo, sizeof(vm->serial.fifo));
	vm->i8042 = (struct i8042_state){ .count = 2, .control = 0x47, .kbd_scans = true };
	noise(r, vm->i8042.queue, sizeof(vm->i8042.queue));
	vm->ndevices = shape->drives + shape->nics;
	for (unsigned i = 0; i < vm->ndevices; i++)
		device_fill(r, &vm->device[i], i < shape->drives);
}

static void diff_fill(uint64_t *r, struct snapshot *s, unsigned runs)
{
	uint64_t at = 0;

	s->kind = SNAPSHOT_DIFF;
	noise(r, s->base_id, sizeof(s->base_id));
	(void)snprintf(s->base_path, sizeof(s->base_path), "/snapshots/base/state");
	s->run = calloc(runs, sizeof(*s->run));
	if (!s->run)
		abort();
	s->nruns = runs;
	for (unsigned i = 0; i < runs; i++) {
		s->run[i] = (struct page_run){ at + 1 + rnd(r) % 3, 1 + rnd(r) % 4 };
		at = s->run[i].first + s->run[i].count;
	}
}

struct snapshot *t_state_new(const struct t_state_shape *shape)
{
	struct snapshot *s = snapshot_new(shape->cpus);
	uint64_t seed = shape->seed * 0x9e3779b97f4a7c15 + 1, *r = &seed;

	if (!s)
		abort();
	noise(r, s->id, sizeof(s->id));
	(void)snprintf(s->version, sizeof(s->version), "0.2.0");
	s->created_ns = 1764354000123456789;
	if (shape->runs > 0)
		diff_fill(r, s, shape->runs);
	(void)snprintf(s->host.boot_id, sizeof(s->host.boot_id), "5d3c-11");
	(void)snprintf(s->host.kernel, sizeof(s->host.kernel), "6.18.0");
	(void)snprintf(s->host.cpu, sizeof(s->host.cpu), "A CPU of 3 GHz");
	noise(r, s->host.cpu_words, sizeof(s->host.cpu_words));
	s->has_kernel = s->has_cmdline = true;
	(void)snprintf(s->kernel, sizeof(s->kernel), "/boot/vmlinux");
	(void)snprintf(s->cmdline, sizeof(s->cmdline), "console=ttyS0 quiet");
	s->ndrives = shape->drives;
	s->nnics = shape->nics;
	for (unsigned i = 0; i < shape->drives; i++)
		drive_fill(r, &s->drive[i], i);
	for (unsigned i = 0; i < shape->nics; i++)
		nic_fill(r, &s->nic[i], i);
	vm_fill(r, s->vm, shape);
	return s;
}

/* Padding is zero in both, because both were zeroed and then filled field by field. */
static bool same_vm(const struct vm_state *a, const struct vm_state *b)
{
	return a->cpus == b->cpus && memcmp(a, b, offsetof(struct vm_state, cpu)) == 0 &&
	       memcmp(a->cpu, b->cpu, a->cpus * sizeof(*a->cpu)) == 0;
}

bool t_state_equal(const struct snapshot *a, const struct snapshot *b)
{
	size_t host = offsetof(struct snapshot, host), vm = offsetof(struct snapshot, vm);

	return memcmp(a, b, offsetof(struct snapshot, run)) == 0 &&
	       memcmp((const char *)a + host, (const char *)b + host, vm - host) == 0 &&
	       (a->nruns == 0 || memcmp(a->run, b->run, a->nruns * sizeof(*a->run)) == 0) &&
	       same_vm(a->vm, b->vm);
=======
/* Devices that are saved and loaded (t_state.h). */
#include "t_state.h"

#include <linux/virtio_config.h>
#include <stdlib.h>

#include "base/err.h"

void t_state_begin(struct virtio_state *ret, struct virtio_device *dev, uint64_t features,
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
		.is_link_up = true };
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

void t_state_equal(const struct virtio_state *a, const struct virtio_state *b)
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

void t_state_load(struct virtio_mmio *w, struct virtio_device *dev, struct loop *l,
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

void t_state_turn(struct virtio_mmio *w)
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

void t_state_pause(struct virtio_mmio *w)
{
	virtio_mmio_pause(w, ignore);
	while (w->pause != MMIO_PAUSED)
		t_state_turn(w);
}

void t_state_save(struct virtio_mmio *w, struct virtio_state *ret)
{
	if (w->pause == MMIO_GOES)
		t_state_pause(w);
	memset(ret, 0xa5, sizeof(*ret));
	virtio_mmio_save(w, ret);
}

void t_state_kick(struct virtio_mmio *w, unsigned q)
{
	uint64_t one = 1;

	t_int(write(w->queue[q].kick_fd, &one, sizeof(one)), sizeof(one));
	t_state_turn(w);
}

uint64_t t_state_interrupts(struct virtio_mmio *w)
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

void t_state_end(struct virtio_mmio *w)
{
	struct virtio_device *dev = w->dev;

	virtio_mmio_close(w);
	if (w->pause == MMIO_GOES)
		t_state_pause(w);
	virtio_mmio_stop(w);
	while (is_watched(w))
		t_state_turn(w);
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
>>>>>>> devices
}
