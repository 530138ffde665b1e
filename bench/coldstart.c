/*
 * coldstart: from exec of mvm to the first instruction of a tiny guest, beside the floor program,
 * alternating; and the memory that the monitor itself keeps resident while a guest runs.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "process.h"
#include "report.h"

enum { WARM_UP = 5, DEFAULT_RUNS = 200, MEMORY_RUNS = 5, SETTLE_US = 200000 };

struct setting {
	const char *mvm, *floor, *first, *idle;
	int runs;
};

static void die(const char *what, int code)
{
	(void)fprintf(stderr, "coldstart: %s: %s\n", what, strerror(-code));
	exit(1);
}

/* One run of a program that prints a time on stdout, behind key when that is given: microseconds
 * since its exec. */
static double run_once(const char *const argv[], char *start_arg, const char *key)
{
	struct process p;
	char text[4096];
	const char *at = text;
	int rc = process_start(argv, start_arg, &p), status;

	if (rc < 0)
		die(argv[0], rc);
	(void)process_read_all(&p, text, sizeof(text));
	status = process_end(&p, 0);
	if (key)
		at = strstr(text, key);
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0 || !at) {
		(void)fprintf(stderr, "coldstart: %s failed (status 0x%x), it said: %s\n", argv[0],
			status, text);
		exit(1);
	}
	return (double)(strtoull(at + (key ? strlen(key) : 0), NULL, 10) - p.start_us);
}

static double run_mvm(const struct setting *s)
{
	char start[32] = "0";
	const char *const argv[] = { s->mvm, "run", "--kernel", s->first, "--timeline-json",
		"/dev/stdout", "--start-time-us", start, NULL };

	return run_once(argv, start, "\"mark_us\": ");
}

static double run_floor(const struct setting *s)
{
	const char *const argv[] = { s->floor, NULL };

	return run_once(argv, NULL, NULL);
}

/* KiB resident in all mappings but those of guest memory, which are the ones left out of core files
 * ("dd"). */
static double monitor_memory(pid_t pid)
{
	char path[64], line[512];
	double total = 0, rss = 0;
	FILE *f;

	(void)snprintf(path, sizeof(path), "/proc/%d/smaps", (int)pid);
	f = fopen(path, "re");
	if (!f)
		die(path, -errno);
	while (fgets(line, sizeof(line), f)) {
		(void)sscanf(line, "Rss: %lf", &rss);
		if (strncmp(line, "VmFlags:", 8) == 0 && !strstr(line, " dd"))
			total += rss;
	}
	(void)fclose(f);
	return total;
}

static double measure_memory(const struct setting *s)
{
	const char *const argv[] = { s->mvm, "run", "--kernel", s->idle, "--mem", "128M", NULL };
	struct process p;
	uint64_t when;
	double kib;
	int rc = process_start(argv, NULL, &p);

	if (rc < 0)
		die(argv[0], rc);
	rc = process_wait_for(&p, "idle", 10000, &when);
	if (rc < 0)
		die("waiting for the idle guest", rc);
	/* When it has let go of what only the start needed. */
	(void)usleep(SETTLE_US);
	kib = monitor_memory(p.pid);
	(void)process_end(&p, 1);
	return kib;
}

static void parse(int argc, char **argv, struct setting *s, struct report *r)
{
	static const struct option options[] = {
		{ "mvm", required_argument, NULL, 'm' },
		{ "floor", required_argument, NULL, 'f' },
		{ "first", required_argument, NULL, '1' },
		{ "idle", required_argument, NULL, 'i' },
		{ "runs", required_argument, NULL, 'n' },
		{ "json", no_argument, NULL, 'j' },
		{ NULL, 0, NULL, 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 'm': s->mvm = optarg; break;
		case 'f': s->floor = optarg; break;
		case '1': s->first = optarg; break;
		case 'i': s->idle = optarg; break;
		case 'n': s->runs = atoi(optarg); break;
		case 'j': r->json = true; break;
		default: exit(2);
		}
	}
	if (!s->mvm || !s->floor || !s->first || !s->idle || s->runs < 1) {
		(void)fprintf(stderr, "usage: coldstart --mvm F --floor F --first ELF --idle ELF "
				      "[--runs N] [--json]\n");
		exit(2);
	}
}

int main(int argc, char **argv)
{
	struct setting s = { .runs = DEFAULT_RUNS };
	struct report r = { .bench = "coldstart" };
	struct samples mvm = { 0 }, floor = { 0 }, memory = { 0 };

	parse(argc, argv, &s, &r);
	for (int i = -WARM_UP; i < s.runs; i++) {
		/* Alternating, and the first of a pair in turn, so that a drift of the machine hits
		 * both alike. */
		double a = i & 1 ? run_mvm(&s) : run_floor(&s);
		double b = i & 1 ? run_floor(&s) : run_mvm(&s);

		if (i >= 0) {
			samples_add(&mvm, i & 1 ? a : b);
			samples_add(&floor, i & 1 ? b : a);
		}
	}
	for (int i = 0; i < MEMORY_RUNS; i++)
		samples_add(&memory, measure_memory(&s));
	report_metric(&r, "exec_to_first_guest_instruction", "us", &mvm, &floor, NULL);
	report_metric(&r, "monitor_memory_kib", "KiB", &memory, NULL, NULL);
	samples_free(&mvm);
	samples_free(&floor);
	samples_free(&memory);
	return 0;
}
