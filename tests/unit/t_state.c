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
	c->mp_state.mp_state = (uint32_t)(rnd(r) % 5);
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
	v->isr = (uint32_t)(rnd(r) % 4);
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
	(void)snprintf(s->base_memory_path, sizeof(s->base_memory_path), "/snapshots/base/memory");
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
}
