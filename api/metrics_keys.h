/*
 * The keys of a line of metrics, as clients of the API know them, and where each value comes from.
 * Clients check that the set is exact: what mvm does not have is there with zeros.
 */
#ifndef MVM_API_METRICS_KEYS_H
#define MVM_API_METRICS_KEYS_H

#include <stddef.h>
#include <stdint.h>

#include "api/counters.h"
#include "legacy/i8042.h"
#include "legacy/serial.h"
#include "vcpu.h"
#include "virtio/counters.h"

enum {
	METRICS_GROUPS_MAX = 32, /* groups that are not a device's */
	METRICS_SLOTS = 32,      /* numbers in a group */
	METRICS_AGG_SLOTS = 3,   /* of them for a key that ends in _agg */
};

/* What the groups that are not a device's are filled from. */
struct metrics_view {
	struct api_counters api;
	struct vcpu_totals vcpus;
	struct serial_counters serial;
	struct i8042_counters i8042;
	uint64_t startup_us, startup_cpu_us;
	uint64_t interrupts, config_changes;
	uint64_t console_limited;
	uint64_t sighup, sigxcpu;
	uint64_t lines_missed, lines_failed, log_missed, log_limited;
};

enum metrics_kind {
	METRICS_NOTHING, /* mvm has no such thing: always 0 */
	METRICS_DELTA,   /* a uint64_t; what was added since the last line */
	METRICS_STORE,   /* a uint64_t; as it is */
	/* An object of min_us, max_us, both since the start, and sum_us, a delta. */
	METRICS_AGG_NOTHING,
	METRICS_AGG_US,    /* a struct tally_us */
	METRICS_AGG_NS,    /* a struct tally in nanoseconds */
	METRICS_AGG_TICKS, /* a struct tally in ticks */
};

/* at is in a struct metrics_view, or in a struct virtio_counters in the group of a device. */
struct metrics_field {
	const char *name;
	enum metrics_kind kind;
	size_t at;
};

struct metrics_group {
	const char *name;
	const struct metrics_field *field;
	unsigned nfields;
};

/* The last one has no name. */
extern const struct metrics_group metrics_groups[];

/* Of all devices of a kind together, and of each with "_ID" behind the name. */
extern const struct metrics_group metrics_block, metrics_net;

#endif
