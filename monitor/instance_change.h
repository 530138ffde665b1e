/*
 * Changes of a machine that take time - a pause, another file for a disk, a snapshot - are done one
 * at a time, by the instance's own parts and by layers above it.
 */
#ifndef MVM_INSTANCE_CHANGE_H
#define MVM_INSTANCE_CHANGE_H

#include "base/check.h"
#include "instance.h"

struct err;
struct vcpu_ahead;

/*
 * Begin: 0, or -EPERM (it does not run) or -EBUSY with e filled.  Then the change ends with finish,
 * which tells done, but never before the call that began it has returned.  When the machine ends
 * meanwhile done is told -ECANCELED, and finish is not called any more.
 */
MUST_CHECK int instance_begin_change(
	struct instance *in, instance_done_fn *done, void *ctx, struct err *e);
void instance_finish_change(struct instance *in, int rc, const struct err *e);

/* For the call that began it and fails after that: nobody is told. */
void instance_cancel_change(struct instance *in);

/*
 * How the machine goes on rather than boots: for instance_build(), by whoever has a saved one.  The
 * description must be that of the saved machine already.  All of it is borrowed until
 * instance_start() has returned; see struct vm_config.
 */
struct restore_source {
	const struct vm_state *state;
	int (*fill_memory)(void *ctx, struct guest_mem *m, struct err *e);
	void *fill_ctx;
	void (*leaving)(void *ctx); /* borrowed for the machine's life */
	void *leaving_ctx;
	struct vcpu_ahead *ahead; /* borrowed for the machine's life; see struct vm_config */
	bool holds_clock;
	bool goes_on; /* it runs when it has been started; otherwise it is paused */
};

/* Tells in->let_go, if there is one still: the machine goes on for the first time. */
void instance_tell_let_go(struct instance *in);

/* Takes back what was described, and what was opened for it: as if nothing had been.  Not once the
 * machine was built. */
void instance_forget(struct instance *in);

#endif
