/*
 * vCPUs: a thread each, which makes its own KVM object, waits for the start and runs the guest.
 *
 * The set-up is spread over two threads because its slow parts do not depend on each other: the
 * boot vCPU's thread makes the KVM objects one after the other, while the main thread asks for the
 * supported CPUID, loads the kernel and sets up everything else.  The chain of KVM calls is the
 * longer one, so nothing in it waits to be woken up, down to the first entry into the guest. struct
 * vcpu_group is what they share; its stages are entered in order under its lock.
 *
 * vCPUs that go on from a state take that instead: each thread its own, once the memory is there.
 */
#ifndef MVM_VCPU_H
#define MVM_VCPU_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "core/bus.h"
#include "core/count.h"
#include "core/kvm.h"
#include "core/loop.h"
#include "timeline.h"
#include "x86/boot.h"
#include "x86/cpu_state.h"

/* How a machine ended; the first reason wins. */
enum vm_end {
	VM_RUNNING,
	VM_SHUTDOWN, /* the guest powered off */
	VM_RESET,    /* the guest rebooted */
	VM_CRASHED,  /* triple fault, or something that KVM cannot go on from */
	VM_FAILED,   /* the host's fault: a system call of ours failed */
	VM_STOPPED,  /* somebody asked us to end it */
};

enum vcpu_stage {
	STAGE_NEW,
	STAGE_OBJECTS, /* VM, memory and interrupt controllers exist: vCPUs may be created */
	STAGE_VCPU,    /* the boot vCPU exists, too */
	STAGE_CPUID,   /* cpuid is final, but for the APIC id */
	STAGE_GO,      /* the guest runs, or did: it may be paused */
};

/* The accesses that leave the guest for a device of ours. */
enum vcpu_access {
	VCPU_IO_IN,
	VCPU_IO_OUT,
	VCPU_MMIO_READ,
	VCPU_MMIO_WRITE,
	VCPU_ACCESSES,
};

/* Written by the vCPU's thread only. */
struct vcpu_counters {
	_Atomic uint64_t exits;    /* returns from KVM_RUN */
	_Atomic uint64_t failures; /* of them: what ended the machine */
	_Atomic uint64_t kvmclock_ctrl_fails;
	struct tally access[VCPU_ACCESSES]; /* exits, and the ticks until the device was done */
};

/* The same of several vCPUs, as people and clients read it. */
struct vcpu_totals {
	uint64_t exits, failures, kvmclock_ctrl_fails;
	struct tally_us access[VCPU_ACCESSES];
};

struct vcpu_group {
	pthread_mutex_t
		lock; /* guards what follows up to the blank line; never held in the guest */
	pthread_cond_t changed;      /* for the vCPUs' threads */
	pthread_cond_t main_changed; /* for the main thread: waking it costs, so only for what it
					waits for */
	enum vcpu_stage stage;
	bool has_host_cpuid; /* cpuid is what KVM supports */
	bool has_entry;      /* guest memory is as it shall be, and entry known */
	bool has_board;      /* all that the guest finds beside memory and vCPUs is there */
	bool quit;           /* leave, wherever you are */
	unsigned ready;      /* vCPUs that are set up */
	bool is_complete;    /* finish() has succeeded */
	struct err error;    /* of the first thread that failed to set up */
	bool paused;         /* stand still; vcpu_group_pause() */
	unsigned pauses;     /* how often that was said */
	unsigned standing;   /* vCPUs that do, this time */

	/* Written before the stage that publishes them, const afterwards. */
	struct kvm kvm;
	struct cpuid_table cpuid;
	struct boot_entry entry;
	const struct cpu_state *state; /* of each vCPU; NULL: they boot.  Not used after STAGE_GO */
	uint64_t advance_ns;           /* by how much their clocks go on */
	unsigned cpus;
	bool smt;
	const struct cpu_template *cpu; /* NULL: none */
	const struct bus *pio, *mmio;
	struct timeline *timeline;
	/* Makes VM, memory slots and interrupt controllers; the boot vCPU's thread calls it first.
	 */
	int (*make_objects)(void *ctx, struct err *e);
	/*
	 * What comes when all vCPUs are set up and the board is there.  The last of them calls it,
	 * on its thread while the main thread waits, and if the group goes, the guest runs from
	 * then on: nobody has to be woken up for it.
	 */
	int (*finish)(void *ctx, struct err *e);
	bool goes; /* set before has_board */
	/* All vCPUs stand still; posted to loop.  Set before STAGE_GO. */
	struct loop *loop;
	struct loop_post standing_post;
	/* The machine has ended: no vCPU enters the guest again, and what it did since is not told.
	 * Any thread. */
	_Atomic bool over;
	/* The first to end the machine; why is copied.  Any thread. */
	void (*ended)(void *ctx, enum vm_end end, const char *why);
	void *ctx;
};

struct vcpu {
	struct vcpu_group *group;
	unsigned id;
	pthread_t thread;
	bool has_thread;
	int fd; /* -1 until created */
	struct kvm_run *run;
	_Atomic bool stop;
	struct vcpu_counters count;
};

void vcpu_group_init(struct vcpu_group *g);
void vcpu_group_fini(struct vcpu_group *g);

/* Says that g->cpuid holds what KVM supports, or that guest memory and g->entry are final.  The
 * main thread. */
void vcpu_group_has_cpuid(struct vcpu_group *g);
void vcpu_group_has_entry(struct vcpu_group *g);

/* Waits until VM, interrupt controllers and boot vCPU exist (before, they would wait for each other
 * in KVM): 0, or the -errno of what failed, with e filled. */
MUST_CHECK int vcpu_group_wait_vcpu(struct vcpu_group *g, struct err *e);

/* Says that the board is there and waits until the set-up is finished, or has failed: 0, or the
 * -errno of what did, with e filled.  After 0 the guest runs, if the group goes.  The main thread.
 */
MUST_CHECK int vcpu_group_finish(struct vcpu_group *g, struct err *e);

/*
 * Makes the vCPUs, g->cpus of them at v, leave the guest: g->standing_post runs on g->loop when all
 * of them stand still, with the accesses finished that they were in the middle of.  One that waits
 * for a device comes when the device is done.  After vcpu_group_resume(); the loop's thread.
 */
void vcpu_group_pause(struct vcpu_group *g, const struct vcpu *v);

/* Lets them run: the first time after vcpu_group_finish(), for a group that does not go by itself,
 * and after a pause, each after it has told its guest's clock (KVM_KVMCLOCK_CTRL). */
void vcpu_group_resume(struct vcpu_group *g);

/* Adds what v has counted to ret.  Any thread. */
void vcpu_add_counters(
	const struct vcpu *v, const struct tick_clock *clock, struct vcpu_totals *ret);

/* v, zeroed, becomes vCPU id of g.  Then its thread is started, or one is adopted (vcpu_ahead.h): 0
 * or -errno with e filled, and v and g stay where they are until vcpu_join(). */
void vcpu_init(struct vcpu *v, struct vcpu_group *g, unsigned id);
MUST_CHECK int vcpu_start(struct vcpu *v, struct err *e);

/*
 * Makes the thread leave the guest and end: in two steps, so that many vCPUs leave at the same
 * time.  Any thread but theirs.  vcpu_join() also frees the KVM object; both accept a vCPU that was
 * never started.
 */
void vcpu_stop(struct vcpu *v);
void vcpu_join(struct vcpu *v);

/*
 * Handles what KVM_RUN came back with, described in v->run.  True: run on.  False: the machine has
 * ended and group->ended was told why.  On v's thread.  (api.rst, section 5, "The kvm_run
 * structure")
 */
bool vcpu_handle_exit(struct vcpu *v);

/* Handles a KVM_RUN that failed with -errno code; as above. */
bool vcpu_handle_error(struct vcpu *v, int code);

#endif
