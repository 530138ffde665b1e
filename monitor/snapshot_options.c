/* The command line of "mvm snapshot" (snapshot_options.h). */
#include "snapshot_options.h"

#include <errno.h>
#include <getopt.h>
#include <stddef.h>

#include "base/err.h"
#include "serve_options.h"

const char snapshot_options_help[] =
	"usage: mvm snapshot [--api-sock PATH] DIR [options]\n"
	"       mvm snapshot --merge --into DIR BASE DIFF...\n"
	"\n"
	"Saves a machine into DIR, which is made where it is not there.  A machine that runs is "
	"paused for it, and\n"
	"goes on afterwards, also when the save fails.  The second form makes one full snapshot of "
	"a full one and\n"
	"the differences on top of it, without a machine.\n"
	"\n"
	"  --api-sock PATH       socket of the machine (default: " SERVE_DEFAULT_SOCKET ")\n"
	"  --diff                only the pages written since the last snapshot, or since the "
	"restore\n"
	"  --live                the machine goes on while its memory is written\n"
	"  --stop                the machine ends when it is saved\n"
	"  --with-disks          what its writable disks hold, as well\n"
	"  --merge               merge snapshots\n"
	"  --into DIR            where to\n"
	"  --help                this text\n"
	"\n"
	"Exit status: 0 saved, 1 not, and the machine is as it was, 2 bad usage.\n";

static const struct option known[] = {
	{ "api-sock", required_argument, NULL, 's' },
	{ "diff", no_argument, NULL, 'd' },
	{ "help", no_argument, NULL, 'h' },
	{ "into", required_argument, NULL, 'i' },
	{ "live", no_argument, NULL, 'l' },
	{ "merge", no_argument, NULL, 'm' },
	{ "stop", no_argument, NULL, 'e' },
	{ "with-disks", no_argument, NULL, 'w' },
	{ NULL, 0, NULL, 0 },
};

static void apply(int id, char *arg, struct snapshot_options *o, const char **into)
{
	switch (id) {
	case 's': o->sock = arg; break;
	case 'd': o->diff = true; break;
	case 'h': o->help = true; break;
	case 'i': *into = arg; break;
	case 'l': o->live = true; break;
	case 'm': o->merges = true; break;
	case 'e': o->stop = true; break;
	default: o->with_disks = true; break;
	}
}

static int check_merge(
	const struct snapshot_options *o, bool has_sock, const char *into, struct err *e)
{
	if (o->diff || o->live || o->stop || o->with_disks || has_sock)
		return err_set(e, -EINVAL, "--merge goes with --into alone: it needs no machine");
	if (!into)
		return err_set(e, -EINVAL, "--into DIR is missing");
	if (o->nparts < 2)
		return err_set(
			e, -EINVAL, "--merge needs a full snapshot and at least one difference");
	return 0;
}

static int check_save(const struct snapshot_options *o, const char *into, struct err *e)
{
	if (into)
		return err_set(e, -EINVAL, "--into is for --merge");
	if (o->nparts != 1)
		return err_set(e, -EINVAL,
			o->nparts == 0 ? "DIR is missing: where to save" : "only one DIR");
	if (o->live && o->stop)
		return err_set(e, -EINVAL,
			"--live and --stop exclude each other: a machine that is saved live goes "
			"on");
	return 0;
}

int snapshot_options_parse(int argc, char **argv, struct snapshot_options *ret, struct err *e)
{
	struct snapshot_options o = { .sock = SERVE_DEFAULT_SOCKET };
	const char *into = NULL;
	bool has_sock = false;
	int id, rc;

	opterr = 0;
	optind = 0; /* getopt starts over, for a second call in the same process */
	while ((id = getopt_long(argc, argv, ":", known, NULL)) != -1) {
		if (id == '?' || id == ':')
			return err_set(e, -EINVAL,
				id == ':' ? "option '%s' needs a value"
					  : "unknown option '%s'; 'mvm snapshot --help' lists them",
				argv[optind - 1]);
		apply(id, optarg, &o, &into);
		has_sock |= id == 's';
	}
	o.part = argv + optind;
	o.nparts = (unsigned)(argc - optind);
	rc = o.help ? 0 : o.merges ? check_merge(&o, has_sock, into, e) : check_save(&o, into, e);
	if (rc < 0)
		return rc;
	o.dir = o.merges ? into : o.nparts > 0 ? o.part[0] : NULL;
	*ret = o;
	return 0;
}
