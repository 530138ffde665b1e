/* "mvm run": a machine in the foreground, its serial port on stdin and stdout. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/log.h"
#include "cmd_run_counters.h"
#include "commands.h"
#include "console.h"
#include "footprint.h"
#include "options.h"
#include "terminal.h"
#include "vm.h"

enum { DRAIN_MS = 2000 };

/* Everything a run consists of. */
struct run {
	struct run_options options;
	struct timeline timeline;
	struct loop *loop;
	struct console *console;
	struct vm *vm;
	int signal_fd;
	struct loop_op signal_op;
	int ended_by; /* the signal that ended us, 0 for none */
};

static uint64_t host_memory(void)
{
	struct sysinfo info;

	if (sysinfo(&info) < 0)
		return 0;
	return ((uint64_t)info.totalram + info.totalswap) * info.mem_unit;
}

/* --- signals --- */

/*
 * Blocked in every thread and read from a descriptor, so that none of them can hit us at a bad
 * moment.  What we were started with ignored (nohup, a script's background job) stays ignored.
 */
static int watch_signals(struct run *r, struct err *e)
{
	static const int signals[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP, SIGCONT,
		SIGUSR1 };
	struct sigaction old;
	sigset_t set;

	(void)sigemptyset(&set);
	for (unsigned i = 0; i < ARRAY_SIZE(signals); i++) {
		if (sigaction(signals[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN)
			(void)sigaddset(&set, signals[i]);
	}
	r->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (r->signal_fd < 0)
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

static void take_signals(struct run *r)
{
	struct signalfd_siginfo info;

	while (read(r->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
		if (info.ssi_signo == SIGTSTP) {
			stop();
		} else if (info.ssi_signo == SIGCONT) {
			terminal_resume();
			console_resume(r->console);
		} else if (info.ssi_signo == SIGUSR1) {
			/* A disk was made larger or smaller. */
			devices_rescan(&r->vm->devices);
		} else {
			r->ended_by = (int)info.ssi_signo;
		}
	}
}

static void signal_ready(struct loop_op *op, int res)
{
	struct run *r = container_of(op, struct run, signal_op);

	(void)res;
	take_signals(r);
	if (r->ended_by)
		vm_stop(r->vm, VM_STOPPED, "ended by a signal");
	loop_poll(r->loop, &r->signal_op, r->signal_fd, POLLIN);
}

/* Ends the process the way the signal would have, so that a shell sees what happened. */
static void die_by(int signo)
{
	sigset_t set;

	(void)sigemptyset(&set);
	(void)sigaddset(&set, signo);
	(void)signal(signo, SIG_DFL);
	(void)sigprocmask(SIG_UNBLOCK, &set, NULL);
	(void)raise(signo);
}

/* --- console --- */

static void on_command(void *ctx, enum console_command command)
{
	struct run *r = ctx;

	if (command == CONSOLE_QUIT)
		vm_stop(r->vm, VM_STOPPED, "ended from the console");
	else
		machine_request_shutdown(&r->vm->machine);
}

static int open_console(struct run *r, struct err *e)
{
	struct console_host host = { .command = on_command, .ctx = r };
	bool is_terminal = terminal_make_raw(STDIN_FILENO);
	int rc = console_new(
		r->loop, STDIN_FILENO, STDOUT_FILENO, is_terminal, &host, &r->console, e);

	if (rc == 0)
		console_attach(r->console, &r->vm->machine.serial);
	return rc;
}

/* --- the run --- */

static int start(struct run *r, struct err *e)
{
	enum loop_backend backend = LOOP_AUTO;
	struct serial_host serial;
	int rc = vm_new(&r->options.vm, &r->timeline, &r->vm, e);

	/* Until here a signal simply ends us, however long the set-up takes; there is nothing to
	 * undo. */
	if (rc == 0)
		rc = watch_signals(r, e);
	/* While the vCPU threads finish their set-up. */
	if (rc == 0)
		rc = loop_new(r->options.loop, &r->loop, &backend, e);
	if (rc == 0)
		rc = open_console(r, e);
	if (rc < 0)
		return rc;
	if (backend == LOOP_EPOLL && r->options.loop == LOOP_AUTO)
		log_info("this host refuses io_uring; file I/O goes through threads");
	r->signal_op.done = signal_ready;
	loop_poll(r->loop, &r->signal_op, r->signal_fd, POLLIN);
	serial = console_serial_host(r->console);
	rc = vm_start(r->vm, r->loop, &serial, e);
	if (rc == 0)
		footprint_trim();
	return rc;
}

static void write_timeline(const struct run *r)
{
	FILE *out;

	if (r->options.timeline)
		timeline_print(&r->timeline, stderr);
	if (!r->options.timeline_json)
		return;
	out = fopen(r->options.timeline_json, "we");
	if (out)
		timeline_print_json(&r->timeline, out);
	if (!out || fclose(out) != 0)
		log_error("cannot write the timeline to '%s': %s", r->options.timeline_json,
			strerror(errno));
}

static void write_counters(const struct run *r)
{
	int rc;

	if (!r->options.counters || !r->vm)
		return;
	rc = cmd_run_write_counters(&r->vm->devices, r->options.counters);
	if (rc < 0)
		log_error("cannot write the counters to '%s': %s", r->options.counters,
			strerror(-rc));
}

static void finish(struct run *r)
{
	uint64_t dropped;

	/* The vCPUs are gone before the rest is written, so nothing is added behind our back. */
	if (r->vm)
		vm_quiet(r->vm);
	write_counters(r);
	vm_free(r->vm);
	if (r->console) {
		console_drain(r->console, DRAIN_MS, r->signal_fd);
		terminal_restore();
		dropped = console_dropped(r->console);
		if (dropped > 0)
			log_warning("%llu bytes of console output were lost: the reader was too "
				    "slow, or gone",
				(unsigned long long)dropped);
		dropped = console_keys_dropped(r->console);
		if (dropped > 0)
			log_warning("%llu typed bytes were lost: the guest does not read them",
				(unsigned long long)dropped);
	}
	terminal_restore();
	loop_free(r->loop);
	console_free(r->console);
	fd_closep(&r->signal_fd);
	options_free(&r->options);
}

static int status_of(enum vm_end end, const char *why)
{
	switch (end) {
	case VM_SHUTDOWN: log_info("the guest shut down (%s)", why); return EXIT_GUEST_DONE;
	case VM_RESET: log_info("the guest rebooted (%s)", why); return EXIT_GUEST_DONE;
	case VM_STOPPED: log_info("%s", why); return EXIT_GUEST_DONE;
	case VM_CRASHED: log_error("the guest crashed: %s", why); return EXIT_GUEST_CRASHED;
	case VM_FAILED:
	case VM_RUNNING:
	default: log_error("the machine failed: %s", why); return EXIT_HOST_FAILED;
	}
}

static int run(struct run *r)
{
	char why[VM_WHY_MAX] = "";
	enum vm_end end = VM_RUNNING;
	struct err e = { 0 };
	int rc = start(r, &e);

	if (rc == 0) {
		rc = loop_run(r->loop);
		end = vm_end(r->vm, why);
		if (rc < 0)
			(void)err_sys(&e, rc, NULL, "the event loop failed");
	}
	finish(r);
	if (rc < 0) {
		log_error("%s", e.text);
		return EXIT_HOST_FAILED;
	}
	write_timeline(r);
	if (end == VM_STOPPED && r->ended_by)
		die_by(r->ended_by);
	return status_of(end, why);
}

int cmd_run(int argc, char **argv)
{
	struct run r = { .signal_fd = -1 };
	struct err e = { 0 };
	int rc;

	timeline_set(&r.timeline, TIMELINE_MAIN);
	rc = options_parse_run(argc, argv, &r.options, &e);
	if (rc == 0 && r.options.help) {
		(void)fputs(options_run_help, stdout);
		options_free(&r.options);
		return 0;
	}
	if (rc == 0)
		rc = config_check(&r.options.vm, host_memory(), &e);
	if (rc < 0) {
		log_error("%s", e.text);
		options_free(&r.options);
		return EXIT_USAGE;
	}
	if (r.options.verbose)
		log_init(LOG_DEBUG, STDERR_FILENO);
	timeline_set_at(&r.timeline, TIMELINE_PROCESS,
		r.options.start_time_us ? r.options.start_time_us : r.timeline.us[TIMELINE_MAIN]);
	return run(&r);
}
