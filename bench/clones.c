/*
 * clones: many machines of one snapshot, started as fast as they can be.  Each has been sent a byte
 * beforehand, and counts when its guest has given it back.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "process.h"
#include "report.h"

enum { CLONES_MAX = 2000, START_MS = 30000, ALL_MS = 300000, SETTLE_US = 1000000 };

struct setting {
	const char *mvm, *guest, *folder;
	bool is_quick;
};

struct clone {
	pid_t pid;
	int in, out;
	uint64_t start_us, answered_us; /* 0: not yet */
};

extern char **environ;

static void die(const char *what, int code)
{
	(void)fprintf(stderr, "clones: %s: %s\n", what, strerror(-code));
	exit(1);
}

static void make_snapshot(const struct setting *s, const char *snapshot)
{
	char socket[256];
	const char *const run[] = { s->mvm, "run", "--kernel", s->guest, "--mem", "128M",
		"--api-sock", socket, NULL };
	const char *const save[] = { s->mvm, "snapshot", "--api-sock", socket, snapshot, "--stop",
		NULL };
	struct process p, q;
	uint64_t when;
	int rc, status;

	(void)snprintf(socket, sizeof(socket), "%s/clones.sock", s->folder);
	rc = process_start(run, NULL, &p);
	if (rc == 0)
		rc = process_wait_for(&p, "ready", START_MS, &when);
	if (rc < 0)
		die("the guest", rc);
	rc = process_start(save, NULL, &q);
	if (rc < 0)
		die("mvm snapshot", rc);
	status = process_end(&q, 0);
	(void)process_end(&p, 0);
	if (status != 0)
		die("mvm snapshot failed", -EIO);
}

static void start(const struct setting *s, const char *snapshot, struct clone *c)
{
	const char *const argv[] = { s->mvm, "restore", snapshot, NULL };
	posix_spawn_file_actions_t actions;
	int in[2], out[2], rc;

	if (pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC | O_NONBLOCK) < 0)
		die("pipe", -errno);
	if (write(in[1], "x", 1) != 1)
		die("write", -errno);
	(void)posix_spawn_file_actions_init(&actions);
	(void)posix_spawn_file_actions_adddup2(&actions, in[0], STDIN_FILENO);
	(void)posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO);
	c->start_us = process_now_us();
	rc = -posix_spawnp(
		&c->pid, argv[0], &actions, NULL, (char *const *)(uintptr_t)argv, environ);
	if (rc < 0)
		die(argv[0], rc);
	(void)posix_spawn_file_actions_destroy(&actions);
	(void)close(in[0]);
	(void)close(out[1]);
	c->in = in[1];
	c->out = out[0];
}

static bool has_answered(const struct clone *c)
{
	char text[256];
	ssize_t n = read(c->out, text, sizeof(text));

	if (n == 0)
		die("a clone ended without an answer", -EIO);
	return n > 0 && memchr(text, 'x', (size_t)n);
}

static void wait_for_all(struct clone *c, unsigned n)
{
	static struct pollfd fds[CLONES_MAX];
	uint64_t end = process_now_us() + ALL_MS * 1000ULL;
	unsigned left = n;

	for (unsigned i = 0; i < n; i++)
		fds[i] = (struct pollfd){ .fd = c[i].out, .events = POLLIN };
	while (left > 0) {
		if (process_now_us() > end || poll(fds, n, 1000) < 0)
			die("not all clones answered", -ETIMEDOUT);
		for (unsigned i = 0; i < n; i++) {
			if (fds[i].revents == 0 || !has_answered(&c[i]))
				continue;
			c[i].answered_us = process_now_us();
			fds[i].fd = -1;
			left--;
		}
	}
}

/* What no other process shares. */
static double private_kib(pid_t pid)
{
	char path[64], line[256];
	double total = 0, value;
	FILE *f;

	(void)snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", (int)pid);
	f = fopen(path, "re");
	if (!f)
		die(path, -errno);
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "Private_Clean: %lf", &value) == 1 ||
			sscanf(line, "Private_Dirty: %lf", &value) == 1)
			total += value;
	}
	(void)fclose(f);
	return total;
}

static void measure(const struct setting *s, const char *snapshot, unsigned n, struct report *r)
{
	static struct clone c[CLONES_MAX];
	struct samples latency = { 0 }, rate = { 0 }, memory = { 0 };
	uint64_t began = process_now_us(), last = began;
	char name[64];

	for (unsigned i = 0; i < n; i++)
		start(s, snapshot, &c[i]);
	wait_for_all(c, n);
	for (unsigned i = 0; i < n; i++) {
		samples_add(&latency, (double)(c[i].answered_us - c[i].start_us));
		last = c[i].answered_us > last ? c[i].answered_us : last;
	}
	samples_add(&rate, (double)n * 1e6 / (double)(last - began));
	(void)usleep(SETTLE_US);
	for (unsigned i = 0; i < n; i++)
		samples_add(&memory, private_kib(c[i].pid));
	for (unsigned i = 0; i < n; i++)
		(void)kill(c[i].pid, SIGKILL);
	for (unsigned i = 0; i < n; i++) {
		(void)waitpid(c[i].pid, NULL, 0);
		(void)close(c[i].in);
		(void)close(c[i].out);
	}
	(void)snprintf(name, sizeof(name), "clones_per_second_of_%u", n);
	report_metric(r, name, "1/s", &rate, NULL, NULL);
	(void)snprintf(name, sizeof(name), "exec_to_answer_of_%u", n);
	report_metric(r, name, "us", &latency, NULL, NULL);
	(void)snprintf(name, sizeof(name), "private_kib_of_%u", n);
	report_metric(r, name, "KiB", &memory, NULL, NULL);
	samples_free(&latency);
	samples_free(&rate);
	samples_free(&memory);
}

static void parse(int argc, char **argv, struct setting *s, struct report *r)
{
	static const struct option options[] = {
		{ "mvm", required_argument, NULL, 'm' },
		{ "guest", required_argument, NULL, 'g' },
		{ "folder", required_argument, NULL, 'd' },
		{ "runs", required_argument, NULL, 'n' },
		{ "json", no_argument, NULL, 'j' },
		{ NULL, 0, NULL, 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 'm': s->mvm = optarg; break;
		case 'g': s->guest = optarg; break;
		case 'd': s->folder = optarg; break;
		case 'n': s->is_quick = atoi(optarg) == 1; break;
		case 'j': r->json = true; break;
		default: exit(2);
		}
	}
	if (!s->mvm || !s->guest || !s->folder) {
		(void)fprintf(stderr,
			"usage: clones --mvm F --guest ELF --folder D [--runs 1] [--json]\n");
		exit(2);
	}
}

int main(int argc, char **argv)
{
	struct rlimit files = { .rlim_cur = 4 * CLONES_MAX, .rlim_max = 4 * CLONES_MAX };
	struct setting s = { 0 };
	struct report r = { .bench = "clones" };
	char snapshot[256];

	parse(argc, argv, &s, &r);
	(void)setrlimit(RLIMIT_NOFILE, &files);
	(void)snprintf(snapshot, sizeof(snapshot), "%s/clones", s.folder);
	make_snapshot(&s, snapshot);
	if (s.is_quick) {
		measure(&s, snapshot, 10, &r);
		return 0;
	}
	measure(&s, snapshot, 1, &r);
	measure(&s, snapshot, 100, &r);
	measure(&s, snapshot, 1000, &r);
	return 0;
}
