/*
 * The command line of "mvm restore".
 */
#ifndef MVM_RESTORE_OPTIONS_H
#define MVM_RESTORE_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/check.h"
#include "core/loop.h"
#include "snapshot/load.h"

struct err;

struct restore_options {
	struct load_options load;
	enum loop_backend loop;
	bool help;
	bool verbose;
	bool timeline;             /* print it for people */
	const char *timeline_json; /* file, or NULL */
	const char *counters;      /* file for the devices' counters, or NULL */
	const char *api_sock;      /* where the API listens, or NULL */
	const char *id;            /* what the API calls the machine */
	const char *kvm;           /* /dev/kvm */
	uint64_t start_time_us;    /* CLOCK_MONOTONIC when the starter began, 0: not told */
	unsigned ntexts;
	char *text[2 * CONFIG_DEVICES_MAX]; /* owned: what strings of load lie in */
};

/* argv[0] is the verb.  0, or -EINVAL with e naming the option, and then nothing is left behind. */
MUST_CHECK int restore_options_parse(
	int argc, char **argv, struct restore_options *ret, struct err *e);

void restore_options_free(struct restore_options *o);

extern const char restore_options_help[];

#endif
