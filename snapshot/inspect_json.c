/* A state file for programs (inspect.h); mvm-inspect(1) documents the shape, which only grows. */
#include <inttypes.h>
#include <string.h>

#include "snapshot/inspect.h"
#include "snapshot/snapshot.h"
#include "snapshot/visit.h"

#define NS_PER_S UINT64_C(1000000000)

/* JSON's readers have signed numbers; what is larger is a size or a time that cannot be. */
static json_t *number(uint64_t v)
{
	return json_integer((json_int_t)MIN(v, (uint64_t)INT64_MAX));
}

/* Registers and features, which fit into no number of JSON's. */
static json_t *hex(uint64_t v)
{
	char text[24];

	(void)snprintf(text, sizeof(text), "0x%" PRIx64, v);
	return json_string(text);
}

/* What is no UTF-8 is made printable. */
static json_t *text(const char *t)
{
	json_t *value = json_string(t);
	char buf[INSPECT_TEXT_MAX] UNINITIALIZED;

	return value ? value : json_string(inspect_printable(t, buf));
}

static json_t *text_or_null(const char *t, bool has)
{
	return has ? text(t) : json_null();
}

static json_t *moment(uint64_t seconds)
{
	char buf[INSPECT_TIME_MAX];

	return json_string(inspect_time(seconds, buf));
}

/* --- one of these each --- */

static json_t *format_of(const struct inspection *v)
{
	char version[24];

	(void)snprintf(version, sizeof(version), "%u.%u", (unsigned)v->header.major,
		(unsigned)v->header.minor);
	return json_pack("{s:s, s:i, s:i, s:i, s:o, s:b}", "version", version, "major",
		(int)v->header.major, "minor", (int)v->header.minor, "elf_machine",
		(int)v->header.machine, "bytes", number(v->len), "is_known", v->s != NULL);
}

static json_t *snapshot_of(const struct inspection *v)
{
	const struct snapshot *s = v->s;
	char id[INSPECT_ID_MAX], base[INSPECT_ID_MAX];
	bool is_diff = s->kind == SNAPSHOT_DIFF;

	return json_pack("{s:s, s:o, s:o, s:o, s:s, s:o, s:o}", "id", inspect_id(s->id, id),
		"mvm_version", text(s->version), "created", moment(s->created_ns / NS_PER_S),
		"created_ns", number(s->created_ns), "kind", is_diff ? "diff" : "full", "base_id",
		text_or_null(inspect_id(s->base_id, base), is_diff), "base_path",
		text_or_null(s->base_path, is_diff));
}

static json_t *host_of(const struct inspection *v)
{
	const struct snapshot_host *h = &v->s->host;

	return json_pack("{s:o, s:o, s:o}", "kernel", text(h->kernel), "cpu", text(h->cpu),
		"boot_id", text(h->boot_id));
}

static json_t *machine_of(const struct inspection *v)
{
	const struct vm_state *vm = v->s->vm;

	return json_pack("{s:i, s:o, s:s, s:b, s:b}", "vcpus", (int)vm->cpus, "mem_bytes",
		number(vm->mem_size), "pages", inspect_pages(v->s), "smt", vm->smt, "boot_timer",
		vm->has_boot_timer);
}

static json_t *boot_of(const struct inspection *v)
{
	const struct snapshot *s = v->s;

	return json_pack("{s:o, s:o, s:o}", "kernel", text_or_null(s->kernel, s->has_kernel),
		"initrd", text_or_null(s->initrd, s->has_initrd), "cmdline",
		text_or_null(s->cmdline, s->has_cmdline));
}

static json_t *clock_of(const struct inspection *v)
{
	const struct clock_state *c = &v->s->vm->clock;

	return json_pack("{s:o, s:o, s:o}", "kvmclock_ns", number(c->kvmclock_ns), "host_time_ns",
		number(c->realtime_ns), "host_time", moment(c->realtime_ns / NS_PER_S));
}

static json_t *changed_of(const struct inspection *v)
{
	return json_pack("{s:o, s:o}", "runs", number(v->s->nruns), "pages",
		number(inspect_run_pages(v->s)));
}

/* --- one of many --- */

static json_t *drive_of(const struct inspection *v, unsigned i)
{
	const struct snapshot_drive *d = &v->s->drive[i];
	const struct disk_identity *f = &d->identity;

	return json_pack("{s:i, s:o, s:o, s:b, s:o, s:b, s:b, s:b, s:b, s:b, s:b, s:b, s:o, s:o, "
			 "s:o, s:o, s:o}",
		"number", (int)i, "id", text(d->id), "path", text(d->path), "is_root", d->is_root,
		"partuuid", text_or_null(d->partuuid, d->has_partuuid), "read_only", d->read_only,
		"direct", d->direct, "sync_engine", d->sync_engine, "unsafe_cache", d->unsafe_cache,
		"limited", d->shape.is_given, "captured", d->is_captured, "is_block_device",
		f->is_device, "bytes", number(f->size), "dev", number(f->dev), "inode",
		number(f->ino), "mtime_s", number(f->mtime_s), "mtime_ns", number(f->mtime_ns));
}

static json_t *nic_of(const struct inspection *v, unsigned i)
{
	const struct snapshot_nic *n = &v->s->nic[i];
	char mac[24];

	(void)snprintf(mac, sizeof(mac), "%02x:%02x:%02x:%02x:%02x:%02x", n->mac[0], n->mac[1],
		n->mac[2], n->mac[3], n->mac[4], n->mac[5]);
	return json_pack("{s:i, s:o, s:o, s:o, s:o, s:b, s:b, s:b, s:b, s:b, s:b, s:b}", "number",
		(int)i, "id", text(n->id), "tap", text_or_null(n->tap, n->tap[0] != '\0'), "mac",
		text_or_null(mac, n->has_mac), "mtu", number(n->mtu), "no_csum", n->no_csum,
		"no_tso", n->no_tso, "no_ufo", n->no_ufo, "no_uso", n->no_uso, "no_mrg", n->no_mrg,
		"rx_limited", n->rx_shape.is_given, "tx_limited", n->tx_shape.is_given);
}

static json_t *queue_of(const struct virtq_state *q)
{
	return json_pack("{s:o, s:b, s:b, s:i, s:i}", "entries", number(q->num), "ready", q->ready,
		"running", q->running, "next_available", (int)q->at.next_avail, "next_used",
		(int)q->at.next_used);
}

static json_t *device_of(const struct inspection *v, unsigned i)
{
	const struct virtio_state *d = &v->s->vm->device[i];
	const char *id = inspect_device_id(v, i);
	json_t *queues = json_array(), *features = json_array();

	for (unsigned k = 0; k < d->nqueues; k++)
		(void)json_array_append_new(queues, queue_of(&d->queue[k]));
	for (unsigned bit = 0; bit < 64; bit++) {
		if ((d->acked >> bit & 1) != 0)
			(void)json_array_append_new(features, json_integer(bit));
	}
	return json_pack("{s:i, s:s, s:o, s:s, s:o, s:o, s:o, s:o}", "number", (int)i, "type",
		inspect_device_type(d->type), "id", text_or_null(id, id != NULL), "state",
		inspect_device_state(d), "status", number(d->status), "features", features,
		"link_up", d->type == 1 ? json_boolean(d->is_link_up) : json_null(), "queues",
		queues);
}

static json_t *vcpu_of(const struct inspection *v, unsigned i)
{
	const struct cpu_state *c = &v->s->vm->cpu[i];

	return json_pack("{s:i, s:o, s:o, s:o, s:o, s:o, s:s, s:s, s:o, s:i, s:i}", "number",
		(int)i, "rip", hex(c->regs.rip), "rsp", hex(c->regs.rsp), "rflags",
		hex(c->regs.rflags), "cr0", hex(c->sregs.cr0), "cr3", hex(c->sregs.cr3), "mode",
		inspect_cpu_mode(c), "mp_state", inspect_mp_state(c), "tsc_khz",
		c->tsc_khz ? number(c->tsc_khz) : json_null(), "msrs", (int)c->nmsrs, "xsave_bytes",
		(int)c->xsave_len);
}

/* --- the whole --- */

static json_t *sections_of(const struct inspection *v)
{
	json_t *list = json_array();
	char name[FORMAT_NAME_MAX];

	for (unsigned i = 0; i < v->sections.n; i++) {
		const struct section *s = &v->sections.section[i];

		(void)json_array_append_new(list,
			json_pack("{s:s, s:o, s:i, s:o, s:b, s:b, s:b}", "type",
				section_name(s->type, name), "number", number(s->instance),
				"version", (int)s->version, "bytes", number(s->len), "critical",
				(s->flags & FORMAT_CRITICAL) != 0, "checksum_ok", v->is_intact[i],
				"is_decoded", inspection_knows(v, s->type, s->instance)));
	}
	return list;
}

static json_t *problems_of(const struct inspection *v)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < v->nproblems; i++)
		(void)json_array_append_new(list, text(v->problem[i].text));
	return list;
}

static const struct {
	const char *key;
	uint32_t type;
	json_t *(*one)(const struct inspection *v);              /* an object or null, */
	json_t *(*many)(const struct inspection *v, unsigned i); /* or an array */
} parts[] = {
	{ "snapshot", FORMAT_SNAPSHOT, snapshot_of, NULL },
	{ "host", FORMAT_HOST, host_of, NULL },
	{ "machine", FORMAT_MACHINE, machine_of, NULL },
	{ "boot", FORMAT_BOOT, boot_of, NULL },
	{ "drives", FORMAT_DRIVE, NULL, drive_of },
	{ "nics", FORMAT_NIC, NULL, nic_of },
	{ "devices", FORMAT_VIRTIO, NULL, device_of },
	{ "vcpus", FORMAT_VCPU, NULL, vcpu_of },
	{ "clock", FORMAT_CLOCK, clock_of, NULL },
	{ "changed", FORMAT_RUNS, changed_of, NULL },
};

static json_t *part_of(const struct inspection *v, unsigned p)
{
	const struct section_kind *kind = section_kind_find(parts[p].type);
	unsigned n = v->s ? kind->count(v->s) : 0;
	json_t *list;

	if (parts[p].one)
		return inspection_knows(v, parts[p].type, 0) ? parts[p].one(v) : json_null();
	list = json_array();
	for (unsigned i = 0; i < n; i++) {
		if (inspection_knows(v, parts[p].type, i))
			(void)json_array_append_new(list, parts[p].many(v, i));
	}
	return list;
}

json_t *inspect_json(const struct inspection *v)
{
	json_t *all = json_object();
	int rc = 0;

	if (!all)
		return NULL;
	rc |= json_object_set_new(all, "path", text(v->path));
	rc |= json_object_set_new(all, "format", v->has_header ? format_of(v) : json_null());
	for (unsigned p = 0; p < ARRAY_SIZE(parts); p++)
		rc |= json_object_set_new(all, parts[p].key, part_of(v, p));
	rc |= json_object_set_new(all, "sections", sections_of(v));
	rc |= json_object_set_new(all, "problems", problems_of(v));
	if (rc != 0) {
		json_decref(all);
		return NULL;
	}
	return all;
}
