/* The command line of "mvm serve" (serve_options.h). */
#include "serve_options.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>
#include <strings.h>

#include "api/api.h"
#include "api/http.h"
#include "base/err.h"
#include "base/parse.h"
#include "commands.h"
#include "snapshot/format.h"
#include "snapshot/state_file.h"

enum flag {
	FLAG_API_SOCK,
	FLAG_API_MODE,
	FLAG_ID,
	FLAG_CONFIG_FILE,
	FLAG_NO_API,
	FLAG_BODY_MAX,
	FLAG_LOG_PATH,
	FLAG_LEVEL,
	FLAG_MODULE,
	FLAG_SHOW_LEVEL,
	FLAG_SHOW_LOG_ORIGIN,
	FLAG_METRICS_PATH,
	FLAG_BOOT_TIMER,
	FLAG_NO_SECCOMP,
	FLAG_START_TIME_US,
	FLAG_START_TIME_CPU_US,
	FLAG_PARENT_CPU_TIME_US,
	FLAG_LOOP,
	FLAG_KVM,
	FLAG_HELP,
	FLAG_VERSION,
	FLAG_SNAPSHOT_VERSION,
	FLAG_DESCRIBE_SNAPSHOT,
	FLAG_SECCOMP_FILTER,
	FLAG_METADATA,
	FLAG_MMDS_SIZE_LIMIT,
	FLAG_ENABLE_PCI,
	FLAGS,
};

/* In the order of the help text. */
static const struct {
	const char *name;
	const char *value;   /* what it is called in the help text; NULL: it takes none */
	const char *help;    /* NULL: not shown in the list */
	const char *refused; /* why, where mvm does not have what it is for */
} flags[FLAGS] = {
	[FLAG_API_SOCK] = { "api-sock", "PATH",
		"socket of the API (default: " SERVE_DEFAULT_SOCKET ")", NULL },
	[FLAG_API_MODE] = { "api-mode", "OCTAL", "permission bits of that socket (default: 0600)",
		NULL },
	[FLAG_ID] = { "id", "ID",
		"name of the machine: 1 to 64 letters, digits, '-' (" SERVE_DEFAULT_ID ")", NULL },
	[FLAG_CONFIG_FILE] = { "config-file", "FILE", "describe and start the machine by this JSON",
		NULL },
	[FLAG_NO_API] = { "no-api", NULL, "no socket; with --config-file only", NULL },
	[FLAG_BODY_MAX] = { "http-api-max-payload-size", "N",
		"bytes that a request's body may have (default: 51200)", NULL },
	[FLAG_LOG_PATH] = { "log-path", "FILE", "file or FIFO of the log (default: stdout)", NULL },
	[FLAG_LEVEL] = { "level", "LEVEL", "Off, Error, Warn, Info (default), Debug, Trace", NULL },
	[FLAG_MODULE] = { "module", "PREFIX", "log only what comes from files that begin so",
		NULL },
	[FLAG_SHOW_LEVEL] = { "show-level", NULL, "the level in each log line", NULL },
	[FLAG_SHOW_LOG_ORIGIN] = { "show-log-origin", NULL, "file and line in each log line",
		NULL },
	[FLAG_METRICS_PATH] = { "metrics-path", "FILE", "file or FIFO of the metrics", NULL },
	[FLAG_BOOT_TIMER] = { "boot-timer", NULL, "log when the guest says that it has booted",
		NULL },
	[FLAG_NO_SECCOMP] = { "no-seccomp", NULL, "accepted; there is no filter yet", NULL },
	[FLAG_START_TIME_US] = { "start-time-us", "N", "CLOCK_MONOTONIC when the starter began",
		NULL },
	[FLAG_START_TIME_CPU_US] = { "start-time-cpu-us", "N",
		"CPU time of this process until then", NULL },
	[FLAG_PARENT_CPU_TIME_US] = { "parent-cpu-time-us", "N", "CPU time of the starter", NULL },
	[FLAG_LOOP] = { "loop", "BACKEND", "auto (default), uring, epoll", NULL },
	[FLAG_KVM] = { "kvm", "PATH", "instead of /dev/kvm", NULL },
	[FLAG_HELP] = { "help", NULL, "this text", NULL },
	[FLAG_VERSION] = { "version", NULL, "the version", NULL },
	[FLAG_SNAPSHOT_VERSION] = { "snapshot-version", NULL,
		"the version of the snapshots that this version writes", NULL },
	[FLAG_DESCRIBE_SNAPSHOT] = { "describe-snapshot", "FILE",
		"the version of this snapshot's state file", NULL },
	[FLAG_SECCOMP_FILTER] = { "seccomp-filter", "FILE", NULL,
		"mvm loads no seccomp filters from files" },
	[FLAG_METADATA] = { "metadata", "FILE", NULL, "mvm has no metadata service (MMDS)" },
	[FLAG_MMDS_SIZE_LIMIT] = { "mmds-size-limit", "N", NULL,
		"mvm has no metadata service (MMDS)" },
	[FLAG_ENABLE_PCI] = { "enable-pci", NULL, NULL,
		"devices of mvm are on virtio-mmio; it has no PCI bus" },
};

/* --- words of the command line --- */

/* The flag that word names, up to a '='; FLAGS when it is none. */
static enum flag find_flag(const char *word)
{
	const char *end = strchrnul(word, '=');

	for (unsigned i = 0; i < FLAGS && strncmp(word, "--", 2) == 0; i++) {
		size_t len = strlen(flags[i].name);

		if ((size_t)(end - word) == len + 2 && memcmp(word + 2, flags[i].name, len) == 0)
			return (enum flag)i;
	}
	return FLAGS;
}

/* Takes the flag at argv[*at] and the value that it has; given[flag] is "" for one without. */
static int take_flag(int argc, char **argv, int *at, const char *given[FLAGS], struct err *e)
{
	const char *word = argv[*at], *equals = strchr(word, '='), *value = "";
	enum flag flag = find_flag(word);

	if (flag == FLAGS)
		return err_set(
			e, -EINVAL, "'%s' is not a flag; 'mvm serve --help' lists them", word);
	if (given[flag])
		return err_set(e, -EINVAL, "--%s is given twice", flags[flag].name);
	if (!flags[flag].value && equals)
		return err_set(e, -EINVAL, "--%s takes no value", flags[flag].name);
	if (flags[flag].value && equals) {
		value = equals + 1;
	} else if (flags[flag].value) {
		if (*at + 1 >= argc || strncmp(argv[*at + 1], "--", 2) == 0)
			return err_set(e, -EINVAL, "--%s needs a value: %s", flags[flag].name,
				flags[flag].value);
		value = argv[++*at];
	}
	if (flags[flag].refused)
		return err_set(e, -ENOTSUP, "--%s is not supported: %s", flags[flag].name,
			flags[flag].refused);
	given[flag] = value;
	return 0;
}

static bool has_word(int argc, char **argv, const char *word)
{
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], word) == 0)
			return true;
	}
	return false;
}

/* --- values --- */

static int parse_number(
	enum flag flag, const char *text, uint64_t min, uint64_t max, uint64_t *ret, struct err *e)
{
	if (text && parse_u64(text, min, max, ret) < 0)
		return err_set(e, -EINVAL, "--%s '%s': must be a number from %llu to %llu",
			flags[flag].name, text, (unsigned long long)min, (unsigned long long)max);
	return 0;
}

static int parse_id(const char *text, const char **ret, struct err *e)
{
	size_t len = text ? strlen(text) : 0;
	bool is_good = len >= 1 && len <= INSTANCE_ID_MAX;

	if (!text)
		return 0;
	for (size_t i = 0; i < len && is_good; i++)
		is_good = isalnum((unsigned char)text[i]) || text[i] == '-';
	if (!is_good)
		return err_set(e, -EINVAL, "--id '%.80s': must be 1 to %d letters, digits or '-'",
			text, INSTANCE_ID_MAX);
	*ret = text;
	return 0;
}

static int parse_mode(const char *text, unsigned *ret, struct err *e)
{
	unsigned mode = 0;
	size_t len = text ? strlen(text) : 0;
	bool is_good = len >= 1 && len <= 4;

	if (!text)
		return 0;
	for (size_t i = 0; i < len && is_good; i++) {
		is_good = text[i] >= '0' && text[i] <= '7';
		mode = mode * 8 + (unsigned)(text[i] - '0');
	}
	if (!is_good || mode > 0777)
		return err_set(e, -EINVAL, "--api-mode '%.80s': must be octal, 0 to 0777", text);
	*ret = mode;
	return 0;
}

static int parse_loop(const char *text, enum loop_backend *ret, struct err *e)
{
	static const char *const words[] = {
		[LOOP_AUTO] = "auto", [LOOP_URING] = "uring", [LOOP_EPOLL] = "epoll"
	};

	for (unsigned i = 0; i < ARRAY_SIZE(words) && text; i++) {
		if (strcmp(text, words[i]) == 0) {
			*ret = (enum loop_backend)i;
			return 0;
		}
	}
	return text ? err_set(e, -EINVAL, "--loop '%.80s': must be one of auto, uring, epoll", text)
		    : 0;
}

static int parse_level(const char *text, enum log_level *ret, struct err *e)
{
	static const struct {
		const char *name;
		enum log_level level;
	} words[] = {
		{ "off", LOG_OFF },
		{ "error", LOG_ERROR },
		{ "warn", LOG_WARNING },
		{ "warning", LOG_WARNING },
		{ "info", LOG_INFO },
		{ "debug", LOG_DEBUG },
		{ "trace", LOG_TRACE },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(words) && text; i++) {
		if (strcasecmp(text, words[i].name) == 0) {
			*ret = words[i].level;
			return 0;
		}
	}
	return text ? err_set(e, -EDOM,
			      "--level '%.80s': must be one of Off, Error, Warn, Info, Debug, "
			      "Trace",
			      text)
		    : 0;
}

static int parse_paths(const char *const given[FLAGS], struct serve_options *o, struct err *e)
{
	static const enum flag paths[] = { FLAG_API_SOCK, FLAG_CONFIG_FILE, FLAG_LOG_PATH,
		FLAG_METRICS_PATH, FLAG_KVM };

	for (unsigned i = 0; i < ARRAY_SIZE(paths); i++) {
		if (given[paths[i]] && given[paths[i]][0] == '\0')
			return err_set(e, -EINVAL, "--%s is empty", flags[paths[i]].name);
	}
	o->has_api_sock = given[FLAG_API_SOCK] != NULL;
	o->api_sock = o->has_api_sock ? given[FLAG_API_SOCK] : SERVE_DEFAULT_SOCKET;
	o->config_file = given[FLAG_CONFIG_FILE];
	o->log_path = given[FLAG_LOG_PATH];
	o->metrics_path = given[FLAG_METRICS_PATH];
	o->snapshot = given[FLAG_DESCRIBE_SNAPSHOT];
	o->kvm = given[FLAG_KVM] ? given[FLAG_KVM] : "/dev/kvm";
	if (given[FLAG_NO_API] && !o->config_file)
		return err_set(e, -EINVAL,
			"--no-api needs --config-file: nothing else could describe the machine");
	return 0;
}

static int parse_values(const char *const given[FLAGS], struct serve_options *o, struct err *e)
{
	int rc = parse_paths(given, o, e);

	o->no_api = given[FLAG_NO_API] != NULL;
	o->boot_timer = given[FLAG_BOOT_TIMER] != NULL;
	o->show_level = given[FLAG_SHOW_LEVEL] != NULL;
	o->show_log_origin = given[FLAG_SHOW_LOG_ORIGIN] != NULL;
	o->no_seccomp = given[FLAG_NO_SECCOMP] != NULL;
	o->module = given[FLAG_MODULE];
	o->has_level = given[FLAG_LEVEL] != NULL;
	if (rc == 0)
		rc = parse_id(given[FLAG_ID], &o->id, e);
	if (rc == 0)
		rc = parse_mode(given[FLAG_API_MODE], &o->api_mode, e);
	if (rc == 0)
		rc = parse_number(FLAG_BODY_MAX, given[FLAG_BODY_MAX], 1, HTTP_BODY_LIMIT_MAX,
			&o->body_max, e);
	if (rc == 0)
		rc = parse_number(FLAG_START_TIME_US, given[FLAG_START_TIME_US], 0, INT64_MAX,
			&o->start_time_us, e);
	if (rc == 0)
		rc = parse_number(FLAG_START_TIME_CPU_US, given[FLAG_START_TIME_CPU_US], 0,
			INT64_MAX, &o->start_time_cpu_us, e);
	if (rc == 0)
		rc = parse_number(FLAG_PARENT_CPU_TIME_US, given[FLAG_PARENT_CPU_TIME_US], 0,
			INT64_MAX, &o->parent_cpu_time_us, e);
	if (rc == 0)
		rc = parse_loop(given[FLAG_LOOP], &o->loop, e);
	if (rc == 0)
		rc = parse_level(given[FLAG_LEVEL], &o->level, e);
	return rc;
}

int serve_options_parse(int argc, char **argv, struct serve_options *ret, struct err *e)
{
	struct serve_options o = {
		.api_mode = 0600,
		.id = SERVE_DEFAULT_ID,
		.level = LOG_INFO,
		.body_max = HTTP_BODY_DEFAULT,
	};
	const char *given[FLAGS] = { 0 };
	int rc = 0;

	/* As clients know it: these two are answered whatever stands beside them. */
	if (has_word(argc, argv, "--help"))
		o.info = SERVE_HELP;
	else if (has_word(argc, argv, "--version"))
		o.info = SERVE_VERSION;
	for (int i = 1; i < argc && o.info == SERVE_NO_INFO && rc == 0; i++)
		rc = take_flag(argc, argv, &i, given, e);
	if (rc == 0 && given[FLAG_SNAPSHOT_VERSION])
		o.info = SERVE_SNAPSHOT_VERSION;
	else if (rc == 0 && given[FLAG_DESCRIBE_SNAPSHOT])
		o.info = SERVE_DESCRIBE_SNAPSHOT;
	if (rc == 0)
		rc = parse_values(given, &o, e);
	if (rc < 0)
		return rc == -EDOM ? EXIT_BAD_CONFIG : EXIT_BAD_ARGUMENTS;
	*ret = o;
	return 0;
}

/* --- answers --- */

void serve_options_print_version(FILE *out)
{
	(void)fputs(API_APP_NAME " v" API_VERSION "\n\nmvm v" MVM_VERSION "\n", out);
}

static void print_help(FILE *out)
{
	(void)fputs(
		"usage: mvm serve [flags]\n"
		"\n"
		"One machine, driven by a REST API on a Unix socket (see mvm-api(1)).  A socket "
		"of LISTEN_FDS\n"
		"is used when --api-sock is not given.\n"
		"\n",
		out);
	for (unsigned i = 0; i < FLAGS; i++) {
		char left[48];

		if (!flags[i].help)
			continue;
		(void)snprintf(left, sizeof(left), "--%s%s%s", flags[i].name,
			flags[i].value ? " " : "", flags[i].value ? flags[i].value : "");
		(void)fprintf(out, "  %-30s %s\n", left, flags[i].help);
	}
	(void)fputs("\nRefused, because mvm does not have what they are for:", out);
	for (unsigned i = 0; i < FLAGS; i++) {
		if (flags[i].refused)
			(void)fprintf(out, " --%s", flags[i].name);
	}
	(void)fputs(
		".\n"
		"\n"
		"Exit status: 0 the guest shut down or rebooted, 1 the guest crashed, or the host "
		"or mvm failed,\n"
		"152 bad level or config file, 153 bad flags; ended by a signal, mvm ends by that "
		"signal.\n",
		out);
}

/* As clients know it: three numbers, of which the format has two. */
static int describe_snapshot(const char *path)
{
	unsigned major, minor;
	struct err e = { 0 };

	if (state_read_version(path, &major, &minor, &e) < 0) {
		log_error("%s", e.text);
		return EXIT_HOST_FAILED;
	}
	(void)printf("v%u.%u.0\n", major, minor);
	return fflush(stdout) == 0 ? 0 : EXIT_HOST_FAILED;
}

int serve_options_inform(const struct serve_options *o)
{
	switch (o->info) {
	case SERVE_HELP: print_help(stdout); break;
	case SERVE_VERSION: serve_options_print_version(stdout); break;
	case SERVE_DESCRIBE_SNAPSHOT: return describe_snapshot(o->snapshot);
	case SERVE_SNAPSHOT_VERSION:
	case SERVE_NO_INFO:
	default: (void)printf("v%d.%d.0\n", FORMAT_MAJOR, FORMAT_MINOR); break;
	}
	return fflush(stdout) == 0 ? 0 : EXIT_HOST_FAILED;
}
