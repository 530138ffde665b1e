/* Disk images on the host: which are taken, who else has them, how large they are, O_DIRECT. */
#include "t.h"

#include <fcntl.h>
#include <linux/stat.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/err.h"
#include "base/log.h"
#include "virtio/disk.h"
#include "virtio/disk_lock.h"

TestSuite(disk, .timeout = T_SECONDS);

enum { PATH_LEN = 256, SIZE = 1 << 20 };

/* --- calls that fail on request: the fail_at-th of all of them, counted from 1 --- */

static unsigned fail_at, calls;
static int fail_with;
static int refuse_lock;  /* errno of F_OFD_SETLK */
static int refuse_statx; /* the kernel is too old for what is asked */
static int refuse_small; /* reads of less than 4096 bytes, as a disk with large blocks does */
static int last_flags;   /* of the descriptor that the last preadv or pwritev went to */

static bool is_to_fail(void)
{
	if (++calls != fail_at)
		return false;
	errno = fail_with;
	return true;
}

int __real_open64(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...);
int __real___open64_2(const char *path, int flags);
int __wrap___open64_2(const char *path, int flags);
int __real_fcntl64(int fd, int cmd, ...);
int __wrap_fcntl64(int fd, int cmd, ...);
int __real_fstat64(int fd, struct stat *st);
int __wrap_fstat64(int fd, struct stat *st);
int __real_statx(int dir, const char *path, int flags, unsigned mask, struct statx *st);
int __wrap_statx(int dir, const char *path, int flags, unsigned mask, struct statx *st);
void *__real_calloc(size_t n, size_t len);
void *__wrap_calloc(size_t n, size_t len);
ssize_t __real_pread64(int fd, void *buf, size_t len, off_t at);
ssize_t __wrap_pread64(int fd, void *buf, size_t len, off_t at);
ssize_t __real_preadv64(int fd, const struct iovec *iov, int n, off_t at);
ssize_t __wrap_preadv64(int fd, const struct iovec *iov, int n, off_t at);
ssize_t __real_pwritev64(int fd, const struct iovec *iov, int n, off_t at);
ssize_t __wrap_pwritev64(int fd, const struct iovec *iov, int n, off_t at);

int __wrap_open64(const char *path, int flags, ...)
{
	va_list args;
	int mode;

	va_start(args, flags);
	mode = flags & O_CREAT ? va_arg(args, int) : 0;
	va_end(args);
	return is_to_fail() ? -1 : __real_open64(path, flags, mode);
}

/* What a fortified build calls. */
int __wrap___open64_2(const char *path, int flags)
{
	return is_to_fail() ? -1 : __real___open64_2(path, flags);
}

int __wrap_fcntl64(int fd, int cmd, ...)
{
	va_list args;
	void *arg;

	va_start(args, cmd);
	arg = va_arg(args, void *);
	va_end(args);
	if (cmd == F_OFD_SETLK && refuse_lock) {
		errno = refuse_lock;
		return -1;
	}
	return is_to_fail() ? -1 : __real_fcntl64(fd, cmd, arg);
}

int __wrap_fstat64(int fd, struct stat *st)
{
	return is_to_fail() ? -1 : __real_fstat64(fd, st);
}

int __wrap_statx(int dir, const char *path, int flags, unsigned mask, struct statx *st)
{
	if (refuse_statx) {
		errno = refuse_statx;
		return -1;
	}
	return __real_statx(dir, path, flags, mask, st);
}

void *__wrap_calloc(size_t n, size_t len)
{
	return is_to_fail() ? NULL : __real_calloc(n, len);
}

ssize_t __wrap_pread64(int fd, void *buf, size_t len, off_t at)
{
	if (len >= 4096 || !refuse_small)
		return __real_pread64(fd, buf, len, at);
	errno = refuse_small;
	return -1;
}

ssize_t __wrap_preadv64(int fd, const struct iovec *iov, int n, off_t at)
{
	last_flags = __real_fcntl64(fd, F_GETFL, NULL);
	return __real_preadv64(fd, iov, n, at);
}

ssize_t __wrap_pwritev64(int fd, const struct iovec *iov, int n, off_t at)
{
	last_flags = __real_fcntl64(fd, F_GETFL, NULL);
	return __real_pwritev64(fd, iov, n, at);
}

/* --- images --- */

/* A file that has a name, in *path; the caller removes it. */
static void new_image(char *path, uint64_t size)
{
	const char *dir = getenv("TMPDIR");
	int fd;

	(void)snprintf(path, PATH_LEN, "%s/mvm-disk-XXXXXX", dir ? dir : "/tmp");
	fd = mkostemp(path, O_CLOEXEC);
	t_true(fd >= 0);
	t_int(ftruncate(fd, (off_t)size), 0);
	(void)close(fd);
}

static struct disk_config config(const char *path)
{
	return (struct disk_config){ .id = "root", .path = path };
}

static struct disk *must_open(const struct disk_config *c)
{
	struct disk *d = NULL;
	struct err e = { 0 };

	cr_assert(eq(int, disk_open(c, &d, &e), 0), "%s", e.text);
	return d;
}

static void refused(const struct disk_config *c, int code, const char *part)
{
	struct disk *d = NULL;
	struct err e = { 0 };

	t_int(disk_open(c, &d, &e), code);
	t_true(d == NULL);
	t_has(e.text, "disk 'root': ");
	t_has(e.text, part);
}

Test(disk, a_file_is_measured_in_whole_sectors)
{
	int log = memfd_create("log", MFD_CLOEXEC);
	char path[PATH_LEN], text[512] = { 0 };
	struct disk_config c = config(path);
	struct disk *d;

	log_init(LOG_WARNING, log);
	new_image(path, SIZE);
	d = must_open(&c);
	t_uint(d->sectors, SIZE / 512);
	t_uint(d->block_size, 512);
	t_uint(d->physical_size % 512, 0);
	t_int(pread(log, text, sizeof(text) - 1, 0), 0);
	t_int(truncate(path, SIZE + 513), 0);
	t_int(disk_rescan(d, NULL), 0);
	t_uint(d->sectors, SIZE / 512 + 1);
	t_true(pread(log, text, sizeof(text) - 1, 0) > 0);
	t_has(text, "the last 1 bytes of '");
	disk_close(d);
	(void)unlink(path);
	T_NO_LEAKS();
}

Test(disk, an_empty_file_is_a_disk_of_no_sectors)
{
	char path[PATH_LEN];
	struct disk_config c = config(path);
	struct disk *d;

	new_image(path, 0);
	d = must_open(&c);
	t_uint(d->sectors, 0);
	disk_close(d);
	(void)unlink(path);
}

Test(disk, what_is_neither_file_nor_block_device_is_refused)
{
	char fifo[PATH_LEN];
	struct disk_config c = config("/");

	refused(&c, -EINVAL, "'/' is neither a regular file nor a block device");
	c.path = "/dev/null";
	refused(&c, -EINVAL, "'/dev/null' is neither");
	/* Nobody writes to it: an open that waits would hang. */
	new_image(fifo, 0);
	(void)unlink(fifo);
	t_int(mkfifo(fifo, 0600), 0);
	c.path = fifo;
	c.read_only = true;
	refused(&c, -EINVAL, "is neither");
	(void)unlink(fifo);
}

Test(disk, what_is_not_there_is_named)
{
	struct disk_config c = config("/nonexistent/image");

	refused(&c, -ENOENT, "cannot open '/nonexistent/image': No such file or directory");
}

Test(disk, what_may_not_be_written_says_what_to_do)
{
	char path[PATH_LEN];
	struct disk_config c = config(path);

	new_image(path, SIZE);
	fail_at = 2; /* calloc, then open */
	fail_with = EROFS;
	calls = 0;
	refused(&c, -EROFS, "must be made read-only");
	fail_at = 0;
	(void)unlink(path);
}

Test(disk, a_read_only_disk_is_opened_read_only)
{
	char path[PATH_LEN];
	struct disk_config c = config(path);
	struct disk *d;

	new_image(path, SIZE);
	t_int(chmod(path, 0400), 0);
	c.read_only = true;
	d = must_open(&c);
	t_hex(__real_fcntl64(d->fd, F_GETFL, NULL) & O_ACCMODE, O_RDONLY);
	t_true(__real_fcntl64(d->fd, F_GETFD, NULL) & FD_CLOEXEC);
	disk_close(d);
	(void)unlink(path);
}

Test(disk, descriptors_wait_as_io_uring_needs_it)
{
	char path[PATH_LEN];
	struct disk_config c = config(path);
	struct disk *d;

	new_image(path, SIZE);
	d = must_open(&c);
	t_false(__real_fcntl64(d->fd, F_GETFL, NULL) & O_NONBLOCK);
	disk_close(d);
	(void)unlink(path);
}

/* --- locks --- */

/* A process named "holder" that opens c and waits for its end; *ret_pid is its number. */
static void hold_elsewhere(const struct disk_config *c, pid_t *ret_pid)
{
	int ready[2];
	char byte;

	t_int(pipe2(ready, O_CLOEXEC), 0);
	*ret_pid = fork();
	if (*ret_pid == 0) {
		struct disk *d = NULL;

		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		(void)prctl(PR_SET_NAME, "holder\x1b[");
		byte = disk_open(c, &d, NULL) == 0;
		(void)!write(ready[1], &byte, 1);
		for (;;)
			(void)pause();
	}
	t_int(read(ready[0], &byte, 1), 1);
	t_int(byte, 1);
	(void)close(ready[0]);
	(void)close(ready[1]);
}

static void end(pid_t pid)
{
	(void)kill(pid, SIGKILL);
	t_int(waitpid(pid, NULL, 0), pid);
}

Test(disk, a_second_writer_is_refused_and_told_who_has_the_image)
{
	char path[PATH_LEN], who[64];
	struct disk_config c = config(path);
	pid_t pid;

	new_image(path, SIZE);
	hold_elsewhere(&c, &pid);
	(void)snprintf(who, sizeof(who), "is in use by process %d (holder?[)", (int)pid);
	refused(&c, -EBUSY, who);
	/* A reader would see it change. */
	c.read_only = true;
	refused(&c, -EBUSY, who);
	end(pid);
	disk_close(must_open(&c));
	(void)unlink(path);
	T_NO_LEAKS();
}

Test(disk, readers_share_and_keep_writers_out)
{
	char path[PATH_LEN];
	struct disk_config c = config(path);
	struct disk *d;
	pid_t pid;

	new_image(path, SIZE);
	c.read_only = true;
	hold_elsewhere(&c, &pid);
	d = must_open(&c);
	c.read_only = false;
	refused(&c, -EBUSY, "is in use by ");
	disk_close(d);
	refused(&c, -EBUSY, "(holder?[)");
	end(pid);
	disk_close(must_open(&c));
	(void)unlink(path);
}

Test(disk, one_image_for_two_disks_of_one_machine_is_refused)
{
	char path[PATH_LEN];
	struct disk_config c = config(path);
	struct disk *d;

	new_image(path, SIZE);
	d = must_open(&c);
	refused(&c, -EBUSY, "is in use by another disk of this process");
	disk_close(d);
	disk_close(must_open(&c));
	(void)unlink(path);
}

Test(disk, a_lock_lasts_when_the_file_is_opened_and_closed_elsewhere_in_the_process)
{
	char path[PATH_LEN];
	struct disk_config c = config(path);
	struct disk *d;

	new_image(path, SIZE);
	d = must_open(&c);
	(void)close(open(path, O_RDWR | O_CLOEXEC));
	refused(&c, -EBUSY, "is in use");
	disk_close(d);
	(void)unlink(path);
}

Test(disk, a_holder_that_cannot_be_seen_is_another_process)
{
	char path[PATH_LEN], who[64];
	int fd;

	new_image(path, SIZE);
	fd = open(path, O_RDWR | O_CLOEXEC);
	disk_lock_holder(fd, who, sizeof(who));
	t_str(who, "another process");
	(void)close(fd);
	(void)unlink(path);
}

Test(disk, a_file_system_without_locks_is_a_warning)
{
	static const int errors[] = { ENOLCK, EOPNOTSUPP, ENOSYS };
	char path[PATH_LEN];
	struct disk_config c = config(path);

	t_quiet();
	new_image(path, SIZE);
	for (unsigned i = 0; i < ARRAY_SIZE(errors); i++) {
		refuse_lock = errors[i];
		disk_close(must_open(&c));
	}
	refuse_lock = EIO;
	refused(&c, -EIO, "F_OFD_SETLK");
	(void)unlink(path);
}

Test(disk, paths_that_name_the_same_file)
{
	char path[PATH_LEN], other[PATH_LEN], link[PATH_LEN];
	struct disk_config c = config(path);
	struct disk *d;

	new_image(path, SIZE);
	new_image(other, SIZE);
	(void)snprintf(link, sizeof(link), "%.200s-link", path);
	t_int(symlink(path, link), 0);
	d = must_open(&c);
	t_true(disk_is_at(d, path));
	t_true(disk_is_at(d, link));
	t_false(disk_is_at(d, other));
	t_false(disk_is_at(d, "/nonexistent"));
	t_int(rename(other, path), 0);
	t_false(disk_is_at(d, path));
	disk_close(d);
	(void)unlink(link);
	(void)unlink(path);
}

/* --- O_DIRECT --- */

/* A disk with O_DIRECT, or NULL where the file system of the tests has none. */
static struct disk *open_direct(char *path)
{
	struct disk_config c = config(path);
	struct disk *d = NULL;
	struct err e = { 0 };

	new_image(path, SIZE);
	c.direct = true;
	c.sync_engine = true;
	if (disk_open(&c, &d, &e) == -EINVAL) {
		(void)unlink(path);
		cr_log_warn("no O_DIRECT here: %s", e.text);
		return NULL;
	}
	cr_assert(ne(ptr, d, NULL), "%s", e.text);
	return d;
}

static int transfer(struct disk *d, enum disk_op op, void *buf, uint64_t len, uint64_t offset)
{
	struct iovec iov = { buf, len };
	struct disk_io io = { .op = op, .iov = &iov, .iov_count = 1, .offset = offset, .len = len };

	return disk_start(d, NULL, &io);
}

Test(disk, aligned_requests_go_direct_and_others_through_the_cache)
{
	char path[PATH_LEN];
	struct disk *d = open_direct(path);
	uint8_t *buf = aligned_alloc(65536, 65536);

	if (d) {
		uint32_t block = d->block_size;

		t_true(block >= 512 && d->physical_size >= block);
		memset(buf, 'a', 65536);
		t_int(transfer(d, DISK_WRITE, buf, 16384, 0), 0);
		t_true(last_flags & O_DIRECT);
		/* A buffer that is not aligned; they see what the other wrote, both ways. */
		t_int(transfer(d, DISK_READ, buf + 32768 + 1, 4096, 4096), 0);
		t_false(last_flags & O_DIRECT);
		t_int(memcmp(buf, buf + 32768 + 1, 4096), 0);
		memset(buf + 1, 'b', 4096);
		t_int(transfer(d, DISK_WRITE, buf + 1, 4096, 8192), 0);
		t_false(last_flags & O_DIRECT);
		t_int(transfer(d, DISK_READ, buf + 16384, 4096, 8192), 0);
		t_true(last_flags & O_DIRECT);
		t_int(memcmp(buf + 1, buf + 16384, 4096), 0);
		/* An offset or a length that is no block. */
		t_int(transfer(d, DISK_READ, buf, block, block / 2), 0);
		t_false(last_flags & O_DIRECT);
		t_int(transfer(d, DISK_READ, buf, block + block / 2, 0), 0);
		t_false(last_flags & O_DIRECT);
		disk_close(d);
		(void)unlink(path);
	}
	free(buf);
	T_NO_LEAKS();
}

Test(disk, blocks_are_found_by_trying_where_the_kernel_does_not_say)
{
	char path[PATH_LEN];
	struct disk *d;

	refuse_statx = EINVAL;
	d = open_direct(path);
	if (!d)
		return;
	t_true(d->block_size == 512 || d->block_size == 4096);
	t_uint(d->mem_align, d->block_size);
	disk_close(d);
	(void)unlink(path);
	refuse_small = EINVAL;
	d = open_direct(path);
	t_uint(d->block_size, 4096);
	disk_close(d);
	(void)unlink(path);
}

Test(disk, a_file_system_without_direct_io_says_what_to_do)
{
	char path[PATH_LEN];
	struct disk_config c = config(path);

	new_image(path, SIZE);
	c.direct = true;
	calls = 0;
	fail_at = 2;
	fail_with = EINVAL;
	refused(&c, -EINVAL, "leave out 'direct'");
	fail_at = 0;
	(void)unlink(path);
}

/* --- transfers --- */

struct waiter {
	struct disk_io io;
	int res;
	bool is_done;
};

static void on_done(struct disk_io *io, int res)
{
	struct waiter *w = container_of(io, struct waiter, io);

	w->res = res;
	w->is_done = true;
}

Test(disk, transfers_on_the_loop)
{
	T_EACH_BACKEND(l)
	{
		char path[PATH_LEN], text[] = "text", got[8] = { 0 };
		struct disk_config c = config(path);
		struct iovec iov = { text, 4 };
		struct waiter w = { .io = { .op = DISK_WRITE,
					    .iov = &iov,
					    .iov_count = 1,
					    .offset = 100,
					    .len = 4,
					    .done = on_done } };
		struct disk *d;

		new_image(path, SIZE);
		d = must_open(&c);
		t_int(disk_start(d, l, &w.io), DISK_PENDING);
		t_false(w.is_done);
		t_uint(d->inflight, 1);
		while (!w.is_done)
			(void)!loop_turn(l);
		t_int(w.res, 0);
		t_uint(w.io.moved, 4);
		t_uint(d->inflight, 0);
		w = (struct waiter){ .io = { .op = DISK_SYNC, .done = on_done } };
		t_int(disk_start(d, l, &w.io), DISK_PENDING);
		while (!w.is_done)
			(void)!loop_turn(l);
		t_int(w.res, 0);
		/* Behind the end of the file: less than what was asked for. */
		iov = (struct iovec){ got, 8 };
		w = (struct waiter){ .io = { .op = DISK_READ,
					     .iov = &iov,
					     .iov_count = 1,
					     .offset = SIZE - 4,
					     .len = 8,
					     .done = on_done } };
		t_int(disk_start(d, l, &w.io), DISK_PENDING);
		while (!w.is_done)
			(void)!loop_turn(l);
		t_int(w.res, -ENODATA);
		t_uint(w.io.moved, 4);
		disk_close(d);
		(void)unlink(path);
	}
	T_NO_LEAKS();
}

Test(disk, a_full_file_system_is_reported)
{
	char path[PATH_LEN], buf[4096] = { 0 };
	struct disk_config c = config(path);
	struct disk *d;
	int full = open("/dev/full", O_RDWR | O_CLOEXEC);

	new_image(path, SIZE);
	c.sync_engine = true;
	d = must_open(&c);
	t_int(dup2(full, d->fd), d->fd);
	t_int(transfer(d, DISK_WRITE, buf, sizeof(buf), 0), -ENOSPC);
	(void)close(full);
	disk_close(d);
	(void)unlink(path);
}

/* --- every step that can fail --- */

Test(disk, an_open_that_fails_at_any_step_leaves_nothing)
{
	char path[PATH_LEN];
	struct disk_config c = config(path);
	unsigned fds;

	t_quiet();
	new_image(path, SIZE);
	fds = t_count_fds();
	for (unsigned direct = 0; direct < 2; direct++) {
		unsigned steps;

		c.direct = direct == 1;
		for (fail_at = 1;; fail_at++) {
			struct disk *d = NULL;
			struct err e = { 0 };
			int rc;

			calls = 0;
			fail_with = ENOMEM;
			rc = disk_open(&c, &d, &e);
			steps = calls;
			if (steps < fail_at) {
				disk_close(d);
				break;
			}
			cr_expect(eq(int, rc, -ENOMEM), "step %u: %s", fail_at, e.text);
			cr_expect(ne(ptr, strstr(e.text, "disk 'root'"), NULL), "step %u: %s",
				fail_at, e.text);
			cr_expect(eq(ptr, d, NULL));
		}
		t_true(fail_at > 4);
		fail_at = 0;
	}
	t_uint(t_count_fds(), fds);
	(void)unlink(path);
	T_NO_LEAKS();
}
