/* A state file for people (inspect.h). */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "base/parse.h"
#include "snapshot/inspect.h"
#include "snapshot/snapshot.h"
#include "snapshot/visit.h"

#define NS_PER_S UINT64_C(1000000000)

enum { WIDTH = 12, SIZE_MAX_TEXT = 32 };

/* A line "what        value", or with a number behind what. */
static void title(FILE *out, const char *what)
{
	(void)fprintf(out, "%-*s", WIDTH, what);
}

static void numbered(FILE *out, const char *what, unsigned i)
{
	char text[WIDTH * 2];

	(void)snprintf(text, sizeof(text), "%s %u", what, i);
	title(out, text);
}

static void path(FILE *out, const char *text)
{
	char buf[INSPECT_TEXT_MAX] UNINITIALIZED;

	(void)fputs(inspect_printable(text, buf), out);
}

static void size(FILE *out, uint64_t bytes)
{
	char buf[SIZE_MAX_TEXT];

	format_size(bytes, buf, sizeof(buf));
	(void)fputs(buf, out);
}

static void flag(FILE *out, bool is_set, const char *word)
{
	if (is_set)
		(void)fprintf(out, ", %s", word);
}

/* --- parts --- */

static void print_format(const struct inspection *v, FILE *out)
{
	title(out, "format");
	(void)fprintf(out, "%u.%u, ", (unsigned)v->header.major, (unsigned)v->header.minor);
	if (v->header.machine == FORMAT_ELF_MACHINE)
		(void)fputs("x86_64", out);
	else
		(void)fprintf(out, "ELF machine %u", (unsigned)v->header.machine);
	(void)fprintf(out, ", %" PRIu32 " sections, %zu bytes\n", v->header.sections, v->len);
}

static void print_snapshot(const struct inspection *v, FILE *out)
{
	const struct snapshot *s = v->s;
	char id[INSPECT_ID_MAX], when[INSPECT_TIME_MAX];

	title(out, "snapshot");
	(void)fprintf(out, "%s\n", inspect_id(s->id, id));
	title(out, "written");
	(void)fprintf(out, "%s by mvm ", inspect_time(s->created_ns / NS_PER_S, when));
	path(out, s->version);
	(void)fputc('\n', out);
	title(out, "kind");
	if (s->kind == SNAPSHOT_FULL) {
		(void)fputs("full\n", out);
		return;
	}
	(void)fprintf(out, "difference to %s, which was ", inspect_id(s->base_id, id));
	path(out, s->base_path);
	(void)fputc('\n', out);
}

static void print_host(const struct inspection *v, FILE *out)
{
	const struct snapshot_host *h = &v->s->host;

	title(out, "host");
	(void)fputs("Linux ", out);
	path(out, h->kernel);
	(void)fputs(", ", out);
	path(out, h->cpu);
	(void)fputs(", boot ", out);
	path(out, h->boot_id);
	(void)fputc('\n', out);
}

static void print_machine(const struct inspection *v, FILE *out)
{
	const struct vm_state *vm = v->s->vm;

	title(out, "machine");
	(void)fprintf(out, "%u %s, ", vm->cpus, vm->cpus == 1 ? "vCPU" : "vCPUs");
	size(out, vm->mem_size);
	(void)fprintf(out, ", pages %s", inspect_pages(v->s));
	flag(out, vm->smt, "two threads to a core");
	flag(out, vm->has_boot_timer, "boot timer");
	(void)fputc('\n', out);
}

static void print_boot(const struct inspection *v, FILE *out)
{
	const struct snapshot *s = v->s;
	const struct {
		const char *what, *text;
		bool has;
	} rows[] = { { "kernel", s->kernel, s->has_kernel }, { "initrd", s->initrd, s->has_initrd },
		{ "cmdline", s->cmdline, s->has_cmdline } };

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		if (!rows[i].has)
			continue;
		title(out, rows[i].what);
		path(out, rows[i].text);
		(void)fputc('\n', out);
	}
}

static void print_drive(const struct inspection *v, unsigned i, FILE *out)
{
	const struct snapshot_drive *d = &v->s->drive[i];
	const struct disk_identity *f = &d->identity;
	char when[INSPECT_TIME_MAX];

	numbered(out, "drive", i);
	(void)fprintf(out, "'%s': ", d->id);
	path(out, d->path);
	(void)fputs(", ", out);
	size(out, f->size);
	flag(out, d->is_root, "root");
	if (d->has_partuuid) {
		(void)fputs(", PARTUUID=", out);
		path(out, d->partuuid);
	}
	flag(out, d->read_only, "read-only");
	flag(out, d->direct, "direct");
	flag(out, d->sync_engine, "sync");
	flag(out, d->unsafe_cache, "unsafe cache");
	flag(out, d->shape.is_given, "limited");
	flag(out, d->is_captured, "captured");
	(void)fputc('\n', out);
	title(out, "");
	if (f->is_device)
		(void)fprintf(out, "block device %u:%u\n", major(f->dev), minor(f->dev));
	else
		(void)fprintf(out, "file %" PRIu64 " of device %u:%u, last written %s\n", f->ino,
			major(f->dev), minor(f->dev), inspect_time(f->mtime_s, when));
}

static void print_nic(const struct inspection *v, unsigned i, FILE *out)
{
	const struct snapshot_nic *n = &v->s->nic[i];

	numbered(out, "nic", i);
	(void)fprintf(out, "'%s': ", n->id);
	if (n->tap[0]) {
		(void)fputs("tap ", out);
		path(out, n->tap);
	} else {
		(void)fputs("a descriptor", out);
	}
	if (n->has_mac)
		(void)fprintf(out, ", MAC %02x:%02x:%02x:%02x:%02x:%02x", n->mac[0], n->mac[1],
			n->mac[2], n->mac[3], n->mac[4], n->mac[5]);
	if (n->mtu)
		(void)fprintf(out, ", MTU %" PRIu32, n->mtu);
	flag(out, n->no_csum, "no checksums");
	flag(out, n->no_tso, "no TSO");
	flag(out, n->no_ufo, "no UFO");
	flag(out, n->no_uso, "no USO");
	flag(out, n->no_mrg, "no merged buffers");
	flag(out, n->rx_shape.is_given, "receiving limited");
	flag(out, n->tx_shape.is_given, "sending limited");
	(void)fputc('\n', out);
}

static void print_device(const struct inspection *v, unsigned i, FILE *out)
{
	const struct virtio_state *d = &v->s->vm->device[i];
	const char *id = inspect_device_id(v, i), *between = " ";

	numbered(out, "device", i);
	(void)fprintf(out, "%s '%s': %s, status 0x%" PRIx32 ", features",
		inspect_device_type(d->type), id ? id : "?", inspect_device_state(d), d->status);
	for (unsigned bit = 0; bit < 64; bit++) {
		if ((d->acked >> bit & 1) == 0)
			continue;
		(void)fprintf(out, "%s%u", between, bit);
		between = ",";
	}
	(void)fprintf(out, "%s%s\n", d->acked ? "" : " none",
		d->type == 1 && !d->is_link_up ? ", link down" : "");
	for (unsigned k = 0; k < d->nqueues; k++) {
		const struct virtq_state *q = &d->queue[k];

		title(out, "");
		(void)fprintf(out, "queue %u: ", k);
		if (q->running)
			(void)fprintf(out, "%" PRIu32 " entries, next available %u, next used %u\n",
				q->num, (unsigned)q->at.next_avail, (unsigned)q->at.next_used);
		else
			(void)fprintf(out, "%s\n", q->ready ? "stopped" : "not ready");
	}
}

static void print_vcpu(const struct inspection *v, unsigned i, FILE *out)
{
	const struct cpu_state *c = &v->s->vm->cpu[i];

	numbered(out, "vcpu", i);
	(void)fprintf(out, "rip 0x%llx  rsp 0x%llx  cr3 0x%llx  %s, %s\n", c->regs.rip, c->regs.rsp,
		c->sregs.cr3, inspect_cpu_mode(c), inspect_mp_state(c));
	title(out, "");
	if (c->tsc_khz)
		(void)fprintf(out, "TSC %" PRIu32 " kHz, ", c->tsc_khz);
	else
		(void)fputs("TSC unknown, ", out);
	(void)fprintf(out, "%u MSRs, %" PRIu32 " bytes of XSAVE\n", c->nmsrs, c->xsave_len);
}

static void print_clock(const struct inspection *v, FILE *out)
{
	const struct clock_state *c = &v->s->vm->clock;
	char when[INSPECT_TIME_MAX];

	title(out, "clock");
	(void)fprintf(out, "kvm-clock %" PRIu64 ".%03" PRIu64 " s, when the host's was %s\n",
		c->kvmclock_ns / NS_PER_S, c->kvmclock_ns % NS_PER_S / 1000000,
		inspect_time(c->realtime_ns / NS_PER_S, when));
}

static void print_runs(const struct inspection *v, FILE *out)
{
	uint64_t pages = inspect_run_pages(v->s);

	title(out, "memory");
	(void)fprintf(out, "%" PRIu64 " pages changed, in %u runs: ", pages, v->s->nruns);
	size(out, pages * MEM_PAGE_SIZE);
	(void)fputc('\n', out);
}

static void print_sections(const struct inspection *v, FILE *out)
{
	char name[FORMAT_NAME_MAX];

	(void)fprintf(out, "\nSECTION  NUMBER  VERSION     BYTES  CHECKSUM\n");
	for (unsigned i = 0; i < v->sections.n; i++) {
		const struct section *s = &v->sections.section[i];

		(void)fprintf(out, "%-7s  %6" PRIu32 "  %7u  %8" PRIu64 "  %s\n",
			section_name(s->type, name), s->instance, (unsigned)s->version, s->len,
			v->is_intact[i] ? "ok" : "WRONG");
	}
}

/* --- the whole --- */

static const struct {
	uint32_t type;
	void (*print)(const struct inspection *v, FILE *out);                 /* one of these, */
	void (*print_one)(const struct inspection *v, unsigned i, FILE *out); /* or many */
} parts[] = {
	{ FORMAT_SNAPSHOT, print_snapshot, NULL },
	{ FORMAT_HOST, print_host, NULL },
	{ FORMAT_MACHINE, print_machine, NULL },
	{ FORMAT_BOOT, print_boot, NULL },
	{ FORMAT_DRIVE, NULL, print_drive },
	{ FORMAT_NIC, NULL, print_nic },
	{ FORMAT_VIRTIO, NULL, print_device },
	{ FORMAT_VCPU, NULL, print_vcpu },
	{ FORMAT_CLOCK, print_clock, NULL },
	{ FORMAT_RUNS, print_runs, NULL },
};

int inspect_print(const struct inspection *v, FILE *out)
{
	if (!v->has_header)
		return 0;
	print_format(v, out);
	for (unsigned i = 0; i < ARRAY_SIZE(parts); i++) {
		const struct section_kind *kind = section_kind_find(parts[i].type);
		unsigned n = v->s ? kind->count(v->s) : 0;

		for (unsigned k = 0; k < n; k++) {
			if (!inspection_knows(v, parts[i].type, k))
				continue;
			if (parts[i].print)
				parts[i].print(v, out);
			else
				parts[i].print_one(v, k, out);
		}
	}
	print_sections(v, out);
	return fflush(out) != 0 || ferror(out) ? -EIO : 0;
}
