/* Changes of devices while the machine runs (instance.h). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "instance.h"
#include "instance_private.h"
#include "virtio/blk.h"
#include "virtio/net.h"

/* A disk's change on its way: what blocks is done by the job, the rest on the loop. */
struct instance_patch {
	struct drive *drive;
	struct virtio_device *dev;
	struct drive_patch patch; /* path is in cfg */
	struct disk_config cfg;   /* as the disk is, but for the path, which is ours */
	struct disk *opened;      /* NULL: the file is the one that the disk has */
	int rc;
	struct err e;
};

static void free_patch(struct instance *in)
{
	struct instance_patch *p = ptr_take(in->patch);

	if (!p)
		return;
	disk_close(p->opened);
	free((void *)p->cfg.path);
	free(p);
}

void instance_abandon_patch(struct instance *in)
{
	struct err e = { 0 };

	if (!job_is_running(&in->patch_job))
		return;
	job_abandon(&in->patch_job);
	free_patch(in);
	(void)err_set(&e, -ECANCELED, "the machine has ended");
	instance_finish_change(in, e.code, &e);
}

static struct virtio_device *device(const struct instance *in, const char *id)
{
	struct devices *d = &in->vm->devices;

	for (unsigned i = 0; i < d->n; i++) {
		if (strcmp(d->slot[i].id, id) == 0)
			return d->slot[i].dev;
	}
	return NULL;
}

static struct vm_config *config(const struct instance *in)
{
	return &in->vm->cfg;
}

/* --- limits --- */

/* The part of from that is given goes to to. */
static void merge_limit(struct limit_shape *shape, struct limiter_config *to,
	const struct limit_shape *given, const struct limiter_config *from)
{
	if (given->has_bytes) {
		to->bytes = from->bytes;
		shape->has_bytes = true;
		shape->bytes_has_burst = given->bytes_has_burst;
	}
	if (given->has_ops) {
		to->ops = from->ops;
		shape->has_ops = true;
		shape->ops_has_burst = given->ops_has_burst;
	}
	shape->is_given |= given->is_given;
}

static const struct bucket_config *given_bytes(
	const struct limit_shape *shape, const struct limiter_config *l)
{
	return shape->has_bytes ? &l->bytes : NULL;
}

static const struct bucket_config *given_ops(
	const struct limit_shape *shape, const struct limiter_config *l)
{
	return shape->has_ops ? &l->ops : NULL;
}

int instance_patch_net(struct instance *in, const struct net_patch *patch, struct err *e)
{
	struct nic *n = (struct nic *)instance_nic(in, patch->id);
	struct virtio_device *dev;

	if (in->state != INSTANCE_RUNNING && in->state != INSTANCE_PAUSED)
		return err_set(e, -EPERM, "the machine does not run");
	dev = n ? device(in, patch->id) : NULL;
	if (!dev)
		return err_set(e, -ENODEV, "there is no network interface '%s'", patch->id);
	net_set_rx_limit(dev, given_bytes(&patch->rx_shape, &patch->rx),
		given_ops(&patch->rx_shape, &patch->rx));
	net_set_tx_limit(dev, given_bytes(&patch->tx_shape, &patch->tx),
		given_ops(&patch->tx_shape, &patch->tx));
	merge_limit(&n->spec.rx_shape, &n->spec.net.rx, &patch->rx_shape, &patch->rx);
	merge_limit(&n->spec.tx_shape, &n->spec.net.tx, &patch->tx_shape, &patch->tx);
	return 0;
}

/* --- disks --- */

static void set_drive_limit(struct drive *d, struct virtio_device *dev, const struct drive_patch *p)
{
	blk_set_limit(dev, given_bytes(&p->shape, &p->limit), given_ops(&p->shape, &p->limit));
	merge_limit(&d->spec.shape, &d->spec.disk.limit, &p->shape, &p->limit);
}

/* On the job's thread: storage may be slow, and a name may lead anywhere. */
static void open_file(struct job *j)
{
	struct instance *in = container_of(j, struct instance, patch_job);
	struct instance_patch *p = in->patch;

	/* Our own lock on the file would stand against a second look at it. */
	if (blk_is_at(p->dev, p->cfg.path))
		p->rc = 0;
	else
		p->rc = disk_open(&p->cfg, &p->opened, &p->e);
}

/* The instance's own name for the file follows. */
static void rename_drive(struct instance *in, struct instance_patch *p)
{
	struct vm_config *c = config(in);
	const char *old = p->drive->spec.disk.path;

	for (unsigned i = 0; i < c->ndisks; i++) {
		if (c->disk[i].path == old)
			c->disk[i].path = p->cfg.path;
	}
	p->drive->spec.disk.path = p->cfg.path;
	p->cfg.path = NULL;
	free((void *)old);
}

static int use_file(struct instance *in, struct instance_patch *p, struct err *e)
{
	int rc;

	if (in->state == INSTANCE_ENDED)
		return err_set(e, -ECANCELED, "the machine has ended");
	if (p->opened) {
		blk_replace(p->dev, ptr_take(p->opened));
	} else {
		rc = blk_rescan(p->dev, e);
		if (rc < 0)
			return rc;
	}
	rename_drive(in, p);
	set_drive_limit(p->drive, p->dev, &p->patch);
	return 0;
}

static void file_opened(struct job *j)
{
	struct instance *in = container_of(j, struct instance, patch_job);
	struct instance_patch *p = in->patch;
	struct err e = p->e;
	int rc = p->rc == 0 ? use_file(in, p, &e) : p->rc;

	free_patch(in);
	instance_finish_change(in, rc, &e);
}

static void limits_set(struct loop_post *post)
{
	struct instance *in = container_of(post, struct instance, change_post);

	if (in->is_changing)
		instance_finish_change(in, 0, NULL);
}

static int begin_opening(
	struct instance *in, struct drive *d, const struct drive_patch *patch, struct err *e)
{
	struct instance_patch *p = calloc(1, sizeof(*p));
	char *path = strdup(patch->path);
	int rc;

	if (!p || !path) {
		free(p);
		free(path);
		return err_sys(e, -ENOMEM, NULL, "cannot change disk '%s'", patch->id);
	}
	p->drive = d;
	p->dev = device(in, patch->id);
	p->patch = *patch;
	p->cfg = d->spec.disk;
	p->cfg.path = path;
	in->patch = p;
	in->patch_job.work = open_file;
	in->patch_job.done = file_opened;
	rc = job_start(in->loop, &in->patch_job, e);
	if (rc < 0)
		free_patch(in);
	return rc;
}

int instance_patch_drive(struct instance *in, const struct drive_patch *patch,
	instance_done_fn *done, void *ctx, struct err *e)
{
	struct drive *d = (struct drive *)instance_drive(in, patch->id);
	int rc = instance_begin_change(in, done, ctx, e);

	if (rc < 0)
		return rc;
	if (!d || !device(in, patch->id)) {
		rc = err_set(e, -ENODEV, "there is no disk '%s'", patch->id);
	} else if (patch->path) {
		rc = begin_opening(in, d, patch, e);
	} else {
		set_drive_limit(d, device(in, patch->id), patch);
		in->change_post.run = limits_set;
		loop_post(in->loop, &in->change_post);
	}
	if (rc < 0)
		instance_cancel_change(in);
	return rc;
}
