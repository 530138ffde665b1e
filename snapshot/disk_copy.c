/* Copies of disks (disk_copy.h). */
#include "snapshot/disk_copy.h"

#include <errno.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/err.h"

enum { PIECE = 1 << 20, BLOCK = 4096 };

int disk_clone(int from, int to)
{
	if (ioctl(to, FICLONE, from) == 0)
		return 0;
	/* Another file system, one without it, a block device, a file that it does not suit: all
	 * the same to us. */
	return errno == ENOSPC || errno == EIO ? -errno : -EOPNOTSUPP;
}

static bool is_zero(const uint8_t *p, size_t len)
{
	return p[0] == 0 && memcmp(p, p + 1, len - 1) == 0;
}

static int write_at(int fd, const uint8_t *p, size_t len, off_t at)
{
	while (len > 0) {
		ssize_t n = pwrite(fd, p, len, at);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n == 0)
			return -EIO; /* nothing written and no reason given */
		if (n > 0) {
			p += n;
			len -= (size_t)n;
			at += n;
		}
	}
	return 0;
}

/* Leaves out blocks of zeroes, which an empty file has already. */
static int write_sparse(int fd, const uint8_t *p, size_t len, off_t at)
{
	int rc = 0;

	for (size_t done = 0; done < len && rc == 0;) {
		size_t part = MIN(len - done, (size_t)BLOCK);

		if (!is_zero(p + done, part))
			rc = write_at(fd, p + done, part, at + (off_t)done);
		done += part;
	}
	return rc;
}

static int copy_range(
	int from, int to, off_t at, off_t end, uint8_t *buf, const _Atomic bool *is_cancelled)
{
	int rc = 0;

	while (at < end && rc == 0) {
		size_t want = (size_t)MIN(end - at, (off_t)PIECE);
		ssize_t n = pread(from, buf, want, at);

		if (atomic_load(is_cancelled))
			return -ECANCELED;
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -ENODATA;
		rc = write_sparse(to, buf, (size_t)n, at);
		at += n;
	}
	return rc;
}

/* The next part of the file that is no hole; a file that cannot say so is one part. */
static off_t next_data(int fd, off_t at, off_t size, off_t *ret_end)
{
	off_t begin = lseek(fd, at, SEEK_DATA);

	if (begin < 0) {
		*ret_end = size;
		return errno == ENXIO ? size : at;
	}
	begin = MAX(begin, at);
	*ret_end = lseek(fd, begin, SEEK_HOLE);
	/* Or a file system says nonsense, which must not keep us here for ever. */
	if (*ret_end <= begin)
		*ret_end = size;
	return begin;
}

int disk_copy(int from, int to, const char *path, const _Atomic bool *is_cancelled, struct err *e)
{
	uint8_t *buf = malloc(PIECE);
	off_t size = lseek(from, 0, SEEK_END), at = 0, end = 0;
	int rc = 0;

	if (!buf)
		rc = -ENOMEM;
	else if (size < 0 || ftruncate(to, size) < 0)
		rc = -errno;
	while (rc == 0 && at < size) {
		at = next_data(from, at, size, &end);
		rc = copy_range(from, to, at, MIN(end, size), buf, is_cancelled);
		at = end;
	}
	free(buf);
	if (rc < 0)
		return err_sys(e, rc, rc == -ENOSPC ? "make room, or save elsewhere" : NULL,
			"cannot copy the disk '%s'", path);
	return 0;
}
