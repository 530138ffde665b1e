/* What has to hold in and between the sections of a state file (visit.h). */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/err.h"
#include "snapshot/snapshot.h"
#include "snapshot/visit.h"

enum {
	VIRTIO_ID_NET = 1,
	VIRTIO_ID_BLOCK = 2,
	VIRTIO_STATUS_BITS = 0xff,
	VIRTIO_ISR_BITS = VIRTIO_ISR_USED | VIRTIO_ISR_CONFIG,
	/* The legacy area and the header (Intel SDM 1, 13.4). */
	XSAVE_MIN = 512 + 64,
	/* Those above are of other architectures. */
	MP_STATE_MAX = KVM_MP_STATE_SIPI_RECEIVED,
	NS_PER_S = 1000000000,
};

static int check_machine(const struct snapshot *s, struct err *e)
{
	const struct vm_state *vm = s->vm;

	if (vm->cpus < 1 || vm->cpus > CONFIG_CPUS_MAX)
		return err_set(e, -EBADMSG, "section MACH: %u vCPUs, must be 1 to %d", vm->cpus,
			CONFIG_CPUS_MAX);
	if (vm->smt && vm->cpus != 1 && vm->cpus % 2 != 0)
		return err_set(
			e, -EBADMSG, "section MACH: %u vCPUs are no pairs of threads", vm->cpus);
	if (vm->mem_size < CONFIG_MEM_MIN || vm->mem_size > CONFIG_MEM_MAX ||
		vm->mem_size % CONFIG_MEM_STEP != 0)
		return err_set(
			e, -EBADMSG, "section MACH: %" PRIu64 " bytes of memory", vm->mem_size);
	if (vm->pages == MEM_PAGES_2M && vm->mem_size % MEM_HUGE_PAGE_SIZE != 0)
		return err_set(e, -EBADMSG,
			"section MACH: %" PRIu64 " bytes of memory are no pages of 2 MiB",
			vm->mem_size);
	if (s->ndrives > CONFIG_DEVICES_MAX || s->nnics > CONFIG_DEVICES_MAX ||
		vm->ndevices > CONFIG_DEVICES_MAX || s->ndrives + s->nnics != vm->ndevices)
		return err_set(e, -EBADMSG, "section MACH: %u drives and %u NICs, but %u devices",
			s->ndrives, s->nnics, vm->ndevices);
	return 0;
}

/* --- devices as they were described --- */

/* As config_check() has it. */
static bool is_id(const char *id)
{
	size_t len = strlen(id);

	return len >= 1 && len <= CONFIG_ID_MAX &&
	       strspn(id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") ==
		       len;
}

static bool is_partuuid(const char *text)
{
	for (size_t i = 0; text[i]; i++) {
		if (text[i] <= ' ' || text[i] > '~')
			return false;
	}
	return text[0] != '\0';
}

static int check_drive(const struct snapshot *s, unsigned i, struct err *e)
{
	const struct snapshot_drive *d = &s->drive[i];

	if (!is_id(d->id))
		return err_set(e, -EBADMSG, "section DRIV %u: its id cannot be one", i);
	if (d->path[0] == '\0')
		return err_set(e, -EBADMSG, "section DRIV %u: it has no path", i);
	if (d->has_partuuid && !is_partuuid(d->partuuid))
		return err_set(e, -EBADMSG, "section DRIV %u: its PARTUUID cannot be one", i);
	if (d->identity.mtime_ns >= NS_PER_S)
		return err_set(e, -EBADMSG, "section DRIV %u: its file's time cannot be", i);
	for (unsigned k = 0; k < i; k++) {
		if (strcmp(s->drive[k].id, d->id) == 0)
			return err_set(
				e, -EBADMSG, "section DRIV %u: a second device '%s'", i, d->id);
		if (s->drive[k].is_root && d->is_root)
			return err_set(e, -EBADMSG, "section DRIV %u: a second root device", i);
	}
	return 0;
}

static int check_nic(const struct snapshot *s, unsigned i, struct err *e)
{
	const struct snapshot_nic *n = &s->nic[i];

	if (!is_id(n->id))
		return err_set(e, -EBADMSG, "section NIC %u: its id cannot be one", i);
	if (n->mtu != 0 && (n->mtu < NET_MTU_MIN || n->mtu > NET_MTU_MAX))
		return err_set(e, -EBADMSG, "section NIC %u: an MTU of %" PRIu32, i, n->mtu);
	for (unsigned k = 0; k < s->ndrives; k++) {
		if (strcmp(s->drive[k].id, n->id) == 0)
			return err_set(
				e, -EBADMSG, "section NIC %u: a second device '%s'", i, n->id);
	}
	for (unsigned k = 0; k < i; k++) {
		if (strcmp(s->nic[k].id, n->id) == 0)
			return err_set(
				e, -EBADMSG, "section NIC %u: a second device '%s'", i, n->id);
	}
	return 0;
}

/* --- the machine --- */

static int check_vcpu(const struct cpu_state *c, unsigned i, struct err *e)
{
	if (c->xsave_len < XSAVE_MIN || c->xsave_len > CPU_XSAVE_MAX)
		return err_set(e, -EBADMSG, "section VCPU %u: an XSAVE area of %" PRIu32 " bytes",
			i, c->xsave_len);
	if (c->nmsrs > CPU_MSRS_MAX)
		return err_set(e, -EBADMSG, "section VCPU %u: %u MSRs", i, c->nmsrs);
	if (c->xcrs.nr_xcrs > KVM_MAX_XCRS)
		return err_set(
			e, -EBADMSG, "section VCPU %u: %u XCRs", i, (unsigned)c->xcrs.nr_xcrs);
	if (c->mp_state.mp_state > MP_STATE_MAX)
		return err_set(e, -EBADMSG, "section VCPU %u: state %u of its processor", i,
			(unsigned)c->mp_state.mp_state);
	return 0;
}

static int check_chips(const struct chip_state *c, struct err *e)
{
	for (unsigned i = 0; i < CHIP_IRQCHIPS; i++) {
		if (c->irqchip[i].chip_id != i)
			return err_set(e, -EBADMSG, "section CHIP: chip %u is number %u", i,
				(unsigned)c->irqchip[i].chip_id);
	}
	return 0;
}

static bool is_queue_size(uint32_t num)
{
	return num >= VIRTQ_SIZE_MIN && num <= VIRTQ_SIZE_MAX && (num & (num - 1)) == 0;
}

static int check_queue(const struct virtq_state *q, unsigned i, unsigned k, struct err *e)
{
	if (!q->running)
		return 0; /* what the driver has written so far may be anything */
	if (!q->ready)
		return err_set(
			e, -EBADMSG, "section VIRT %u: queue %u is used and not ready", i, k);
	if (!is_queue_size(q->num))
		return err_set(e, -EBADMSG, "section VIRT %u: queue %u has %" PRIu32 " entries", i,
			k, q->num);
	return 0;
}

static int check_device(const struct snapshot *s, unsigned i, struct err *e)
{
	const struct virtio_state *v = &s->vm->device[i];
	uint32_t type = i < s->ndrives ? VIRTIO_ID_BLOCK : VIRTIO_ID_NET;
	int rc = 0;

	if (v->type != type)
		return err_set(e, -EBADMSG,
			"section VIRT %u: a device of type %" PRIu32 ", and %" PRIu32
			" was described",
			i, v->type, type);
	if ((v->status & ~(uint32_t)VIRTIO_STATUS_BITS) != 0)
		return err_set(e, -EBADMSG, "section VIRT %u: status 0x%" PRIx32, i, v->status);
	if ((v->isr & ~(uint32_t)VIRTIO_ISR_BITS) != 0)
		return err_set(
			e, -EBADMSG, "section VIRT %u: interrupt status 0x%" PRIx32, i, v->isr);
	if (v->nqueues < 1 || v->nqueues > VIRTIO_QUEUES_MAX || v->config_len > VIRTIO_CONFIG_MAX)
		return err_set(e, -EBADMSG,
			"section VIRT %u: %" PRIu32 " queues, %" PRIu32 " bytes of configuration",
			i, v->nqueues, v->config_len);
	for (unsigned k = 0; k < v->nqueues && rc == 0; k++)
		rc = check_queue(&v->queue[k], i, k, e);
	return rc;
}

static int check_vm(const struct snapshot *s, struct err *e)
{
	const struct vm_state *vm = s->vm;
	int rc = 0;

	if (vm->cpuid.head.nent > KVM_CPUID_MAX)
		return err_set(
			e, -EBADMSG, "section CPID: %u entries", (unsigned)vm->cpuid.head.nent);
	for (unsigned i = 0; i < vm->cpus && rc == 0; i++)
		rc = check_vcpu(&vm->cpu[i], i, e);
	if (rc == 0)
		rc = check_chips(&vm->chips, e);
	if (rc == 0 && vm->serial.count > SERIAL_FIFO)
		rc = err_set(e, -EBADMSG, "section UART: %" PRIu32 " bytes", vm->serial.count);
	if (rc == 0 && vm->i8042.count > I8042_QUEUE)
		rc = err_set(e, -EBADMSG, "section I842: %" PRIu32 " bytes", vm->i8042.count);
	for (unsigned i = 0; i < vm->ndevices && rc == 0; i++)
		rc = check_device(s, i, e);
	return rc;
}

/* --- pages --- */

static int check_runs(const struct snapshot *s, struct err *e)
{
	uint64_t pages = s->vm->mem_size / MEM_PAGE_SIZE, behind = 0;

	if (s->kind == SNAPSHOT_FULL && s->nruns > 0)
		return err_set(e, -EBADMSG, "section RUNS: in a full snapshot");
	if (s->nruns > SNAPSHOT_RUNS_MAX)
		return err_set(e, -EBADMSG, "section RUNS: %u runs, at most %d can be", s->nruns,
			SNAPSHOT_RUNS_MAX);
	for (unsigned i = 0; i < s->nruns; i++) {
		const struct page_run *r = &s->run[i];

		if (r->count == 0 || r->first < behind)
			return err_set(
				e, -EBADMSG, "section RUNS: run %u is empty or out of order", i);
		if (r->first >= pages || r->count > pages - r->first)
			return err_set(e, -EBADMSG, "section RUNS: run %u is not in memory", i);
		behind = r->first + r->count;
	}
	return 0;
}

static int check_base(const struct snapshot *s, struct err *e)
{
	if (s->kind == SNAPSHOT_DIFF && memcmp(s->id, s->base_id, SNAPSHOT_ID_LEN) == 0)
		return err_set(e, -EBADMSG, "section SNAP: a difference to itself");
	return 0;
}

int state_check(const struct snapshot *s, struct err *e)
{
	int rc = check_base(s, e);

	if (rc == 0)
		rc = check_machine(s, e);
	for (unsigned i = 0; i < s->ndrives && rc == 0; i++)
		rc = check_drive(s, i, e);
	for (unsigned i = 0; i < s->nnics && rc == 0; i++)
		rc = check_nic(s, i, e);
	if (rc == 0)
		rc = check_vm(s, e);
	return rc < 0 ? rc : check_runs(s, e);
}
