/* A restored machine and its host's resources (rebind.h). */
#include "snapshot/rebind.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "snapshot/describe.h"

/* --- what the options name --- */

static const struct load_drive *drive_option(const struct load_options *o, const char *id)
{
	for (unsigned i = 0; i < o->ndrives; i++) {
		if (strcmp(o->drive[i].id, id) == 0)
			return &o->drive[i];
	}
	return NULL;
}

static const struct load_nic *nic_option(const struct load_options *o, const char *id)
{
	for (unsigned i = 0; i < o->nnics; i++) {
		if (strcmp(o->nic[i].id, id) == 0)
			return &o->nic[i];
	}
	return NULL;
}

static bool is_accepted(const struct load_options *o, const char *id)
{
	for (unsigned i = 0; i < o->naccepted; i++) {
		if (strcmp(o->accepted[i], id) == 0)
			return true;
	}
	return false;
}

static bool has_drive(const struct snapshot *s, const char *id)
{
	for (unsigned i = 0; i < s->ndrives; i++) {
		if (strcmp(s->drive[i].id, id) == 0)
			return true;
	}
	return false;
}

static bool has_nic(const struct snapshot *s, const char *id)
{
	for (unsigned i = 0; i < s->nnics; i++) {
		if (strcmp(s->nic[i].id, id) == 0)
			return true;
	}
	return false;
}

int rebind_check(const struct snapshot *s, const struct load_options *o, struct err *e)
{
	for (unsigned i = 0; i < o->ndrives; i++) {
		if (!has_drive(s, o->drive[i].id))
			return err_set(e, -ENODEV, "the machine has no drive '%s'", o->drive[i].id);
		if (drive_option(o, o->drive[i].id) != &o->drive[i])
			return err_set(e, -EINVAL, "drive '%s' is given twice", o->drive[i].id);
	}
	for (unsigned i = 0; i < o->naccepted; i++) {
		if (!has_drive(s, o->accepted[i]))
			return err_set(e, -ENODEV, "the machine has no drive '%s'", o->accepted[i]);
	}
	for (unsigned i = 0; i < o->nnics; i++) {
		/* In these words, because there are clients that wait for them. */
		if (!has_nic(s, o->nic[i].id))
			return err_set(e, -ENODEV,
				"Unknown Network Device. The machine has no network interface '%s'",
				o->nic[i].id);
		if (nic_option(o, o->nic[i].id) != &o->nic[i])
			return err_set(
				e, -EINVAL, "network interface '%s' is given twice", o->nic[i].id);
	}
	return 0;
}

/* --- disks --- */

enum { HINT_MAX = 256 };

static void make_hint(const struct snapshot_drive *d, const char *state_path, char hint[HINT_MAX])
{
	const char *slash = strrchr(state_path, '/');
	int folder = slash ? (int)(slash - state_path) : 1;

	if (d->is_captured)
		(void)snprintf(hint, HINT_MAX,
			"what it held then is in 'disk-%s', perhaps in '%.*s': restore with a copy "
			"of that as --disk %s=FILE",
			d->id, MIN(folder, 96), slash ? state_path : ".", d->id);
	else
		(void)snprintf(hint, HINT_MAX,
			"--disk %s=FILE names another, --accept-changed-disk %s takes it as it is",
			d->id, d->id);
}

static int refuse(const struct snapshot_drive *d, const char *path, const char *state_path,
	const char *what, struct err *e)
{
	char hint[HINT_MAX];

	make_hint(d, state_path, hint);
	return err_set(e, -ESTALE,
		"drive '%s': '%s' %s since the machine was saved, and the guest would corrupt it "
		"(%s)",
		d->id, path, what, hint);
}

static int check_size(const struct snapshot_drive *d, const char *path,
	const struct disk_identity *now, struct err *e)
{
	if (now->size == d->identity.size)
		return 0;
	return err_set(e, -ESTALE,
		"drive '%s': '%s' has %llu bytes, and the guest knows a disk of %llu "
		"(--accept-changed-disk %s takes it all the same)",
		d->id, path, (unsigned long long)now->size, (unsigned long long)d->identity.size,
		d->id);
}

/* Device numbers of files are left out: some file systems get another one at each mount. */
static int check_same(const struct snapshot_drive *d, const char *path,
	const struct disk_identity *now, const char *state_path, struct err *e)
{
	const struct disk_identity *was = &d->identity;

	if (now->is_device != was->is_device || now->ino != was->ino ||
		(now->is_device && now->dev != was->dev))
		return refuse(d, path, state_path, "was replaced by another file", e);
	if (now->mtime_s != was->mtime_s || now->mtime_ns != was->mtime_ns)
		return refuse(d, path, state_path, "was written to", e);
	return check_size(d, path, now, e);
}

static int bind_drive(struct instance *in, const struct snapshot_drive *d,
	const struct load_options *o, const char *state_path, struct err *e)
{
	const struct load_drive *other = drive_option(o, d->id);
	struct drive_spec spec = {
		.disk = { .id = d->id,
			.path = other ? other->path : d->path,
			.read_only = d->read_only,
			.direct = d->direct,
			.sync_engine = d->sync_engine,
			.unsafe_cache = d->unsafe_cache,
			.limit = d->limit },
		.is_root = d->is_root,
		.partuuid = d->has_partuuid ? d->partuuid : NULL,
		.shape = d->shape,
	};
	struct disk_identity now;
	int rc = instance_put_drive(in, &spec, e);

	if (rc < 0)
		return rc;
	INVARIANT(instance_drive(in, d->id)->opened);
	rc = disk_identify(instance_drive(in, d->id)->opened, &now);
	if (rc < 0)
		return err_sys(
			e, rc, NULL, "drive '%s': cannot look at '%s'", d->id, spec.disk.path);
	if (is_accepted(o, d->id))
		return 0;
	return other ? check_size(d, spec.disk.path, &now, e)
		     : check_same(d, spec.disk.path, &now, state_path, e);
}

/* --- network cards --- */

static int bind_nic(struct instance *in, const struct snapshot_nic *n, const struct load_options *o,
	struct err *e)
{
	const struct load_nic *other = nic_option(o, n->id);
	struct net_spec spec = {
		.net = { .id = n->id,
			.tap = n->tap,
			.tap_fd = -1,
			.has_mac = n->has_mac,
			.mtu = (uint16_t)n->mtu,
			.no_csum = n->no_csum,
			.no_tso = n->no_tso,
			.no_ufo = n->no_ufo,
			.no_uso = n->no_uso,
			.no_mrg = n->no_mrg,
			.rx = n->rx,
			.tx = n->tx },
		.rx_shape = n->rx_shape,
		.tx_shape = n->tx_shape,
	};

	memcpy(spec.net.mac, n->mac, sizeof(spec.net.mac));
	if (other && other->has_tap_fd) {
		spec.net.tap = NULL;
		spec.net.tap_fd = other->tap_fd;
	} else if (other && other->tap) {
		spec.net.tap = other->tap;
	} else if (n->tap[0] == '\0') {
		return err_set(e, -EINVAL,
			"network interface '%s' had a tap that was handed over as a descriptor: "
			"name one (--net %s=TAP)",
			n->id, n->id);
	}
	if (other && other->has_mac) {
		spec.net.has_mac = true;
		memcpy(spec.net.mac, other->mac, sizeof(spec.net.mac));
	}
	return instance_put_net(in, &spec, e);
}

/* --- all of it --- */

static enum mem_pages pages_of(const struct snapshot *s, enum load_pages wanted)
{
	switch (wanted) {
	case LOAD_PAGES_HOST: return MEM_PAGES_HOST;
	case LOAD_PAGES_THP: return MEM_PAGES_THP;
	case LOAD_PAGES_2M: return MEM_PAGES_2M;
	case LOAD_PAGES_SNAPSHOT:
	default: return s->vm->pages;
	}
}

static int bind_machine(
	struct instance *in, const struct snapshot *s, const struct load_options *o, struct err *e)
{
	struct machine_spec machine = {
		.cpus = s->vm->cpus,
		.mem_mib = s->vm->mem_size / CONFIG_MEM_STEP,
		.smt = s->vm->smt,
		.track_dirty_pages = o->track_dirty,
		.pages = pages_of(s, o->pages),
	};
	struct boot_spec boot = {
		.kernel = s->has_kernel ? s->kernel : "",
		.initrd = s->has_initrd ? s->initrd : NULL,
		.cmdline = s->has_cmdline ? s->cmdline : NULL,
	};
	int rc = instance_put_machine(in, &machine, e);

	return rc == 0 ? instance_put_boot(in, &boot, e) : rc;
}

int rebind(struct instance *in, const struct snapshot *s, const struct load_options *o,
	const char *state_path, struct err *e)
{
	int rc;

	/* Each disk is looked at before anything is built, whoever's instance it is. */
	in->cfg.opens_late = false;
	rc = bind_machine(in, s, o, e);
	for (unsigned i = 0; i < s->ndrives && rc == 0; i++)
		rc = bind_drive(in, &s->drive[i], o, state_path, e);
	for (unsigned i = 0; i < s->nnics && rc == 0; i++)
		rc = bind_nic(in, &s->nic[i], o, e);
	return rc;
}
