/* Starting a program and watching what it says (process.h). */
#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

uint64_t process_now_us(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

int process_start(const char *const argv[], char *start_arg, struct process *ret)
{
	posix_spawn_file_actions_t actions;
	int pipe_fd[2], rc;

	if (pipe2(pipe_fd, O_CLOEXEC) < 0)
		return -errno;
	(void)posix_spawn_file_actions_init(&actions);
	(void)posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	(void)posix_spawn_file_actions_adddup2(&actions, pipe_fd[1], STDOUT_FILENO);
	ret->start_us = process_now_us();
	if (start_arg)
		(void)snprintf(start_arg, 32, "%llu", (unsigned long long)ret->start_us);
	rc = -posix_spawnp(
		&ret->pid, argv[0], &actions, NULL, (char *const *)(uintptr_t)argv, environ);
	(void)posix_spawn_file_actions_destroy(&actions);
	(void)close(pipe_fd[1]);
	if (rc < 0) {
		(void)close(pipe_fd[0]);
		return rc;
	}
	ret->out = pipe_fd[0];
	return 0;
}

int process_wait_for(struct process *p, const char *text, int timeout_ms, uint64_t *ret_us)
{
	uint64_t deadline = process_now_us() + (uint64_t)timeout_ms * 1000;
	char buf[65536];
	size_t len = 0, want = strlen(text);

	for (;;) {
		struct pollfd pfd = { .fd = p->out, .events = POLLIN };
		uint64_t now = process_now_us();
		ssize_t n;

		if (now >= deadline || poll(&pfd, 1, (int)((deadline - now) / 1000) + 1) == 0)
			return -ETIMEDOUT;
		/* Keep the tail that may hold the beginning of text, and make room. */
		if (len == sizeof(buf)) {
			memmove(buf, buf + len - want, want);
			len = want;
		}
		n = read(p->out, buf + len, sizeof(buf) - len);
		now = process_now_us();
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return -ENODATA;
		len += (size_t)n;
		if (memmem(buf, len, text, want)) {
			*ret_us = now;
			return 0;
		}
	}
}

ssize_t process_read_all(struct process *p, char *buf, size_t len)
{
	size_t got = 0;

	while (got < len - 1) {
		ssize_t n = read(p->out, buf + got, len - 1 - got);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		got += (size_t)n;
	}
	buf[got] = '\0';
	return (ssize_t)got;
}

int process_end(struct process *p, int kill_first)
{
	int status = 0;

	if (kill_first)
		(void)kill(p->pid, SIGKILL);
	while (waitpid(p->pid, &status, 0) < 0 && errno == EINTR) {
	}
	(void)close(p->out);
	return status;
}
