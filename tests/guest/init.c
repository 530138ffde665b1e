/*
 * The first and only program of the tests' Linux guests.  It marks the time (port 0x80) before
 * anything else, greets, tells what it sees, and does what "mvm.test=" on the kernel command line
 * says.  A few kilobytes without a C library, so that what the benchmarks time is the kernel.
 */
#include <linux/fcntl.h>
#include <linux/input.h>
#include <linux/reboot.h>
#include <linux/sysinfo.h>
#include <poll.h>
#include <stdbool.h>

#include "syscalls.h"

enum { STDIN = 0, STDOUT = 1, CPUS_MAX = 1024 };

/* The kernel's own struct ktermios; libc's is another. */
struct kernel_termios {
	uint32_t iflag, oflag, cflag, lflag;
	uint8_t line, cc[19];
};

/* The compiler may call these for an initialiser or a copy. */
void *memset(void *dst, int byte, size_t len)
{
	void *at = dst;

	__asm__ volatile("rep stosb" : "+D"(at), "+c"(len) : "a"(byte) : "memory");
	return dst;
}

void *memcpy(void *dst, const void *src, size_t len)
{
	void *at = dst;

	__asm__ volatile("rep movsb" : "+D"(at), "+S"(src), "+c"(len) : : "memory");
	return dst;
}

/* --- text --- */

static size_t length(const char *s)
{
	size_t n = 0;

	while (s[n])
		n++;
	return n;
}

static bool starts_with(const char *s, const char *head)
{
	for (; *head; s++, head++) {
		if (*s != *head)
			return false;
	}
	return true;
}

static void write_all(const char *buf, size_t len)
{
	while (len > 0) {
		long n = sys_write(STDOUT, buf, len);

		if (n <= 0)
			return;
		buf += n;
		len -= (size_t)n;
	}
}

static void say(const char *s)
{
	write_all(s, length(s));
}

static char *put_number(char *at, uint64_t value)
{
	char digits[24];
	unsigned n = 0;

	do {
		digits[n++] = (char)('0' + value % 10);
		value /= 10;
	} while (value > 0);
	while (n > 0)
		*at++ = digits[--n];
	return at;
}

static char *put_text(char *at, const char *s)
{
	while (*s)
		*at++ = *s++;
	return at;
}

static uint64_t get_number(const char *s)
{
	uint64_t value = 0;

	for (; *s >= '0' && *s <= '9'; s++)
		value = value * 10 + (uint64_t)(*s - '0');
	return value;
}

/* --- the time mark --- */

/* How long the kernel's log clock has run: a record of ours, read back, shows
 * "level,number,microseconds,...". */
static uint64_t kernel_clock_us(void)
{
	static const char record[] = "<7>mvm: init\n";
	int64_t ts[2] = { 0 };
	char buf[512];
	const char *at = buf;
	long fd = sys_open("/dev/kmsg", O_RDWR | O_NONBLOCK), n = -1;

	if (fd >= 0) {
		(void)sys_lseek((int)fd, 0, 2);
		(void)sys_write((int)fd, record, sizeof(record) - 1);
		n = sys_read((int)fd, buf, sizeof(buf) - 1);
		(void)sys_close((int)fd);
	}
	if (n > 0) {
		buf[n] = 0;
		for (int commas = 0; *at && commas < 2; at++)
			commas += *at == ',';
		return get_number(at);
	}
	(void)sys_clock_gettime(1 /* CLOCK_MONOTONIC */, ts);
	return (uint64_t)ts[0] * 1000000 + (uint64_t)ts[1] / 1000;
}

static void mark_time(void)
{
	uint32_t us = (uint32_t)kernel_clock_us();

	/* Four ports, because the write is four bytes wide. */
	if (sys_ioperm(0x80, 4, 1) == 0)
		__asm__ volatile("outl %0, $0x80" : : "a"(us));
}

/* --- what the guest sees --- */

static unsigned count_cpus(void)
{
	uint64_t mask[CPUS_MAX / 64] = { 0 };
	unsigned n = 0;

	(void)sys_sched_getaffinity(0, sizeof(mask), mask);
	for (unsigned i = 0; i < CPUS_MAX; i++)
		n += mask[i / 64] >> i % 64 & 1;
	return n;
}

static void describe(void)
{
	struct sysinfo info = { 0 };
	char line[96], *at = line;

	(void)sys_sysinfo(&info);
	at = put_text(at, "cpus=");
	at = put_number(at, count_cpus());
	at = put_text(at, " mem_kib=");
	at = put_number(at, info.totalram * info.mem_unit / 1024);
	*at++ = '\n';
	write_all(line, (size_t)(at - line));
}

/* --- the errands --- */

static void errand_poweroff(void)
{
	(void)sys_reboot(LINUX_REBOOT_CMD_POWER_OFF);
}

static void errand_reboot(void)
{
	(void)sys_reboot(LINUX_REBOOT_CMD_RESTART);
}

static void errand_halt(void)
{
	(void)sys_reboot(LINUX_REBOOT_CMD_HALT);
}

static void errand_panic(void)
{
	sys_exit(1); /* the end of init is a panic */
}

static void errand_spin(void)
{
	for (;;)
		__asm__ volatile("pause");
}

static void errand_cpuburn(void)
{
	unsigned cpus = count_cpus();

	for (unsigned i = 1; i < cpus; i++) {
		if (sys_fork() == 0)
			break;
	}
	for (;;)
		__asm__ volatile("");
}

static void errand_flood(void)
{
	for (;;)
		say("0123456789 the quick brown fox jumps over the lazy dog 0123456789\n");
}

/* The driver of an event device may come a moment after init. */
static unsigned open_events(struct pollfd *fds, unsigned max)
{
	char path[] = "/dev/input/event0";
	unsigned n = 0;

	for (unsigned i = 0; i < max && i < 10; i++) {
		long fd;

		path[sizeof(path) - 2] = (char)('0' + i);
		fd = sys_open(path, O_RDONLY);
		if (fd >= 0)
			fds[n++] = (struct pollfd){ .fd = (int)fd, .events = POLLIN };
	}
	return n;
}

static void errand_wait_button(void)
{
	struct pollfd fds[10];
	unsigned n = 0;

	(void)sys_mount("devtmpfs", "/dev", "devtmpfs");
	for (int tries = 0; n == 0 && tries < 50; tries++) {
		(void)sys_poll(NULL, 0, tries > 0 ? 100 : 0);
		n = open_events(fds, sizeof(fds) / sizeof(fds[0]));
	}
	say(n > 0 ? "waiting for the button\n" : "no event device\n");
	while (n > 0) {
		struct input_event ev;

		(void)sys_poll(fds, n, -1);
		for (unsigned i = 0; i < n; i++) {
			if (!(fds[i].revents & POLLIN) ||
				sys_read(fds[i].fd, &ev, sizeof(ev)) != sizeof(ev))
				continue;
			if (ev.type == EV_KEY && ev.code == KEY_POWER && ev.value == 1) {
				say("button\n");
				return;
			}
		}
	}
}

/* Bytes as they are, in both directions. */
static void make_raw(void)
{
	struct kernel_termios t;

	if (sys_ioctl(STDIN, 0x5401 /* TCGETS */, &t) < 0)
		return;
	t.iflag = 0;
	t.oflag = 0;
	t.lflag = 0;
	t.cc[5] = 0; /* VTIME */
	t.cc[6] = 1; /* VMIN */
	(void)sys_ioctl(STDIN, 0x5402 /* TCSETS */, &t);
}

/* Gives back what it gets, up to and with the first '~'. */
static void errand_cat(void)
{
	static char buf[4096];

	make_raw();
	say("cat is ready\n");
	for (;;) {
		long n = sys_read(STDIN, buf, sizeof(buf));

		if (n <= 0)
			break;
		write_all(buf, (size_t)n);
		for (long i = 0; i < n; i++) {
			if (buf[i] == '~')
				return;
		}
	}
}

/* The kernel's log, records as dmesg shows them but for the time. */
static void errand_dmesg(void)
{
	static char buf[8192];
	long fd = sys_open("/dev/kmsg", O_RDONLY | O_NONBLOCK), n;

	say("--- dmesg\n");
	while ((n = sys_read((int)fd, buf, sizeof(buf) - 1)) > 0 ||
		n == -32 /* EPIPE: overwritten */) {
		const char *text = buf;

		if (n < 0)
			continue;
		buf[n] = 0;
		while (*text && *text != ';')
			text++;
		/* Lines after the first begin with a space and are properties, not text. */
		for (n = 0; text[n] && text[n] != '\n'; n++)
			;
		say("dmesg: ");
		write_all(text + 1, n > 0 ? (size_t)n - 1 : 0);
		say("\n");
	}
	say("--- end of dmesg\n");
}

static const struct {
	const char *name;
	void (*run)(void);
} errands[] = {
	{ "cat", errand_cat },
	{ "cpuburn", errand_cpuburn },
	{ "dmesg", errand_dmesg },
	{ "flood", errand_flood },
	{ "halt", errand_halt },
	{ "panic", errand_panic },
	{ "poweroff", errand_poweroff },
	{ "reboot", errand_reboot },
	{ "spin", errand_spin },
	{ "wait-button", errand_wait_button },
};

static void run_errand(void)
{
	static const char key[] = "mvm.test=";
	static char line[4096];
	long fd, n;

	(void)sys_mount("proc", "/proc", "proc");
	fd = sys_open("/proc/cmdline", O_RDONLY);
	n = sys_read((int)fd, line, sizeof(line) - 1);
	line[n > 0 ? n : 0] = 0;
	for (const char *at = line; *at; at++) {
		if ((at > line && at[-1] != ' ') || !starts_with(at, key))
			continue;
		at += sizeof(key) - 1;
		for (size_t i = 0; i < sizeof(errands) / sizeof(errands[0]); i++) {
			size_t len = length(errands[i].name);

			if (starts_with(at, errands[i].name) &&
				(at[len] == ' ' || at[len] == '\n' || at[len] == 0)) {
				errands[i].run();
				return;
			}
		}
		say("unknown errand\n");
		return;
	}
}

__attribute__((used)) static void init_main(void)
{
	mark_time();
	say("hello from the guest\n");
	describe();
	run_errand();
	errand_poweroff();
	for (;;)
		(void)sys_poll(NULL, 0, -1);
}

/* The kernel enters with the stack aligned to 16; a call leaves it as functions expect. */
__asm__(".globl _start\n_start:\n\txorl %ebp, %ebp\n\tcall init_main\n\thlt\n");
