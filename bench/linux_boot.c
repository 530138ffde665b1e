/*
 * linux-boot: from exec to the first line of init of the same kernel and initramfs, mvm and other
 * monitors in turn.
 *
 * A peer is any command; it is run as "COMMAND KERNEL INITRD CMDLINE MIB" and puts the guest's
 * console on stdout.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "process.h"
#include "report.h"

enum { WARM_UP = 1, DEFAULT_RUNS = 8, PEERS_MAX = 8, TIMEOUT_MS = 60000 };

static const char marker[] = "hello from the guest";

struct setting {
	const char *mvm, *kernel, *initrd, *cmdline, *mib;
	int runs, npeers;
	struct {
		char *name;
		const char *command;
		struct samples samples;
	} peer[PEERS_MAX];
};

static double run(const char *const argv[])
{
	struct process p;
	uint64_t when;
	int rc = process_start(argv, NULL, &p);

	if (rc == 0) {
		rc = process_wait_for(&p, marker, TIMEOUT_MS, &when);
		(void)process_end(&p, 1);
	}
	if (rc < 0) {
		(void)fprintf(stderr, "linux-boot: %s never said '%s': %s\n", argv[0], marker,
			strerror(-rc));
		exit(1);
	}
	return (double)(when - p.start_us) / 1000;
}

static double run_mvm(const struct setting *s)
{
	char mem[32];
	const char *const argv[] = { s->mvm, "run", "--kernel", s->kernel, "--initrd", s->initrd,
		"--cmdline", s->cmdline, "--mem", mem, NULL };

	(void)snprintf(mem, sizeof(mem), "%sM", s->mib);
	return run(argv);
}

static double run_peer(const struct setting *s, const char *command)
{
	const char *const argv[] = { command, s->kernel, s->initrd, s->cmdline, s->mib, NULL };

	return run(argv);
}

static void add_peer(struct setting *s, char *text)
{
	char *equals = strchr(text, '=');

	if (!equals || s->npeers == PEERS_MAX) {
		(void)fprintf(stderr, "linux-boot: --peer takes NAME=PATH, at most %d times\n",
			PEERS_MAX);
		exit(2);
	}
	*equals = '\0';
	s->peer[s->npeers].name = text;
	s->peer[s->npeers].command = equals + 1;
	s->npeers++;
}

static void parse(int argc, char **argv, struct setting *s, struct report *r)
{
	static const struct option options[] = {
		{ "mvm", required_argument, NULL, 'm' },
		{ "kernel", required_argument, NULL, 'k' },
		{ "initrd", required_argument, NULL, 'i' },
		{ "cmdline", required_argument, NULL, 'c' },
		{ "mib", required_argument, NULL, 'M' },
		{ "peer", required_argument, NULL, 'p' },
		{ "runs", required_argument, NULL, 'n' },
		{ "json", no_argument, NULL, 'j' },
		{ NULL, 0, NULL, 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 'm': s->mvm = optarg; break;
		case 'k': s->kernel = optarg; break;
		case 'i': s->initrd = optarg; break;
		case 'c': s->cmdline = optarg; break;
		case 'M': s->mib = optarg; break;
		case 'p': add_peer(s, optarg); break;
		case 'n': s->runs = atoi(optarg); break;
		case 'j': r->json = true; break;
		default: exit(2);
		}
	}
	if (!s->mvm || !s->kernel || !s->initrd || s->runs < 1) {
		(void)fprintf(stderr,
			"usage: linux-boot --mvm F --kernel F --initrd F [--cmdline S] [--mib N] "
			"[--peer NAME=PATH]... [--runs N] [--json]\n");
		exit(2);
	}
}

int main(int argc, char **argv)
{
	struct setting s = {
		.runs = DEFAULT_RUNS, .cmdline = "console=ttyS0 panic=-1 quiet", .mib = "128"
	};
	struct report r = { .bench = "linux-boot" };
	struct samples mvm = { 0 };

	parse(argc, argv, &s, &r);
	for (int i = -WARM_UP; i < s.runs; i++) {
		/* Everybody in turn, and another one first each time; number npeers is mvm. */
		for (int k = 0; k <= s.npeers; k++) {
			int who = (i + WARM_UP + k) % (s.npeers + 1);
			double ms =
				who == s.npeers ? run_mvm(&s) : run_peer(&s, s.peer[who].command);

			if (i >= 0)
				samples_add(who == s.npeers ? &mvm : &s.peer[who].samples, ms);
		}
	}
	for (int k = 0; k < s.npeers; k++)
		report_metric(&r, "exec_to_init", "ms", &mvm, &s.peer[k].samples, s.peer[k].name);
	if (s.npeers == 0)
		report_metric(&r, "exec_to_init", "ms", &mvm, NULL, NULL);
	for (int k = 0; k < s.npeers; k++)
		samples_free(&s.peer[k].samples);
	samples_free(&mvm);
	return 0;
}
