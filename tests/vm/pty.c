/*
 * Runs a command on a terminal of its own, does what the steps say, and tells at the end how the
 * command ended and whether the terminal is as it was.  This process plays the shell: it leads the
 * session, and the command runs in its own process group in the foreground.  Standard error stays
 * the caller's.
 *
 * usage: pty LOG STEP... -- COMMAND [ARGUMENT]...
 *   expect=TEXT   waits until the command has written TEXT, from where the last expect stopped
 *   send=TEXT     types it
 *   signal=N      sends signal N to the command
 *   resize=ROWS   changes the window, which sends SIGWINCH
 *   pause=MS      waits
 *   stopped       waits until the command has stopped
 *   raw, same     checks that the terminal is raw now, or as it was at the start
 *   hangup        takes the terminal away
 * What the command writes goes to the file LOG.  Prints "exit N" or "signal N", then "terminal
 * same" or "terminal changed" (nothing after hangup).  Exit status: 0, or 1 when a step failed.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

enum { OUTPUT_MAX = 1 << 20, STEP_MS = 20000 };

static struct {
	int master, slave, log;
	pid_t child;
	bool ended;
	int status;
	struct termios before;
	size_t len, seen; /* of output: written by the command, looked at by expect */
} pty = { .master = -1, .slave = -1, .log = -1 };

static char output[OUTPUT_MAX];

static long now_ms(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* Takes what the command wrote, waiting at most a moment for it. */
static void collect(int wait_ms)
{
	struct pollfd pfd = { .fd = pty.master, .events = POLLIN };
	char buf[4096];
	ssize_t n;

	if (poll(&pfd, 1, wait_ms) <= 0 || pty.master < 0)
		return;
	n = read(pty.master, buf, sizeof(buf));
	if (n <= 0)
		return;
	(void)!write(pty.log, buf, (size_t)n);
	/* More than this no test looks for; the rest is in the log. */
	if ((size_t)n > OUTPUT_MAX - pty.len)
		return;
	memcpy(output + pty.len, buf, (size_t)n);
	pty.len += (size_t)n;
}

static bool expect(const char *text)
{
	long deadline = now_ms() + STEP_MS;
	char *at;

	while (now_ms() < deadline) {
		at = memmem(output + pty.seen, pty.len - pty.seen, text, strlen(text));
		if (at) {
			pty.seen = (size_t)(at - output) + strlen(text);
			return true;
		}
		collect(20);
	}
	return false;
}

static bool wait_child(int flags)
{
	long deadline = now_ms() + STEP_MS;

	while (now_ms() < deadline) {
		if (waitpid(pty.child, &pty.status, WNOHANG | flags) == pty.child)
			return true;
		collect(10);
	}
	return false;
}

static bool stopped(void)
{
	if (!wait_child(WUNTRACED))
		return false;
	pty.ended = !WIFSTOPPED(pty.status);
	return !pty.ended;
}

static bool is_same(void)
{
	struct termios t;

	return tcgetattr(pty.slave, &t) == 0 && t.c_iflag == pty.before.c_iflag &&
	       t.c_oflag == pty.before.c_oflag && t.c_cflag == pty.before.c_cflag &&
	       t.c_lflag == pty.before.c_lflag &&
	       memcmp(t.c_cc, pty.before.c_cc, sizeof(t.c_cc)) == 0;
}

static bool is_raw(void)
{
	struct termios t;

	return tcgetattr(pty.slave, &t) == 0 && !(t.c_lflag & (ICANON | ECHO | ISIG));
}

static bool do_step(const char *step)
{
	const char *value = strchr(step, '=');
	size_t len = value ? (size_t)(value - step) : strlen(step);

	value = value ? value + 1 : "";
#define IS(word) (len == sizeof(word) - 1 && memcmp(step, word, len) == 0)
	if (IS("expect"))
		return expect(value);
	if (IS("send"))
		return write(pty.master, value, strlen(value)) == (ssize_t)strlen(value);
	if (IS("signal"))
		return kill(pty.child, atoi(value)) == 0;
	if (IS("resize")) {
		struct winsize ws = { .ws_row = (unsigned short)atoi(value), .ws_col = 100 };

		return ioctl(pty.master, TIOCSWINSZ, &ws) == 0;
	}
	if (IS("pause")) {
		long deadline = now_ms() + atoi(value);

		while (now_ms() < deadline)
			collect(10);
		return true;
	}
	if (IS("stopped"))
		return stopped();
	if (IS("raw"))
		return is_raw();
	if (IS("same"))
		return is_same();
	if (IS("hangup")) {
		(void)close(pty.master);
		pty.master = -1;
		return true;
	}
	return false;
}

/* Settings that nobody would choose, so that a monitor that puts back defaults is found out. */
static int open_terminal(void)
{
	pty.master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (pty.master < 0 || grantpt(pty.master) < 0 || unlockpt(pty.master) < 0)
		return -1;
	pty.slave = open(ptsname(pty.master), O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (pty.slave < 0 || ioctl(pty.slave, TIOCSCTTY, 0) < 0 ||
		tcgetattr(pty.slave, &pty.before) < 0)
		return -1;
	pty.before.c_iflag ^= IXANY | IUTF8;
	pty.before.c_cc[VINTR] = 7;
	pty.before.c_cc[VMIN] = 3;
	return tcsetattr(pty.slave, TCSANOW, &pty.before);
}

static void start(char **command)
{
	pty.child = fork();
	if (pty.child != 0)
		return;
	(void)setpgid(0, 0);
	(void)tcsetpgrp(pty.slave, getpid());
	(void)signal(SIGTTOU, SIG_DFL);
	(void)signal(SIGHUP, SIG_DFL);
	(void)dup2(pty.slave, STDIN_FILENO);
	(void)dup2(pty.slave, STDOUT_FILENO);
	(void)execvp(command[0], command);
	_exit(127);
}

static int finish(void)
{
	if (!pty.ended && !wait_child(0)) {
		(void)printf("still running\n");
		(void)kill(pty.child, SIGKILL);
		(void)waitpid(pty.child, &pty.status, 0);
		return 1;
	}
	collect(0);
	if (WIFSIGNALED(pty.status))
		(void)printf("signal %d\n", WTERMSIG(pty.status));
	else
		(void)printf("exit %d\n", WEXITSTATUS(pty.status));
	if (pty.master >= 0)
		(void)printf("terminal %s\n", is_same() ? "same" : "changed");
	return 0;
}

/* In a session of our own.  The caller waits for us in main(). */
static int lead(int argc, char **argv)
{
	int command = 2, rc = 0;

	(void)setsid();
	(void)signal(SIGTTOU, SIG_IGN);
	(void)signal(SIGHUP, SIG_IGN);
	while (command < argc && strcmp(argv[command], "--") != 0)
		command++;
	if (command + 1 >= argc) {
		(void)fprintf(stderr, "pty: no command\n");
		return 1;
	}
	pty.log = open(argv[1], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (pty.log < 0 || open_terminal() < 0) {
		(void)fprintf(stderr, "pty: no terminal: %s\n", strerror(errno));
		return 1;
	}
	start(&argv[command + 1]);
	for (int i = 2; i < command && rc == 0; i++) {
		if (!do_step(argv[i])) {
			(void)printf("step failed: %s\n", argv[i]);
			(void)kill(pty.child, SIGKILL);
			rc = 1;
		}
	}
	return finish() != 0 ? 1 : rc;
}

int main(int argc, char **argv)
{
	int status = 0;
	pid_t leader = fork(); /* a leader of a process group cannot make a session */

	if (leader == 0)
		exit(lead(argc, argv));
	(void)waitpid(leader, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
