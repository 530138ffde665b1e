/* mvm: a microVM monitor.  The table of verbs. */
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/log.h"
#include "commands.h"

static const char usage[] =
	"usage: mvm VERB [options]\n"
	"\n"
	"  run       boot a guest in the foreground, its serial port on stdin and stdout\n"
	"  serve     a machine that is driven by a REST API on a Unix socket\n"
	"  api       send one request to the API of a machine\n"
	"  console   attach to the console of a machine\n"
	"  snapshot  save a machine into a folder, or merge snapshots\n"
	"  restore   go on with a machine that was saved, in the foreground\n"
	"  ps        list the machines of this user and what they do\n"
	"  inspect   print what is in a snapshot\n"
	"  doctor    tell whether this host can run guests, how well, and what to do about it\n"
	"\n"
	"'mvm VERB --help' tells more; 'mvm --version' the version.  Without a verb, and with "
	"flags, it is\n"
	"'mvm serve': 'mvm --api-sock PATH'; called by the name 'firecracker' it always is.\n";

static const struct {
	const char *name;
	int (*run)(int argc, char **argv);
} verbs[] = {
	{ "run", cmd_run },
	{ "serve", cmd_serve },
	{ "api", cmd_api },
	{ "console", cmd_console },
	{ "snapshot", cmd_snapshot },
	{ "restore", cmd_restore },
	{ "ps", cmd_ps },
	{ "inspect", cmd_inspect },
	{ "doctor", cmd_doctor },
};

/*
 * A process may be started with its standard descriptors closed.  Whatever is opened next would
 * take their numbers, and the guest's console would be written into it.
 */
static int hold_standard_fds(void)
{
	int fd;

	do {
		fd = open("/dev/null", O_RDWR);
	} while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		(void)close(fd);
	return fd < 0 && fcntl(STDERR_FILENO, F_GETFD) < 0 ? -1 : 0;
}

/* Clients of the API start it by the name that they know. */
static bool is_called_firecracker(const char *path)
{
	const char *slash = path ? strrchr(path, '/') : NULL;

	return path && strcmp(slash ? slash + 1 : path, "firecracker") == 0;
}

int main(int argc, char **argv)
{
	if (hold_standard_fds() < 0)
		return EXIT_HOST_FAILED;
	if (is_called_firecracker(argv[0]))
		return cmd_serve(argc, argv);
	if (argc < 2) {
		(void)fputs(usage, stderr);
		return EXIT_USAGE;
	}
	for (unsigned i = 0; i < ARRAY_SIZE(verbs); i++) {
		if (strcmp(argv[1], verbs[i].name) == 0)
			return verbs[i].run(argc - 1, argv + 1);
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "help") == 0) {
		(void)fputs(usage, stdout);
		return 0;
	}
	/* With them --version, whose first line clients parse. */
	if (strncmp(argv[1], "--", 2) == 0)
		return cmd_serve(argc, argv);
	log_error("'%s' is not a verb; 'mvm --help' lists them", argv[1]);
	return EXIT_USAGE;
}
