/* "mvm inspect": what is in a snapshot. */
#include <errno.h>
#include <getopt.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/log.h"
#include "commands.h"
#include "snapshot/inspect.h"
#include "snapshot/state_file.h"

static const char help[] =
	"usage: mvm inspect [--json] SNAPSHOT\n"
	"\n"
	"Prints what is in a snapshot: a state file, or a folder that has one named \"state\".  "
	"Of a damaged one\n"
	"it prints what can be trusted and says what is damaged; of a format version that it does "
	"not know, the\n"
	"header and the list of sections.\n"
	"\n"
	"  --json                for programs: an object, null for what is not known\n"
	"  --help                this text\n"
	"\n"
	"Exit status: 0 this mvm can read all of it; 1 it cannot, or there is no such file; 2 bad "
	"usage.\n";

struct options {
	bool help, json;
	const char *path;
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
			log_error("'%s' is not an option; 'mvm inspect --help' lists them",
				argv[optind - 1]);
			return -1;
		}
		o->help |= id == 'h';
		o->json |= id == 'j';
	}
	if (o->help)
		return 0;
	if (argc - optind != 1) {
		log_error("which snapshot? 'mvm inspect --help' tells more");
		return -1;
	}
	o->path = argv[optind];
	return 0;
}

static int print_json(const struct inspection *v)
{
	json_t *all = inspect_json(v);
	int rc = all ? json_dumpf(all, stdout, JSON_INDENT(2) | JSON_ENSURE_ASCII) : -1;

	json_decref(all);
	(void)putchar('\n');
	return rc < 0 || fflush(stdout) != 0 ? -EIO : 0;
}

static int inspect(const struct options *o, struct err *e)
{
	uint8_t *data CLEANUP(freep) = NULL;
	struct inspection *v;
	size_t len = 0;
	int rc = state_read_bytes(o->path, &data, &len, e);

	if (rc < 0)
		return rc;
	v = inspection_new(o->path, data, len);
	if (!v)
		return err_sys(e, -ENOMEM, NULL, "cannot look into '%s'", o->path);
	rc = o->json ? print_json(v) : inspect_print(v, stdout);
	if (rc < 0)
		rc = err_set(e, rc, "cannot write the report");
	for (unsigned i = 0; i < v->nproblems && rc == 0; i++) {
		if (i + 1 < v->nproblems)
			log_error("'%s': %s", o->path, v->problem[i].text);
		else
			rc = err_set(
				e, v->problem[i].code, "'%s': %s", o->path, v->problem[i].text);
	}
	inspection_free(v);
	return rc;
}

int cmd_inspect(int argc, char **argv)
{
	struct options o = { 0 };
	struct err e = { 0 };

	if (parse(argc, argv, &o) < 0)
		return EXIT_USAGE;
	if (o.help) {
		(void)fputs(help, stdout);
		return 0;
	}
	if (inspect(&o, &e) == 0)
		return 0;
	log_error("%s", e.text);
	return EXIT_HOST_FAILED;
}
