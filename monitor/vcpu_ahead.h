/*
 * The boot vCPU's thread before there is a machine.  Opening KVM and making a VM take as long as
 * finding out what a saved machine is, so this does the one while its caller does the other, and
 * then becomes the thread of that machine's boot vCPU.
 */
#ifndef MVM_VCPU_AHEAD_H
#define MVM_VCPU_AHEAD_H

#include "base/check.h"

struct vcpu;
struct vcpu_ahead;

/*
 * Starts it; kvm_path is borrowed until the thread is adopted or dropped.  NULL when there is no
 * memory or no thread for it, and then a machine is made without.  What fails on the thread is
 * told to whom adopts it.
 */
struct vcpu_ahead *vcpu_ahead_begin(const char *kvm_path);

/* In place of vcpu_start(): v, the boot vCPU of a group that was initialised, has the thread from
 * now on, its group the VM, and a is gone.  As there, v and its group stay until vcpu_join(). */
void vcpu_ahead_adopt(struct vcpu_ahead *a, struct vcpu *v);

/* Nobody adopts it: ends the thread and frees the VM.  Accepts NULL. */
void vcpu_ahead_drop(struct vcpu_ahead *a);

#endif
