/* The terminal: raw while a guest has it, as it was on every way out. */
#include "t.h"

#include <pty.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <termios.h>

#include "terminal.h"

TestSuite(terminal, .timeout = T_SECONDS);

enum { FAILED = 99 };

static struct termios settings(int fd)
{
	struct termios t;

	t_int(tcgetattr(fd, &t), 0);
	return t;
}

static bool is_raw(const struct termios *t)
{
	return !(t->c_lflag & (ICANON | ECHO | ISIG)) && !(t->c_iflag & ICRNL);
}

static bool is_same(const struct termios *a, const struct termios *b)
{
	return a->c_iflag == b->c_iflag && a->c_oflag == b->c_oflag && a->c_cflag == b->c_cflag &&
	       a->c_lflag == b->c_lflag && memcmp(a->c_cc, b->c_cc, sizeof(a->c_cc)) == 0;
}

/* Runs child on a terminal of its own, in the foreground; the settings before and after, and how it
 * ended. */
static int on_terminal(void (*child)(void), struct termios *before, struct termios *after)
{
	int master = -1, status = -1;
	pid_t pid = forkpty(&master, NULL, NULL, NULL);

	t_true(pid >= 0);
	if (pid == 0) {
		char go;

		/* Until the parent has looked. */
		(void)!read(STDIN_FILENO, &go, 1);
		child();
		_exit(0);
	}
	*before = settings(master);
	t_int(write(master, "\n", 1), 1);
	t_int(waitpid(pid, &status, 0), pid);
	*after = settings(master);
	(void)close(master);
	return status;
}

static void expect(bool cond)
{
	if (!cond)
		_exit(FAILED);
}

static void make_raw_and_restore(void)
{
	struct termios t;

	expect(terminal_make_raw(STDIN_FILENO));
	(void)tcgetattr(STDIN_FILENO, &t);
	expect(is_raw(&t));
	terminal_restore();
}

Test(terminal, it_becomes_raw_and_is_restored)
{
	struct termios before, after;

	t_int(on_terminal(make_raw_and_restore, &before, &after), 0);
	t_false(is_raw(&before));
	t_true(is_same(&before, &after));
}

static void stay_raw(void)
{
	expect(terminal_make_raw(STDIN_FILENO));
}

Test(terminal, it_stays_raw_until_it_is_restored)
{
	struct termios before, after;

	t_int(on_terminal(stay_raw, &before, &after), 0);
	t_true(is_raw(&after));
	t_true(after.c_oflag & OPOST); /* or log lines would look like stairs */
}

static void restore_twice_and_without_raw(void)
{
	terminal_restore();
	expect(terminal_make_raw(STDIN_FILENO));
	terminal_restore();
	terminal_restore();
}

Test(terminal, restoring_twice_or_what_was_never_raw_does_nothing)
{
	struct termios before, after;

	t_int(on_terminal(restore_twice_and_without_raw, &before, &after), 0);
	t_true(is_same(&before, &after));
}

static void stop_and_go_on(void)
{
	struct termios t;

	expect(terminal_make_raw(STDIN_FILENO));
	terminal_restore();
	terminal_resume();
	(void)tcgetattr(STDIN_FILENO, &t);
	expect(is_raw(&t));
	terminal_restore();
}

Test(terminal, it_becomes_raw_again_after_a_stop)
{
	struct termios before, after;

	t_int(on_terminal(stop_and_go_on, &before, &after), 0);
	t_true(is_same(&before, &after));
}

static int crash_signal;

static void crash(void)
{
	/* Whoever handles it otherwise - a sanitizer, the test's frame - is out of the way. */
	(void)signal(crash_signal, SIG_DFL);
	expect(terminal_make_raw(STDIN_FILENO));
	(void)raise(crash_signal);
	_exit(FAILED);
}

Test(terminal, a_crash_restores_it_and_is_still_that_crash)
{
	static const int signals[] = { SIGSEGV, SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSYS };

	for (unsigned i = 0; i < ARRAY_SIZE(signals); i++) {
		struct termios before, after;
		int status;

		crash_signal = signals[i];
		status = on_terminal(crash, &before, &after);
		cr_expect(eq(int, WIFSIGNALED(status) && WTERMSIG(status) == signals[i], 1),
			"signal %d: status 0x%x", signals[i], status);
		cr_expect(eq(int, is_same(&before, &after), 1), "signal %d", signals[i]);
	}
}

static void on_signal(int signo)
{
	_exit(signo);
}

static void crash_with_another_handler(void)
{
	(void)signal(SIGBUS, on_signal);
	expect(terminal_make_raw(STDIN_FILENO));
	(void)raise(SIGBUS);
	_exit(FAILED);
}

Test(terminal, a_handler_that_was_there_before_is_kept)
{
	struct termios before, after;
	int status = on_terminal(crash_with_another_handler, &before, &after);

	t_true(WIFEXITED(status));
	t_int(WEXITSTATUS(status), SIGBUS);
}

Test(terminal, what_is_no_terminal_is_left_alone)
{
	int ends[2];

	t_int(pipe(ends), 0);
	t_false(terminal_make_raw(ends[0]));
	t_false(terminal_make_raw(-1));
	terminal_restore();
	terminal_resume();
}

static void in_background(void)
{
	struct termios t;
	int status = -1;
	pid_t pid;

	(void)signal(SIGTTOU, SIG_IGN);
	pid = fork();
	if (pid == 0) {
		/* A group of its own, which is not the terminal's. */
		expect(setpgid(0, 0) == 0);
		expect(!terminal_make_raw(STDIN_FILENO));
		_exit(0);
	}
	expect(waitpid(pid, &status, 0) == pid && status == 0);
	(void)tcgetattr(STDIN_FILENO, &t);
	expect(!is_raw(&t));
}

Test(terminal, in_the_background_the_terminal_is_somebody_elses)
{
	struct termios before, after;

	t_int(on_terminal(in_background, &before, &after), 0);
	t_true(is_same(&before, &after));
}
