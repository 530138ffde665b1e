/* The terminal on stdin (terminal.h). */
#include "terminal.h"

#include <signal.h>
#include <termios.h>
#include <unistd.h>

#include "base/check.h"

static struct {
	volatile sig_atomic_t is_raw;
	int fd;
	struct termios cooked, raw;
} saved;

static void on_crash(int signo)
{
	terminal_restore();
	/* SA_RESETHAND has put the default back: this ends us the way it would have ended. */
	(void)raise(signo);
}

static void guard_crashes(void)
{
	static const int signals[] = { SIGSEGV, SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSYS };
	struct sigaction act = { .sa_handler = on_crash,
		.sa_flags = (int)(SA_RESETHAND | SA_NODEFER) };

	for (unsigned i = 0; i < ARRAY_SIZE(signals); i++) {
		struct sigaction old;

		/* A sanitizer, or whoever was here first, keeps its handler. */
		if (sigaction(signals[i], NULL, &old) == 0 && old.sa_handler == SIG_DFL)
			(void)sigaction(signals[i], &act, NULL);
	}
}

bool terminal_make_raw(int fd)
{
	/* In the background, changing the terminal would stop us (SIGTTOU) and take it from whoever
	 * has it. */
	if (!isatty(fd) || tcgetpgrp(fd) != getpgrp() || tcgetattr(fd, &saved.cooked) < 0)
		return false;
	saved.fd = fd;
	saved.raw = saved.cooked;
	cfmakeraw(&saved.raw);
	saved.raw.c_oflag |= OPOST;
	guard_crashes();
	saved.is_raw = 1;
	if (tcsetattr(fd, TCSANOW, &saved.raw) < 0) {
		saved.is_raw = 0;
		return false;
	}
	return true;
}

void terminal_restore(void)
{
	/* In the background the shell has set it to what it wants, and touching it would stop us.
	 */
	if (saved.is_raw && tcgetpgrp(saved.fd) == getpgrp())
		(void)tcsetattr(saved.fd, TCSANOW, &saved.cooked);
}

void terminal_resume(void)
{
	if (saved.is_raw && tcgetpgrp(saved.fd) == getpgrp())
		(void)tcsetattr(saved.fd, TCSANOW, &saved.raw);
}
