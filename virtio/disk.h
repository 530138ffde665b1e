/*
 * A disk's backend: a raw file or a block device on the host, opened, locked, measured, and read
 * and written through the event loop (or, with the sync engine, on the spot).
 *
 *     blk.c --disk_start()--> io_uring or thread pool --> io->done
 *                       \---> preadv, pwritev: the result at once (sync engine)
 *
 * A disk knows nothing of guests or queues: it moves bytes between iovecs and a file.  What it is
 * asked for has been checked against its size.
 *
 * Two descriptors where O_DIRECT is asked for: see disk_start().
 *
 * The loop's thread, but for disk_open(), disk_is_at() and disk_close(), which any thread may call.
 * These may take long: opening where storage is slow or far away, closing where the host then
 * writes back what is dirty (a network file system).
 */
#ifndef MVM_VIRTIO_DISK_H
#define MVM_VIRTIO_DISK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include "base/check.h"
#include "core/loop.h"
#include "virtio/limiter.h"

struct err;

/* What a disk is made of; also blk_new()'s argument. */
struct disk_config {
	const char *id;    /* for people and for GET_ID */
	const char *path;  /* on the host: a regular file or a block device */
	bool read_only;    /* opened so, and told to the guest */
	bool direct;       /* O_DIRECT: past the host's page cache */
	bool sync_engine;  /* no io_uring: every request blocks the loop's thread */
	bool unsafe_cache; /* no flush is offered: the host decides when data is safe */
	struct limiter_config limit;
	/* For blk_new(): open already, with the flags above; taken over in any case, also when it
	 * fails.  NULL: path is opened. */
	struct disk *opened;
};

enum { DISK_SECTOR = 512 };

/* What a disk may be asked to do; see struct disk_io. */
enum disk_op {
	DISK_READ,
	DISK_WRITE,
	DISK_SYNC,  /* fdatasync */
	DISK_PUNCH, /* the range reads as zeroes and takes no room any more */
	DISK_ZERO,  /* the range reads as zeroes and keeps its room */
};

struct disk {
	char *id, *path; /* for messages */
	bool read_only, direct, sync_engine;
	uint64_t sectors; /* whole ones */
	/* geometry, bytes, powers of two but for optimal_size */
	uint32_t block_size;    /* the least unit that costs no detour: DISK_SECTOR or more */
	uint32_t physical_size; /* the least unit that costs no reading before writing */
	uint32_t optimal_size;  /* 0: unknown */
	uint32_t discard_size;  /* the least unit that gives room back */
	/* private */
	int fd;             /* with O_DIRECT where direct is set */
	int cached_fd;      /* the same file without O_DIRECT; -1 where direct is not set */
	uint32_t mem_align; /* of buffers for O_DIRECT */
	dev_t dev, rdev;
	ino_t ino;
	unsigned inflight; /* started and not done */
	bool has_failed;   /* and the log has said so */
};

/*
 * One request to a disk.  The caller fills op to len (iov, which is changed, only for READ and
 * WRITE) and done, and keeps io and iov where they are until the result.
 */
struct disk_io {
	enum disk_op op;
	unsigned iov_count;
	struct iovec *iov;
	uint64_t offset, len; /* bytes, within the disk */
	void (*done)(struct disk_io *io, int res);
	/* to be read after the result: bytes moved, all of len when res is 0 */
	uint64_t moved;
	/* private */
	struct loop_op loop_op;
	struct loop *loop;
	struct disk *disk;
	unsigned retries;
};

enum { DISK_PENDING = 1 };

/*
 * Opens c->path as c says and locks it: exclusively, or shared where it is read-only.  The lock is
 * an open file description lock (fcntl(2)): it keeps two monitors apart, not programs that do not
 * ask for it.  A partial sector at the end is left out with a warning.
 *
 * Any thread.  0, or -errno with e filled: -EBUSY when somebody else has it, and e then names the
 * process where /proc shows it; -EINVAL for what is neither a regular file nor a block device.
 */
MUST_CHECK int disk_open(const struct disk_config *c, struct disk **ret, struct err *e);

/* Nothing may be in flight.  Accepts NULL and a half-built disk.  Any thread. */
void disk_close(struct disk *d);

/* Looks at the size again: sectors follows it.  0, or -errno with e filled and nothing changed. */
MUST_CHECK int disk_rescan(struct disk *d, struct err *e);

/* Whether path names, at this moment, the file that d has open.  Asks the file system, which may
 * take long.  Any thread, while nobody closes d. */
bool disk_is_at(const struct disk *d, const char *path);

/* fstat of the file that d has open: 0 or -errno.  Any thread, while nobody closes d. */
MUST_CHECK int disk_stat(const struct disk *d, struct stat *ret);

/* A descriptor of it without O_DIRECT, borrowed: to copy or sync the whole file. */
int disk_plain_fd(const struct disk *d);

/*
 * Begins io: DISK_PENDING, and io->done is called later from the loop; or, with the sync engine,
 * its result at once and done is not called.  A result is 0 when all was moved or done, or -errno;
 * -ENODATA says that the file ended before the disk did.  Short transfers are continued here.
 *
 * With O_DIRECT, the kernel takes only buffers, lengths and offsets at multiples of the device's
 * block.  A guest's driver promises 512 bytes and no more, and some (firmware, small kernels) not
 * even that, so what is not aligned goes through a second descriptor and the page cache.  The two
 * agree: the kernel writes dirty pages of the range back before a direct read, and drops the pages
 * of the range at a direct write (open(2)).
 */
MUST_CHECK int disk_start(struct disk *d, struct loop *l, struct disk_io *io);

#endif
