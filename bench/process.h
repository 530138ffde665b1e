/*
 * Starting a program and watching what it says, for benchmarks.
 */
#ifndef BENCH_PROCESS_H
#define BENCH_PROCESS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct process {
	pid_t pid;
	int out;           /* read end of its stdout */
	uint64_t start_us; /* CLOCK_MONOTONIC just before it was started */
};

uint64_t process_now_us(void);

/*
 * Starts argv[0] with stdin from /dev/null and stdout to a pipe; stderr is ours.  0 or -errno.
 * When start_arg is not NULL it points to a buffer of at least 32 bytes that is part of argv: it
 * gets start_us in decimal.
 */
int process_start(const char *const argv[], char *start_arg, struct process *ret);

/* Reads stdout until text appears: its time in *ret_us.  -ENODATA at the end of the output,
 * -ETIMEDOUT. */
int process_wait_for(struct process *p, const char *text, int timeout_ms, uint64_t *ret_us);

/* Reads stdout to its end into buf, NUL-terminated: the number of bytes or -errno. */
ssize_t process_read_all(struct process *p, char *buf, size_t len);

/* Ends it if it still runs, and reaps it: the wait status. */
int process_end(struct process *p, int kill_first);

#endif
