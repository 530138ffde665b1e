/* Between the parts of vcpu.h: vcpu_group.c (what the vCPUs share), vcpu.c (the
 * thread of each) and vcpu_ahead.c (the first of them).
 */
#ifndef MVM_VCPU_PRIVATE_H
#define MVM_VCPU_PRIVATE_H

#include "vcpu.h"

/* Publishes what was written before, and wakes whoever waits for it. */
void vcpu_group_enter(struct vcpu_group *g, enum vcpu_stage stage);

/* The waits of a vCPU's thread, for a stage or one of the flags of g: 0, or -ECANCELED when the
 * thread shall leave instead. */
MUST_CHECK int vcpu_group_wait_stage(struct vcpu_group *g, enum vcpu_stage stage);
MUST_CHECK int vcpu_group_wait_flag(struct vcpu_group *g, const bool *flag);

/* The thread's set-up has come to e; its code is 0 when all is well.  The last one finishes that of
 * all. */
void vcpu_group_report(struct vcpu_group *g, const struct err *e);

/* A thread as vCPUs have it, with all signals blocked but the kick and those of its own faults: 0
 * or -errno.  is_apart: it begins on another CPU than this thread's, if there is one, and first of
 * all calls vcpu_thread_spread(), after which it may use all that the process may. */
MUST_CHECK int vcpu_thread_create(
	pthread_t *ret, bool is_apart, void *(*run)(void *arg), void *arg);
void vcpu_thread_spread(void);

/* The life of a vCPU, on its thread.  rc: 0, or -errno with e filled when something has failed
 * before. */
void vcpu_live(struct vcpu *v, int rc, struct err *e);

/* Makes the thread of v leave KVM_RUN.  Under the lock of its group. */
void vcpu_kick(const struct vcpu *v);

#endif
