/* Signals of a process that has a machine (cmd_signals.h). */
#include "cmd_signals.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "terminal.h"

int signals_block(struct signals *s, struct err *e)
{
	static const int signals[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGXCPU, SIGTSTP, SIGCONT,
		SIGUSR1 };
	struct sigaction old;
	sigset_t set;

	(void)sigemptyset(&set);
	for (unsigned i = 0; i < ARRAY_SIZE(signals); i++) {
		if (sigaction(signals[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN)
			(void)sigaddset(&set, signals[i]);
	}
	s->fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (s->fd < 0)
		return err_sys(e, -errno, NULL, "cannot watch for signals");
	/* Reading a terminal that is somebody else's then fails instead of stopping the machine. */
	(void)sigaddset(&set, SIGTTIN);
	(void)sigprocmask(SIG_BLOCK, &set, NULL);
	/* A reader of our output that goes away is an error of write, not the end of the guest. */
	(void)signal(SIGPIPE, SIG_IGN);
	/* And an image that may not grow (RLIMIT_FSIZE) is an I/O error of the guest. */
	(void)signal(SIGXFSZ, SIG_IGN);
	return 0;
}

/* Stops the way an untouched SIGTSTP would: not at all in an orphaned process group. */
static void stop(void)
{
	sigset_t set;

	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGTSTP);
	terminal_restore();
	(void)raise(SIGTSTP);
	(void)sigprocmask(SIG_UNBLOCK, &set, NULL); /* here */
	(void)sigprocmask(SIG_BLOCK, &set, NULL);
	terminal_resume();
}

static void take(struct signals *s)
{
	struct signalfd_siginfo info;

	while (read(s->fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
		if (info.ssi_signo == SIGTSTP) {
			stop();
		} else if (info.ssi_signo == SIGCONT) {
			terminal_resume();
			s->host.resume(s->host.ctx);
		} else if (info.ssi_signo == SIGUSR1) {
			s->host.rescan(s->host.ctx);
		} else {
			s->host.end(s->host.ctx, (int)info.ssi_signo, info.ssi_code);
		}
	}
}

static void on_ready(struct loop_op *op, int res)
{
	struct signals *s = container_of(op, struct signals, op);

	(void)res; /* an error shows when reading */
	take(s);
	loop_poll(s->loop, &s->op, s->fd, POLLIN);
}

void signals_serve(struct signals *s, struct loop *l, const struct signals_host *host)
{
	s->loop = l;
	s->host = *host;
	s->op.done = on_ready;
	loop_poll(l, &s->op, s->fd, POLLIN);
}

void signals_fini(struct signals *s)
{
	fd_closep(&s->fd);
	s->fd = -1;
}

void signals_die_by(int signo)
{
	sigset_t set;

	(void)sigemptyset(&set);
	(void)sigaddset(&set, signo);
	(void)signal(signo, SIG_DFL);
	(void)sigprocmask(SIG_UNBLOCK, &set, NULL);
	(void)raise(signo);
}
