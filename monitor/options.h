/*
 * The command line of "mvm run".
 */
#ifndef MVM_OPTIONS_H
#define MVM_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/check.h"
#include "config.h"
#include "core/loop.h"

struct err;

struct run_options {
	struct vm_config vm;
	enum loop_backend loop;
	bool help;
	bool verbose;
	bool timeline;                  /* print it for people */
	const char *timeline_json;      /* file, or NULL */
	const char *counters;           /* file for the devices' counters, or NULL */
	const char *api_sock;           /* where the API listens, or NULL */
	const char *id;                 /* what the API calls the machine */
	uint64_t start_time_us;         /* CLOCK_MONOTONIC when the starter began, 0: not told */
	char *text[CONFIG_DEVICES_MAX]; /* owned: what the strings of vm.disk and vm.net lie in */
};

/* argv[0] is the verb.  0, or -EINVAL with e naming the option, and then nothing is left behind. */
MUST_CHECK int options_parse_run(int argc, char **argv, struct run_options *ret, struct err *e);

void options_free(struct run_options *o);

extern const char options_run_help[];

#endif
