/*
 * The command line of "mvm serve", which is the command line that clients of the API know: its
 * flags, their rules and its exit statuses; and a few flags of our own.
 *
 * "--flag value" and "--flag=value" are the same.  A value that stands alone does not begin with
 * "--".  No flag may be given twice.
 */
#ifndef MVM_SERVE_OPTIONS_H
#define MVM_SERVE_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/check.h"
#include "base/log.h"
#include "core/loop.h"

struct err;

/* Exit statuses that starters tell apart; beside 0 and EXIT_HOST_FAILED (commands.h). */
enum { EXIT_BAD_CONFIG = 152, EXIT_BAD_ARGUMENTS = 153 };

#define SERVE_DEFAULT_SOCKET "/run/firecracker.socket"
#define SERVE_DEFAULT_ID     "anonymous-instance"

/* What is asked for instead of a machine; the first of these that is given counts. */
enum serve_info {
	SERVE_NO_INFO,
	SERVE_HELP,
	SERVE_VERSION,
	SERVE_SNAPSHOT_VERSION,
	SERVE_DESCRIBE_SNAPSHOT,
};

/* Strings are borrowed from argv; nothing is to be freed. */
struct serve_options {
	enum serve_info info;
	unsigned api_mode;    /* permission bits of the socket, 0 to 0777; 0600 */
	const char *api_sock; /* SERVE_DEFAULT_SOCKET when it is not given */
	bool has_api_sock;    /* it was given: comes before a socket of LISTEN_FDS */
	bool no_api;          /* with config_file only; api_sock is not used then */
	bool boot_timer;
	bool has_level, show_level, show_log_origin;
	bool no_seccomp;
	const char *id; /* 1 to 64 letters, digits, '-' */
	const char *config_file;
	const char *log_path; /* NULL: stdout */
	const char *module;   /* prefix of the origins that are logged; NULL: all */
	const char *metrics_path;
	const char *snapshot; /* with SERVE_DESCRIBE_SNAPSHOT: its state file */
	const char *kvm;      /* "/dev/kvm" */
	uint64_t start_time_us, start_time_cpu_us, parent_cpu_time_us; /* 0: not told */
	uint64_t body_max;    /* bytes of a request's body, 1 to HTTP_BODY_LIMIT_MAX */
	enum log_level level; /* LOG_INFO */
	enum loop_backend loop;
};

/*
 * argv[0] is not looked at.  "--help" and "--version" count whatever stands beside them.  0; or the
 * exit status, EXIT_BAD_ARGUMENTS or EXIT_BAD_CONFIG, with e naming the flag.
 */
MUST_CHECK int serve_options_parse(int argc, char **argv, struct serve_options *ret, struct err *e);

/* Answers o->info (not SERVE_NO_INFO) on stdout, or on stderr why it cannot; the exit status. */
int serve_options_inform(const struct serve_options *o);

/* The first line is what clients parse: "Firecracker vX.Y.Z"; ours follows after an empty one. */
void serve_options_print_version(FILE *out);

#endif
