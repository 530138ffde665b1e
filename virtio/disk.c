/* A raw file or block device as a disk (disk.h). */
#include "virtio/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/stat.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/log.h"
#include "virtio/disk_lock.h"

#ifndef STATX_DIOALIGN
#define STATX_DIOALIGN 0x00002000U
#endif

enum {
	DEFAULT_PHYSICAL = 4096,
	PROBE_LEN = 8192,
	PHYSICAL_MAX = 65536, /* network file systems call their transfer size a block */
	/* A transfer of more is done by somebody else's thread, all of it: from the page cache it
	 * would keep the loop for as long as the copying takes. */
	LONG_BYTES = 1 << 20,
	RETRIES_MAX = 64, /* of one transfer that does not move, with EINTR or EAGAIN */
	HOLDER_LEN = 80,

	/* Of struct statx, which the headers of older systems end before. */
	STATX_DIO_MEM_ALIGN_AT = 0x98,
	STATX_DIO_OFFSET_ALIGN_AT = 0x9c,
};

/* --- moving bytes --- */

static bool is_transfer(const struct disk_io *io)
{
	return io->op == DISK_READ || io->op == DISK_WRITE;
}

/* Every segment, because the kernel asks it of every one. */
static bool fits_direct(const struct disk *d, const struct disk_io *io)
{
	uint64_t lengths = io->offset + io->moved, addresses = 0;

	for (unsigned i = 0; i < io->iov_count; i++) {
		lengths |= io->iov[i].iov_len;
		addresses |= (uint64_t)(uintptr_t)io->iov[i].iov_base;
	}
	return lengths % d->block_size == 0 && addresses % d->mem_align == 0;
}

static int transfer_fd(const struct disk *d, const struct disk_io *io)
{
	return !d->direct || fits_direct(d, io) ? d->fd : d->cached_fd;
}

static int allocate_mode(const struct disk_io *io)
{
	/* Never the file's size: that is the disk's. */
	return FALLOC_FL_KEEP_SIZE |
	       (io->op == DISK_PUNCH ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE);
}

static void advance(struct disk_io *io, uint64_t n)
{
	io->moved += n;
	while (io->iov_count > 0 && n >= io->iov->iov_len) {
		n -= io->iov->iov_len;
		io->iov++;
		io->iov_count--;
	}
	if (n > 0) {
		INVARIANT(io->iov_count > 0);
		io->iov->iov_base = (char *)io->iov->iov_base + n;
		io->iov->iov_len -= n;
	}
}

/* What a call's result means for io: DISK_PENDING, to be called again for what is left; or the
 * end. */
static int progress(struct disk_io *io, int res)
{
	if ((res == -EINTR || res == -EAGAIN) && io->retries < RETRIES_MAX) {
		io->retries++;
		return DISK_PENDING;
	}
	if (res < 0 || !is_transfer(io))
		return MIN(res, 0);
	/* Somebody has made the file shorter than the disk. */
	if (res == 0)
		return -ENODATA;
	io->retries = 0;
	advance(io, (uint64_t)res);
	return io->moved < io->len ? DISK_PENDING : 0;
}

static void submit(struct disk_io *io)
{
	const struct disk *d = io->disk;
	int64_t at = (int64_t)(io->offset + io->moved);

	io->loop_op.is_long = is_transfer(io) && io->len > LONG_BYTES;
	switch (io->op) {
	case DISK_READ:
		loop_readv(io->loop, &io->loop_op, transfer_fd(d, io), io->iov, io->iov_count, at);
		break;
	case DISK_WRITE:
		loop_writev(io->loop, &io->loop_op, transfer_fd(d, io), io->iov, io->iov_count, at);
		break;
	case DISK_SYNC: loop_sync(io->loop, &io->loop_op, d->fd); break;
	case DISK_PUNCH:
	case DISK_ZERO:
		loop_allocate(
			io->loop, &io->loop_op, d->fd, allocate_mode(io), at, (int64_t)io->len);
		break;
	}
}

static void on_done(struct loop_op *op, int res)
{
	struct disk_io *io = container_of(op, struct disk_io, loop_op);
	int rc = progress(io, res);

	if (rc == DISK_PENDING) {
		submit(io);
		return;
	}
	io->disk->inflight--;
	io->done(io, rc);
}

static int call(struct disk_io *io)
{
	const struct disk *d = io->disk;
	off_t at = (off_t)(io->offset + io->moved);
	ssize_t n = 0;

	switch (io->op) {
	case DISK_READ: n = preadv(transfer_fd(d, io), io->iov, (int)io->iov_count, at); break;
	case DISK_WRITE: n = pwritev(transfer_fd(d, io), io->iov, (int)io->iov_count, at); break;
	case DISK_SYNC: n = fdatasync(d->fd); break;
	case DISK_PUNCH:
	case DISK_ZERO: n = fallocate(d->fd, allocate_mode(io), at, (off_t)io->len); break;
	}
	/* The kernel moves less than 2 GiB in one call. */
	return n < 0 ? -errno : (int)n;
}

int disk_start(struct disk *d, struct loop *l, struct disk_io *io)
{
	int rc;

	io->disk = d;
	io->loop = l;
	io->moved = 0;
	io->retries = 0;
	if (d->sync_engine && (io->op == DISK_SYNC || io->len <= LONG_BYTES)) {
		do {
			rc = progress(io, call(io));
		} while (rc == DISK_PENDING);
		return rc;
	}
	io->loop_op.done = on_done;
	d->inflight++;
	submit(io);
	return DISK_PENDING;
}

/* --- size and geometry --- */

/* In bytes; the descriptor is a regular file or a block device. */
static int measure(const struct disk *d, uint64_t *ret, struct err *e)
{
	struct stat st;

	if (fstat(d->fd, &st) < 0)
		return err_sys(e, -errno, NULL, "disk '%s': fstat of '%s'", d->id, d->path);
	*ret = (uint64_t)st.st_size;
	if (S_ISBLK(st.st_mode) && ioctl(d->fd, BLKGETSIZE64, ret) < 0)
		return err_sys(e, -errno, NULL, "disk '%s': BLKGETSIZE64 of '%s'", d->id, d->path);
	if (*ret > INT64_MAX)
		return err_set(
			e, -EFBIG, "disk '%s': '%s' is larger than any offset", d->id, d->path);
	return 0;
}

int disk_rescan(struct disk *d, struct err *e)
{
	uint64_t size = 0;
	int rc = measure(d, &size, e);

	if (rc < 0)
		return rc;
	d->sectors = size / DISK_SECTOR;
	if (size % DISK_SECTOR != 0)
		log_warning("disk '%s': the last %u bytes of '%s' are no whole sector, the guest "
			    "does not see them",
			d->id, (unsigned)(size % DISK_SECTOR), d->path);
	return 0;
}

static bool is_power_of_two(uint32_t n)
{
	return n != 0 && (n & (n - 1)) == 0;
}

/* What the kernel says about O_DIRECT on this file (Linux 6.1): 0, or -ENODATA when it does not. */
static int query_direct(struct disk *d, uint32_t *ret_block)
{
	union {
		struct statx st;
		uint8_t raw[256];
	} answer = { 0 };
	uint32_t mem, block;

	if (statx(d->fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &answer.st) < 0 ||
		!(answer.st.stx_mask & STATX_DIOALIGN))
		return -ENODATA;
	memcpy(&mem, answer.raw + STATX_DIO_MEM_ALIGN_AT, sizeof(mem));
	memcpy(&block, answer.raw + STATX_DIO_OFFSET_ALIGN_AT, sizeof(block));
	if (!is_power_of_two(mem) || !is_power_of_two(block))
		return -EINVAL;
	d->mem_align = mem;
	*ret_block = block;
	return 0;
}

/* Older kernels: the least block that a read does not refuse. */
static uint32_t try_direct(const struct disk *d)
{
	void *buf CLEANUP(freep) = aligned_alloc(PROBE_LEN, PROBE_LEN);

	/* At an address that is a multiple of 512 and not of more. */
	if (buf && pread(d->fd, (char *)buf + DISK_SECTOR, DISK_SECTOR, 0) >= 0)
		return DISK_SECTOR;
	return DEFAULT_PHYSICAL;
}

static int measure_direct(struct disk *d, bool is_device, struct err *e)
{
	uint32_t block = 0;
	int logical = 0;
	int rc = query_direct(d, &block);

	if (rc == -EINVAL)
		return err_set(e, rc,
			"disk '%s': '%s' cannot be used with O_DIRECT (leave out "
			"'direct')",
			d->id, d->path);
	if (rc < 0) {
		if (is_device && ioctl(d->fd, BLKSSZGET, &logical) == 0 &&
			is_power_of_two((uint32_t)logical))
			block = (uint32_t)logical;
		else
			block = try_direct(d);
		d->mem_align = block;
	}
	d->block_size = MAX(block, (uint32_t)DISK_SECTOR);
	return 0;
}

static int measure_geometry(struct disk *d, const struct stat *st, struct err *e)
{
	bool is_device = S_ISBLK(st->st_mode);
	uint32_t physical = (uint32_t)MIN((uint64_t)st->st_blksize, (uint64_t)UINT32_MAX);
	unsigned asked = 0;
	int rc = 0;

	d->block_size = DISK_SECTOR;
	d->mem_align = 1;
	/* Less than a block of the device cannot be discarded, and costs a detour. */
	if (is_device && ioctl(d->fd, BLKSSZGET, &asked) == 0 && is_power_of_two(asked))
		d->block_size = MAX(asked, (unsigned)DISK_SECTOR);
	if (d->direct)
		rc = measure_direct(d, is_device, e);
	if (rc < 0)
		return rc;
	if (is_device && ioctl(d->fd, BLKPBSZGET, &asked) == 0)
		physical = asked;
	if (is_device && ioctl(d->fd, BLKIOOPT, &asked) == 0)
		d->optimal_size = asked;
	if (!is_power_of_two(physical) || physical > PHYSICAL_MAX)
		physical = DEFAULT_PHYSICAL;
	d->physical_size = MAX(physical, d->block_size);
	d->discard_size = d->physical_size;
	return 0;
}

/* --- opening --- */

static int refuse_kind(const struct disk *d, struct err *e)
{
	return err_set(e, -EINVAL, "disk '%s': '%s' is neither a regular file nor a block device",
		d->id, d->path);
}

static bool is_disk(const struct stat *st)
{
	return S_ISREG(st->st_mode) || S_ISBLK(st->st_mode);
}

static const char *open_hint(const struct disk *d, int rc, int flags)
{
	if (rc == -EINVAL && (flags & O_DIRECT))
		return "its file system has no O_DIRECT; leave out 'direct'";
	if ((rc == -EACCES || rc == -EROFS || rc == -EPERM) && !d->read_only)
		return "a disk that may not be written must be made read-only";
	if (rc == -EBUSY)
		return "the device is mounted on the host or part of another one";
	return NULL;
}

/* One descriptor of the file, which must be the one that *st describes. */
static int open_file(const struct disk *d, const struct stat *st, int flags, struct err *e)
{
	/* O_NONBLOCK: a FIFO that took the file's place meanwhile must not hold us here. */
	int all = flags | (d->read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
	int fd CLEANUP(fd_closep) = open(d->path, all);
	struct stat now;

	if (fd < 0) {
		int rc = -errno;

		return err_sys(e, rc, open_hint(d, rc, flags), "disk '%s': cannot open '%s'", d->id,
			d->path);
	}
	if (fstat(fd, &now) < 0)
		return err_sys(e, -errno, NULL, "disk '%s': fstat of '%s'", d->id, d->path);
	if (now.st_dev != st->st_dev || now.st_ino != st->st_ino || !is_disk(&now))
		return err_set(e, -ESTALE, "disk '%s': '%s' was replaced while it was opened",
			d->id, d->path);
	/* io_uring takes O_NONBLOCK at its word even for files, and answers EAGAIN. */
	if (fcntl(fd, F_SETFL, flags & O_DIRECT) < 0)
		return err_sys(e, -errno, NULL, "disk '%s': F_SETFL of '%s'", d->id, d->path);
	return fd_take(&fd);
}

static int take_lock(const struct disk *d, struct err *e)
{
	char holder[HOLDER_LEN];
	int rc = disk_lock(d->fd, !d->read_only);

	if (rc == -EBUSY) {
		disk_lock_holder(d->fd, holder, sizeof(holder));
		return err_set(e, rc, "disk '%s': '%s' is in use by %s", d->id, d->path, holder);
	}
	/* Some network file systems have no locks; what cannot be had is not a reason to refuse
	 * the disk. */
	if (rc == -ENOLCK || rc == -EOPNOTSUPP || rc == -ENOSYS) {
		log_warning("disk '%s': the file system of '%s' has no locks: nothing keeps "
			    "another machine from using it",
			d->id, d->path);
		return 0;
	}
	if (rc < 0)
		return err_sys(e, rc, NULL, "disk '%s': F_OFD_SETLK of '%s'", d->id, d->path);
	return 0;
}

/* A block device that cannot be had for ourselves: by another machine, or by the host, which e says
 * already. */
static void name_holder(const struct disk *d, struct err *e)
{
	int fd CLEANUP(fd_closep) = open(d->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	char holder[HOLDER_LEN];

	if (fd < 0 || disk_lock(fd, false) != -EBUSY)
		return;
	disk_lock_holder(fd, holder, sizeof(holder));
	(void)err_set(e, -EBUSY, "disk '%s': '%s' is in use by %s", d->id, d->path, holder);
}

static int open_and_measure(struct disk *d, struct err *e)
{
	struct stat st;
	int rc;

	/* Before open(), which does something to some devices. */
	if (stat(d->path, &st) < 0)
		return err_sys(e, -errno, NULL, "disk '%s': cannot open '%s'", d->id, d->path);
	if (!is_disk(&st))
		return refuse_kind(d, e);
	/* O_EXCL: a block device that the host has mounted is not for a guest to write (open(2)).
	 */
	d->fd = open_file(d, &st,
		(d->direct ? O_DIRECT : 0) | (S_ISBLK(st.st_mode) && !d->read_only ? O_EXCL : 0),
		e);
	if (d->fd == -EBUSY)
		name_holder(d, e);
	if (d->fd < 0)
		return d->fd;
	if (d->direct) {
		d->cached_fd = open_file(d, &st, 0, e);
		if (d->cached_fd < 0)
			return d->cached_fd;
	}
	d->dev = st.st_dev;
	d->rdev = S_ISBLK(st.st_mode) ? st.st_rdev : 0;
	d->ino = st.st_ino;
	rc = take_lock(d, e);
	if (rc == 0)
		rc = measure_geometry(d, &st, e);
	if (rc == 0)
		rc = disk_rescan(d, e);
	return rc;
}

int disk_open(const struct disk_config *c, struct disk **ret, struct err *e)
{
	struct disk *d = calloc(1, sizeof(*d));
	int rc = -ENOMEM;

	if (d) {
		d->fd = d->cached_fd = -1;
		d->id = strdup(c->id);
		d->path = strdup(c->path);
		d->read_only = c->read_only;
		d->direct = c->direct;
		d->sync_engine = c->sync_engine;
	}
	if (!d || !d->id || !d->path)
		(void)err_sys(e, rc, NULL, "disk '%s'", c->id);
	else
		rc = open_and_measure(d, e);
	if (rc < 0) {
		disk_close(d);
		return rc;
	}
	*ret = d;
	return 0;
}

void disk_close(struct disk *d)
{
	if (!d)
		return;
	INVARIANT(d->inflight == 0);
	fd_closep(&d->cached_fd);
	fd_closep(&d->fd);
	free(d->path);
	free(d->id);
	free(d);
}

bool disk_is_at(const struct disk *d, const char *path)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return false;
	/* A device is what its number says, whichever node names it. */
	if (S_ISBLK(st.st_mode))
		return d->rdev != 0 && st.st_rdev == d->rdev;
	return d->rdev == 0 && st.st_dev == d->dev && st.st_ino == d->ino;
}

int disk_stat(const struct disk *d, struct stat *ret)
{
	return fstat(d->fd, ret) < 0 ? -errno : 0;
}

int disk_plain_fd(const struct disk *d)
{
	return d->direct ? d->cached_fd : d->fd;
}
