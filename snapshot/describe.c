/* The instance's description as values (describe.h). */
#include "snapshot/describe.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/err.h"
#include "virtio/blk.h"

/* False when it does not fit. */
static bool copy(char *to, size_t size, const char *text)
{
	size_t len = text ? strlen(text) : 0;

	if (len >= size)
		return false;
	memcpy(to, text ? text : "", len + 1);
	return true;
}

static bool copy_or_none(char *to, size_t size, const char *text, bool *has)
{
	*has = text != NULL;
	return copy(to, size, text);
}

int disk_identify(const struct disk *d, struct disk_identity *ret)
{
	struct stat st;
	int rc = disk_stat(d, &st);

	if (rc < 0)
		return rc;
	*ret = (struct disk_identity){ .size = d->sectors * DISK_SECTOR };
	if (S_ISBLK(st.st_mode)) {
		/* A device has no generation that could be asked for. */
		ret->is_device = true;
		ret->dev = st.st_rdev;
		return 0;
	}
	ret->size = (uint64_t)st.st_size;
	ret->dev = st.st_dev;
	ret->ino = st.st_ino;
	ret->mtime_s = (uint64_t)st.st_mtim.tv_sec;
	ret->mtime_ns = (uint64_t)st.st_mtim.tv_nsec;
	return 0;
}

const struct disk *describe_disk(const struct instance *in, unsigned drive)
{
	return blk_disk(in->vm->devices.slot[drive].dev);
}

static int describe_drive(
	const struct instance *in, unsigned i, struct snapshot_drive *ret, struct err *e)
{
	const struct drive *d = instance_drive(in, in->vm->cfg.disk[i].id);
	const struct drive_spec *spec = &d->spec;
	int rc;

	if (!copy(ret->id, sizeof(ret->id), spec->disk.id) ||
		!copy(ret->path, sizeof(ret->path), spec->disk.path) ||
		!copy_or_none(
			ret->partuuid, sizeof(ret->partuuid), spec->partuuid, &ret->has_partuuid))
		return err_set(e, -ENAMETOOLONG, "drive '%s': a text is too long", spec->disk.id);
	ret->is_root = spec->is_root;
	ret->read_only = spec->disk.read_only;
	ret->direct = spec->disk.direct;
	ret->sync_engine = spec->disk.sync_engine;
	ret->unsafe_cache = spec->disk.unsafe_cache;
	ret->shape = spec->shape;
	ret->limit = spec->disk.limit;
	rc = disk_identify(describe_disk(in, i), &ret->identity);
	return rc < 0 ? err_sys(e, rc, NULL, "drive '%s': cannot look at '%s'", ret->id, ret->path)
		      : 0;
}

static int describe_nic(
	const struct instance *in, unsigned i, struct snapshot_nic *ret, struct err *e)
{
	const struct nic *n = instance_nic(in, in->vm->cfg.net[i].id);
	const struct net_config *c = &n->spec.net;

	if (!copy(ret->id, sizeof(ret->id), c->id) || !copy(ret->tap, sizeof(ret->tap), c->tap))
		return err_set(e, -ENAMETOOLONG, "net '%s': a text is too long", c->id);
	ret->has_mac = c->has_mac;
	memcpy(ret->mac, c->mac, sizeof(ret->mac));
	ret->mtu = c->mtu;
	ret->no_csum = c->no_csum;
	ret->no_tso = c->no_tso;
	ret->no_ufo = c->no_ufo;
	ret->no_uso = c->no_uso;
	ret->no_mrg = c->no_mrg;
	ret->rx_shape = n->spec.rx_shape;
	ret->tx_shape = n->spec.tx_shape;
	ret->rx = c->rx;
	ret->tx = c->tx;
	return 0;
}

int describe_instance(const struct instance *in, struct snapshot *s, struct err *e)
{
	const struct vm_config *c = &in->vm->cfg;
	int rc = 0;

	if (!copy_or_none(s->kernel, sizeof(s->kernel), in->boot.kernel, &s->has_kernel) ||
		!copy_or_none(s->initrd, sizeof(s->initrd), in->boot.initrd, &s->has_initrd) ||
		!copy_or_none(s->cmdline, sizeof(s->cmdline), in->boot.cmdline, &s->has_cmdline))
		return err_set(e, -ENAMETOOLONG, "a text of the boot source is too long");
	s->ndrives = c->ndisks;
	s->nnics = c->nnets;
	for (unsigned i = 0; i < c->ndisks && rc == 0; i++)
		rc = describe_drive(in, i, &s->drive[i], e);
	for (unsigned i = 0; i < c->nnets && rc == 0; i++)
		rc = describe_nic(in, i, &s->nic[i], e);
	return rc;
}
