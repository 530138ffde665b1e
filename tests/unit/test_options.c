/* The command line of "mvm run". */
#include "t.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/mman.h>

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
	t_int(o.vm.describe, DESCRIBE_AUTO);
	t_true(o.counters == NULL);
	t_false(o.vm.track_dirty);
	t_uint(o.vm.ndisks + o.vm.nnets, 0);
	options_free(&o);
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

Test(options, devices_keep_their_order_and_get_ids_where_they_have_none)
{
	struct run_options o;
	struct err e = { 0 };

	cr_assert(eq(int,
			  PARSE(&o, &e, "--disk", "/a", "--net=tap0", "--kernel=/k",
				  "--disk=/b,id=b,ro", "--disk=/c", "--net", "tap1,id=wan",
				  "--net=tap2"),
			  0),
		"%s", e.text);
	t_uint(o.vm.ndisks, 3);
	t_uint(o.vm.nnets, 3);
	t_str(o.vm.disk[0].path, "/a");
	t_str(o.vm.disk[0].id, "disk0");
	t_str(o.vm.disk[1].path, "/b");
	t_str(o.vm.disk[1].id, "b");
	t_true(o.vm.disk[1].read_only && !o.vm.disk[0].read_only && !o.vm.disk[2].read_only);
	t_str(o.vm.disk[2].id, "disk2");
	t_str(o.vm.net[0].tap, "tap0");
	t_str(o.vm.net[0].id, "net0");
	t_str(o.vm.net[1].id, "wan");
	t_str(o.vm.net[2].id, "net2");
	t_int(config_check(&o.vm, 0, NULL), 0);
	options_free(&o);
	options_free(&o); /* once more is allowed */
	T_NO_LEAKS();
}

Test(options, the_words_of_a_device_are_the_callers_before_and_after)
{
	char disk[] = "--disk=/a,,b,id=x", net[] = "--net=tap0,id=y";
	struct run_options o;

	t_int(PARSE(&o, NULL, "--kernel=/k", disk, net), 0);
	t_str(disk, "--disk=/a,,b,id=x");
	memset(disk, 0, sizeof(disk));
	memset(net, 0, sizeof(net));
	t_str(o.vm.disk[0].path, "/a,b");
	t_str(o.vm.net[0].id, "y");
	options_free(&o);
}

Test(options, as_many_devices_as_there_is_room_for_and_not_one_more)
{
	for (int n = CONFIG_DEVICES_MAX; n <= CONFIG_DEVICES_MAX + 1; n++) {
		char *argv[CONFIG_DEVICES_MAX + 4] = { (char *)"run", (char *)"--kernel=/k" };
		struct run_options o;
		struct err e = { 0 };

		for (int i = 0; i < n; i++)
			argv[2 + i] = (char *)(i % 2 ? "--net=tap0" : "--disk=/d");
		if (n == CONFIG_DEVICES_MAX) {
			t_int(options_parse_run(2 + n, argv, &o, &e), 0);
			t_str(o.vm.disk[8].id, "disk8");
			t_int(config_check(&o.vm, 0, NULL), 0);
			options_free(&o);
		} else {
			t_int(options_parse_run(2 + n, argv, &o, &e), -EINVAL);
			t_has(e.text, "room for 18");
		}
	}
	T_NO_LEAKS();
}

Test(options, what_was_read_of_devices_goes_when_a_later_option_is_wrong)
{
	struct run_options o;

	t_int(PARSE(&o, NULL, "--kernel=/k", "--disk=/a", "--net=tap0", "--disk=/b,bad"), -EINVAL);
	t_int(PARSE(&o, NULL, "--kernel=/k", "--disk=/a", "--net=tap0", "--net="), -EINVAL);
	t_int(PARSE(&o, NULL, "--kernel=/k", "--disk=/a", "--nonsense"), -EINVAL);
	t_int(PARSE(&o, NULL, "--disk=/a"), -EINVAL);
	T_NO_LEAKS();
}

Test(options, devices_are_described_and_counted_as_is_said)
{
	static const struct {
		const char *arg;
		enum describe want;
	} rows[] = { { "--describe=auto", DESCRIBE_AUTO }, { "--describe=acpi", DESCRIBE_ACPI },
		{ "--describe=cmdline", DESCRIBE_CMDLINE }, { "--describe=both", DESCRIBE_BOTH } };
	struct run_options o;

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		t_row_int(rows[i].arg,
			PARSE(&o, NULL, "--kernel=/k", (char *)rows[i].arg, "--counters", "/c"), 0);
		t_row_int(rows[i].arg, o.vm.describe, rows[i].want);
		t_str(o.counters, "/c");
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
		{ { "--kernel=/k", "--describe=dsdt" },
			{ "--describe 'dsdt'", "auto, acpi, cmdline, both" } },
		{ { "--kernel=/k", "--counters" }, { "--counters", "needs a value" } },
		{ { "--kernel=/k", "--disk" }, { "--disk", "needs a value" } },
		{ { "--kernel=/k", "--disk=/d,rw" }, { "--disk /d", "'rw'" } },
		{ { "--kernel=/k", "--net=tap0,mtu=1" }, { "--net tap0", "'mtu=1'" } },
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

/* Before anything of ours is open: later a number that the caller has not opened may be one of
 * ours, and that may be a character device too. */
Test(options, a_descriptor_of_a_tap_is_open_and_a_device)
{
	int null = open("/dev/null", O_RDWR), file = memfd_create("file", 0), pipes[2], closed;
	struct run_options o;
	struct err e = { 0 };
	char arg[64];

	t_int(pipe(pipes), 0);
	closed = dup(null);
	(void)close(closed);
	(void)snprintf(arg, sizeof(arg), "--net=fd=%d,id=lan", null);
	cr_assert(eq(int, PARSE(&o, &e, "--kernel=/k", arg), 0), "%s", e.text);
	t_int(o.vm.net[0].tap_fd, null);
	t_true(o.vm.net[0].tap == NULL);
	options_free(&o);
	for (unsigned i = 0; i < 4; i++) {
		const int bad[] = { file, pipes[0], closed, INT_MAX };

		(void)snprintf(arg, sizeof(arg), "--net=fd=%d,id=lan", bad[i]);
		t_row_int(arg, PARSE(&o, &e, "--kernel=/k", arg), -EINVAL);
		(void)snprintf(arg, sizeof(arg), "--net fd=%d: not an open tap descriptor", bad[i]);
		t_row_has(arg, e.text, arg);
	}
	/* None was touched. */
	t_true(fcntl(file, F_GETFD) == 0 && fcntl(pipes[0], F_GETFD) == 0);
	t_true(fcntl(null, F_GETFD) == 0 && !(fcntl(null, F_GETFL) & O_NONBLOCK));
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
		"--pages", "--prefault", "--boot", "--describe", "--disk", "--net", "--counters",
		"--loop", "--timeline", "--timeline-json", "--start-time-us", "--verbose",
		"--help" };
	unsigned lines = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(names); i++)
		t_row_has(names[i], options_run_help, names[i]);
	for (const char *at = options_run_help; (at = strchr(at, '\n')); at++)
		lines++;
	t_true(lines <= 40);
}

Test(options, tracking_of_written_pages)
{
	struct run_options o;
	struct err e = { 0 };

	t_int(PARSE(&o, &e, "--kernel", "/k", "--track-dirty"), 0);
	t_true(o.vm.track_dirty);
	options_free(&o);
}
