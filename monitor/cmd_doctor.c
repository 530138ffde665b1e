/* "mvm doctor": its options, and its report for people and for programs. */
#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "commands.h"
#include "doctor.h"

/* Beside those of commands.h: guests run only in the lab. */
enum { EXIT_LAB_ONLY = 3 };

static const char help[] =
	"usage: mvm doctor [--json]\n"
	"\n"
	"Tells whether this host can run guests, how well, and what to do about it.  Changes "
	"nothing.\n"
	"Each line is one check: ok, slow (works, but could be better) or missing.\n"
	"\n"
	"  --json  one JSON object: can_run (here, lab, no), checks (name, state, found, advice),\n"
	"          kvm (instructions_per_second, exit_us, create_ms; null: not measured)\n"
	"  --help  this text\n"
	"\n"
	"Exit status: 0 guests run here, 3 only in the lab (tests/lab/run), 1 neither, 2 bad "
	"usage.\n";

struct options {
	bool help, json;
};

static int parse(int argc, char **argv, struct options *o)
{
	static const struct option known[] = {
		{ "help", no_argument, NULL, 'h' },
		{ "json", no_argument, NULL, 'j' },
		{ NULL, 0, NULL, 0 },
	};
	int id;

	opterr = 0;
	while ((id = getopt_long(argc, argv, "", known, NULL)) != -1) {
		if (id == '?') {
			log_error("unknown option '%s'; 'mvm doctor --help' lists them",
				argv[optind - 1]);
			return -1;
		}
		o->help |= id == 'h';
		o->json |= id == 'j';
	}
	if (optind < argc) {
		log_error("'%s' is not an option; 'mvm doctor --help' lists them", argv[optind]);
		return -1;
	}
	return 0;
}

static const char *state_word(enum doctor_state state)
{
	switch (state) {
	case DOCTOR_OK: return "ok";
	case DOCTOR_SLOW: return "slow";
	case DOCTOR_MISSING: return "missing";
	case DOCTOR_SKIPPED:
	default: return "skipped";
	}
}

/* --- for people --- */

static bool wants_colours(void)
{
	const char *term = getenv("TERM"), *no_color = getenv("NO_COLOR");

	return isatty(STDOUT_FILENO) && term && strcmp(term, "dumb") != 0 &&
	       !(no_color && no_color[0] != '\0');
}

static const char *colour_of(enum doctor_state state)
{
	switch (state) {
	case DOCTOR_OK: return "\033[32m";
	case DOCTOR_SLOW: return "\033[33m";
	case DOCTOR_MISSING: return "\033[31m";
	case DOCTOR_SKIPPED:
	default: return "";
	}
}

static void print_text(const struct doctor *d)
{
	const struct doctor_result *obstacle = doctor_first_obstacle(d);
	bool colours = wants_colours();

	for (unsigned i = 0; i < d->n; i++) {
		const struct doctor_result *r = &d->result[i];

		if (r->detail && r->state == DOCTOR_OK)
			continue;
		(void)printf("%-24s %s%-7s%s  %s%s%s\n", r->name,
			colours ? colour_of(r->state) : "", state_word(r->state),
			colours ? "\033[0m" : "", r->found, r->advice[0] ? ": " : "", r->advice);
	}
	(void)putchar('\n');
	switch (d->verdict) {
	case DOCTOR_HERE: (void)puts("This host can run mvm guests."); break;
	case DOCTOR_LAB:
		(void)printf("This host can run mvm guests only in the lab (tests/lab/run COMMAND) "
			     "because of %s.\n",
			obstacle->name);
		break;
	case DOCTOR_NO:
		(void)printf("This host cannot run mvm guests: %s %s; and it cannot run the lab: "
			     "%s.\n",
			obstacle->name, obstacle->found, d->why_not);
		break;
	}
}

/* --- for programs --- */

static json_t *figure(double value)
{
	return value > 0 ? json_real(value) : json_null();
}

static json_t *count(double value)
{
	return value > 0 ? json_integer((json_int_t)value) : json_null();
}

static json_t *report(const struct doctor *d)
{
	static const char *const verdicts[] = {
		[DOCTOR_HERE] = "here", [DOCTOR_LAB] = "lab", [DOCTOR_NO] = "no"
	};
	json_t *list = json_array();

	for (unsigned i = 0; i < d->n; i++) {
		const struct doctor_result *r = &d->result[i];

		/* Takes the new object, and NULL of an allocation that failed for a failure. */
		if (json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:s}", "name", r->name,
							"state", state_word(r->state), "found",
							r->found, "advice", r->advice)) < 0) {
			json_decref(list);
			return NULL;
		}
	}
	return json_pack("{s:s, s:o, s:{s:o, s:o, s:o}}", "can_run", verdicts[d->verdict], "checks",
		list, "kvm", "instructions_per_second", count(d->figures.instructions_per_second),
		"exit_us", figure(d->figures.exit_us), "create_ms", figure(d->figures.create_ms));
}

static int print_json(const struct doctor *d)
{
	json_t *root = report(d);
	int rc = -1;

	if (root)
		rc = json_dumpf(root, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(4));
	json_decref(root);
	(void)putchar('\n');
	return rc;
}

int cmd_doctor(int argc, char **argv)
{
	static const int status[] = {
		[DOCTOR_HERE] = 0, [DOCTOR_LAB] = EXIT_LAB_ONLY, [DOCTOR_NO] = EXIT_HOST_FAILED
	};
	struct options o = { 0 };
	struct doctor d;
	int rc = 0;

	if (parse(argc, argv, &o) < 0)
		return EXIT_USAGE;
	if (o.help) {
		(void)fputs(help, stdout);
		return 0;
	}
	doctor_run(&d);
	if (o.json)
		rc = print_json(&d);
	else
		print_text(&d);
	if (rc < 0 || fflush(stdout) != 0) {
		log_error("cannot write the report");
		return EXIT_HOST_FAILED;
	}
	return status[d.verdict];
}
