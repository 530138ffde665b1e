/*
 * Copies of disks: all of the bytes and none of the room that zeroes take, and what fails is said.
 */
#include "t.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/err.h"
#include "snapshot/disk_copy.h"

TestSuite(disk_copy, .timeout = T_SECONDS);

static struct {
	int clone_errno; /* 0: it works; negative: the real one */
	int write_errno, read_errno;
	unsigned reads_left, interrupted;
	size_t most; /* of one write; 0: all */
	bool is_shorter;
} step = { .clone_errno = -1 };

int __real_ioctl(int fd, unsigned long request, void *arg);
int __wrap_ioctl(int fd, unsigned long request, void *arg);
ssize_t __real_pwrite64(int fd, const void *data, size_t len, off_t at);
ssize_t __wrap_pwrite64(int fd, const void *data, size_t len, off_t at);
ssize_t __real_pread64(int fd, void *data, size_t len, off_t at);
ssize_t __wrap_pread64(int fd, void *data, size_t len, off_t at);

int __wrap_ioctl(int fd, unsigned long request, void *arg)
{
	if (request != FICLONE || step.clone_errno < 0)
		return __real_ioctl(fd, request, arg);
	errno = step.clone_errno;
	return step.clone_errno ? -1 : 0;
}

ssize_t __wrap_pwrite64(int fd, const void *data, size_t len, off_t at)
{
	if (step.interrupted > 0) {
		step.interrupted--;
		errno = EINTR;
		return -1;
	}
	if (step.write_errno) {
		errno = step.write_errno;
		return -1;
	}
	return __real_pwrite64(fd, data, step.most ? MIN(step.most, len) : len, at);
}

ssize_t __wrap_pread64(int fd, void *data, size_t len, off_t at)
{
	if (step.reads_left > 0 && --step.reads_left == 0) {
		errno = step.read_errno;
		return step.is_shorter ? 0 : -1;
	}
	return __real_pread64(fd, data, len, at);
}

static struct err e;
static _Atomic bool is_cancelled;

static int new_file(void)
{
	int fd = memfd_create("disk", MFD_CLOEXEC);

	t_true(fd >= 0);
	return fd;
}

static void put(int fd, const char *text, off_t at)
{
	t_int(__real_pwrite64(fd, text, strlen(text), at), strlen(text));
}

static void expect_same(int a, int b)
{
	static uint8_t x[1 << 16], y[1 << 16];
	struct stat sa, sb;

	t_int(fstat(a, &sa), 0);
	t_int(fstat(b, &sb), 0);
	t_int(sa.st_size, sb.st_size);
	for (off_t at = 0; at < sa.st_size; at += (off_t)sizeof(x)) {
		ssize_t n = __real_pread64(a, x, sizeof(x), at);

		t_int(__real_pread64(b, y, sizeof(y), at), n);
		t_int(memcmp(x, y, (size_t)n), 0);
	}
}

static uint64_t room_of(int fd)
{
	struct stat st;

	t_int(fstat(fd, &st), 0);
	return (uint64_t)st.st_blocks * 512;
}

Test(disk_copy, a_copy_has_the_same_bytes_and_the_same_length)
{
	static const off_t sizes[] = { 0, 1, 511, 4096, 4097, 1 << 20, (3 << 20) + 123 };

	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
		for (size_t most = 0; most <= 1000; most += 1000) {
			int from = new_file(), to = new_file();

			step.most = most;
			step.interrupted = 3;
			t_int(ftruncate(from, sizes[i]), 0);
			for (off_t at = 0; at + 5 <= sizes[i]; at += 5000)
				put(from, "hello", at);
			cr_assert(eq(int, disk_copy(from, to, "d", &is_cancelled, &e), 0), "%s",
				e.text);
			expect_same(from, to);
			(void)close(from);
			(void)close(to);
		}
	}
	T_NO_LEAKS();
}

Test(disk_copy, holes_stay_holes_and_zeroes_become_some)
{
	enum { MIB = 1 << 20 };
	int from = new_file(), to = new_file();
	uint8_t *zeroes = calloc(1, 2 * MIB);

	t_int(ftruncate(from, 64LL * MIB), 0);
	put(from, "a", 0);
	t_int(__real_pwrite64(from, zeroes, 2 * MIB, 8 * MIB), 2 * MIB);
	put(from, "b", 9 * MIB + 1);
	put(from, "c", 64LL * MIB - 1);
	t_int(disk_copy(from, to, "d", &is_cancelled, &e), 0);
	expect_same(from, to);
	t_true(room_of(from) >= 2 * MIB);
	t_true(room_of(to) <= 256 * 1024);
	free(zeroes);
	(void)close(from);
	(void)close(to);
}

Test(disk_copy, what_fails_is_said)
{
	static const struct row {
		const char *name;
		int write_errno, read_errno;
		bool is_shorter;
		int rc;
		const char *text;
	} rows[] = {
		{ "full", ENOSPC, 0, false, -ENOSPC, "make room" },
		{ "failing", EIO, 0, false, -EIO, "cannot copy the disk 'd0'" },
		{ "unreadable", 0, EIO, false, -EIO, "cannot copy the disk 'd0'" },
		{ "shorter than it was", 0, 0, true, -ENODATA, "cannot copy the disk 'd0'" },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		const struct row *r = &rows[i];
		int from = new_file(), to = new_file();

		t_int(ftruncate(from, 3 << 20), 0);
		for (off_t at = 0; at < 3 << 20; at += 4096)
			put(from, "x", at);
		step.write_errno = r->write_errno;
		step.read_errno = r->read_errno;
		step.is_shorter = r->is_shorter;
		step.reads_left = r->read_errno || r->is_shorter ? 2 : 0;
		t_row_int(r->name, disk_copy(from, to, "d0", &is_cancelled, &e), r->rc);
		t_row_has(r->name, e.text, r->text);
		step.write_errno = step.reads_left = 0;
		(void)close(from);
		(void)close(to);
	}
	/* What cannot be written to at all. */
	t_true(disk_copy(STDIN_FILENO, -1, "d0", &is_cancelled, &e) < 0);
	T_NO_LEAKS();
}

Test(disk_copy, a_copy_that_is_cancelled_ends)
{
	int from = new_file(), to = new_file();

	put(from, "x", 0);
	atomic_store(&is_cancelled, true);
	t_int(disk_copy(from, to, "d", &is_cancelled, &e), -ECANCELED);
	(void)close(from);
	(void)close(to);
}

Test(disk_copy, a_clone_is_made_or_there_is_no_such_thing_or_it_failed)
{
	static const struct row {
		int error, rc;
	} rows[] = { { 0, 0 }, { EOPNOTSUPP, -EOPNOTSUPP }, { EXDEV, -EOPNOTSUPP },
		{ EINVAL, -EOPNOTSUPP }, { ENOTTY, -EOPNOTSUPP }, { ETXTBSY, -EOPNOTSUPP },
		{ EPERM, -EOPNOTSUPP }, { ENOSPC, -ENOSPC }, { EIO, -EIO } };
	int from = new_file(), to = new_file();

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		step.clone_errno = rows[i].error;
		t_int(disk_clone(from, to), rows[i].rc);
	}
	step.clone_errno = -1;
	t_int(disk_clone(from, to), -EOPNOTSUPP);
	(void)close(from);
	(void)close(to);
}
