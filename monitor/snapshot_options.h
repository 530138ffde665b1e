/*
 * The command line of "mvm snapshot".
 */
#ifndef MVM_SNAPSHOT_OPTIONS_H
#define MVM_SNAPSHOT_OPTIONS_H

#include <stdbool.h>

#include "base/check.h"

struct err;

/* Strings are borrowed from argv. */
struct snapshot_options {
	bool help;
	const char *sock; /* of the machine */
	const char *dir;  /* where to; with merges what comes of it */
	bool diff, live, stop, with_disks;
	bool merges;
	unsigned nparts; /* what is merged, the base first */
	char **part;
};

/* argv[0] is the verb.  0, or -EINVAL with e naming the option. */
MUST_CHECK int snapshot_options_parse(
	int argc, char **argv, struct snapshot_options *ret, struct err *e);

extern const char snapshot_options_help[];

#endif
