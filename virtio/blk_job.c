/* Block requests, done on a disk (blk_job.h). */
#include "virtio/blk_job.h"

#include <errno.h>
#include <string.h>

#include "base/log.h"

/* --- failures --- */

static const char *words_for(enum disk_op op)
{
	switch (op) {
	case DISK_READ: return "cannot read";
	case DISK_WRITE: return "cannot write";
	case DISK_PUNCH: return "cannot punch a hole of";
	case DISK_ZERO: return "cannot zero";
	case DISK_SYNC: break;
	}
	return "cannot sync after";
}

/* Once for each disk: a guest goes on asking. */
static void say_once(const struct blk_job *job, int rc)
{
	const struct disk_io *io = &job->io;
	struct disk *d = job->disk;

	if (d->has_failed)
		return;
	d->has_failed = true;
	log_warning("disk '%s': %s %llu bytes at %llu of '%s': %s (the guest is told; further "
		    "errors are only counted)",
		d->id, words_for(io->op), (unsigned long long)io->len,
		(unsigned long long)io->offset, d->path,
		rc == -ENODATA ? "the file has become shorter" : strerror(-rc));
}

/* --- steps --- */

static bool set_transfer(struct blk_job *job)
{
	const struct blk_request *r = &job->req;

	job->io.op = r->op == BLK_READ ? DISK_READ : DISK_WRITE;
	job->io.iov = r->iov;
	job->io.iov_count = r->iov_count;
	job->io.offset = r->sector * DISK_SECTOR;
	job->io.len = r->len;
	return r->len > 0;
}

static bool set_sync(struct blk_job *job)
{
	job->phase = BLK_PHASE_SYNC;
	job->io.op = DISK_SYNC;
	job->io.offset = job->io.len = 0;
	return true;
}

/* The next range that is not empty; false when there is none. */
static bool set_range(struct blk_job *job)
{
	const struct blk_range *r;

	while (job->range < job->req.range_count && job->ranges[job->range].sectors == 0)
		job->range++;
	if (job->range == job->req.range_count)
		return false;
	r = &job->ranges[job->range];
	job->io.op = job->req.op == BLK_DISCARD || r->unmap ? DISK_PUNCH : DISK_ZERO;
	job->io.offset = r->sector * DISK_SECTOR;
	job->io.len = (uint64_t)r->sectors * DISK_SECTOR;
	return true;
}

/* All is written: makes it safe where that is asked for. */
static bool set_last(struct blk_job *job)
{
	enum blk_op op = job->req.op;
	bool is_write = op == BLK_WRITE || op == BLK_DISCARD || op == BLK_WRITE_ZEROES;

	return is_write && job->is_write_through && job->phase == BLK_PHASE_WORK && set_sync(job);
}

static void fill_id(struct blk_job *job)
{
	char id[VIRTIO_BLK_ID_BYTES] = { 0 };

	/* One of exactly 20 bytes needs no zero behind it (5.2.6). */
	memcpy(id, job->disk->id, strnlen(job->disk->id, sizeof(id)));
	job->bytes = blk_request_fill(&job->req, id, sizeof(id));
}

/* The first step, which io then describes; false when there is none. */
static bool first(struct blk_job *job)
{
	if (job->req.status != VIRTIO_BLK_S_OK)
		return false;
	switch (job->req.op) {
	case BLK_READ:
	case BLK_WRITE: return set_transfer(job) || set_last(job);
	case BLK_FLUSH: return set_sync(job);
	case BLK_DISCARD:
	case BLK_WRITE_ZEROES: return set_range(job) || set_last(job);
	case BLK_GET_ID: fill_id(job); break;
	case BLK_UNKNOWN: break;
	}
	return false;
}

/* The host cannot do a range that way: true when there is another way left, which io describes. */
static bool do_without(struct blk_job *job)
{
	if (job->req.op == BLK_DISCARD)
		return false;
	if (job->io.op == DISK_PUNCH) {
		job->io.op = DISK_ZERO;
		return true;
	}
	job->req.status = VIRTIO_BLK_S_UNSUPP;
	return false;
}

/* The step behind one that ended with res; false at the end. */
static bool next(struct blk_job *job, int res)
{
	bool is_range = job->phase == BLK_PHASE_WORK && job->req.range_count > 0;

	if (res == -EOPNOTSUPP && is_range) {
		if (do_without(job))
			return true;
	} else if (res < 0) {
		say_once(job, res);
		job->req.status = VIRTIO_BLK_S_IOERR;
	}
	if (job->phase == BLK_PHASE_WORK)
		job->bytes += is_range ? job->io.len : job->io.moved;
	if (job->req.status != VIRTIO_BLK_S_OK)
		return false;
	if (is_range) {
		job->range++;
		if (set_range(job))
			return true;
	}
	return set_last(job);
}

/* True when the job has come to its end, false when the loop has the next step.  As many turns as
 * the job has ranges, two for each, and one more. */
static bool go_on(struct blk_job *job, bool has_step)
{
	while (has_step) {
		int res = disk_start(job->disk, job->loop, &job->io);

		if (res == DISK_PENDING)
			return false;
		has_step = next(job, res);
	}
	return true;
}

static void on_io(struct disk_io *io, int res)
{
	struct blk_job *job = container_of(io, struct blk_job, io);

	if (go_on(job, next(job, res)))
		job->done(job);
}

bool blk_job_start(struct blk_job *job, struct loop *l)
{
	job->loop = l;
	job->phase = BLK_PHASE_WORK;
	job->range = 0;
	job->bytes = 0;
	job->io.done = on_io;
	return go_on(job, first(job));
}
