/*
 * linux-restore: from exec to the first byte that a saved Linux guest answers over the network, mvm
 * and other monitors in turn, with the files of the save in the page cache and without.
 *
 *     client --> [ run number ] --> tap, every few ms, from before exec on
 *     guest  --> the same byte  --> tap --> client: the time is taken
 *
 * What was saved lies in a folder for each, and a peer is any command; it is run as "COMMAND
 * restore FOLDER ARGUMENT...", with the arguments behind "--".
 */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "process.h"
#include "report.h"

enum {
	WARM_UP = 1,
	DEFAULT_RUNS = 8,
	PEERS_MAX = 4,
	ARGUMENTS_MAX = 16,
	PATH_LEN = 512,
	PAGE = 4096,
	TRY_MS = 2, /* a request is sent each so many milliseconds until one is answered */
	TIMEOUT_MS = 60000,
	WINDOW_MIN_MS = 20, /* of the working set */
};

/* What is restored: mvm's machine in one of two ways, or a peer's. */
enum { WHO_PLAIN, WHO_SET, WHO_PEER };

struct peer {
	char *name;
	const char *command;
};

struct setting {
	const char *mvm, *folder, *address;
	char *const *argument; /* of the peers */
	int runs, npeers, narguments;
	struct peer peer[PEERS_MAX];
	int client; /* connected to the guest */
};

__attribute__((noreturn, format(printf, 1, 2))) static void die(const char *format, ...)
{
	va_list args;

	(void)fputs("linux-restore: ", stderr);
	va_start(args, format);
	(void)vfprintf(stderr, format, args);
	va_end(args);
	(void)fputc('\n', stderr);
	exit(1);
}

/* --- the page cache --- */

static void read_all(const char *path, int fd)
{
	static char buf[1 << 20];
	ssize_t n;

	while ((n = read(fd, buf, sizeof(buf))) > 0) {
	}
	if (n < 0)
		die("%s: %s", path, strerror(errno));
}

static size_t resident_pages(int fd, size_t len)
{
	size_t pages = (len + PAGE - 1) / PAGE, n = 0;
	unsigned char *there = calloc(pages, 1);
	void *map = mmap(NULL, len, PROT_READ, MAP_SHARED, fd, 0);

	if (!there || map == MAP_FAILED || mincore(map, len, there) < 0)
		die("cannot look at the page cache: %s", strerror(errno));
	for (size_t i = 0; i < pages; i++)
		n += there[i] & 1;
	(void)munmap(map, len);
	free(there);
	return n;
}

static void drop(const char *path, int fd)
{
	struct stat st;
	size_t left;

	if (fsync(fd) < 0 || posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) != 0 ||
		fstat(fd, &st) < 0)
		die("%s: %s", path, strerror(errno));
	left = st.st_size > 0 ? resident_pages(fd, (size_t)st.st_size) : 0;
	if (left > 0)
		die("%s: %zu pages do not leave the page cache; it needs a file system on a disk",
			path, left);
}

/* All files of a save: read to their end, or out of memory. */
static void prepare_files(const char *folder, bool cold)
{
	DIR *dir = opendir(folder);
	struct dirent *entry;

	if (!dir)
		die("%s: %s", folder, strerror(errno));
	while ((entry = readdir(dir)) != NULL) {
		int fd;

		if (entry->d_type != DT_REG)
			continue;
		fd = openat(dirfd(dir), entry->d_name, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			die("%s: %s", entry->d_name, strerror(errno));
		if (cold)
			drop(entry->d_name, fd);
		else
			read_all(entry->d_name, fd);
		(void)close(fd);
	}
	(void)closedir(dir);
}

/* --- the client --- */

static int connect_to_guest(const char *text)
{
	struct sockaddr_in to = { .sin_family = AF_INET };
	char address[64];
	char *colon;
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	(void)snprintf(address, sizeof(address), "%s", text);
	colon = strchr(address, ':');
	if (!colon)
		die("--address takes ADDRESS:PORT");
	*colon = '\0';
	to.sin_port = htons((uint16_t)strtoul(colon + 1, NULL, 10));
	if (inet_pton(AF_INET, address, &to.sin_addr) != 1)
		die("'%s' is no address", address);
	if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0)
		die("%s: %s", text, strerror(errno));
	return fd;
}

static bool has_ended(const struct process *p)
{
	siginfo_t info = { 0 };

	return waitid(P_PID, (id_t)p->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
	       info.si_pid != 0;
}

/* Asks until there is an answer to this run's number: when it came.  As long as nobody reads the
 * tap, requests are lost, and sends may fail. */
static uint64_t wait_for_answer(const struct setting *s, const struct process *p, uint8_t number)
{
	uint64_t deadline = p->start_us + (uint64_t)TIMEOUT_MS * 1000;

	while (process_now_us() < deadline && !has_ended(p)) {
		struct pollfd pfd = { .fd = s->client, .events = POLLIN };
		uint8_t byte;

		(void)send(s->client, &number, 1, 0);
		if (poll(&pfd, 1, TRY_MS) <= 0)
			continue;
		while (recv(s->client, &byte, 1, 0) == 1) {
			if (byte == number)
				return process_now_us();
		}
	}
	return 0;
}

/* Milliseconds from exec to the answer; the process goes on. */
static double start(const struct setting *s, const char *const argv[], struct process *ret)
{
	static uint8_t number;
	uint64_t when;
	int rc;

	number++;
	rc = process_start(argv, NULL, ret);
	if (rc < 0)
		die("%s: %s", argv[0], strerror(-rc));
	when = wait_for_answer(s, ret, number);
	if (when == 0) {
		(void)process_end(ret, 1);
		(void)fputs("linux-restore: in vain:", stderr);
		for (int i = 0; argv[i]; i++)
			(void)fprintf(stderr, " %s", argv[i]);
		(void)fputc('\n', stderr);
		die("the guest never answered");
	}
	return (double)(when - ret->start_us) / 1000;
}

/* --- runs --- */

static double run_mvm(const struct setting *s, bool with_set)
{
	const char *const argv[] = { s->mvm, "restore", s->folder,
		with_set ? NULL : "--no-working-set", NULL };
	struct process p;
	double ms = start(s, argv, &p);

	(void)process_end(&p, 1);
	return ms;
}

static void peer_folder(const struct setting *s, const struct peer *peer, char ret[PATH_LEN])
{
	(void)snprintf(ret, PATH_LEN, "%s.%s", s->folder, peer->name);
}

static double run_peer(const struct setting *s, const struct peer *peer)
{
	const char *argv[ARGUMENTS_MAX + 4] = { peer->command, "restore" };
	char folder[PATH_LEN];
	struct process p;
	double ms;

	peer_folder(s, peer, folder);
	argv[2] = folder;
	for (int i = 0; i < s->narguments; i++)
		argv[3 + i] = s->argument[i];
	ms = start(s, argv, &p);
	(void)process_end(&p, 1);
	return ms;
}

static double run(const struct setting *s, int who, bool cold)
{
	char folder[PATH_LEN];

	if (who < WHO_PEER)
		(void)snprintf(folder, sizeof(folder), "%s", s->folder);
	else
		peer_folder(s, &s->peer[who - WHO_PEER], folder);
	prepare_files(folder, cold);
	return who < WHO_PEER ? run_mvm(s, who == WHO_SET) : run_peer(s, &s->peer[who - WHO_PEER]);
}

/* The set is what was needed in twice the time that the first answer took. */
static void record(const struct setting *s)
{
	char ms[32], path[PATH_LEN];
	const char *const argv[] = { s->mvm, "restore", s->folder, "--record-working-set", ms,
		NULL };
	struct timespec nap = { .tv_nsec = 10000000 };
	struct process p;
	double window = run(s, WHO_PLAIN, false) * 2;
	uint64_t deadline;

	(void)snprintf(
		ms, sizeof(ms), "%.0f", window > WINDOW_MIN_MS ? window : (double)WINDOW_MIN_MS);
	(void)snprintf(path, sizeof(path), "%s/working-set", s->folder);
	(void)start(s, argv, &p);
	deadline = process_now_us() + (uint64_t)TIMEOUT_MS * 1000;
	while (access(path, F_OK) < 0 && process_now_us() < deadline)
		(void)nanosleep(&nap, NULL);
	(void)process_end(&p, 1);
	if (access(path, F_OK) < 0)
		die("no working set was recorded");
}

/* Everybody in turn, and another one first each time. */
static void measure(const struct setting *s, struct report *r)
{
	static const char *const metrics[2][2] = { { "exec_to_answer_warm",
							   "exec_to_answer_warm_set" },
		{ "exec_to_answer_cold", "exec_to_answer_cold_set" } };
	struct samples samples[2][WHO_PEER + PEERS_MAX] = { 0 };
	int n = WHO_PEER + s->npeers;

	for (int i = -WARM_UP; i < s->runs; i++) {
		for (int k = 0; k < 2 * n; k++) {
			int which = (i + WARM_UP + k) % (2 * n);
			bool cold = which >= n;
			double ms = run(s, which % n, cold);

			if (i >= 0)
				samples_add(&samples[cold][which % n], ms);
		}
	}
	for (int cold = 0; cold < 2; cold++) {
		for (int who = WHO_PLAIN; who <= WHO_SET; who++) {
			struct samples *own = &samples[cold][who];

			for (int k = 0; k < s->npeers; k++)
				report_metric(r, metrics[cold][who], "ms", own,
					&samples[cold][WHO_PEER + k], s->peer[k].name);
			if (s->npeers == 0)
				report_metric(r, metrics[cold][who], "ms", own, NULL, NULL);
		}
	}
	for (int i = 0; i < 2 * n; i++)
		samples_free(&samples[i / n][i % n]);
}

/* --- all of it --- */

static void add_peer(struct setting *s, char *text)
{
	char *equals = strchr(text, '=');

	if (!equals || s->npeers == PEERS_MAX)
		die("--peer takes NAME=PATH, at most %d times", PEERS_MAX);
	*equals = '\0';
	s->peer[s->npeers++] = (struct peer){ .name = text, .command = equals + 1 };
}

static void parse(int argc, char **argv, struct setting *s, struct report *r)
{
	static const struct option options[] = {
		{ "mvm", required_argument, NULL, 'm' },
		{ "folder", required_argument, NULL, 'd' },
		{ "address", required_argument, NULL, 'a' },
		{ "peer", required_argument, NULL, 'p' },
		{ "runs", required_argument, NULL, 'n' },
		{ "json", no_argument, NULL, 'j' },
		{ NULL, 0, NULL, 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 'm': s->mvm = optarg; break;
		case 'd': s->folder = optarg; break;
		case 'a': s->address = optarg; break;
		case 'p': add_peer(s, optarg); break;
		case 'n': s->runs = atoi(optarg); break;
		case 'j': r->json = true; break;
		default: exit(2);
		}
	}
	s->argument = argv + optind;
	s->narguments = argc - optind;
	if (!s->mvm || !s->folder || !s->address || s->runs < 1 || s->narguments > ARGUMENTS_MAX) {
		(void)fprintf(stderr,
			"usage: linux-restore --mvm F --folder D --address IPV4:PORT "
			"[--peer NAME=PATH]... [--runs N] [--json] [-- ARGUMENT...]\n");
		exit(2);
	}
}

int main(int argc, char **argv)
{
	struct setting s = { .runs = DEFAULT_RUNS };
	struct report r = { .bench = "linux-restore" };

	parse(argc, argv, &s, &r);
	s.client = connect_to_guest(s.address);
	record(&s);
	measure(&s, &r);
	(void)close(s.client);
	return 0;
}
