/*
 * A machine: the owner of memory, KVM objects, vCPUs and board.
 *
 *     vm_new       builds everything in parallel; the guest has not run
 *     vm_start     waits until all is ready and lets it run
 *     vm_pause     the guest stands still; vm_resume  and goes on
 *     vm_stop      from any thread: ends it; host.ended follows on the loop
 *     vm_free      stops what still runs, joins, frees
 *
 *     running --vm_pause--> vCPUs leave --> devices rest --> paused --vm_resume--> running
 *                                                              |  vm_save: its state as plain
 * values
 *
 * A config with a state in it makes a machine that goes on from there: at once, or when vm_start()
 * has left it paused with the first vm_resume().
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
struct vm_state;

enum { VM_WHY_MAX = 256 };

/* Whom a machine reports to, on the loop's thread; each may be NULL.  None is called once
 * vm_quiet() or vm_free() has begun. */
struct vm_host {
	/* It has ended: vm_end() has the reason.  Without this loop_stop() is called. */
	void (*ended)(void *ctx);
	/* The guest has said that it is up: timeline has the time.  Once. */
	void (*marked)(void *ctx);
	/* id is the device's; the rest as in struct virtio_device.  Must not call the device. */
	void (*news)(void *ctx, const char *id, enum virtio_news news, uint64_t number,
		const char *text);
	void *ctx;
};

/* Where a machine is between running and standing still. */
enum vm_phase { VM_GOING, VM_VCPUS_LEAVE, VM_DEVICES_REST, VM_PAUSED };

struct vm {
	struct vm_config cfg;
	struct guest_mem mem;
	struct machine machine;
	struct devices devices;
	struct vcpu_group group;
	struct vcpu vcpu[CONFIG_CPUS_MAX];
	struct timeline *timeline;
	struct vm_host host;
	struct tick_clock clock; /* what the ticks of counters are worth */
	struct loop_post ended_post, marked_post;
	_Atomic bool is_marked;
	/* the loop's thread only */
	enum vm_phase phase;
	bool is_quiet; /* host is not called any more */
	void (*paused)(void *ctx);
	void *paused_ctx;
	struct loop_post paused_post; /* for a pause of what is paused */
	pthread_mutex_t end_lock;     /* guards the three below */
	struct loop *loop;            /* NULL until the start */
	enum vm_end end;
	char why[VM_WHY_MAX];
	bool has_machine;
};

/* c has been checked.  t outlives the machine.  0, or -errno with e filled and nothing left behind:
 * what c has open already is closed. */
MUST_CHECK int vm_new(
	const struct vm_config *c, struct timeline *t, struct vm **ret, struct err *e);

/* Ends all activity: vCPU threads are joined and no I/O is in flight, but everything is still there
 * to be looked at.  In any state, also twice. */
void vm_quiet(struct vm *vm);

/* vm_quiet() and the rest.  Accepts NULL, in any state. */
void vm_free(struct vm *vm);

/* serial is where the console's bytes go; host (NULL: nobody) is told the rest. */
MUST_CHECK int vm_start(struct vm *vm, struct loop *l, const struct vm_host *host,
	const struct serial_host *serial, struct err *e);

/*
 * Makes a machine that was started stand still: its vCPUs leave the guest, with what they had begun
 * finished, and then its devices finish what is in flight and take nothing new.  done is called on
 * the loop when all of that is so, never from inside this call; not at all when the machine ends
 * meanwhile.  What is paused already only gets its done.  Not while another pause is under way.
 */
void vm_pause(struct vm *vm, void (*done)(void *ctx), void *ctx);

/* Lets it go on: first the devices, then the vCPUs, whose guest is told that it was stopped
 * (KVM_KVMCLOCK_CTRL; api.rst, 4.48).  Nothing happens to a machine that runs or has ended.  Not
 * while a pause is under way. */
void vm_resume(struct vm *vm);

/*
 * The whole state of a machine that is paused, into ret (vm_state_new() for as many vCPUs): nothing
 * is changed, and the machine may go on afterwards.  0, or -errno with e filled (-EBUSY: it is not
 * paused).
 */
MUST_CHECK int vm_save(struct vm *vm, struct vm_state *ret, struct err *e);

/* What all vCPUs have counted; also while they run. */
void vm_vcpu_counters(const struct vm *vm, struct vcpu_totals *ret);

/* Ends the machine; the first reason wins.  Any thread. */
void vm_stop(struct vm *vm, enum vm_end end, const char *why);

/* How it ended, VM_RUNNING when it has not; why, if not NULL, gets the reason's words. */
enum vm_end vm_end(struct vm *vm, char why[VM_WHY_MAX]);

#endif
