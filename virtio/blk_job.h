/*
 * A checked block request being done on a disk, step by step: a transfer; or one range after the
 * other; and behind a write, where that is asked for, making it safe.
 *
 * A job knows neither queue nor guest, only iovecs.  The loop's thread.
 */
#ifndef MVM_VIRTIO_BLK_JOB_H
#define MVM_VIRTIO_BLK_JOB_H

#include <stdbool.h>
#include <stdint.h>

#include "base/check.h"
#include "virtio/blk_request.h"
#include "virtio/disk.h"

struct loop;

enum blk_phase { BLK_PHASE_WORK, BLK_PHASE_SYNC };

/* The caller fills the first part before blk_job_start() and leaves it alone until the end. */
struct blk_job {
	struct blk_request req; /* its status is the result */
	const struct blk_range *ranges;
	struct disk *disk;
	bool is_write_through; /* what is written is safe before the job ends */
	void (*done)(struct blk_job *job);
	/* bytes that were read, written or given up; for a read that failed, those before the
	 * failure */
	uint64_t bytes;
	/* private */
	struct disk_io io;
	struct loop *loop;
	enum blk_phase phase;
	unsigned range; /* the one at work */
};

/*
 * Does job: true when that is all done already, and job->done is not called; otherwise it will be,
 * from the loop.  A request whose status is not VIRTIO_BLK_S_OK is done at once.
 *
 * A host that cannot punch holes is no failure of a discard, which is advice; a write-zeroes is
 * then tried without giving room back, and is answered VIRTIO_BLK_S_UNSUPP where that does not
 * work either: the driver writes zeroes itself.
 */
MUST_CHECK bool blk_job_start(struct blk_job *job, struct loop *l);

#endif
