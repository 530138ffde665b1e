/*
 * A machine in the foreground, its serial port on stdin and stdout: what "mvm run" and "mvm
 * restore" share, from the making of the instance to the exit status.
 *
 *     foreground_init --> ops->build --> signals, loop, console --> API --> ops->start --> loop -->
 * foreground_run returns
 *
 * The main thread.
 */
#ifndef MVM_CMD_FOREGROUND_H
#define MVM_CMD_FOREGROUND_H

#include <stdbool.h>
#include <stdint.h>

#include "base/check.h"
#include "cmd_service.h"
#include "cmd_signals.h"
#include "core/later.h"
#include "snapshot/snapshots.h"

struct err;
struct foreground;
struct instance;

/* What both command lines have; strings are borrowed. */
struct foreground_options {
	enum loop_backend loop;
	const char *kvm_path;
	const char *id;            /* what the API calls the machine */
	const char *api_sock;      /* where the API listens, or NULL */
	bool timeline;             /* print it for people */
	const char *timeline_json; /* file, or NULL */
	const char *counters;      /* file for the devices' counters, or NULL */
	uint64_t start_time_us;    /* CLOCK_MONOTONIC when the starter began, 0: not told */
	uint64_t main_time_us;     /* when the verb began */
};

/* Where the two differ.  0, or -errno with e filled. */
struct foreground_ops {
	/* Makes the machine.  A signal still ends the process as it ends any other, however long
	 * this takes.  There is no loop, unless it makes one (foreground_make_loop()). */
	int (*build)(struct foreground *f, struct err *e);
	/* Lets it go, or not. */
	int (*start)(struct foreground *f, struct err *e);
};

/* Embedded; zeroed but for signals.fd, which is -1. */
struct foreground {
	struct foreground_options options;
	struct instance *instance;
	struct loop *loop; /* NULL until it is made */
	struct snapshots snapshots;
	struct service service; /* zeroed without api_sock */
	struct signals signals;
	struct later trim;
	int ended_by; /* the signal that ended us, 0 for none */
};

/* The instance, of which nothing is described yet. */
MUST_CHECK int foreground_init(
	struct foreground *f, const struct foreground_options *o, struct err *e);

/* The loop and the console, once. */
MUST_CHECK int foreground_make_loop(struct foreground *f, struct err *e);

/* The exit status (commands.h), when the machine has ended; what failed is in the log. */
int foreground_run(struct foreground *f, const struct foreground_ops *ops);

/* In any state. */
void foreground_fini(struct foreground *f);

#endif
