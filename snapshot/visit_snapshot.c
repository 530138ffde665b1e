/* Sections: what the snapshot is, where it comes from, and what the machine was described as. */
#include <errno.h>
#include <stdlib.h>

#include "snapshot/format.h"
#include "snapshot/snapshot.h"
#include "snapshot/visit.h"

/* The enumerations are in files. */
_Static_assert((int)SNAPSHOT_FULL == (int)FORMAT_KIND_FULL, "the format is frozen");
_Static_assert((int)SNAPSHOT_DIFF == (int)FORMAT_KIND_DIFF, "the format is frozen");
_Static_assert((int)MEM_PAGES_HOST == (int)FORMAT_PAGES_HOST, "the format is frozen");
_Static_assert((int)MEM_PAGES_4K == (int)FORMAT_PAGES_4K, "the format is frozen");
_Static_assert((int)MEM_PAGES_THP == (int)FORMAT_PAGES_THP, "the format is frozen");
_Static_assert((int)MEM_PAGES_2M == (int)FORMAT_PAGES_2M, "the format is frozen");

void visit_snapshot(struct wire *w, struct snapshot *s, unsigned i)
{
	unsigned kind = s->kind;

	(void)i;
	wire_bytes(w, s->id, SNAPSHOT_ID_LEN);
	wire_text(w, s->version, sizeof(s->version));
	wire_u64(w, &s->created_ns);
	wire_count(w, &kind, SNAPSHOT_DIFF);
	s->kind = (enum snapshot_kind)kind;
	wire_bytes(w, s->base_id, SNAPSHOT_ID_LEN);
	wire_text(w, s->base_path, sizeof(s->base_path));
	wire_text(w, s->base_memory_path, sizeof(s->base_memory_path));
}

void visit_host(struct wire *w, struct snapshot *s, unsigned i)
{
	struct snapshot_host *h = &s->host;

	(void)i;
	wire_text(w, h->boot_id, sizeof(h->boot_id));
	wire_text(w, h->kernel, sizeof(h->kernel));
	wire_text(w, h->cpu, sizeof(h->cpu));
	for (unsigned k = 0; k < ARRAY_SIZE(h->cpu_words); k++)
		wire_u32(w, &h->cpu_words[k]);
}

void visit_machine(struct wire *w, struct snapshot *s, unsigned i)
{
	struct vm_state *vm = s->vm;
	unsigned cpus = vm->cpus, pages = vm->pages;

	(void)i;
	wire_count(w, &cpus, CONFIG_CPUS_MAX);
	if (cpus != vm->cpus)
		wire_fail(w, -EBADMSG);
	wire_u64(w, &vm->mem_size);
	wire_count(w, &pages, MEM_PAGES_2M);
	vm->pages = (enum mem_pages)pages;
	wire_bool(w, &vm->smt);
	wire_bool(w, &vm->has_boot_timer);
	wire_count(w, &s->ndrives, CONFIG_DEVICES_MAX);
	wire_count(w, &s->nnics, CONFIG_DEVICES_MAX);
	wire_count(w, &vm->ndevices, CONFIG_DEVICES_MAX);
}

void visit_boot(struct wire *w, struct snapshot *s, unsigned i)
{
	(void)i;
	wire_text_or_none(w, s->kernel, sizeof(s->kernel), &s->has_kernel);
	wire_text_or_none(w, s->initrd, sizeof(s->initrd), &s->has_initrd);
	wire_text_or_none(w, s->cmdline, sizeof(s->cmdline), &s->has_cmdline);
}

/* --- devices as they were described --- */

static void bucket(struct wire *w, struct bucket_config *b)
{
	wire_u64(w, &b->size);
	wire_u64(w, &b->refill_ms);
	wire_u64(w, &b->burst);
}

static void limit(struct wire *w, struct limit_shape *shape, struct limiter_config *c)
{
	wire_bool(w, &shape->is_given);
	wire_bool(w, &shape->has_bytes);
	wire_bool(w, &shape->has_ops);
	wire_bool(w, &shape->bytes_has_burst);
	wire_bool(w, &shape->ops_has_burst);
	bucket(w, &c->bytes);
	bucket(w, &c->ops);
}

static void identity(struct wire *w, struct disk_identity *d)
{
	wire_bool(w, &d->is_device);
	wire_u64(w, &d->size);
	wire_u64(w, &d->dev);
	wire_u64(w, &d->ino);
	wire_u64(w, &d->mtime_s);
	wire_u64(w, &d->mtime_ns);
}

void visit_drive(struct wire *w, struct snapshot *s, unsigned i)
{
	struct snapshot_drive *d = &s->drive[i];

	wire_text(w, d->id, sizeof(d->id));
	wire_text(w, d->path, sizeof(d->path));
	wire_text_or_none(w, d->partuuid, sizeof(d->partuuid), &d->has_partuuid);
	wire_bool(w, &d->is_root);
	wire_bool(w, &d->read_only);
	wire_bool(w, &d->direct);
	wire_bool(w, &d->sync_engine);
	wire_bool(w, &d->unsafe_cache);
	limit(w, &d->shape, &d->limit);
	identity(w, &d->identity);
	wire_bool(w, &d->is_captured);
}

void visit_nic(struct wire *w, struct snapshot *s, unsigned i)
{
	struct snapshot_nic *n = &s->nic[i];

	wire_text(w, n->id, sizeof(n->id));
	wire_text(w, n->tap, sizeof(n->tap));
	wire_bool(w, &n->has_mac);
	wire_bytes(w, n->mac, NET_MAC_LEN);
	wire_u32(w, &n->mtu);
	wire_bool(w, &n->no_csum);
	wire_bool(w, &n->no_tso);
	wire_bool(w, &n->no_ufo);
	wire_bool(w, &n->no_uso);
	wire_bool(w, &n->no_mrg);
	limit(w, &n->rx_shape, &n->rx);
	limit(w, &n->tx_shape, &n->tx);
}

/* --- pages of a difference --- */

enum { RUN_LEN = 16 };

void visit_runs(struct wire *w, struct snapshot *s, unsigned i)
{
	unsigned n = s->nruns;

	(void)i;
	wire_count(w, &n, SNAPSHOT_RUNS_MAX);
	if (w->is_reading && w->error == 0) {
		/* Room is made for no more than there is. */
		if (n > (w->size - w->at) / RUN_LEN)
			wire_fail(w, -ENODATA);
		else if (n > 0 && !(s->run = calloc(n, sizeof(*s->run))))
			wire_fail(w, -ENOMEM);
		else
			s->nruns = n;
	}
	for (unsigned k = 0; k < n && w->error == 0; k++) {
		wire_u64(w, &s->run[k].first);
		wire_u64(w, &s->run[k].count);
	}
}
