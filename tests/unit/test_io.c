/* Reads and writes that finish. */
#include "t.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "base/io.h"

TestSuite(io, .timeout = T_SECONDS);

ssize_t __real_pread64(int fd, void *buf, size_t len, off_t off);
ssize_t __wrap_pread64(int fd, void *buf, size_t len, off_t off);
ssize_t __real_write(int fd, const void *buf, size_t len);
ssize_t __wrap_write(int fd, const void *buf, size_t len);
ssize_t __real_read(int fd, void *buf, size_t len);
ssize_t __wrap_read(int fd, void *buf, size_t len);

/* Moves at most max bytes a call (0: as asked), and interrupts every second call. */
static struct {
	size_t max;
	bool interrupts, next;
	unsigned calls;
} slow;

static bool is_interrupted(void)
{
	slow.calls++;
	slow.next = !slow.next;
	if (!slow.interrupts || !slow.next)
		return false;
	errno = EINTR;
	return true;
}

static size_t limit(size_t len)
{
	return slow.max > 0 ? MIN(len, slow.max) : len;
}

ssize_t __wrap_pread64(int fd, void *buf, size_t len, off_t off)
{
	return is_interrupted() ? -1 : __real_pread64(fd, buf, limit(len), off);
}

ssize_t __wrap_write(int fd, const void *buf, size_t len)
{
	return is_interrupted() ? -1 : __real_write(fd, buf, limit(len));
}

ssize_t __wrap_read(int fd, void *buf, size_t len)
{
	return is_interrupted() ? -1 : __real_read(fd, buf, limit(len));
}

static int file_of(const char *text)
{
	int fd = memfd_create("file", MFD_CLOEXEC);

	t_int(__real_write(fd, text, strlen(text)), strlen(text));
	return fd;
}

Test(io, pread_takes_exactly_the_bytes_asked_for)
{
	int fd = file_of("0123456789");
	char buf[5] = "";

	t_int(io_pread_full(fd, buf, 4, 3), 0);
	t_str(buf, "3456");
}

Test(io, pread_goes_on_after_short_reads_and_interruptions)
{
	int fd = file_of("0123456789");
	char buf[11] = "";

	slow.max = 3;
	slow.interrupts = true;
	t_int(io_pread_full(fd, buf, 10, 0), 0);
	t_str(buf, "0123456789");
	t_uint(slow.calls, 8);
}

Test(io, pread_behind_the_end_of_the_file_is_enodata)
{
	int fd = file_of("0123456789");
	char buf[16];

	t_int(io_pread_full(fd, buf, 11, 0), -ENODATA);
	t_int(io_pread_full(fd, buf, 1, 10), -ENODATA);
	t_int(io_pread_full(fd, buf, 1, 1ULL << 40), -ENODATA);
}

Test(io, pread_of_nothing_succeeds_anywhere)
{
	t_int(io_pread_full(file_of(""), NULL, 0, 1ULL << 40), 0);
}

Test(io, pread_reports_the_error_of_the_call)
{
	char buf[1];

	t_int(io_pread_full(-1, buf, 1, 0), -EBADF);
	t_int(io_pread_full(file_of("x"), buf, 1, UINT64_MAX), -EINVAL);
}

Test(io, write_goes_on_after_short_writes_and_interruptions)
{
	int fd = memfd_create("file", MFD_CLOEXEC);
	char buf[11] = "";

	slow.max = 3;
	slow.interrupts = true;
	t_int(io_write_full(fd, "0123456789", 10), 0);
	t_int(__real_pread64(fd, buf, 10, 0), 10);
	t_str(buf, "0123456789");
}

Test(io, write_reports_the_error_of_the_call)
{
	int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);

	t_int(io_write_full(fd, "x", 1), -ENOSPC);
	t_int(io_write_full(-1, "x", 1), -EBADF);
}

static void text_path(const char *text, char path[64])
{
	(void)snprintf(path, 64, "/proc/self/fd/%d", file_of(text));
}

Test(io, a_text_is_read_whole_and_ends_with_a_nul)
{
	char path[64], buf[16];

	text_path("hello\n", path);
	memset(buf, 'x', sizeof(buf));
	t_int(io_read_text(path, buf, sizeof(buf)), 6);
	t_str(buf, "hello\n");
}

Test(io, a_text_is_read_whole_over_short_reads_and_interruptions)
{
	char path[64], buf[16];

	text_path("hello\n", path);
	slow.max = 1;
	slow.interrupts = true;
	t_int(io_read_text(path, buf, sizeof(buf)), 6);
	t_str(buf, "hello\n");
}

Test(io, a_text_that_just_fits_is_taken_and_one_byte_more_is_efbig)
{
	char path[64], buf[6];

	text_path("hello", path);
	t_int(io_read_text(path, buf, sizeof(buf)), 5);
	t_str(buf, "hello");
	text_path("hello!", path);
	t_int(io_read_text(path, buf, sizeof(buf)), -EFBIG);
}

Test(io, an_empty_text_is_empty)
{
	char path[64], buf[6] = "xxxxx";

	text_path("", path);
	t_int(io_read_text(path, buf, sizeof(buf)), 0);
	t_str(buf, "");
}

Test(io, a_text_that_is_not_there_is_an_error_and_leaves_no_descriptor)
{
	unsigned fds = t_count_fds();
	char buf[6];

	t_int(io_read_text("/nonexistent", buf, sizeof(buf)), -ENOENT);
	t_int(io_read_text("/proc/self", buf, sizeof(buf)), -EISDIR);
	t_uint(t_count_fds(), fds);
}
