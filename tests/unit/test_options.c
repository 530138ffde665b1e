/* The command line of "mvm run". */
#include "t.h"

#include "base/err.h"
#include "options.h"

TestSuite(options, .timeout = T_SECONDS);

enum { ARGS_MAX = 16 };

/* Parses a NULL-terminated list behind the verb. */
static int parse(char *const args[], struct run_options *o, struct err *e)
{
	char *argv[ARGS_MAX + 2] = { (char *)"run" };
	int argc = 1;

	while (args[argc - 1]) {
		argv[argc] = args[argc - 1];
		argc++;
	}
	return options_parse_run(argc, argv, o, e);
}

#define PARSE(o, e, ...) parse((char *[]){ __VA_ARGS__, NULL }, o, e)

Test(options, a_kernel_is_enough_and_the_rest_has_defaults)
{
	struct run_options o;
	struct err e = { 0 };

	cr_assert(eq(int, PARSE(&o, &e, "--kernel", "/k"), 0), "%s", e.text);
	t_str(o.vm.kernel, "/k");
	t_str(o.vm.cmdline, "console=ttyS0 panic=-1");
	t_uint(o.vm.cpus, 1);
	t_uint(o.vm.mem_size, 128ULL << 20);
	t_int(o.loop, LOOP_AUTO);
	t_int(o.vm.protocol, BOOT_AUTO);
	t_false(o.help || o.verbose || o.timeline || o.timeline_json || o.start_time_us);
}

Test(options, every_option_is_taken_in_both_spellings)
{
	struct run_options o;
	struct err e = { 0 };

	cr_assert(eq(int,
			  PARSE(&o, &e, "--kernel=/k", "--initrd", "/i", "--cmdline=a b", "--cpus",
				  "32", "--mem=4G", "--pages", "thp"),
			  0),
		"%s", e.text);
	t_str(o.vm.initrd, "/i");
	t_str(o.vm.cmdline, "a b");
	t_uint(o.vm.cpus, 32);
	t_uint(o.vm.mem_size, 4ULL << 30);
	t_int(o.vm.pages, MEM_PAGES_THP);
	cr_assert(eq(int,
			  PARSE(&o, &e, "--kernel=/k", "--prefault", "--boot=pvh", "--loop",
				  "epoll", "--timeline", "--timeline-json=/t", "--start-time-us",
				  "5", "--verbose"),
			  0),
		"%s", e.text);
	t_true(o.vm.prefault && o.timeline && o.verbose);
	t_int(o.vm.protocol, BOOT_PVH);
	t_int(o.loop, LOOP_EPOLL);
	t_str(o.timeline_json, "/t");
	t_uint(o.start_time_us, 5);
}

Test(options, words_of_a_choice_stand_for_their_values)
{
	static const struct {
		const char *arg;
		int pages, loop, boot;
	} rows[] = {
		{ "--pages=host", MEM_PAGES_HOST, LOOP_AUTO, BOOT_AUTO },
		{ "--pages=4k", MEM_PAGES_4K, LOOP_AUTO, BOOT_AUTO },
		{ "--pages=thp", MEM_PAGES_THP, LOOP_AUTO, BOOT_AUTO },
		{ "--pages=2m", MEM_PAGES_2M, LOOP_AUTO, BOOT_AUTO },
		{ "--loop=auto", MEM_PAGES_HOST, LOOP_AUTO, BOOT_AUTO },
		{ "--loop=uring", MEM_PAGES_HOST, LOOP_URING, BOOT_AUTO },
		{ "--loop=epoll", MEM_PAGES_HOST, LOOP_EPOLL, BOOT_AUTO },
		{ "--boot=auto", MEM_PAGES_HOST, LOOP_AUTO, BOOT_AUTO },
		{ "--boot=pvh", MEM_PAGES_HOST, LOOP_AUTO, BOOT_PVH },
		{ "--boot=linux64", MEM_PAGES_HOST, LOOP_AUTO, BOOT_LINUX64 },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct run_options o;

		t_row_int(rows[i].arg, PARSE(&o, NULL, "--kernel=/k", (char *)rows[i].arg), 0);
		t_row_int(rows[i].arg, o.vm.pages, rows[i].pages);
		t_row_int(rows[i].arg, o.loop, rows[i].loop);
		t_row_int(rows[i].arg, o.vm.protocol, rows[i].boot);
	}
}

Test(options, help_needs_no_kernel)
{
	struct run_options o;

	t_int(PARSE(&o, NULL, "--help"), 0);
	t_true(o.help);
}

Test(options, bad_usage_is_refused_with_the_option_named)
{
	static const struct {
		const char *args[4];
		const char *words[2];
	} rows[] = {
		{ { "--verbose" }, { "--kernel", "missing" } },
		{ { "--kernel" }, { "--kernel", "needs a value" } },
		{ { "--nonsense" }, { "--nonsense", "unknown" } },
		{ { "--nonsense=3" }, { "--nonsense=3", "unknown" } },
		{ { "-x" }, { "-x", "unknown" } },
		{ { "-xyz" }, { "'-x'", "unknown" } },
		{ { "--kernel=/k", "-q", "--verbose" }, { "'-q'", "unknown" } },
		{ { "--kernel=/k", "image" }, { "'image'", "not an option" } },
		{ { "--kernel=/k", "--cpus", "0" }, { "--cpus '0'", "1 to 32" } },
		{ { "--kernel=/k", "--cpus=33" }, { "--cpus '33'", "1 to 32" } },
		{ { "--kernel=/k", "--cpus=-1" }, { "--cpus '-1'", "1 to 32" } },
		{ { "--kernel=/k", "--cpus=two" }, { "--cpus 'two'", "1 to 32" } },
		{ { "--kernel=/k", "--mem=lots" }, { "--mem 'lots'", "128M" } },
		{ { "--kernel=/k", "--mem=" }, { "--mem ''", "128M" } },
		{ { "--kernel=/k", "--pages=1g" }, { "--pages '1g'", "host, 4k, thp, 2m" } },
		{ { "--kernel=/k", "--loop=select" }, { "--loop 'select'", "auto, uring, epoll" } },
		{ { "--kernel=/k", "--boot=bios" }, { "--boot 'bios'", "auto, pvh, linux64" } },
		{ { "--kernel=/k", "--start-time-us=0" }, { "--start-time-us", "microseconds" } },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct run_options o = { .start_time_us = 77 };
		struct err e = { 0 };
		char *args[5];

		for (unsigned k = 0; k < 5; k++)
			args[k] = k < 4 ? (char *)rows[i].args[k] : NULL;
		t_row_int(rows[i].words[0], parse(args, &o, &e), -EINVAL);
		t_row_has(rows[i].words[0], e.text, rows[i].words[0]);
		t_row_has(rows[i].words[0], e.text, rows[i].words[1]);
		t_row_int(rows[i].words[0], o.start_time_us, 77); /* untouched on failure */
	}
}

Test(options, a_second_call_starts_over)
{
	struct run_options o;

	t_int(PARSE(&o, NULL, "--kernel=/k", "--verbose", "--bad"), -EINVAL);
	t_int(PARSE(&o, NULL, "--kernel=/k2"), 0);
	t_str(o.vm.kernel, "/k2");
	t_false(o.verbose);
}

Test(options, the_help_names_every_option_and_fits_a_screen)
{
	static const char *const names[] = { "--kernel", "--initrd", "--cmdline", "--cpus", "--mem",
		"--pages", "--prefault", "--boot", "--loop", "--timeline", "--timeline-json",
		"--start-time-us", "--verbose", "--help" };
	unsigned lines = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(names); i++)
		t_row_has(names[i], options_run_help, names[i]);
	for (const char *at = options_run_help; (at = strchr(at, '\n')); at++)
		lines++;
	t_true(lines <= 40);
}
