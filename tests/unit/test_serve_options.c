/* The command line of "mvm serve". */
#include "t.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "base/err.h"
#include "commands.h"
#include "serve_options.h"
#include "snapshot/snapshot.h"
#include "snapshot/state_file.h"
#include "t_state.h"

TestSuite(serve_options, .timeout = T_SECONDS);

enum { ARGS_MAX = 16 };

/* Parses a NULL-terminated list behind the verb. */
static int parse(char *const args[], struct serve_options *o, struct err *e)
{
	char *argv[ARGS_MAX + 2] = { (char *)"serve" };
	int argc = 1;

	while (args[argc - 1]) {
		argv[argc] = args[argc - 1];
		argc++;
	}
	return serve_options_parse(argc, argv, o, e);
}

#define PARSE(o, e, ...) parse((char *[]){ __VA_ARGS__, NULL }, o, e)

Test(serve_options, nothing_given_is_what_clients_expect)
{
	struct serve_options o;
	struct err e = { 0 };

	t_int(PARSE(&o, &e, NULL), 0);
	t_int(o.info, SERVE_NO_INFO);
	t_str(o.api_sock, "/run/firecracker.socket");
	t_str(o.id, "anonymous-instance");
	t_uint(o.api_mode, 0600);
	t_uint(o.body_max, 51200);
	t_int(o.level, LOG_INFO);
	t_int(o.loop, LOOP_AUTO);
	t_str(o.kvm, "/dev/kvm");
	t_false(o.has_api_sock || o.has_level || o.no_api || o.boot_timer || o.show_level ||
		o.show_log_origin || o.no_seccomp);
	t_true(!o.config_file && !o.log_path && !o.metrics_path && !o.module);
	t_uint(o.start_time_us + o.start_time_cpu_us + o.parent_cpu_time_us, 0);
}

Test(serve_options, every_flag_is_taken_in_both_spellings)
{
	struct serve_options o;
	struct err e = { 0 };

	cr_assert(eq(int,
			  PARSE(&o, &e, "--api-sock", "/s", "--id=a-1", "--config-file", "c.json",
				  "--log-path=/l", "--level", "warn", "--module=virtio",
				  "--show-level", "--show-log-origin", "--metrics-path", "/m",
				  "--no-seccomp"),
			  0),
		"%s", e.text);
	t_str(o.api_sock, "/s");
	t_str(o.id, "a-1");
	t_str(o.config_file, "c.json");
	t_str(o.log_path, "/l");
	t_int(o.level, LOG_WARNING);
	t_str(o.module, "virtio");
	t_str(o.metrics_path, "/m");
	t_true(o.has_api_sock && o.has_level && o.show_level && o.show_log_origin && o.no_seccomp);
	cr_assert(eq(int,
			  PARSE(&o, &e, "--no-api", "--config-file=-", "--boot-timer",
				  "--start-time-us=1", "--start-time-cpu-us", "2",
				  "--parent-cpu-time-us=3", "--http-api-max-payload-size", "1000",
				  "--loop=epoll", "--kvm", "/k", "--api-mode=0660"),
			  0),
		"%s", e.text);
	t_true(o.no_api && o.boot_timer);
	t_uint(o.start_time_us, 1);
	t_uint(o.start_time_cpu_us, 2);
	t_uint(o.parent_cpu_time_us, 3);
	t_uint(o.body_max, 1000);
	t_int(o.loop, LOOP_EPOLL);
	t_str(o.kvm, "/k");
	t_uint(o.api_mode, 0660);
}

Test(serve_options, levels_are_words_in_either_case)
{
	static const struct {
		char *text;
		int level;
	} rows[] = {
		{ "Off", LOG_OFF },
		{ "OFF", LOG_OFF },
		{ "error", LOG_ERROR },
		{ "Warn", LOG_WARNING },
		{ "wArNiNg", LOG_WARNING },
		{ "Info", LOG_INFO },
		{ "DEBUG", LOG_DEBUG },
		{ "Trace", LOG_TRACE },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct serve_options o;
		struct err e = { 0 };

		t_row_int(rows[i].text, PARSE(&o, &e, "--level", rows[i].text), 0);
		t_row_int(rows[i].text, o.level, rows[i].level);
	}
}

Test(serve_options, a_bad_level_has_its_own_exit_status)
{
	static char *const rows[] = { "", "loud", "Inf", "info ", "0" };

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct serve_options o = { .body_max = 7 };
		struct err e = { 0 };

		t_row_int(rows[i], PARSE(&o, &e, "--level", rows[i]), EXIT_BAD_CONFIG);
		t_row_has(rows[i], e.text, "--level");
		t_row_int("untouched", o.body_max, 7);
	}
}

#define LONG_ID "0123456789012345678901234567890123456789012345678901234567890123"

Test(serve_options, what_is_wrong_is_153_and_names_the_flag)
{
	static const struct {
		const char *name;
		char *args[5];
		const char *says;
	} rows[] = {
		{ "unknown", { "--bogus" }, "'--bogus'" },
		{ "a verb", { "run" }, "'run'" },
		{ "one dash", { "-id", "x" }, "'-id'" },
		{ "abbreviated", { "--api", "/s" }, "'--api'" },
		{ "longer", { "--api-socket", "/s" }, "'--api-socket'" },
		{ "two dashes", { "--", "x" }, "'--'" },
		{ "empty word", { "" }, "''" },
		{ "twice", { "--id", "a", "--id", "a" }, "--id is given twice" },
		{ "twice, both spellings", { "--id", "a", "--id=a" }, "--id is given twice" },
		{ "switch twice", { "--show-level", "--show-level" }, "--show-level is given" },
		{ "no value", { "--api-sock" }, "--api-sock needs a value" },
		{ "a flag for a value", { "--id", "--no-seccomp" }, "--id needs a value" },
		{ "a value for a switch", { "--no-seccomp=1" }, "--no-seccomp takes no value" },
		{ "an empty path", { "--api-sock=" }, "--api-sock is empty" },
		{ "an empty path", { "--config-file", "" }, "--config-file is empty" },
		{ "no description", { "--no-api" }, "--config-file" },
		{ "id empty", { "--id=" }, "--id" },
		{ "id with a dot", { "--id", "a.b" }, "--id 'a.b'" },
		{ "id with a slash", { "--id", "../x" }, "--id" },
		{ "id with _", { "--id", "a_b" }, "--id" },
		{ "id not ASCII", { "--id", "\xc3\xa4" }, "--id" },
		{ "id of 65", { "--id", LONG_ID "5" }, "1 to 64" },
		{ "mode 8", { "--api-mode", "0680" }, "--api-mode" },
		{ "mode 01000", { "--api-mode", "1000" }, "--api-mode" },
		{ "mode empty", { "--api-mode=" }, "--api-mode" },
		{ "mode long", { "--api-mode=00600" }, "--api-mode" },
		{ "payload 0", { "--http-api-max-payload-size", "0" }, "max-payload-size '0'" },
		{ "payload negative", { "--http-api-max-payload-size", "-1" }, "max-payload" },
		{ "payload huge", { "--http-api-max-payload-size=99999999" }, "16777216" },
		{ "time not a number", { "--start-time-us", "1s" }, "--start-time-us '1s'" },
		{ "time overflows", { "--parent-cpu-time-us", "18446744073709551616" },
			"--parent-cpu-time-us" },
		{ "time", { "--start-time-cpu-us=" }, "--start-time-cpu-us" },
		{ "loop", { "--loop", "select" }, "--loop 'select'" },
		{ "filter", { "--seccomp-filter", "f" }, "--seccomp-filter is not supported" },
		{ "metadata", { "--metadata", "f" }, "--metadata is not supported" },
		{ "mmds", { "--mmds-size-limit=1" }, "MMDS" },
		{ "pci", { "--enable-pci" }, "--enable-pci is not supported" },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct serve_options o;
		struct err e = { 0 };

		t_row_int(rows[i].name, parse(rows[i].args, &o, &e), EXIT_BAD_ARGUMENTS);
		t_row_has(rows[i].name, e.text, rows[i].says);
	}
}

Test(serve_options, the_longest_id_is_taken)
{
	struct serve_options o;
	struct err e = { 0 };

	t_int(PARSE(&o, &e, "--id", LONG_ID), 0);
	t_str(o.id, LONG_ID);
}

Test(serve_options, information_comes_before_everything_in_its_order)
{
	struct serve_options o;
	struct err e = { 0 };

	t_int(PARSE(&o, &e, "--bogus", "--version", "--help"), 0);
	t_int(o.info, SERVE_HELP);
	t_int(PARSE(&o, &e, "--id", "", "--version"), 0);
	t_int(o.info, SERVE_VERSION);
	t_int(PARSE(&o, &e, "--describe-snapshot", "f", "--snapshot-version"), 0);
	t_int(o.info, SERVE_SNAPSHOT_VERSION);
	t_int(PARSE(&o, &e, "--describe-snapshot", "f"), 0);
	t_int(o.info, SERVE_DESCRIBE_SNAPSHOT);
	t_int(PARSE(&o, &e, "--describe-snapshot"), EXIT_BAD_ARGUMENTS);
}

/* What serve_options_inform() writes to stdout. */
static int inform(enum serve_info info, const char *snapshot, char *buf, size_t len)
{
	struct serve_options o = { .info = info, .snapshot = snapshot };
	int fd = memfd_create("out", 0), status;
	ssize_t n;

	t_true(fd >= 0 && dup2(fd, STDOUT_FILENO) >= 0);
	t_true(freopen("/dev/null", "w", stderr) != NULL);
	status = serve_options_inform(&o);
	n = pread(fd, buf, len - 1, 0);
	buf[MAX(n, 0)] = '\0';
	return status;
}

Test(serve_options, the_first_line_of_the_version_is_what_clients_parse)
{
	char text[256];

	t_int(inform(SERVE_VERSION, NULL, text, sizeof(text)), 0);
	t_str(text, "Firecracker v1.17.0\n\nmvm v" MVM_VERSION "\n");
}

Test(serve_options, the_help_lists_every_flag_but_those_that_are_refused)
{
	char text[8192];

	t_int(inform(SERVE_HELP, NULL, text, sizeof(text)), 0);
	t_has(text, "\n  --api-sock PATH ");
	t_has(text, "\n  --no-seccomp ");
	t_has(text, "\n  --describe-snapshot FILE ");
	t_true(strstr(text, "\n  --enable-pci") == NULL);
	t_has(text, " --enable-pci");
}

Test(serve_options, versions_of_snapshots)
{
	static char path[] = "/tmp/mvm-test-XXXXXX";
	struct t_state_shape shape = { .cpus = 1, .is_small = true };
	struct snapshot *state = t_state_new(&shape);
	struct err e = { 0 };
	uint8_t *data = NULL;
	size_t len = 0;
	char text[256];
	int fd = mkstemp(path);

	t_int(inform(SERVE_SNAPSHOT_VERSION, NULL, text, sizeof(text)), 0);
	t_str(text, "v1.0.0\n");
	t_int(inform(SERVE_DESCRIBE_SNAPSHOT, path, text, sizeof(text)), EXIT_HOST_FAILED);
	t_str(text, "");
	t_int(inform(SERVE_DESCRIBE_SNAPSHOT, "/nothing", text, sizeof(text)), EXIT_HOST_FAILED);
	t_int(state_encode(state, &data, &len, &e), 0);
	t_int(write(fd, data, len), len);
	t_int(inform(SERVE_DESCRIBE_SNAPSHOT, path, text, sizeof(text)), 0);
	t_str(text, "v1.0.0\n");
	(void)unlink(path);
	free(data);
	snapshot_free(state);
}
