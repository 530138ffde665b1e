/*
 * Process 1 of a lab.  Loads the few modules that it needs to see the host, asks the host what to
 * do (protocol.h), builds a root out of the host's files, runs one command in it and passes its
 * output on.
 *
 * Written in C and linked statically rather than as a shell script because each program started
 * under emulation costs several milliseconds, and this would start fifty.
 */
#include <dirent.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <net/if.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>

#include "protocol.h"

#define OPTIONS_9P   "trans=virtio,version=9p2000.L,msize=512000"
#define PORT_WAIT_MS 20000
#define STRINGS_MAX  4096
#define ROOT         "/new"

struct command {
	char *args[STRINGS_MAX];
	char *env[STRINGS_MAX];
	const char *cwd;
	bool has_tty;
	struct winsize winsize;
	pid_t pid;
	int in, out, err; /* our ends; with a terminal all three are its master, err being -1 */
};

/* The lab has one port and one life, so every function may report a fault and end both. */
static int port = -1;

static void send_msg(enum msg_type type, const void *data, size_t len)
{
	struct msg_header header = { .type = type, .len = (uint32_t)len };

	/* When the host is gone, so is QEMU, or will be in a moment. */
	(void)write_all(port, &header, sizeof(header));
	(void)write_all(port, data, len);
}

__attribute__((noreturn, format(printf, 1, 2))) static void fault(const char *fmt, ...)
{
	char text[512];
	va_list ap;
	int len;

	va_start(ap, fmt);
	len = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (len >= (int)sizeof(text))
		len = sizeof(text) - 1;
	if (port >= 0)
		send_msg(MSG_FAULT, text, (size_t)len);
	else
		fprintf(stderr, "lab: %s\n", text);
	/* Process 1 must not return: the kernel panics, QEMU ends, the host shows the console. */
	while (port >= 0)
		pause();
	exit(1);
}

/* --- modules and the port
 * ----------------------------------------------------------------------------- */

static int is_module(const struct dirent *entry)
{
	return strstr(entry->d_name, ".ko") != NULL;
}

static void load_modules(const char *dir)
{
	struct dirent **list;
	int n = scandir(dir, &list, is_module, alphasort);
	char path[PATH_MAX];

	for (int i = 0; i < n; i++) {
		int fd;

		snprintf(path, sizeof(path), "%s/%s", dir, list[i]->d_name);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0 || (syscall(SYS_finit_module, fd, "", 0) < 0 && errno != EEXIST))
			fault("module %s: %m", path);
		close(fd);
		free(list[i]);
	}
	if (n <= 0)
		fault("no modules in %s", dir);
	free(list);
}

static int is_port(const struct dirent *entry)
{
	return strncmp(entry->d_name, "vport", 5) == 0;
}

/*
 * The port appears some milliseconds after its driver, as device and driver first have to greet
 * each other.  The first number in its name, vport1p1, counts all virtio devices.
 */
static void open_port(void)
{
	const struct timespec pause_2ms = { .tv_nsec = 2000000 };

	for (int waited_ms = 0; waited_ms < PORT_WAIT_MS; waited_ms += 2) {
		struct dirent **list;
		char path[PATH_MAX];

		if (scandir("/dev", &list, is_port, alphasort) > 0) {
			snprintf(path, sizeof(path), "/dev/%s", list[0]->d_name);
			port = open(path, O_RDWR | O_CLOEXEC);
			if (port < 0)
				fault("%s: %m", path);
			return;
		}
		nanosleep(&pause_2ms, NULL);
	}
	fault("no virtio-serial port");
}

/* --- the root
 * ----------------------------------------------------------------------------------------- */

static void make_dirs(const char *path)
{
	char copy[PATH_MAX];

	snprintf(copy, sizeof(copy), "%s", path);
	for (char *p = copy + 1; *p != '\0'; p++) {
		if (*p != '/')
			continue;
		*p = '\0';
		mkdir(copy, 0755);
		*p = '/';
	}
	mkdir(copy, 0755);
}

static void mount_or_fault(const char *source, const char *target, const char *type,
	unsigned long flags, const char *data)
{
	make_dirs(target);
	if (mount(source, target, type, flags, data) < 0)
		fault("mount %s on %s: %m", source, target);
}

static void write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		fault("%s: %m", path);
	close(fd);
}

/* The host's files, read-only, under a layer of memory that takes what is written. */
static void mount_host_root(void)
{
	mount_or_fault("root", "/lower", "9p", MS_RDONLY, OPTIONS_9P ",cache=loose");
	mount_or_fault("upper", "/upper", "tmpfs", 0, "mode=755");
	mkdir("/upper/data", 0755);
	mkdir("/upper/work", 0755);
	mount_or_fault("root", ROOT, "overlay", 0,
		"lowerdir=/lower,upperdir=/upper/data,workdir=/upper/work");

	/* A second view of it, for the folders which the mounts below would hide. */
	mount_or_fault(ROOT, "/whole", NULL, MS_BIND, NULL);

	/* From here on absolute links such as /lib or /var/run are followed inside the root. */
	mount_or_fault("/whole", ROOT "/mnt", NULL, MS_BIND, NULL);
	if (chdir(ROOT) < 0 || mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0 ||
		chdir("/") < 0)
		fault("switching to the host's root: %m");
}

static void mount_system(void)
{
	static const struct {
		const char *type, *path, *data;
		unsigned long flags;
	} table[] = {
		{ "proc", "/proc", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC },
		{ "sysfs", "/sys", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC },
		{ "cgroup2", "/sys/fs/cgroup", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC },
		{ "debugfs", "/sys/kernel/debug", NULL, 0 },
		{ "devtmpfs", "/dev", "mode=755", MS_NOSUID },
		{ "devpts", "/dev/pts", "ptmxmode=666,mode=620,gid=5", MS_NOSUID | MS_NOEXEC },
		{ "tmpfs", "/dev/shm", "mode=1777", MS_NOSUID | MS_NODEV },
		{ "hugetlbfs", "/dev/hugepages", NULL, 0 },
		{ "tmpfs", "/tmp", "mode=1777", 0 },
		{ "tmpfs", "/run", "mode=755", MS_NOSUID | MS_NODEV },
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		mount_or_fault(
			table[i].type, table[i].path, table[i].type, table[i].flags, table[i].data);
}

/*
 * What udev does elsewhere.  Opening a node whose driver is absent makes the kernel call modprobe,
 * which finds it by the device number; so tun and loop cost nothing until somebody wants them.
 */
static void make_nodes(void)
{
	mkdir("/dev/net", 0755);
	mknod("/dev/net/tun", S_IFCHR, makedev(10, 200));
	chmod("/dev/net/tun", 0666);
	mknod("/dev/loop-control", S_IFCHR | 0660, makedev(10, 237));
	chmod("/dev/kvm", 0666);
	(void)!symlink("/proc/self/fd", "/dev/fd");
	(void)!symlink("/proc/self/fd/0", "/dev/stdin");
	(void)!symlink("/proc/self/fd/1", "/dev/stdout");
	(void)!symlink("/proc/self/fd/2", "/dev/stderr");
}

/*
 * Two VMs that never run, for as long as the lab lives, because of a race in QEMU.  The kernel has
 * branches that it switches by rewriting its code: a breakpoint first, then the new instruction.  A
 * CPU that QEMU lets translate that code between noting another CPU's write and carrying it out
 * keeps what was there before the write; with a breakpoint that is no more in memory it never gets
 * on, and the lab stops.  KVM switches a branch in the scheduler with the first VM and after the
 * last one, and others with the first vCPU that has no local APIC or one that is not enabled yet:
 * with these two VMs none of them is ever the first or the last.
 */
static void hold_vms(void)
{
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	for (int has_irqchip = 0; has_irqchip <= 1; has_irqchip++) {
		int vm = ioctl(kvm, KVM_CREATE_VM, 0);

		if (vm < 0 || (has_irqchip && ioctl(vm, KVM_CREATE_IRQCHIP, 0) < 0) ||
			ioctl(vm, KVM_CREATE_VCPU, 0) < 0)
			fault("/dev/kvm: %m");
	}
	close(kvm);
}

static void enable_controllers(void)
{
	char names[512], one[72], *save = NULL;
	int fd = open("/sys/fs/cgroup/cgroup.controllers", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, names, sizeof(names) - 1);

	if (n < 0)
		fault("cgroup.controllers: %m");
	close(fd);
	names[n] = '\0';
	for (char *name = strtok_r(names, " \n", &save); name != NULL;
		name = strtok_r(NULL, " \n", &save)) {
		snprintf(one, sizeof(one), "+%s", name);
		write_file("/sys/fs/cgroup/cgroup.subtree_control", one);
	}
}

static void bring_loopback_up(void)
{
	struct ifreq req = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &req) < 0)
		fault("loopback: %m");
	close(fd);
}

static void mount_share(char *what)
{
	char *path = strchr(what, '=');

	if (path == NULL)
		fault("bad share '%s'", what);
	*path++ = '\0';
	/* cache=mmap: reads and writes reach the host at once, and files can be mapped, shared ones
	 * too. */
	mount_or_fault(what, path, "9p", 0, OPTIONS_9P ",cache=mmap");
}

static void keep_folder(const char *path)
{
	char source[PATH_MAX];

	snprintf(source, sizeof(source), "/mnt%s", path);
	mount_or_fault(source, path, NULL, MS_BIND, NULL);
}

static void mount_modules(const char *path)
{
	char source[PATH_MAX], target[PATH_MAX];

	snprintf(source, sizeof(source), "/mnt%s", path);
	snprintf(target, sizeof(target), "/lib/modules/%s", strrchr(path, '/') + 1);
	mount_or_fault(source, target, NULL, MS_BIND, NULL);
}

static void set_time(const char *text)
{
	long long seconds;
	struct timespec now;

	if (sscanf(text, "%lld.%ld", &seconds, &now.tv_nsec) != 2)
		fault("bad time '%s'", text);
	now.tv_sec = seconds;
	clock_settime(CLOCK_REALTIME, &now);
}

/* --- the command
 * -------------------------------------------------------------------------------------- */

static char *receive_run(size_t *ret_len)
{
	struct msg_header header;
	char *text;

	send_msg(MSG_HELLO, NULL, 0);
	if (read_all(port, &header, sizeof(header)) < 0 || header.type != MSG_RUN ||
		header.len > MSG_RUN_MAX)
		fault("expected the command");
	text = malloc((size_t)header.len + 1);
	if (text == NULL || read_all(port, text, header.len) < 0)
		fault("the command did not arrive");
	text[header.len] = '\0';
	*ret_len = header.len;
	return text;
}

/*
 * Until it is told so the command does not begin: whoever started this lab may have given it up and
 * taken another one.
 */
static void await_start(void)
{
	struct msg_header header;

	send_msg(MSG_READY, NULL, 0);
	if (read_all(port, &header, sizeof(header)) < 0 || header.type != MSG_START ||
		header.len != 0)
		fault("expected the start of the command");
}

/* Fills the command, which points into the text, and does everything else the text asks for. */
static void obey(char *text, size_t len, struct command *cmd)
{
	size_t args = 0, env = 0;

	for (char *s = text, *next; s < text + len; s = next) {
		char *value = s + 1;

		next = s + strlen(s) + 1;
		switch (*s) {
		case RUN_ARG:
			if (args + 1 == STRINGS_MAX)
				fault("more than %d arguments", STRINGS_MAX - 1);
			cmd->args[args++] = value;
			break;
		case RUN_ENV:
			if (env + 1 == STRINGS_MAX)
				fault("more than %d variables", STRINGS_MAX - 1);
			cmd->env[env++] = value;
			break;
		case RUN_CWD: cmd->cwd = value; break;
		case RUN_SHARE: mount_share(value); break;
		case RUN_KEEP: keep_folder(value); break;
		case RUN_MODULES: mount_modules(value); break;
		case RUN_TIME: set_time(value); break;
		case RUN_TTY:
			cmd->has_tty = true;
			if (sscanf(value, "%hu %hu", &cmd->winsize.ws_row, &cmd->winsize.ws_col) !=
				2)
				fault("bad terminal size '%s'", value);
			break;
		default: fault("unknown request '%s'", s);
		}
	}
	if (args == 0)
		fault("no command");
}

__attribute__((noreturn)) static void exec_command(const struct command *cmd)
{
	const struct rlimit files = { .rlim_cur = 1024, .rlim_max = 524288 };
	sigset_t none;
	int status;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	setrlimit(RLIMIT_NOFILE, &files);
	if (cmd->cwd != NULL && chdir(cmd->cwd) < 0) {
		dprintf(STDERR_FILENO, "lab: %s: %m\n", cmd->cwd);
		_exit(127);
	}
	environ = (char **)cmd->env;
	execvp(cmd->args[0], cmd->args);
	status = errno == ENOENT ? 127 : 126;
	dprintf(STDERR_FILENO, "lab: %s: %m\n", cmd->args[0]);
	_exit(status);
}

static void start_with_tty(struct command *cmd)
{
	int master;

	cmd->pid = forkpty(&master, NULL, NULL, &cmd->winsize);
	if (cmd->pid < 0)
		fault("terminal: %m");
	if (cmd->pid == 0)
		exec_command(cmd);
	cmd->in = cmd->out = master;
	cmd->err = -1;
}

static void start_with_pipes(struct command *cmd)
{
	int in[2], out[2], err[2];

	if (pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0 || pipe2(err, O_CLOEXEC) < 0)
		fault("pipe: %m");
	cmd->pid = fork();
	if (cmd->pid < 0)
		fault("fork: %m");
	if (cmd->pid == 0) {
		setsid();
		dup2(in[0], STDIN_FILENO);
		dup2(out[1], STDOUT_FILENO);
		dup2(err[1], STDERR_FILENO);
		exec_command(cmd);
	}
	close(in[0]);
	close(out[1]);
	close(err[1]);
	cmd->in = in[1];
	cmd->out = out[0];
	cmd->err = err[0];
}

/* --- passing data on
 * ---------------------------------------------------------------------------------- */

struct input {
	char data[MSG_MAX];
	size_t from, to;
};

/* Sends what can be read at once; closes *fd at its end. */
static void pass_output(int *fd, enum msg_type type)
{
	char buf[MSG_MAX];
	ssize_t n = read(*fd, buf, sizeof(buf));

	if (n > 0) {
		send_msg(type, buf, (size_t)n);
	} else if (n == 0 || (errno != EINTR && errno != EAGAIN)) {
		close(*fd);
		*fd = -1;
	}
}

/* What the command had written when it ended, and not what a process it left behind goes on
 * writing. */
static void pass_rest(int fd, enum msg_type type)
{
	int waiting = 0;

	while (fd >= 0 && ioctl(fd, FIONREAD, &waiting) == 0 && waiting > 0) {
		char buf[MSG_MAX];
		ssize_t n = read(fd, buf, sizeof(buf));

		if (n <= 0)
			break;
		send_msg(type, buf, (size_t)n);
		/* A pipe holds no more than a buffer, a terminal less: one round has it all. */
		if (type == MSG_STDERR || (size_t)n < sizeof(buf))
			break;
	}
}

static void handle_port(struct command *cmd, struct input *input)
{
	struct msg_header header;
	struct winsize size;

	if (read_all(port, &header, sizeof(header)) < 0 || header.len > MSG_MAX ||
		read_all(port, input->data, header.len) < 0)
		fault("the host speaks nonsense");
	switch (header.type) {
	case MSG_STDIN:
		if (header.len == 0 && cmd->in >= 0 && !cmd->has_tty) {
			close(cmd->in);
			cmd->in = -1;
		}
		input->from = 0;
		input->to = cmd->in >= 0 ? header.len : 0;
		break;
	case MSG_WINSIZE:
		if (header.len == sizeof(size) && cmd->has_tty && cmd->in >= 0) {
			memcpy(&size, input->data, sizeof(size));
			ioctl(cmd->in, TIOCSWINSZ, &size);
		}
		break;
	default: fault("unexpected message %u", header.type);
	}
}

static void feed_command(struct command *cmd, struct input *input)
{
	ssize_t n = write(cmd->in, input->data + input->from, input->to - input->from);

	if (n > 0) {
		input->from += (size_t)n;
	} else if (n < 0 && errno != EAGAIN && errno != EINTR) {
		/* Nobody reads it any more; swallow the rest as a pipe would. */
		input->from = input->to;
		if (!cmd->has_tty) {
			close(cmd->in);
			cmd->in = -1;
		}
	}
}

/* Reaps whatever ended; true with the status once the command itself has. */
static bool reap(int child_fd, const struct command *cmd, uint8_t *ret_status)
{
	struct signalfd_siginfo info;
	bool is_over = false;
	pid_t pid;
	int status;

	(void)!read(child_fd, &info, sizeof(info));
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (pid != cmd->pid)
			continue;
		is_over = true;
		*ret_status = (uint8_t)(WIFSIGNALED(status) ? 128 + WTERMSIG(status)
							    : WEXITSTATUS(status));
	}
	return is_over;
}

static uint8_t relay(struct command *cmd, int child_fd)
{
	static struct input input;
	uint8_t status = 0;

	/* Only our end of the input: the command's own must stay as programs expect it. */
	fcntl(cmd->in, F_SETFL, fcntl(cmd->in, F_GETFL) | O_NONBLOCK);
	for (;;) {
		bool has_input = input.from < input.to;
		struct pollfd fds[] = {
			{ .fd = child_fd, .events = POLLIN },
			{ .fd = cmd->out, .events = POLLIN },
			{ .fd = cmd->err, .events = POLLIN },
			/* One message of input at a time: the host's pipe is the queue. */
			{ .fd = has_input ? -1 : port, .events = POLLIN },
			{ .fd = has_input ? cmd->in : -1, .events = POLLOUT },
		};

		if (poll(fds, sizeof(fds) / sizeof(fds[0]), -1) < 0 && errno != EINTR)
			fault("poll: %m");
		if (fds[1].revents != 0)
			pass_output(&cmd->out, MSG_STDOUT);
		if (fds[2].revents != 0)
			pass_output(&cmd->err, MSG_STDERR);
		if (fds[3].revents & POLLIN)
			handle_port(cmd, &input);
		if (fds[4].revents != 0)
			feed_command(cmd, &input);
		if (fds[0].revents != 0 && reap(child_fd, cmd, &status))
			return status;
	}
}

int main(void)
{
	static struct command cmd;
	sigset_t child;
	uint8_t status;
	size_t len;
	char *text;
	int child_fd;

	umask(022);
	signal(SIGPIPE, SIG_IGN);
	mount_or_fault("devtmpfs", "/dev", "devtmpfs", 0, NULL);
	load_modules("/modules");
	open_port();
	text = receive_run(&len);

	mount_host_root();
	mount_system();
	make_nodes();
	hold_vms();
	enable_controllers();
	bring_loopback_up();
	sethostname("lab", 3);
	obey(text, len, &cmd);
	umount2("/mnt", MNT_DETACH);

	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	sigprocmask(SIG_BLOCK, &child, NULL);
	child_fd = signalfd(-1, &child, SFD_CLOEXEC);
	if (child_fd < 0)
		fault("signalfd: %m");
	await_start();
	if (cmd.has_tty)
		start_with_tty(&cmd);
	else
		start_with_pipes(&cmd);
	status = relay(&cmd, child_fd);
	pass_rest(cmd.out, MSG_STDOUT);
	pass_rest(cmd.err, MSG_STDERR);

	/* Pages of files mapped shared and file systems on images are not written through. */
	sync();
	send_msg(MSG_EXIT, &status, sizeof(status));
	for (;;)
		pause();
}
