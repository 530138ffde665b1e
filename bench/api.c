/*
 * The API of "mvm serve" from outside: from its exec to the first answer, and round trips of single
 * requests, both beside programs that do no more than they must (api_floor.c); and the memory that
 * many requests leave behind.
 */
#include <errno.h>
#include <getopt.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "process.h"
#include "report.h"

enum {
	WARM_UP = 5,
	DEFAULT_RUNS = 200,
	TRIPS = 50, /* of a sample, one after the other */
	TRIPS_WARM_UP = 200,
	MANY = 10000,
	START_MS = 5000,
	ANSWER_MAX = 65536,
};

struct setting {
	const char *mvm, *floor;
	char folder[64];
	int runs;
};

static const char get_root[] = "GET / HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n";
static const char put_machine[] = "PUT /machine-config HTTP/1.1\r\nHost: localhost\r\n"
				  "Accept: application/json\r\nContent-Type: application/json\r\n"
				  "Content-Length: 39\r\n\r\n"
				  "{\"vcpu_count\": 1, \"mem_size_mib\": 128 }";

static void die(const char *what, int code)
{
	(void)fprintf(stderr, "api: %s: %s\n", what, strerror(-code));
	exit(1);
}

static double now_us(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e6 + (double)ts.tv_nsec / 1e3;
}

/* --- a client --- */

/* As soon as somebody listens there. */
static int connect_soon(const char *path)
{
	uint64_t end = process_now_us() + START_MS * 1000;
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)snprintf(at.sun_path, sizeof(at.sun_path), "%s", path);
	while (connect(fd, (const struct sockaddr *)&at, sizeof(at)) < 0) {
		if (process_now_us() > end)
			die(path, -errno);
	}
	return fd;
}

static void send_all(int fd, const char *request)
{
	size_t len = strlen(request);

	if (send(fd, request, len, MSG_NOSIGNAL) != (ssize_t)len)
		die("send", -errno);
}

/* Answers of this benchmark are small enough to come in one piece; its length. */
static size_t ask(int fd, const char *request, char buf[ANSWER_MAX])
{
	ssize_t n;

	send_all(fd, request);
	n = recv(fd, buf, ANSWER_MAX - 1, 0);
	if (n <= 0)
		die("recv", n < 0 ? -errno : -EPIPE);
	buf[n] = '\0';
	return (size_t)n;
}

static size_t ask_for(int fd, const char *request, const char *status)
{
	static char buf[ANSWER_MAX];
	size_t len = ask(fd, request, buf);

	if (strncmp(buf, status, strlen(status)) != 0) {
		(void)fprintf(stderr, "api: unexpected answer: %s\n", buf);
		exit(1);
	}
	return len;
}

/* --- from exec to the first answer --- */

static double start_once(const char *const argv[], const char *path)
{
	struct process p;
	char buf[ANSWER_MAX];
	double us;
	int rc, fd;

	(void)unlink(path);
	rc = process_start(argv, NULL, &p);
	if (rc < 0)
		die(argv[0], rc);
	fd = connect_soon(path);
	(void)ask(fd, get_root, buf);
	us = now_us() - (double)p.start_us;
	(void)close(fd);
	(void)process_end(&p, 1);
	(void)unlink(path);
	return us;
}

static void measure_start(const struct setting *s, struct report *r)
{
	struct samples mvm = { 0 }, floor = { 0 };
	char path[128];
	const char *const mvm_argv[] = { s->mvm, "serve", "--api-sock", path, NULL };
	const char *const floor_argv[] = { s->floor, path, NULL };

	(void)snprintf(path, sizeof(path), "%s/start.sock", s->folder);
	for (int i = -WARM_UP; i < s->runs; i++) {
		/* Alternating, and the first of a pair in turn, so that a drift of the machine hits
		 * both alike. */
		double a = start_once(i & 1 ? mvm_argv : floor_argv, path);
		double b = start_once(i & 1 ? floor_argv : mvm_argv, path);

		if (i >= 0) {
			samples_add(&mvm, i & 1 ? a : b);
			samples_add(&floor, i & 1 ? b : a);
		}
	}
	report_metric(r, "exec_to_first_answer", "us", &mvm, &floor, NULL);
	samples_free(&mvm);
	samples_free(&floor);
}

/* --- round trips --- */

struct peer {
	struct process p;
	char path[128];
	int fd;
};

static void peer_start(struct peer *peer, const char *const argv[])
{
	int rc = process_start(argv, NULL, &peer->p);

	if (rc < 0)
		die(argv[0], rc);
	peer->fd = connect_soon(peer->path);
}

static void peer_end(struct peer *peer)
{
	(void)close(peer->fd);
	(void)process_end(&peer->p, 1);
	(void)unlink(peer->path);
}

static void start_mvm(const struct setting *s, struct peer *peer, const char *level)
{
	const char *const argv[] = { s->mvm, "serve", "--level", level, "--api-sock", peer->path,
		NULL };

	(void)snprintf(peer->path, sizeof(peer->path), "%s/mvm.sock", s->folder);
	peer_start(peer, argv);
}

/*
 * Client and server on one CPU, both of them: apart, a round trip is mostly how long the host takes
 * to wake an idle CPU, which is ten times the work and nobody's merit.  What is started from here
 * on inherits it.
 */
static void share_one_cpu(void)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(sched_getcpu(), &set);
	if (sched_setaffinity(0, sizeof(set), &set) < 0)
		die("sched_setaffinity", -errno);
}

/* Microseconds of one of some round trips. */
static double trips(int fd, const char *request)
{
	static char buf[ANSWER_MAX];
	double start = now_us();

	for (unsigned i = 0; i < TRIPS; i++)
		(void)ask(fd, request, buf);
	return (now_us() - start) / TRIPS;
}

static void measure_trips(const struct setting *s, struct report *r, const char *metric,
	const char *level, const char *request, const char *status)
{
	struct samples mvm = { 0 }, floor = { 0 };
	struct peer server = { 0 }, echo = { 0 };
	char len[32];
	const char *const argv[] = { s->floor, echo.path, len, NULL };

	(void)snprintf(echo.path, sizeof(echo.path), "%s/echo.sock", s->folder);
	start_mvm(s, &server, level);
	for (unsigned i = 0; i < TRIPS_WARM_UP; i++)
		(void)snprintf(len, sizeof(len), "%zu", ask_for(server.fd, request, status));
	peer_start(&echo, argv);
	for (int i = -WARM_UP; i < s->runs; i++) {
		double a = trips(i & 1 ? server.fd : echo.fd, request);
		double b = trips(i & 1 ? echo.fd : server.fd, request);

		if (i >= 0) {
			samples_add(&mvm, i & 1 ? a : b);
			samples_add(&floor, i & 1 ? b : a);
		}
	}
	report_metric(r, metric, "us", &mvm, &floor, NULL);
	peer_end(&server);
	peer_end(&echo);
	samples_free(&mvm);
	samples_free(&floor);
}

/* --- memory --- */

static double resident_kib(pid_t pid)
{
	char path[64], line[256];
	double kib = 0;
	FILE *f;

	(void)snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	f = fopen(path, "re");
	if (!f)
		die(path, -errno);
	while (fgets(line, sizeof(line), f))
		(void)sscanf(line, "VmRSS: %lf", &kib);
	(void)fclose(f);
	return kib;
}

static void many_requests(struct peer *p, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		(void)ask_for(p->fd, get_root, "HTTP/1.1 200 ");
		(void)ask_for(p->fd, put_machine, "HTTP/1.1 204 ");
	}
}

static void measure_memory(const struct setting *s, struct report *r)
{
	struct samples resident = { 0 }, growth = { 0 };
	struct peer server = { 0 };
	double before;

	start_mvm(s, &server, "Off");
	/* What the first requests touch for the first time stays. */
	many_requests(&server, TRIPS_WARM_UP);
	before = resident_kib(server.p.pid);
	many_requests(&server, MANY / 2);
	samples_add(&resident, before);
	samples_add(&growth, resident_kib(server.p.pid) - before);
	report_metric(r, "memory_before_the_start_kib", "KiB", &resident, NULL, NULL);
	report_metric(r, "memory_growth_of_10000_requests", "KiB", &growth, NULL, NULL);
	peer_end(&server);
	samples_free(&resident);
	samples_free(&growth);
}

/* --- */

static void parse(int argc, char **argv, struct setting *s, struct report *r)
{
	static const struct option options[] = {
		{ "mvm", required_argument, NULL, 'm' },
		{ "floor", required_argument, NULL, 'f' },
		{ "runs", required_argument, NULL, 'n' },
		{ "json", no_argument, NULL, 'j' },
		{ NULL, 0, NULL, 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 'm': s->mvm = optarg; break;
		case 'f': s->floor = optarg; break;
		case 'n': s->runs = atoi(optarg); break;
		case 'j': r->json = true; break;
		default: exit(2);
		}
	}
	if (!s->mvm || !s->floor || s->runs < 1) {
		(void)fprintf(stderr, "usage: api --mvm F --floor F [--runs N] [--json]\n");
		exit(2);
	}
}

int main(int argc, char **argv)
{
	struct setting s = { .runs = DEFAULT_RUNS, .folder = "/tmp/mvm-bench-XXXXXX" };
	struct report r = { .bench = "api" };

	parse(argc, argv, &s, &r);
	if (!mkdtemp(s.folder))
		die(s.folder, -errno);
	measure_start(&s, &r);
	share_one_cpu();
	measure_trips(&s, &r, "get_round_trip", "Off", get_root, "HTTP/1.1 200 ");
	measure_trips(&s, &r, "put_round_trip", "Off", put_machine, "HTTP/1.1 204 ");
	/* Two lines for each request, as by default. */
	measure_trips(&s, &r, "get_round_trip_logged", "Info", get_root, "HTTP/1.1 200 ");
	measure_memory(&s, &r);
	(void)rmdir(s.folder);
	return 0;
}
