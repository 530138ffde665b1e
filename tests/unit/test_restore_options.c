/* The command line of "mvm restore". */
#include "t.h"

#include <fcntl.h>
#include <stdio.h>

#include "base/err.h"
#include "restore_options.h"

TestSuite(restore_options, .timeout = T_SECONDS);

enum { ARGS_MAX = 64 };

static int parse(const char *const args[], struct restore_options *o, struct err *e)
{
	char *argv[ARGS_MAX + 2] = { (char *)"restore" };
	int argc = 1;

	while (args[argc - 1]) {
		argv[argc] = (char *)args[argc - 1];
		argc++;
	}
	return restore_options_parse(argc, argv, o, e);
}

#define PARSE(o, e, ...) parse((const char *const[]){ __VA_ARGS__, NULL }, o, e)

Test(restore_options, a_folder_is_enough_and_the_rest_has_defaults)
{
	struct restore_options o;
	struct err e = { 0 };

	t_int(PARSE(&o, &e, "/snap"), 0);
	t_str(o.load.state_path, "/snap");
	t_true(!o.load.memory_path && !o.load.uffd_path && !o.api_sock && !o.counters);
	t_int(o.load.backend, LOAD_BACKEND_FILE);
	t_int(o.load.pages, LOAD_PAGES_SNAPSHOT);
	t_uint(o.load.ndrives + o.load.nnics + o.load.naccepted, 0);
	t_uint(o.load.record_ms, 0);
	t_false(o.load.track_dirty || o.load.holds_clock || o.load.accepts_any_cpu ||
		o.load.skips_working_set || !o.load.goes_on || o.timeline || o.verbose || o.help);
	t_str(o.id, "restore");
	t_str(o.kvm, "/dev/kvm");
	t_int(o.loop, LOOP_AUTO);
	restore_options_free(&o);
	T_NO_LEAKS();
}

Test(restore_options, every_option_is_taken)
{
	struct restore_options o;
	struct err e = { 0 };
	int rc = PARSE(&o, &e, "--api-sock", "s", "--id=x", "/snap", "--paused", "--disk", "a=/p=q",
		"--disk=b=r", "--net", "n=tap0,mac=02:00:00:00:00:0f", "--net=m=tap1",
		"--accept-changed-disk", "a", "--accept-changed-disk=b", "--clock=frozen",
		"--pages", "2m", "--track-dirty", "--record-working-set", "250", "--no-working-set",
		"--timeline", "--timeline-json", "t", "--counters", "c", "--loop", "epoll", "--kvm",
		"/k", "--accept-any-cpu", "--start-time-us", "9", "--verbose");

	cr_assert(eq(int, rc, 0), "%s", e.text);
	t_str(o.load.state_path, "/snap");
	t_uint(o.load.ndrives, 2);
	t_str(o.load.drive[0].id, "a");
	t_str(o.load.drive[0].path, "/p=q");
	t_str(o.load.drive[1].path, "r");
	t_uint(o.load.nnics, 2);
	t_str(o.load.nic[0].id, "n");
	t_str(o.load.nic[0].tap, "tap0");
	t_true(o.load.nic[0].has_mac && !o.load.nic[0].has_tap_fd);
	t_int(o.load.nic[0].mac[5], 15);
	t_str(o.load.nic[1].tap, "tap1");
	t_false(o.load.nic[1].has_mac);
	t_uint(o.load.naccepted, 2);
	t_str(o.load.accepted[1], "b");
	t_true(o.load.holds_clock && o.load.track_dirty && o.load.skips_working_set &&
		o.load.accepts_any_cpu && !o.load.goes_on && o.timeline && o.verbose);
	t_int(o.load.pages, LOAD_PAGES_2M);
	t_uint(o.load.record_ms, 250);
	t_str(o.timeline_json, "t");
	t_str(o.counters, "c");
	t_int(o.loop, LOOP_EPOLL);
	t_str(o.kvm, "/k");
	t_uint(o.start_time_us, 9);
	t_str(o.id, "x");
	t_str(o.api_sock, "s");
	restore_options_free(&o);
	T_NO_LEAKS();
}

Test(restore_options, taps_that_are_open)
{
	struct restore_options o;
	struct err e = { 0 };
	char net[64];
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

	(void)snprintf(net, sizeof(net), "n=fd=%d,mac=02:00:00:00:00:01", fd);
	t_int(PARSE(&o, &e, "d", "--net", net), 0);
	t_true(o.load.nic[0].has_tap_fd && !o.load.nic[0].tap && o.load.nic[0].has_mac);
	t_int(o.load.nic[0].tap_fd, fd);
	restore_options_free(&o);
	(void)close(fd);
	t_int(PARSE(&o, &e, "d", "--net", net), -EINVAL);
	t_has(e.text, "not an open tap descriptor");
	T_NO_LEAKS();
}

Test(restore_options, handlers_of_memory)
{
	struct restore_options o;
	struct err e = { 0 };

	t_int(PARSE(&o, &e, "d", "--uffd", "/sock"), 0);
	t_int(o.load.backend, LOAD_BACKEND_UFFD);
	t_str(o.load.uffd_path, "/sock");
	restore_options_free(&o);
}

Test(restore_options, help_needs_no_folder)
{
	struct restore_options o;
	struct err e = { 0 };

	t_int(PARSE(&o, &e, "--help"), 0);
	t_true(o.help);
}

Test(restore_options, what_is_wrong_is_named)
{
	static const struct {
		const char *arg[4], *text;
	} rows[] = {
		{ { NULL }, "DIR is missing" },
		{ { "a", "b" }, "'b' is one too many" },
		{ { "a", "--nonsense" }, "unknown option '--nonsense'" },
		{ { "a", "-x" }, "unknown option '-x'" },
		{ { "a", "--disk" }, "'--disk' needs a value" },
		{ { "a", "--disk", "p" }, "--disk 'p': must be ID=PATH" },
		{ { "a", "--disk", "=p" }, "must be ID=PATH" },
		{ { "a", "--disk", "x=" }, "must be ID=PATH" },
		{ { "a", "--disk=x=1", "--disk=x=2" }, "--disk x is given twice" },
		{ { "a", "--net", "t" }, "--net 't': must be ID=TAP" },
		{ { "a", "--net=x=t", "--net=x=u" }, "--net x is given twice" },
		{ { "a", "--net", "x=t,mtu=9" }, "'mtu=9' is not mac=" },
		{ { "a", "--net", "x=t,mac=1" }, "'mac=1' is not mac=" },
		{ { "a", "--net", "x=,mac=02:00:00:00:00:01" }, "the name of the tap is missing" },
		{ { "a", "--net", "x=fd=-1" }, "fd must be the number" },
		{ { "a", "--clock", "late" }, "must be one of realtime, frozen" },
		{ { "a", "--pages", "4k" }, "must be one of snapshot, host, thp, 2M" },
		{ { "a", "--loop", "x" }, "must be one of auto, uring, epoll" },
		{ { "a", "--record-working-set", "0" }, "must be a number from 1" },
		{ { "a", "--start-time-us", "x" }, "must be a number from 1" },
		{ { "a", "--paused" }, "--paused needs --api-sock" },
		{ { "a", "--uffd=s", "--no-working-set" }, "working sets are not for --uffd" },
		{ { "a", "--uffd=s", "--record-working-set=5" }, "working sets are not for" },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		const char *args[5] = { 0 };
		struct restore_options o;
		struct err e = { 0 };

		memcpy(args, rows[i].arg, sizeof(rows[i].arg));
		t_row_int(rows[i].text, parse(args, &o, &e), -EINVAL);
		t_row_has(rows[i].text, e.text, rows[i].text);
	}
	T_NO_LEAKS();
}

Test(restore_options, more_devices_than_there_can_be)
{
	static const char *const kinds[] = { "disk", "net", "accept-changed-disk" };
	char text[CONFIG_DEVICES_MAX + 1][48];
	const char *args[ARGS_MAX] = { "d" };

	for (unsigned k = 0; k < ARRAY_SIZE(kinds); k++) {
		struct restore_options o;
		struct err e = { 0 };

		for (unsigned i = 0; i <= CONFIG_DEVICES_MAX; i++) {
			(void)snprintf(text[i], sizeof(text[i]), "--%s=x%u=y", kinds[k], i);
			args[i + 1] = text[i];
		}
		args[CONFIG_DEVICES_MAX + 2] = NULL;
		t_row_int(kinds[k], parse(args, &o, &e), -EINVAL);
		t_row_has(kinds[k], e.text, "too many");
		/* And as many as there can be. */
		args[CONFIG_DEVICES_MAX + 1] = NULL;
		t_row_int(kinds[k], parse(args, &o, &e), 0);
		restore_options_free(&o);
	}
	T_NO_LEAKS();
}
