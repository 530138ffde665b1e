/*
 * System calls of x86-64 Linux without a C library.  Each returns what the kernel does: a value, or
 * -errno.
 */
#ifndef MVM_TESTS_SYSCALLS_H
#define MVM_TESTS_SYSCALLS_H

#include <asm/unistd.h>
#include <stddef.h>
#include <stdint.h>

static inline long sys6(long nr, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	long ret;

	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return ret;
}

static inline long sys_open(const char *path, int flags)
{
	return sys6(__NR_open, (long)path, flags, 0, 0, 0, 0);
}

static inline long sys_read(int fd, void *buf, size_t len)
{
	return sys6(__NR_read, fd, (long)buf, (long)len, 0, 0, 0);
}

static inline long sys_write(int fd, const void *buf, size_t len)
{
	return sys6(__NR_write, fd, (long)buf, (long)len, 0, 0, 0);
}

static inline long sys_close(int fd)
{
	return sys6(__NR_close, fd, 0, 0, 0, 0, 0);
}

static inline long sys_lseek(int fd, long off, int whence)
{
	return sys6(__NR_lseek, fd, off, whence, 0, 0, 0);
}

static inline long sys_ioctl(int fd, unsigned long request, void *arg)
{
	return sys6(__NR_ioctl, fd, (long)request, (long)arg, 0, 0, 0);
}

static inline long sys_mount(const char *what, const char *where, const char *type)
{
	return sys6(__NR_mount, (long)what, (long)where, (long)type, 0, 0, 0);
}

static inline long sys_poll(void *fds, unsigned n, int timeout_ms)
{
	return sys6(__NR_poll, (long)fds, n, timeout_ms, 0, 0, 0);
}

static inline long sys_ioperm(unsigned long from, unsigned long n, int on)
{
	return sys6(__NR_ioperm, (long)from, (long)n, on, 0, 0, 0);
}

static inline long sys_clock_gettime(int clock, void *ts)
{
	return sys6(__NR_clock_gettime, clock, (long)ts, 0, 0, 0, 0);
}

static inline long sys_sched_getaffinity(int pid, size_t len, void *mask)
{
	return sys6(__NR_sched_getaffinity, pid, (long)len, (long)mask, 0, 0, 0);
}

static inline long sys_sysinfo(void *info)
{
	return sys6(__NR_sysinfo, (long)info, 0, 0, 0, 0, 0);
}

static inline long sys_fork(void)
{
	return sys6(__NR_fork, 0, 0, 0, 0, 0, 0);
}

static inline long sys_reboot(unsigned command)
{
	/* LINUX_REBOOT_MAGIC1 and 2 */
	return sys6(__NR_reboot, (int)0xfee1dead, 672274793, (int)command, 0, 0, 0);
}

static inline void sys_exit(int status)
{
	(void)sys6(__NR_exit_group, status, 0, 0, 0, 0, 0);
	__builtin_unreachable();
}

#endif
