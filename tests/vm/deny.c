/*
 * Runs a command for which chosen system calls end as we say: faults that a test cannot cause
 * otherwise.  A seccomp filter, inherited by the command, hands those calls to this process, which
 * answers or lets them pass.
 *
 * usage: deny RULE... -- COMMAND [ARGUMENT]...
 *   call:NUMBER[@N]=VALUE     a system call by its number
 *   ioctl:REQUEST[@N]=VALUE   ioctl with this request, hexadecimal
 * VALUE is what the call returns: a number, or -ERRNO.  With @N only the Nth such call is answered
 * so.
 */
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { RULES_MAX = 8, STATUS_OURS = 125 };

struct rule {
	uint32_t nr, request;
	bool is_ioctl;
	unsigned only, seen; /* only: 0 for every call */
	long value;
};

static struct rule rules[RULES_MAX];
static unsigned n_rules;

static int parse_rule(const char *text, struct rule *ret)
{
	char *end;

	*ret = (struct rule){ .nr = SYS_ioctl };
	if (strncmp(text, "ioctl:", 6) == 0) {
		ret->is_ioctl = true;
		ret->request = (uint32_t)strtoul(text + 6, &end, 16);
	} else if (strncmp(text, "call:", 5) == 0) {
		ret->nr = (uint32_t)strtoul(text + 5, &end, 10);
	} else {
		return -1;
	}
	if (*end == '@')
		ret->only = (unsigned)strtoul(end + 1, &end, 10);
	if (*end != '=')
		return -1;
	ret->value = strtol(end + 1, &end, 10);
	return *end == '\0' ? 0 : -1;
}

/* A listener for the calls that any rule is about. */
static int install_filter(void)
{
	struct sock_filter code[4 + 4 * RULES_MAX + 1];
	struct sock_fprog prog = { .filter = code };
	unsigned n = 0;

#define LOAD(field)                                                                                \
	code[n++] = (struct sock_filter)BPF_STMT(                                                  \
		BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define SKIP_UNLESS(value, skip)                                                                   \
	code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, skip)
#define RETURN(value) code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, value)

	for (unsigned i = 0; i < n_rules; i++) {
		LOAD(nr);
		if (rules[i].is_ioctl) {
			SKIP_UNLESS(rules[i].nr, 3);
			LOAD(args[1]);
			SKIP_UNLESS(rules[i].request, 1);
		} else {
			SKIP_UNLESS(rules[i].nr, 1);
		}
		RETURN(SECCOMP_RET_USER_NOTIF);
	}
	RETURN(SECCOMP_RET_ALLOW);
	prog.len = (unsigned short)n;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -1;
	return (int)syscall(
		SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &prog);
}

static void answer(int listener)
{
	struct seccomp_notif call;
	struct seccomp_notif_resp reply;

	memset(&call, 0, sizeof(call));
	if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &call) < 0)
		return;
	reply = (struct seccomp_notif_resp){ .id = call.id,
		.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE };
	for (unsigned i = 0; i < n_rules; i++) {
		struct rule *r = &rules[i];

		if ((uint32_t)call.data.nr != r->nr ||
			(r->is_ioctl && (uint32_t)call.data.args[1] != r->request))
			continue;
		if (r->only != 0 && ++r->seen != r->only)
			continue;
		reply.flags = 0;
		if (r->value < 0)
			reply.error = (int)r->value;
		else
			reply.val = r->value;
		break;
	}
	(void)ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &reply);
}

static int supervise(int listener, pid_t child)
{
	int status = 0, pidfd = (int)syscall(SYS_pidfd_open, child, 0);
	struct pollfd fds[] = { { .fd = listener, .events = POLLIN },
		{ .fd = pidfd, .events = POLLIN } };

	while (poll(fds, 2, -1) > 0 && fds[1].revents == 0) {
		if (fds[0].revents != 0)
			answer(listener);
	}
	(void)waitpid(child, &status, 0);
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

int main(int argc, char **argv)
{
	int at = 1, listener;
	pid_t child;

	for (; at < argc && strcmp(argv[at], "--") != 0; at++) {
		if (n_rules == RULES_MAX || parse_rule(argv[at], &rules[n_rules++]) < 0) {
			(void)fprintf(stderr, "deny: '%s' is not a rule\n", argv[at]);
			return STATUS_OURS;
		}
	}
	if (at + 1 >= argc) {
		(void)fprintf(stderr, "deny: no command\n");
		return STATUS_OURS;
	}
	listener = install_filter();
	if (listener < 0) {
		(void)fprintf(stderr, "deny: no filter: %s\n", strerror(errno));
		return STATUS_OURS;
	}
	child = fork();
	if (child == 0) {
		(void)close(listener);
		(void)execvp(argv[at + 1], &argv[at + 1]);
		_exit(STATUS_OURS);
	}
	return child < 0 ? STATUS_OURS : supervise(listener, child);
}
