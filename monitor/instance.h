/*
 * One machine from its description to its end: what "mvm run", "mvm serve", its API and its config
 * file all drive, and the only thing they drive.
 *
 *     put, patch     describe it while it has not started; every value is checked at once, and
 *                    files and taps are opened at once
 *     start          makes it of that and lets it run
 *     pause, resume  vCPUs and devices stand still; then nothing of the guest happens
 *     patch          what may change while it runs
 *     ended          the machine is over; the owner of the loop is told
 *
 * A function that fails fills e with a text for a person, changes nothing, and leaves the instance
 * as usable as before.  What a state does not allow is -EPERM.  Strings given are copied; those in
 * the structures below belong to the instance and may be read until the next call that changes
 * them.
 *
 * The loop's thread.
 */
#ifndef MVM_INSTANCE_H
#define MVM_INSTANCE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/check.h"
#include "base/err.h"
#include "config.h"
#include "console.h"
#include "core/job.h"
#include "events.h"
#include "timeline.h"
#include "vm.h"
#include "x86/cpu_template.h"

enum instance_state { INSTANCE_NOT_STARTED, INSTANCE_RUNNING, INSTANCE_PAUSED, INSTANCE_ENDED };

/* "Not started", "Running", "Paused", "Ended". */
const char *instance_state_name(enum instance_state state);

/* --- what it is made of --- */

/* What of a limit its owner wrote down; the numbers are in limiter_config.  A bucket that is not
 * given limits nothing. */
struct limit_shape {
	bool is_given;
	bool has_bytes, has_ops;
	bool bytes_has_burst, ops_has_burst;
};

struct machine_spec {
	unsigned cpus;
	uint64_t mem_mib;
	bool smt, track_dirty_pages;
	enum mem_pages pages;
};

struct boot_spec {
	const char *kernel, *initrd; /* initrd NULL: none */
	const char *cmdline;         /* NULL: the default of the contract */
};

struct drive_spec {
	struct disk_config disk;
	bool is_root;
	const char *partuuid; /* NULL: none; counts with is_root only */
	struct limit_shape shape;
};

struct net_spec {
	struct net_config net;
	struct limit_shape rx_shape, tx_shape;
};

/* For a change at run time: a part that is not given stays. */
struct drive_patch {
	const char *id;
	const char *path; /* NULL: stays; the present one: its size is looked at again */
	struct limit_shape shape;
	struct limiter_config limit;
};

struct net_patch {
	const char *id;
	struct limit_shape rx_shape, tx_shape;
	struct limiter_config rx, tx;
};

struct serial_spec {
	const char *path; /* NULL: stdout */
	bool has_limit, limit_has_burst;
	struct bucket_config limit;
};

/* --- the instance --- */

/* Told how something that takes time has ended; e is NULL when rc is 0.  Never from inside the call
 * that began it. */
typedef void instance_done_fn(void *ctx, int rc, const struct err *e);

enum { INSTANCE_ID_MAX = 64 };

struct instance_host {
	/* The machine is over: vm_end() has the reason.  Everything is still there. */
	void (*ended)(void *ctx);
	/* A person typed Ctrl-A x. */
	void (*quit)(void *ctx);
	void *ctx;
};

struct instance_config {
	const char *id; /* 1 to INSTANCE_ID_MAX letters, digits, '-'; borrowed */
	const char *kvm_path;
	int console_in, console_out; /* descriptors, borrowed; -1: none */
	bool has_keys;               /* Ctrl-A on console_in is ours */
	bool opens_late;             /* files and taps are opened at the start, beside other work */
	bool has_boot_timer;         /* and what it says is logged */
	uint64_t host_mem;           /* bytes of RAM and swap, 0: unknown */
	struct instance_host host;
};

struct drive {
	struct drive_spec spec;
	struct disk *opened; /* from PUT to start; NULL: to be opened at the start */
};

struct nic {
	struct net_spec spec;
	struct tap *opened; /* likewise */
};

struct instance {
	struct instance_config cfg;
	enum instance_state state;
	bool is_boot_path;   /* something was described that loading a snapshot forbids */
	bool is_changing;    /* a pause or a patch is under way: a second one is -EBUSY */
	bool has_cpu_config; /* cpu is to be applied */
	struct machine_spec machine;
	struct boot_spec boot; /* kernel NULL: not given yet */
	struct serial_spec serial;
	struct cpu_template cpu;
	unsigned ndrives, nnics;
	struct drive drive[CONFIG_DEVICES_MAX]; /* in the order of their first PUT */
	struct nic nic[CONFIG_DEVICES_MAX];
	struct timeline timeline;
	struct events events;
	struct loop *loop;
	struct console *console;
	struct vm *vm;         /* NULL until the start */
	uint64_t start_cpu_us; /* CPU time of the process when the start was asked for */
	/* private */
	instance_done_fn *change_done; /* of what is_changing says */
	void *change_ctx;
	struct loop_post change_post; /* for a change that was none */
	struct job patch_job;
	struct instance_patch *patch;
	/* Told when a machine that was restored is let go for the first time.  NULL: nobody asks.
	 */
	void (*let_go)(void *ctx);
	void *let_go_ctx;
};

/* 0, or -errno with e filled: -EINVAL for a bad id.  Everything in c outlives it. */
MUST_CHECK int instance_new(const struct instance_config *c, struct instance **ret, struct err *e);

/* Gives it its loop and its console, once; before instance_start() and instance_put_serial(). */
MUST_CHECK int instance_use_loop(struct instance *in, struct loop *l, struct err *e);

/*
 * The end, in three steps, each fine without the ones before it:
 *
 *     instance_quiet   no vCPU runs and no I/O is in flight; everything can still be looked at
 *     instance_close   the machine is freed, console and events stay; while there is still a loop
 *     instance_free    when the loop has been freed, or runs no more
 *
 * Not from inside a callback of the loop.  free accepts NULL.
 */
void instance_quiet(struct instance *in);
void instance_close(struct instance *in);
void instance_free(struct instance *in);

/* --- before the start --- */

MUST_CHECK int instance_put_machine(
	struct instance *in, const struct machine_spec *spec, struct err *e);
MUST_CHECK int instance_put_boot(struct instance *in, const struct boot_spec *spec, struct err *e);

/* An id that exists is replaced, in its place of the order. */
MUST_CHECK int instance_put_drive(
	struct instance *in, const struct drive_spec *spec, struct err *e);
MUST_CHECK int instance_put_net(struct instance *in, const struct net_spec *spec, struct err *e);
MUST_CHECK int instance_put_serial(
	struct instance *in, const struct serial_spec *spec, struct err *e);
MUST_CHECK int instance_put_cpu(
	struct instance *in, const struct cpu_template *spec, struct err *e);

/* --- life --- */

/* What only "mvm run" can say; all zero: the defaults. */
struct restore_source; /* instance_change.h */

struct start_options {
	/* Not NULL: the machine goes on from there, and is paused when instance_start() returns. */
	const struct restore_source *restore;
	enum boot_protocol protocol;
	enum describe describe;
	bool prefault;
	bool roots_first_disk; /* as "mvm run" does it: see VM_ROOT_AUTO */
};

/*
 * Makes the machine, without a loop yet: for a caller who has other things to do while the vCPUs'
 * threads set themselves up.  instance_start() does it where it was not done.
 */
MUST_CHECK int instance_build(
	struct instance *in, const struct start_options *options, struct err *e);

/* The guest runs when it returns 0 (or is paused: start_options).  A failed start can be mended and
 * tried again. */
MUST_CHECK int instance_start(
	struct instance *in, const struct start_options *options, struct err *e);

/*
 * These begin something and return 0, and done is called later, also when the machine ends
 * meanwhile; or return -errno with e filled, and done is not called.  Pausing what is paused, and
 * resuming what runs, is fine.
 */
MUST_CHECK int instance_pause(
	struct instance *in, instance_done_fn *done, void *ctx, struct err *e);
MUST_CHECK int instance_resume(struct instance *in, struct err *e);
MUST_CHECK int instance_patch_drive(struct instance *in, const struct drive_patch *patch,
	instance_done_fn *done, void *ctx, struct err *e);
MUST_CHECK int instance_patch_net(
	struct instance *in, const struct net_patch *patch, struct err *e);

/* Ctrl-Alt-Del, or the power button where nobody listens to the keyboard. */
MUST_CHECK int instance_request_shutdown(struct instance *in, struct err *e);

/* Ends the machine, if there is one that has not ended. */
void instance_stop(struct instance *in, const char *why);

/* The sizes of all disks are looked at again. */
void instance_rescan(struct instance *in);

/* Looks an id up; NULL when there is none. */
const struct drive *instance_drive(const struct instance *in, const char *id);
const struct nic *instance_nic(const struct instance *in, const char *id);

#endif
