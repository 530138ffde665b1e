/* Sections: the machine that stands still, which is struct vm_state part by part. */
#include <errno.h>

#include "snapshot/format.h"
#include "snapshot/snapshot.h"
#include "snapshot/visit.h"

/* KVM's structures are written as they are. */
_Static_assert(sizeof(struct kvm_regs) == 144, "the format is frozen");
_Static_assert(sizeof(struct kvm_sregs) == 312, "the format is frozen");
_Static_assert(sizeof(struct kvm_xcrs) == 392, "the format is frozen");
_Static_assert(sizeof(struct kvm_debugregs) == 128, "the format is frozen");
_Static_assert(sizeof(struct kvm_lapic_state) == 1024, "the format is frozen");
_Static_assert(sizeof(struct kvm_vcpu_events) == 64, "the format is frozen");
_Static_assert(sizeof(struct kvm_mp_state) == 4, "the format is frozen");
_Static_assert(sizeof(struct kvm_irqchip) == 520, "the format is frozen");
_Static_assert(sizeof(struct kvm_pit_state2) == 112, "the format is frozen");
_Static_assert(sizeof(struct kvm_cpuid_entry2) == 40, "the format is frozen");
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "so are they");

void visit_cpuid(struct wire *w, struct snapshot *s, unsigned i)
{
	struct cpuid_table *t = &s->vm->cpuid;
	unsigned n = t->head.nent;

	(void)i;
	wire_count(w, &n, KVM_CPUID_MAX);
	if (w->error != 0)
		return;
	wire_bytes(w, t->entry, n * sizeof(t->entry[0]));
	t->head.nent = n;
}

void visit_vcpu(struct wire *w, struct snapshot *s, unsigned i)
{
	struct cpu_state *c = &s->vm->cpu[i];
	unsigned nmsrs = c->nmsrs;

	wire_bytes(w, &c->regs, sizeof(c->regs));
	wire_bytes(w, &c->sregs, sizeof(c->sregs));
	wire_bytes(w, &c->xcrs, sizeof(c->xcrs));
	wire_bytes(w, &c->debugregs, sizeof(c->debugregs));
	wire_bytes(w, &c->lapic, sizeof(c->lapic));
	wire_bytes(w, &c->events, sizeof(c->events));
	wire_u32(w, &c->mp_state.mp_state);
	wire_u32(w, &c->tsc_khz);
	wire_count(w, &c->xsave_len, CPU_XSAVE_MAX);
	if (w->error == 0)
		wire_bytes(w, c->xsave, c->xsave_len);
	wire_count(w, &nmsrs, CPU_MSRS_MAX);
	for (unsigned k = 0; k < nmsrs && w->error == 0; k++) {
		wire_u32(w, &c->msr[k].index);
		wire_u64(w, (uint64_t *)&c->msr[k].data);
	}
	c->nmsrs = nmsrs;
}

void visit_chips(struct wire *w, struct snapshot *s, unsigned i)
{
	struct chip_state *c = &s->vm->chips;

	(void)i;
	for (unsigned k = 0; k < CHIP_IRQCHIPS; k++)
		wire_bytes(w, &c->irqchip[k], sizeof(c->irqchip[k]));
	wire_bytes(w, &c->pit, sizeof(c->pit));
}

void visit_clock(struct wire *w, struct snapshot *s, unsigned i)
{
	(void)i;
	wire_u64(w, &s->vm->clock.kvmclock_ns);
	wire_u64(w, &s->vm->clock.realtime_ns);
}

void visit_serial(struct wire *w, struct snapshot *s, unsigned i)
{
	struct serial_state *u = &s->vm->serial;

	(void)i;
	wire_u8(w, &u->ier);
	wire_u8(w, &u->fcr);
	wire_u8(w, &u->lcr);
	wire_u8(w, &u->mcr);
	wire_u8(w, &u->scr);
	wire_u8(w, &u->dll);
	wire_u8(w, &u->dlm);
	wire_bool(w, &u->thr_empty_pending);
	wire_bool(w, &u->overrun);
	wire_bool(w, &u->brk);
	wire_bool(w, &u->listening);
	wire_count(w, &u->count, SERIAL_FIFO);
	wire_bytes(w, u->fifo, SERIAL_FIFO);
}

void visit_i8042(struct wire *w, struct snapshot *s, unsigned i)
{
	struct i8042_state *k = &s->vm->i8042;

	(void)i;
	wire_count(w, &k->count, I8042_QUEUE);
	wire_bytes(w, k->queue, I8042_QUEUE);
	wire_u8(w, &k->control);
	wire_u8(w, &k->outport);
	wire_u8(w, &k->expects);
	wire_bool(w, &k->kbd_expects);
	wire_bool(w, &k->kbd_scans);
}

/* --- virtio --- */

static void queue(struct wire *w, struct virtq_state *q)
{
	wire_u32(w, &q->num);
	wire_u64(w, &q->desc);
	wire_u64(w, &q->avail);
	wire_u64(w, &q->used);
	wire_bool(w, &q->ready);
	wire_bool(w, &q->running);
	wire_u16(w, &q->at.next_avail);
	wire_u16(w, &q->at.next_used);
	wire_u16(w, &q->at.signalled);
	wire_bool(w, &q->at.has_signalled);
}

static void bucket(struct wire *w, struct bucket_state *b)
{
	wire_u64(w, &b->tokens);
	wire_u64(w, &b->debt);
	wire_u64(w, &b->burst);
	wire_u64(w, &b->rest);
}

void visit_virtio(struct wire *w, struct snapshot *s, unsigned i)
{
	struct virtio_state *v = &s->vm->device[i];
	unsigned nlimiters = VIRTIO_LIMITERS_MAX;

	wire_u32(w, &v->type);
	wire_u32(w, &v->status);
	wire_u32(w, &v->device_features_sel);
	wire_u32(w, &v->driver_features_sel);
	wire_u32(w, &v->queue_sel);
	wire_u64(w, &v->driver_features);
	wire_u64(w, &v->acked);
	wire_bool(w, &v->has_excess_features);
	wire_bool(w, &v->needs_reset);
	wire_u32(w, &v->isr);
	wire_u32(w, &v->generation);
	wire_bool(w, &v->is_link_up);
	wire_count(w, &v->config_len, VIRTIO_CONFIG_MAX);
	if (w->error == 0)
		wire_bytes(w, v->config, v->config_len);
	wire_count(w, &v->nqueues, VIRTIO_QUEUES_MAX);
	for (unsigned k = 0; k < v->nqueues && w->error == 0; k++)
		queue(w, &v->queue[k]);
	wire_count(w, &nlimiters, VIRTIO_LIMITERS_MAX);
	for (unsigned k = 0; k < nlimiters && w->error == 0; k++) {
		bucket(w, &v->limiter[k].bytes);
		bucket(w, &v->limiter[k].ops);
	}
}
