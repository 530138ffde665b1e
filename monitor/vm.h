/*
 * A machine: the owner of memory, KVM objects, vCPUs and board.
 *
 *     vm_new       builds everything in parallel; the guest has not run
 *     vm_start     waits until all is ready and lets it run
 *     vm_stop      from any thread: ends it; the loop's stop callback follows
 *     vm_free      stops what still runs, joins, frees
 *
 * But for vm_stop() all calls are for the loop's thread.
 */
#ifndef MVM_VM_H
#define MVM_VM_H

#include <pthread.h>

#include "config.h"
#include "core/loop.h"
#include "core/mem.h"
#include "devices.h"
#include "machine.h"
#include "timeline.h"
#include "vcpu.h"

struct err;

enum { VM_WHY_MAX = 256 };

struct vm {
	struct vm_config cfg;
	struct guest_mem mem;
	struct machine machine;
	struct devices devices;
	struct vcpu_group group;
	struct vcpu vcpu[CONFIG_CPUS_MAX];
	struct timeline *timeline;
	struct loop_post ended_post; /* stops the loop */
	pthread_mutex_t end_lock;    /* guards the three below */
	struct loop *loop;           /* NULL until the start */
	enum vm_end end;
	char why[VM_WHY_MAX];
	bool has_machine;
};

/* c has been checked.  t outlives the machine.  0, or -errno with e filled and nothing left behind.
 */
MUST_CHECK int vm_new(
	const struct vm_config *c, struct timeline *t, struct vm **ret, struct err *e);

/* Ends all activity: vCPU threads are joined and no I/O is in flight, but everything is still there
 * to be looked at.  In any state, also twice. */
void vm_quiet(struct vm *vm);

/* vm_quiet() and the rest.  Accepts NULL, in any state. */
void vm_free(struct vm *vm);

/* serial is where the console's bytes go.  When the machine ends, loop_stop(l) is called on l's
 * thread. */
MUST_CHECK int vm_start(
	struct vm *vm, struct loop *l, const struct serial_host *serial, struct err *e);

/* Ends the machine; the first reason wins.  Any thread. */
void vm_stop(struct vm *vm, enum vm_end end, const char *why);

/* How it ended, VM_RUNNING when it has not; why, if not NULL, gets the reason's words. */
enum vm_end vm_end(struct vm *vm, char why[VM_WHY_MAX]);

#endif
