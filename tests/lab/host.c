/*
 * host [-r] [-t SECONDS] [-l FILE] [-y] -s STRING... -- QEMU ARGUMENT...
 *
 * Starts QEMU (whose arguments include a virtio-serial device) as a lab, tells guest.c inside what
 * to do (each STRING is one of MSG_RUN, see protocol.h), passes standard input, output and error,
 * and exits with the status of the command: 124 when the time was up, 125 when there was no lab.
 * -y: a terminal; -l: where the lab's console goes, of which otherwise only the end is kept, to be
 * shown when the lab dies.
 *
 * A lab that is not ready for the command after some time is given up, and this program starts
 * itself again, with one more -r.  Once it has told a lab to start the command it never does so.
 *
 * Nothing outlives this program, not even after SIGKILL: the kernel kills QEMU when its parent
 * dies, and there are no files to remove.
 */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>

#include "protocol.h"

#define STATUS_TIMEOUT 124
#define STATUS_NO_LAB  125
#define BOOT_ATTEMPTS  3
#define CONSOLE_TAIL   8192
#define QEMU_ARGS_MAX  256
#define ESCAPE_BYTE    0x1d /* Ctrl-] */
#define ESCAPE_TIMES   3

/* Twenty times what it takes on an idle machine. */
#ifndef BOOT_LIMIT_S
#define BOOT_LIMIT_S 60
#endif

struct lab {
	unsigned timeout_s;
	bool has_tty;
	bool is_started; /* MSG_START was sent */
	bool is_stdin_open;
	int port;
	int console;
	int console_log; /* -1: none */
	char tail[CONSOLE_TAIL];
	size_t tail_len;
	unsigned escapes; /* ESCAPE_BYTEs in a row */
	char *run;
	size_t run_len;
};

/* What the signal handlers need to know. */
static struct {
	volatile pid_t qemu;
	volatile sig_atomic_t is_raw;
	volatile sig_atomic_t is_resized;
	volatile sig_atomic_t is_boot_limited; /* the alarm is for the boot, not for the command */
	char **retry; /* what to execute then; NULL after the last attempt */
	struct termios saved;
} g;

/* Async-signal-safe. */
static void leave_lab(void)
{
	if (g.is_raw)
		tcsetattr(STDIN_FILENO, TCSANOW, &g.saved);
	g.is_raw = 0;
	if (g.qemu > 0) {
		kill(g.qemu, SIGKILL);
		waitpid(g.qemu, NULL, 0);
	}
	g.qemu = 0;
}

__attribute__((noreturn, format(printf, 1, 2))) static void no_lab(const char *fmt, ...)
{
	va_list ap;

	leave_lab();
	fputs("lab: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	exit(STATUS_NO_LAB);
}

/* --- signals
 * ------------------------------------------------------------------------------------------ */

static void on_alarm(int sig)
{
	static const char text[] = "lab: time is up\n";
	static const char boot_text[] = "lab: the lab did not start in time (try --console)\n";
	static const char retry_text[] = "lab: the lab did not start in time, trying another one\n";

	(void)sig;
	leave_lab();
	if (g.is_boot_limited && g.retry != NULL) {
		(void)!write(STDERR_FILENO, retry_text, sizeof(retry_text) - 1);
		execv("/proc/self/exe", g.retry);
	}
	if (g.is_boot_limited) {
		(void)!write(STDERR_FILENO, boot_text, sizeof(boot_text) - 1);
		_exit(STATUS_NO_LAB);
	}
	(void)!write(STDERR_FILENO, text, sizeof(text) - 1);
	_exit(STATUS_TIMEOUT);
}

/* Dies of the same signal, so that the caller sees what happened. */
static void on_death(int sig)
{
	leave_lab();
	signal(sig, SIG_DFL);
	raise(sig);
}

static void on_resize(int sig)
{
	(void)sig;
	g.is_resized = 1;
}

static void handle_signals(unsigned timeout_s)
{
	static const int deadly[] = { SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGPIPE };
	struct sigaction death = { .sa_handler = on_death, .sa_flags = SA_NODEFER };
	struct sigaction alarm_action = { .sa_handler = on_alarm };
	struct sigaction resize = { .sa_handler = on_resize };
	sigset_t alarm_set;

	/* An attempt after the first one begins in the handler of the alarm. */
	sigemptyset(&alarm_set);
	sigaddset(&alarm_set, SIGALRM);
	sigprocmask(SIG_UNBLOCK, &alarm_set, NULL);
	for (size_t i = 0; i < sizeof(deadly) / sizeof(deadly[0]); i++) {
		struct sigaction old;

		/* What the caller ignores (nohup, a job in the background) stays ignored. */
		sigaction(deadly[i], NULL, &old);
		if (old.sa_handler != SIG_IGN || deadly[i] == SIGPIPE)
			sigaction(deadly[i], &death, NULL);
	}
	sigaction(SIGWINCH, &resize, NULL);
	/* In the background of a terminal: go on without its input rather than stop. */
	signal(SIGTTIN, SIG_IGN);
	sigaction(SIGALRM, &alarm_action, NULL);
	g.is_boot_limited = timeout_s == 0 || timeout_s > BOOT_LIMIT_S;
	alarm(g.is_boot_limited ? BOOT_LIMIT_S : timeout_s);
}

/* --- QEMU
 * --------------------------------------------------------------------------------------------- */

static void start_qemu(struct lab *lab, char **command)
{
	char *args[QEMU_ARGS_MAX], port_spec[64], console_spec[64];
	char *const added[] = { "-chardev", port_spec, "-device",
		"virtserialport,chardev=port,nr=1", "-chardev", console_spec, "-serial",
		"chardev:console", NULL };
	pid_t parent = getpid();
	int port[2], console[2];
	size_t n = 0;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, port) < 0 ||
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, console) < 0)
		no_lab("socketpair: %m");
	snprintf(port_spec, sizeof(port_spec), "socket,id=port,fd=%d", port[1]);
	snprintf(console_spec, sizeof(console_spec), "socket,id=console,fd=%d", console[1]);
	for (; *command != NULL && n < QEMU_ARGS_MAX - 16; command++)
		args[n++] = *command;
	for (size_t i = 0; added[i] != NULL; i++)
		args[n++] = added[i];
	args[n] = NULL;

	g.qemu = fork();
	if (g.qemu < 0)
		no_lab("fork: %m");
	if (g.qemu == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(STATUS_NO_LAB);
		/* Away from the terminal's process group: Ctrl-C is ours to handle. */
		setsid();
		alarm(0);
		signal(SIGTTIN, SIG_DFL);
		fcntl(port[1], F_SETFD, 0);
		fcntl(console[1], F_SETFD, 0);
		dup2(open("/dev/null", O_RDWR), STDIN_FILENO);
		dup2(STDERR_FILENO, STDOUT_FILENO);
		execvp(args[0], args);
		fprintf(stderr, "lab: %s: %m\n", args[0]);
		_exit(STATUS_NO_LAB);
	}
	close(port[1]);
	close(console[1]);
	lab->port = port[0];
	lab->console = console[0];
}

/* Keeps the end of what the lab's kernel says. */
static void read_console(struct lab *lab)
{
	char buf[1024];
	ssize_t n = recv(lab->console, buf, sizeof(buf), MSG_DONTWAIT);
	size_t len, drop;

	if (n <= 0) {
		if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
			close(lab->console);
			lab->console = -1;
		}
		return;
	}
	len = (size_t)n;
	if (lab->console_log >= 0)
		(void)write_all(lab->console_log, buf, len);
	drop = lab->tail_len + len > CONSOLE_TAIL ? lab->tail_len + len - CONSOLE_TAIL : 0;
	memmove(lab->tail, lab->tail + drop, lab->tail_len - drop);
	lab->tail_len -= drop;
	memcpy(lab->tail + lab->tail_len, buf, len);
	lab->tail_len += len;
}

__attribute__((noreturn)) static void lab_died(struct lab *lab)
{
	for (int i = 0; i < CONSOLE_TAIL && lab->console >= 0; i++) {
		struct pollfd fd = { .fd = lab->console, .events = POLLIN };

		if (poll(&fd, 1, 100) <= 0)
			break;
		read_console(lab);
	}
	leave_lab();
	if (lab->tail_len > 0) {
		fputs("lab: the end of its console:\n", stderr);
		fwrite(lab->tail, 1, lab->tail_len, stderr);
		if (lab->tail[lab->tail_len - 1] != '\n')
			fputc('\n', stderr);
	}
	no_lab("%s", lab->is_started ? "the lab died before the command ended"
				     : "the lab did not start");
}

/* --- the conversation
 * --------------------------------------------------------------------------------- */

static void send_msg(struct lab *lab, enum msg_type type, const void *data, size_t len)
{
	struct msg_header header = { .type = type, .len = (uint32_t)len };

	if (write_all(lab->port, &header, sizeof(header)) < 0 ||
		write_all(lab->port, data, len) < 0)
		lab_died(lab);
}

static void send_winsize(struct lab *lab)
{
	struct winsize size;

	g.is_resized = 0;
	if (lab->has_tty && ioctl(STDIN_FILENO, TIOCGWINSZ, &size) == 0)
		send_msg(lab, MSG_WINSIZE, &size, sizeof(size));
}

static void set_raw(void)
{
	struct termios raw;

	if (tcgetattr(STDIN_FILENO, &g.saved) < 0)
		no_lab("standard input is no terminal");
	raw = g.saved;
	cfmakeraw(&raw);
	g.is_raw = 1;
	tcsetattr(STDIN_FILENO, TCSANOW, &raw);
}

static void send_run(struct lab *lab)
{
	struct timespec now;
	struct winsize size;
	char text[64];
	size_t len;

	/* The clock last: everything before it takes time. */
	if (lab->has_tty) {
		if (ioctl(STDIN_FILENO, TIOCGWINSZ, &size) < 0)
			size = (struct winsize){ .ws_row = 24, .ws_col = 80 };
		len = (size_t)snprintf(
			      text, sizeof(text), "%c%u %u", RUN_TTY, size.ws_row, size.ws_col) +
		      1;
		memcpy(lab->run + lab->run_len, text, len);
		lab->run_len += len;
	}
	clock_gettime(CLOCK_REALTIME, &now);
	len = (size_t)snprintf(text, sizeof(text), "%c%lld.%09ld", RUN_TIME, (long long)now.tv_sec,
		      now.tv_nsec) +
	      1;
	memcpy(lab->run + lab->run_len, text, len);
	lab->run_len += len;
	send_msg(lab, MSG_RUN, lab->run, lab->run_len);
}

/* From here on there is no other attempt: the alarm first, as it decides that. */
static void start_command(struct lab *lab)
{
	if (g.is_boot_limited) {
		/* What the boot took is part of the caller's time, but not worth counting here. */
		alarm(lab->timeout_s);
		g.is_boot_limited = 0;
	}
	lab->is_started = true;
	lab->is_stdin_open = true;
	if (lab->has_tty)
		set_raw();
	send_msg(lab, MSG_START, NULL, 0);
	/* It may have changed since send_run(). */
	send_winsize(lab);
}

/* Output that nobody takes: the caller closed its end. */
static void write_output(int fd, const void *data, size_t len)
{
	int ret = write_all(fd, data, len);

	if (ret < 0 && ret != -EBADF) {
		errno = -ret;
		no_lab("cannot write the command's output: %m");
	}
}

static void read_port(struct lab *lab)
{
	static char data[MSG_MAX];
	struct msg_header header;

	if (read_all(lab->port, &header, sizeof(header)) < 0 || header.len > sizeof(data) ||
		read_all(lab->port, data, header.len) < 0)
		lab_died(lab);
	switch (header.type) {
	case MSG_HELLO: send_run(lab); break;
	case MSG_READY: start_command(lab); break;
	case MSG_STDOUT: write_output(STDOUT_FILENO, data, header.len); break;
	case MSG_STDERR: write_output(STDERR_FILENO, data, header.len); break;
	case MSG_FAULT: no_lab("%.*s", (int)header.len, data);
	case MSG_EXIT: leave_lab(); exit(header.len == 1 ? (unsigned char)data[0] : STATUS_NO_LAB);
	default: no_lab("unexpected message %u", header.type);
	}
}

static void read_stdin(struct lab *lab)
{
	char buf[16384];
	ssize_t n = read(STDIN_FILENO, buf, sizeof(buf));

	if (n < 0 && errno == EINTR)
		return;
	if (n <= 0) {
		n = 0;
		lab->is_stdin_open = false;
	}
	for (ssize_t i = 0; lab->has_tty && i < n; i++) {
		lab->escapes = buf[i] == ESCAPE_BYTE ? lab->escapes + 1 : 0;
		if (lab->escapes == ESCAPE_TIMES)
			no_lab("left by Ctrl-]");
	}
	send_msg(lab, MSG_STDIN, buf, (size_t)n);
}

/*
 * Output has precedence, and input is only read when QEMU takes some: neither side ever waits for
 * the other with both pipes full, as a message of input is smaller than what the socket takes at
 * once when it is writable.
 */
__attribute__((noreturn)) static void converse(struct lab *lab)
{
	for (;;) {
		struct pollfd fds[] = {
			{ .fd = lab->port,
				.events = (short)(POLLIN | (lab->is_stdin_open ? POLLOUT : 0)) },
			{ .fd = lab->console, .events = POLLIN },
			{ .fd = -1, .events = POLLIN },
		};
		struct pollfd room = { .fd = lab->port, .events = POLLOUT };

		if (lab->is_stdin_open && poll(&room, 1, 0) == 1 && (room.revents & POLLOUT)) {
			fds[0].events = POLLIN;
			fds[2].fd = STDIN_FILENO;
		}
		if (poll(fds, sizeof(fds) / sizeof(fds[0]), -1) < 0) {
			if (errno != EINTR)
				no_lab("poll: %m");
			if (g.is_resized && lab->is_started)
				send_winsize(lab);
			continue;
		}
		if (fds[1].revents != 0)
			read_console(lab);
		if (fds[0].revents & (POLLIN | POLLHUP | POLLERR))
			read_port(lab);
		if (fds[2].revents != 0)
			read_stdin(lab);
	}
}

/* --- start
 * -------------------------------------------------------------------------------------------- */

static void add_string(struct lab *lab, const char *string)
{
	size_t len = strlen(string) + 1;

	/* 128 bytes are kept for what send_run() adds. */
	if (lab->run_len + len > MSG_RUN_MAX - 128)
		no_lab("the command is too long");
	memcpy(lab->run + lab->run_len, string, len);
	lab->run_len += len;
}

int main(int argc, char **argv)
{
	static struct lab lab = { .console_log = -1 };
	static char retry_option[] = "-r";
	unsigned attempt = 1;
	int option;

	lab.run = malloc(MSG_RUN_MAX);
	g.retry = calloc((size_t)argc + 2, sizeof(*g.retry));
	if (lab.run == NULL || g.retry == NULL)
		no_lab("no memory");
	g.retry[0] = argv[0];
	g.retry[1] = retry_option;
	memcpy(g.retry + 2, argv + 1, (size_t)argc * sizeof(*argv));
	while ((option = getopt(argc, argv, "+rt:l:ys:")) != -1) {
		switch (option) {
		case 'r': attempt++; break;
		case 't': lab.timeout_s = (unsigned)strtoul(optarg, NULL, 10); break;
		case 'l':
			lab.console_log =
				open(optarg, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
			if (lab.console_log < 0)
				no_lab("%s: %m", optarg);
			break;
		case 'y': lab.has_tty = true; break;
		case 's': add_string(&lab, optarg); break;
		default: return STATUS_NO_LAB;
		}
	}
	if (optind == argc)
		no_lab("no QEMU given");
	if (attempt == BOOT_ATTEMPTS)
		g.retry = NULL;
	handle_signals(lab.timeout_s);
	start_qemu(&lab, argv + optind);
	converse(&lab);
}
