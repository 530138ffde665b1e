/*
 * restore: from exec of mvm to the first instruction of a guest that was saved, beside a floor
 * program that makes only the calls that nobody can avoid, alternating; for several sizes of
 * memory.  And how long a guest stands still when it is saved.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "process.h"
#include "report.h"

enum {
	WARM_UP = 3,
	DEFAULT_RUNS = 100,
	SAVES = 5,
	QUICK_RUNS =
		10, /* with fewer, only to see that there are figures: small machines, one save */
	START_MS = 30000,
	PATH_LEN = 160,
	/* Longer than the guest takes for the gap that it waits for, on a CPU of one GHz as well.
	 */
	GAP_US = 3000000,
};

struct setting {
	const char *mvm, *floor, *guest, *folder;
	int runs;
};

/* What is measured: a machine of so many MiB, of which the guest has written to some before it is
 * saved. */
static const struct size {
	const char *name, *mem;
	unsigned mib, dirty_mib;
} sizes[] = {
	{ "128m", "128M", 128, 64 },
	{ "1g", "1G", 1024, 512 },
	{ "4g", "4G", 4096, 1024 },
};

struct place {
	char snapshot[PATH_LEN], socket[PATH_LEN], floor_state[PATH_LEN], floor_memory[PATH_LEN];
};

static void die(const char *what, int code)
{
	(void)fprintf(stderr, "restore: %s: %s\n", what, strerror(-code));
	exit(1);
}

static void find_places(const struct setting *s, const struct size *size, struct place *ret)
{
	(void)snprintf(ret->snapshot, PATH_LEN, "%s/%s", s->folder, size->name);
	(void)snprintf(ret->socket, PATH_LEN, "%s/%s.sock", s->folder, size->name);
	(void)snprintf(ret->floor_state, PATH_LEN, "%s/%s.state", s->folder, size->name);
	(void)snprintf(ret->floor_memory, PATH_LEN, "%s/%s.memory", s->folder, size->name);
}

/* Runs a program to its end; what it says goes into text. */
static void call(const char *const argv[], char *text, size_t len)
{
	struct process p;
	int rc = process_start(argv, NULL, &p), status;

	if (rc < 0)
		die(argv[0], rc);
	(void)process_read_all(&p, text, len);
	status = process_end(&p, 0);
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
		(void)fprintf(stderr, "restore: %s %s failed (status 0x%x): %s\n", argv[0], argv[1],
			status, text);
		exit(1);
	}
}

/* --- what is restored --- */

static bool is_quick(const struct setting *s)
{
	return s->runs < QUICK_RUNS;
}

static void start_guest(const struct setting *s, const struct size *size, const struct place *at,
	bool stays, struct process *ret)
{
	char cmdline[64];
	const char *const argv[] = { s->mvm, "run", "--kernel", s->guest, "--mem", size->mem,
		"--cmdline", cmdline, "--api-sock", at->socket, stays ? "--track-dirty" : NULL,
		NULL };
	uint64_t when;
	int rc;

	/* One that stays sees the gap of a long save, too. */
	(void)snprintf(cmdline, sizeof(cmdline), "dirty=%u stay=%d",
		(is_quick(s) ? 1 : size->dirty_mib) << 8, stays);
	rc = process_start(argv, NULL, ret);
	if (rc == 0)
		rc = process_wait_for(ret, "ready", START_MS, &when);
	if (rc < 0)
		die("the guest", rc);
}

static void save(const struct setting *s, const struct place *at, const char *folder,
	const char *option, char *text, size_t len)
{
	const char *const argv[] = { s->mvm, "snapshot", "--api-sock", at->socket, folder, option,
		NULL };

	call(argv, text, len);
}

static void prepare(const struct setting *s, const struct size *size, const struct place *at)
{
	struct process p;
	char bytes[32], text[4096];
	const char *const argv[] = { s->floor, "save", at->floor_state, at->floor_memory, bytes,
		NULL };

	(void)snprintf(bytes, sizeof(bytes), "%llu", (unsigned long long)size->mib << 20);
	call(argv, text, sizeof(text));
	start_guest(s, size, at, false, &p);
	save(s, at, at->snapshot, "--stop", text, sizeof(text));
	(void)process_end(&p, 0);
}

/* --- runs --- */

static double run_once(const char *const argv[], char *start_arg, const char *key)
{
	struct process p;
	char text[4096];
	const char *found = text;
	int rc = process_start(argv, start_arg, &p), status;

	if (rc < 0)
		die(argv[0], rc);
	(void)process_read_all(&p, text, sizeof(text));
	status = process_end(&p, 0);
	if (key)
		found = strstr(text, key);
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0 || !found) {
		(void)fprintf(stderr, "restore: %s failed (status 0x%x), it said: %s\n", argv[0],
			status, text);
		exit(1);
	}
	return (double)(strtoull(found + (key ? strlen(key) : 0), NULL, 10) - p.start_us);
}

static double run_mvm(const struct setting *s, const struct place *at)
{
	char start[32] = "0";
	const char *const argv[] = { s->mvm, "restore", at->snapshot, "--timeline-json",
		"/dev/stdout", "--start-time-us", start, NULL };

	return run_once(argv, start, "\"mark_us\": ");
}

static double run_floor(const struct setting *s, const struct place *at)
{
	const char *const argv[] = { s->floor, at->floor_state, at->floor_memory, NULL };

	return run_once(argv, NULL, NULL);
}

static void measure_restore(
	const struct setting *s, const struct size *size, const struct place *at, struct report *r)
{
	struct samples mvm = { 0 }, floor = { 0 };
	char name[64];

	prepare(s, size, at);
	(void)usleep(GAP_US);
	for (int i = -WARM_UP; i < s->runs; i++) {
		/* As in coldstart.c: in turn, so that a drift of the machine hits both alike. */
		double a = i & 1 ? run_mvm(s, at) : run_floor(s, at);
		double b = i & 1 ? run_floor(s, at) : run_mvm(s, at);

		if (i >= 0) {
			samples_add(&mvm, i & 1 ? a : b);
			samples_add(&floor, i & 1 ? b : a);
		}
	}
	(void)snprintf(name, sizeof(name), "restore_to_first_guest_instruction_%s", size->name);
	report_metric(r, name, "us", &mvm, &floor, NULL);
	samples_free(&mvm);
	samples_free(&floor);
}

/* --- how long a guest stands still --- */

/* The number in front of " us" that follows "stood still for". */
static double pause_of(const char *text)
{
	static const char key[] = "stood still for ";
	const char *found = strstr(text, key);

	if (!found) {
		(void)fprintf(stderr, "restore: no pause in: %s\n", text);
		exit(1);
	}
	return strtod(found + strlen(key), NULL);
}

static void measure_saves(const struct setting *s, const struct size *size, const struct place *at,
	const char *kind, const char *option, struct report *r)
{
	struct samples pause = { 0 };
	struct process p;
	char folder[PATH_LEN + 32], name[64], text[4096];

	start_guest(s, size, at, true, &p);
	/* The first one of a machine has all its pages, whatever was asked for. */
	(void)snprintf(folder, sizeof(folder), "%s.%s.base", at->snapshot, kind);
	save(s, at, folder, NULL, text, sizeof(text));
	for (int i = 0; i < (is_quick(s) ? 1 : SAVES); i++) {
		(void)snprintf(folder, sizeof(folder), "%s.%s.%d", at->snapshot, kind, i);
		save(s, at, folder, option, text, sizeof(text));
		samples_add(&pause, pause_of(text));
	}
	(void)process_end(&p, 1);
	(void)unlink(at->socket);
	(void)snprintf(name, sizeof(name), "pause_of_%s_save_%s", kind, size->name);
	report_metric(r, name, "ms", &pause, NULL, NULL);
	samples_free(&pause);
}

/* --- all of it --- */

static void parse(int argc, char **argv, struct setting *s, struct report *r)
{
	static const struct option options[] = {
		{ "mvm", required_argument, NULL, 'm' },
		{ "floor", required_argument, NULL, 'f' },
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
		case 'f': s->floor = optarg; break;
		case 'g': s->guest = optarg; break;
		case 'd': s->folder = optarg; break;
		case 'n': s->runs = atoi(optarg); break;
		case 'j': r->json = true; break;
		default: exit(2);
		}
	}
	if (!s->mvm || !s->floor || !s->guest || !s->folder || s->runs < 1) {
		(void)fprintf(stderr, "usage: restore --mvm F --floor F --guest ELF --folder D "
				      "[--runs N] [--json]\n");
		exit(2);
	}
}

int main(int argc, char **argv)
{
	struct setting s = { .runs = DEFAULT_RUNS };
	struct report r = { .bench = "restore" };

	parse(argc, argv, &s, &r);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct place at;

		find_places(&s, &sizes[i], &at);
		measure_restore(&s, &sizes[i], &at, &r);
		measure_saves(&s, &sizes[i], &at, "full", NULL, &r);
		measure_saves(&s, &sizes[i], &at, "diff", "--diff", &r);
		measure_saves(&s, &sizes[i], &at, "live", "--live", &r);
	}
	return 0;
}
