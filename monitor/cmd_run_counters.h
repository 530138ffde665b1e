/*
 * What the devices of a machine counted, as a file of JSON.
 */
#ifndef MVM_CMD_RUN_COUNTERS_H
#define MVM_CMD_RUN_COUNTERS_H

#include "base/check.h"

struct devices;

/* {"ID": {"read": {"requests": N, "bytes": N}, ..., "kicks": N, ...}, ...}.  0 or -errno. */
MUST_CHECK int cmd_run_write_counters(const struct devices *d, const char *path);

#endif
