/*
 * What the two ends of a lab say to each other over one virtio-serial port: host.c, which started
 * QEMU, and guest.c, which is process 1 inside.  Each message is a header and then as many bytes as
 * it announces. One stream for everything, so that the exit status cannot overtake the output.
 *
 * Both ends are built together and trust each other: the lab separates nothing, it only emulates a
 * CPU.
 */
#ifndef LAB_PROTOCOL_H
#define LAB_PROTOCOL_H

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

enum msg_type {
	MSG_HELLO = 1, /* guest: up, waiting for MSG_RUN */
	MSG_RUN,       /* host: what to do, see below */
	MSG_READY,     /* guest: all is set up, waiting for MSG_START */
	MSG_START,     /* host: run the command now */
	MSG_STDIN,     /* host: input of the command; empty means end of file */
	MSG_WINSIZE,   /* host: struct winsize, the terminal's new size */
	MSG_STDOUT,    /* guest: output of the command */
	MSG_STDERR,
	MSG_FAULT, /* guest: text, the lab could not be set up; the end */
	MSG_EXIT,  /* guest: one byte, the exit status; the end */
};

struct msg_header {
	uint32_t type;
	uint32_t len;
};

/* Most that one message carries, except MSG_RUN, whose limit is what execve() takes. */
#define MSG_MAX     (64u << 10)
#define MSG_RUN_MAX (4u << 20)

/*
 * MSG_RUN is a row of strings, each with its terminating zero.  The first character tells what the
 * rest is:
 */
#define RUN_ARG   'a' /* next argument of the command */
#define RUN_ENV   'e' /* NAME=VALUE */
#define RUN_CWD   'c' /* folder to start in */
#define RUN_SHARE 's' /* TAG=PATH: mount the 9p share TAG at PATH, writable */
#define RUN_KEEP                                                                                   \
	'k' /* folder of the root that stays visible even if it lies below /tmp or /run            \
	     */
#define RUN_MODULES 'm' /* folder of the root to be seen as /lib/modules/RELEASE */
#define RUN_TIME    't' /* SECONDS.NANOSECONDS since 1970 */
#define RUN_TTY     'y' /* ROWS COLUMNS: give the command a terminal */

/* Writes everything or fails with -errno. */
static inline int write_all(int fd, const void *data, size_t len)
{
	const char *p = data;

	while (len > 0) {
		ssize_t n = write(fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

/* Reads everything or fails with -errno; -EPIPE when the other end is gone. */
static inline int read_all(int fd, void *data, size_t len)
{
	char *p = data;

	while (len > 0) {
		ssize_t n = read(fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -EPIPE;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

#endif
