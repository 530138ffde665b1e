/* The command line of "mvm snapshot". */
#include "t.h"

#include "base/err.h"
#include "serve_options.h"
#include "snapshot_options.h"

TestSuite(snapshot_options, .timeout = T_SECONDS);

static char *argv[16];

static int parse(const char *const args[], struct snapshot_options *o, struct err *e)
{
	int argc = 1;

	argv[0] = (char *)"snapshot";
	while (args[argc - 1]) {
		argv[argc] = (char *)args[argc - 1];
		argc++;
	}
	argv[argc] = NULL;
	return snapshot_options_parse(argc, argv, o, e);
}

#define PARSE(o, e, ...) parse((const char *const[]){ __VA_ARGS__, NULL }, o, e)

Test(snapshot_options, saving)
{
	struct snapshot_options o;
	struct err e = { 0 };

	t_int(PARSE(&o, &e, "dir"), 0);
	t_str(o.dir, "dir");
	t_str(o.sock, SERVE_DEFAULT_SOCKET);
	t_false(o.diff || o.live || o.stop || o.with_disks || o.merges || o.help);
	t_int(PARSE(&o, &e, "--diff", "--live", "dir", "--api-sock", "s", "--with-disks"), 0);
	t_str(o.sock, "s");
	t_true(o.diff && o.live && o.with_disks && !o.stop);
	t_int(PARSE(&o, &e, "dir", "--stop"), 0);
	t_true(o.stop);
	t_int(PARSE(&o, &e, "--help"), 0);
	t_true(o.help);
}

Test(snapshot_options, merging)
{
	struct snapshot_options o;
	struct err e = { 0 };

	t_int(PARSE(&o, &e, "--merge", "a", "b", "--into", "out", "c"), 0);
	t_true(o.merges);
	t_str(o.dir, "out");
	t_uint(o.nparts, 3);
	t_str(o.part[0], "a");
	t_str(o.part[2], "c");
}

Test(snapshot_options, what_is_wrong_is_named)
{
	static const struct {
		const char *arg[6], *text;
	} rows[] = {
		{ { NULL }, "DIR is missing" },
		{ { "a", "b" }, "only one DIR" },
		{ { "a", "--nonsense" }, "unknown option '--nonsense'" },
		{ { "a", "--api-sock" }, "'--api-sock' needs a value" },
		{ { "a", "--live", "--stop" }, "--live and --stop exclude each other" },
		{ { "a", "--into", "b" }, "--into is for --merge" },
		{ { "--merge", "a", "b" }, "--into DIR is missing" },
		{ { "--merge", "--into", "o", "a" }, "at least one difference" },
		{ { "--merge", "--into", "o", "a", "b", "--diff" }, "--merge goes with --into" },
		{ { "--merge", "--into", "o", "a", "b", "--api-sock=s" }, "needs no machine" },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		const char *args[7] = { 0 };
		struct snapshot_options o;
		struct err e = { 0 };

		memcpy(args, rows[i].arg, sizeof(rows[i].arg));
		t_row_int(rows[i].text, parse(args, &o, &e), -EINVAL);
		t_row_has(rows[i].text, e.text, rows[i].text);
	}
}
