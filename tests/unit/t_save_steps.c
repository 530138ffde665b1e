/* Steps of a save that fail (t_save_steps.h). */
#include "t_save_steps.h"

#include <errno.h>
#include <liburing.h>
#include <unistd.h>

#include "snapshot/ram_protect.h"

struct t_save_steps t_steps;

int __real_ram_protect_begin(
	const struct guest_mem *m, const uint64_t *bits, struct ram_protect **ret, struct err *e);
int __wrap_ram_protect_begin(
	const struct guest_mem *m, const uint64_t *bits, struct ram_protect **ret, struct err *e);

int __wrap_ram_protect_begin(
	const struct guest_mem *m, const uint64_t *bits, struct ram_protect **ret, struct err *e)
{
	return t_steps.protect_errno ? -t_steps.protect_errno
				     : __real_ram_protect_begin(m, bits, ret, e);
}

int __real_fsync(int fd);
int __wrap_fsync(int fd);
int __real_io_uring_queue_init(unsigned entries, struct io_uring *ring, unsigned flags);
int __wrap_io_uring_queue_init(unsigned entries, struct io_uring *ring, unsigned flags);
ssize_t __real_pwrite64(int fd, const void *data, size_t len, off_t at);
ssize_t __wrap_pwrite64(int fd, const void *data, size_t len, off_t at);

static void hold(_Atomic bool *holds)
{
	if (!atomic_load(holds))
		return;
	t_steps.held++;
	while (atomic_load(holds))
		(void)usleep(100);
}

int __wrap_fsync(int fd)
{
	hold(&t_steps.holds_fsync);
	if (t_steps.fsync_errno) {
		errno = t_steps.fsync_errno;
		return -1;
	}
	return __real_fsync(fd);
}

/* Refused where writes are to fail: then there is pwrite(). */
int __wrap_io_uring_queue_init(unsigned entries, struct io_uring *ring, unsigned flags)
{
	hold(&t_steps.holds_begin);
	return t_steps.write_errno ? -EPERM : __real_io_uring_queue_init(entries, ring, flags);
}

ssize_t __wrap_pwrite64(int fd, const void *data, size_t len, off_t at)
{
	if (t_steps.write_errno && t_steps.writes_left-- == 0) {
		errno = t_steps.write_errno;
		return -1;
	}
	return __real_pwrite64(fd, data, len, at);
}
